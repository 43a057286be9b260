//! Reading a kdump-compressed dump, whichever program wrote it.
#![forbid(unsafe_code)]

mod bitmaps;
mod coverage;
mod dump;
mod headers;
mod pages;
mod split;

pub(crate) use dump::KdumpDump;
pub(crate) use split::SplitDump;
