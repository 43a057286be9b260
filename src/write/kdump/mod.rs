//! Writing kdump-compressed dumps, raw and flattened.

mod block;
mod completion;
mod contents;
mod flattened;
mod pages;
mod placement;
mod placing;
mod sample;
mod seen;
mod store;
mod target;
mod writer;

pub(crate) use completion::Completion;
pub(crate) use contents::KdumpContents;
pub(crate) use writer::KdumpWriter;
