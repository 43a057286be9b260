//! Writing kdump-compressed dumps, raw and flattened.

mod flattened;
mod pages;
mod placement;
mod sample;
mod seen;
mod writer;

pub(crate) use writer::{KdumpContents, KdumpWriter};
