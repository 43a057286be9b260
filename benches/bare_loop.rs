//! Measures the least work of a program that dumps. Threads read what is populated of a
//! RAM file, compress every page that is not zero, and write the result. There is no
//! header, no bitmap, no descriptor, no order, and no page is shared.
//!     bare_loop RAM COMPRESSOR THREADS OUT
//! prints seconds. benches/peers runs this program beside the dumps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod library;
mod populated;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use guestdump::memory::{FileMemory, GuestMemory, MemoryRange, is_zero};
use library::{PAGE, ROOM, compressor};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` calls every benchmark with `--bench`.
    let [_, ram, engine, threads, out] = &arguments[..] else {
        println!("usage: bare_loop RAM COMPRESSOR THREADS OUT");
        return;
    };
    let memory = FileMemory::flat(File::open(ram).unwrap()).unwrap();
    let out = File::create(out).unwrap();
    let begun = Instant::now();
    let extents = populated::extents(&memory);
    let (next, end) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut compress = compressor(engine);
        let (mut read, mut data) = (Vec::new(), Vec::new());
        while let Some(extent) = extents.get(next.fetch_add(1, Relaxed)) {
            data.clear();
            encode(&memory, extent, &mut *compress, &mut read, &mut data);
            let at = end.fetch_add(data.len() as u64, Relaxed);
            out.write_all_at(&data, at).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.parse().unwrap() {
            scope.spawn(work);
        }
    });
    println!("{:.6}", begun.elapsed().as_secs_f64());
}

fn encode(
    memory: &FileMemory,
    extent: &MemoryRange,
    compress: &mut library::CompressPage,
    read: &mut Vec<u8>,
    data: &mut Vec<u8>,
) {
    let mut compressed = [0; ROOM];
    read.resize(extent.size() as usize, 0);
    memory.read(extent.start(), read).unwrap();
    for page in read.as_chunks::<PAGE>().0 {
        if is_zero(page) {
            continue;
        }
        match compress(page, &mut compressed) {
            len if len < PAGE => data.extend_from_slice(&compressed[..len]),
            _ => data.extend_from_slice(page),
        }
    }
}
