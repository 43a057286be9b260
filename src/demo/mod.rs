//! The built-in synthetic guest.
