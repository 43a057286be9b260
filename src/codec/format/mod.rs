//! The streams of bytes that codecs of our own write.

#[cfg(all(feature = "lzo", any(test, not(feature = "minilzo"))))]
pub(super) mod lzo1x;
#[cfg(feature = "snappy")]
pub(super) mod snappy;
mod stream;

#[cfg(test)]
mod tests;
