//! Compression of a page by a library as it is, for the benchmarks beside peers.

use guestdump::codec::Codec;

pub(crate) const PAGE: usize = 4096;
/// Room for a page that does not shrink.
pub(crate) const ROOM: usize = 2 * PAGE;

/// Compresses a page into what has [`ROOM`], and returns how many bytes that takes.
pub(crate) type CompressPage = dyn FnMut(&[u8; PAGE], &mut [u8; ROOM]) -> usize;

/// `snap`, `minilzo` (with the feature), or a codec as it is in this crate.
#[allow(clippy::unwrap_used)]
pub(crate) fn compressor(name: &str) -> Box<CompressPage> {
    match name {
        "snap" => {
            let mut encoder = snap::raw::Encoder::new();
            Box::new(move |page, out| encoder.compress(page, out).unwrap())
        }
        #[cfg(feature = "minilzo")]
        "minilzo" => {
            let mut lzo = Box::new(minilzo_rs::LZO::init().unwrap());
            Box::new(move |page, out| copied(&lzo.compress(page).unwrap(), out))
        }
        _ => {
            let codec = Codec::ALL.iter().find(|c| c.feature() == name).unwrap();
            let mut compressor = codec.compressor().unwrap().unwrap();
            let mut compressed = Vec::with_capacity(ROOM);
            Box::new(move |page, out| {
                compressed.clear();
                match compressor.compress(page, &mut compressed).unwrap() {
                    true => copied(&compressed, out),
                    false => page.len(),
                }
            })
        }
    }
}

fn copied(compressed: &[u8], out: &mut [u8; ROOM]) -> usize {
    out[..compressed.len()].copy_from_slice(compressed);
    compressed.len()
}
