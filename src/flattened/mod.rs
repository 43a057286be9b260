//! makedumpfile's flattened format, which carries a file with holes and
//! out-of-order writes over a stream: `format` has the bytes, `rearrange`
//! brings a flattened dump back into its raw form.

pub mod format;

pub(crate) mod writer;
