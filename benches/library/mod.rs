//! Compression of a page by one engine, for the benchmarks beside peers.

use guestdump::codec::Engine;

pub(crate) const PAGE: usize = 4096;
/// Room for a page that does not shrink.
pub(crate) const ROOM: usize = 2 * PAGE;

/// Compresses a page into a buffer of [`ROOM`] bytes, and returns the compressed length.
pub(crate) type CompressPage = dyn FnMut(&[u8; PAGE], &mut [u8; ROOM]) -> usize;

/// The compressor with an engine's name, such as `snap` or `minilzo`.
#[allow(clippy::unwrap_used)]
pub(crate) fn compressor(name: &str) -> Box<CompressPage> {
    let engine: Engine = name.parse().unwrap();
    let mut compressor = engine.compressor().unwrap();
    let mut compressed = Vec::with_capacity(ROOM);
    Box::new(move |page, out| {
        compressed.clear();
        if !compressor.compress(page, &mut compressed).unwrap() {
            return page.len();
        }
        out[..compressed.len()].copy_from_slice(&compressed);
        compressed.len()
    })
}
