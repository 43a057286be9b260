//! The limit of a dump: how long one codec alone takes for all pages of a RAM
//! file that are not zero, on one core.
//!     codec_alone RAM CODEC
//! prints seconds. benches/peers runs it beside the dumps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::hint::black_box;
use std::time::Instant;

use guestdump::codec::Codec;
use guestdump::memory::{FileMemory, GuestMemory, MemoryRange, is_zero};

const PAGE: usize = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` calls every benchmark with `--bench`.
    let [_, ram, codec] = &arguments[..] else {
        println!("usage: codec_alone RAM CODEC");
        return;
    };
    let mut codecs = Codec::ALL.iter();
    let codec = codecs.find(|c| c.feature() == codec).unwrap();
    let pages = pages_not_zero(&FileMemory::flat(File::open(ram).unwrap()).unwrap());
    let mut compressor = codec.compressor().unwrap().unwrap();
    // Room for a page that does not shrink, so that nothing is allocated.
    let mut out = Vec::with_capacity(2 * PAGE);
    let begun = Instant::now();
    for page in pages.chunks_exact(PAGE) {
        out.clear();
        black_box(compressor.compress(black_box(page), &mut out).unwrap());
    }
    println!("{:.6}", begun.elapsed().as_secs_f64());
}

fn pages_not_zero(memory: &FileMemory) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut page = [0; PAGE];
    for range in memory.ranges() {
        let mut rest = Some(range);
        while let Some(extent) = rest.and_then(|rest| memory.next_populated(rest).unwrap()) {
            for gpa in (extent.start()..extent.end()).step_by(PAGE) {
                memory.read(gpa, &mut page).unwrap();
                if !is_zero(&page) {
                    pages.extend_from_slice(&page);
                }
            }
            rest = MemoryRange::new(extent.end(), range.end() - extent.end()).ok();
        }
    }
    pages
}
