//! How long one codec alone takes for all pages of a RAM file that are not zero,
//! with so many threads that each have a part of them.
//!     codec_alone RAM CODEC THREADS
//! prints seconds. CODEC is a library, `snap` or `minilzo`, or a codec as it is
//! in this crate. benches/peers runs it beside the dumps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod populated;

use std::fs::File;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use guestdump::codec::Codec;
use guestdump::memory::{FileMemory, GuestMemory, is_zero};

const PAGE: usize = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` calls every benchmark with `--bench`.
    let [_, ram, codec, threads] = &arguments[..] else {
        println!("usage: codec_alone RAM CODEC THREADS");
        return;
    };
    let threads: usize = threads.parse().unwrap();
    let pages = pages_not_zero(&FileMemory::flat(File::open(ram).unwrap()).unwrap());
    let (pages, _) = pages.as_chunks::<PAGE>();
    let begin = Barrier::new(threads);
    let compress = |part: &[[u8; PAGE]]| {
        let mut compress = compressor(codec);
        begin.wait();
        let begun = Instant::now();
        for page in part {
            compress(black_box(page));
        }
        begun.elapsed().as_secs_f64()
    };
    // Kinds of pages come in long runs; each thread has some of all of them.
    let parts: Vec<Vec<_>> = (0..threads)
        .map(|n| pages.iter().skip(n).step_by(threads).copied().collect())
        .collect();
    let seconds = std::thread::scope(|scope| {
        let compress = &compress;
        let all: Vec<_> = parts
            .iter()
            .map(|part| scope.spawn(move || compress(part)))
            .collect();
        all.into_iter()
            .map(|thread| thread.join().unwrap())
            .fold(0.0, f64::max)
    });
    println!("{seconds:.6}");
}

type CompressPage = dyn FnMut(&[u8; PAGE]);

fn compressor(name: &str) -> Box<CompressPage> {
    // Room for a page that does not shrink, so that nothing is allocated.
    let mut out = vec![0; 2 * PAGE];
    match name {
        "snap" => {
            let mut encoder = snap::raw::Encoder::new();
            Box::new(move |page| {
                black_box(encoder.compress(page, &mut out).unwrap());
            })
        }
        "minilzo" => {
            let mut lzo = Box::new(minilzo_rs::LZO::init().unwrap());
            Box::new(move |page| {
                black_box(lzo.compress(page).unwrap());
            })
        }
        _ => {
            let codec = Codec::ALL.iter().find(|c| c.feature() == name).unwrap();
            let mut compressor = codec.compressor().unwrap().unwrap();
            Box::new(move |page| {
                out.clear();
                black_box(compressor.compress(page, &mut out).unwrap());
            })
        }
    }
}

fn pages_not_zero(memory: &FileMemory) -> Vec<u8> {
    let mut pages = Vec::new();
    let mut page = [0; PAGE];
    for extent in populated::extents(memory) {
        for gpa in (extent.start()..extent.end()).step_by(PAGE) {
            memory.read(gpa, &mut page).unwrap();
            if !is_zero(&page) {
                pages.extend_from_slice(&page);
            }
        }
    }
    pages
}
