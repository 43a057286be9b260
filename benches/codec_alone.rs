//! Measures how long one compressor alone takes for all pages of a RAM file that are
//! not zero. Each thread compresses a part of the pages.
//!     codec_alone RAM COMPRESSOR THREADS
//! prints seconds. COMPRESSOR is the name of an engine in the build, as `guestdump
//! formats` lists them. benches/peers runs this program beside the dumps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod library;
mod populated;

use std::fs::File;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use guestdump::memory::{FileMemory, GuestMemory, is_zero};
use library::{PAGE, ROOM, compressor};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` calls every benchmark with `--bench`.
    let [_, ram, engine, threads] = &arguments[..] else {
        println!("usage: codec_alone RAM COMPRESSOR THREADS");
        return;
    };
    let threads: usize = threads.parse().unwrap();
    let pages = pages_not_zero(&FileMemory::flat(File::open(ram).unwrap()).unwrap());
    let (pages, _) = pages.as_chunks::<PAGE>();
    let begin = Barrier::new(threads);
    let compress = |part: &[[u8; PAGE]]| {
        let (mut compress, mut out) = (compressor(engine), [0; ROOM]);
        begin.wait();
        let begun = Instant::now();
        for page in part {
            black_box(compress(black_box(page), &mut out));
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
