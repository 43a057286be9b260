//! What a dump must do besides its codec, alone and on one core: read all of a
//! RAM file that is populated, and write as many bytes as a dump has.
//!     copying_alone RAM BYTES OUT
//! prints seconds. benches/peers runs it beside the dumps.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod populated;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use guestdump::memory::{FileMemory, GuestMemory};

/// Bytes that are read or written at once.
const PIECE: usize = 256 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` calls every benchmark with `--bench`.
    let [_, ram, size, out] = &arguments[..] else {
        println!("usage: copying_alone RAM BYTES OUT");
        return;
    };
    let memory = FileMemory::flat(File::open(ram).unwrap()).unwrap();
    let size: u64 = size.parse().unwrap();
    let out = File::create(out).unwrap();
    let mut piece = vec![1; PIECE];
    let begun = Instant::now();
    for extent in populated::extents(&memory) {
        for gpa in (extent.start()..extent.end()).step_by(PIECE) {
            let len = PIECE.min((extent.end() - gpa) as usize);
            memory.read(gpa, &mut piece[..len]).unwrap();
            black_box(&piece);
        }
    }
    for at in (0..size).step_by(PIECE) {
        let len = PIECE.min((size - at) as usize);
        out.write_all_at(&piece[..len], at).unwrap();
    }
    println!("{:.6}", begun.elapsed().as_secs_f64());
}
