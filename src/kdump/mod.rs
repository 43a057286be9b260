//! makedumpfile's kdump-compressed format: `format` has the bytes, `bitmap`
//! the page bitmaps, `layout` says what lies where, `writer` is the logic of
//! a dump, `reader` the decoder.

pub mod bitmap;
pub mod format;
pub mod layout;
mod pages;
mod placement;
#[cfg(feature = "file")]
pub(crate) mod reader;
mod sample;
mod seen;
mod utsname;
pub(crate) mod writer;

pub use utsname::{UTS_LEN, Utsname};
