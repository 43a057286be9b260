//! The streams of bytes that codecs of our own write.

#[cfg(feature = "lzo")]
#[cfg_attr(feature = "minilzo", allow(dead_code))]
pub(super) mod lzo1x;
#[cfg(feature = "snappy")]
pub(super) mod snappy;

#[cfg(test)]
mod tests;
