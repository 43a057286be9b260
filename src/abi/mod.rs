//! What a guest's architecture decides about bytes.

pub mod integers;
