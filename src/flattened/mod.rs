//! makedumpfile's flattened format, which carries a file with holes and
//! out-of-order writes over a stream: `format` has the bytes, `writer` makes
//! records, `reader` finds them again, `rearrange` brings a flattened dump
//! back into its raw form.

pub mod format;
#[cfg(feature = "file")]
pub(crate) mod reader;
mod rearrange;
pub(crate) mod writer;

pub use rearrange::{RearrangeError, rearrange};
