//! A dump header from the guest itself.
#![forbid(unsafe_code)]

pub(crate) mod format;
