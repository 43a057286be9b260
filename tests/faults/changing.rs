//! A guest that goes on running while it is dumped.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use guestdump::memory::MemoryRange;
use guestdump::sink::BufferSink;
use guestdump::{Format, GuestMemory, Progress, dump};
use testkit::{Random, open, range};

use super::{options, page_of};

/// Memory that is something else at every look, also zero, also what does
/// not compress.
#[derive(Default)]
struct Changing {
    looks: AtomicU64,
    /// What each page was, look by look.
    seen: Mutex<HashMap<u64, Vec<u64>>>,
}

const SIZE: u64 = 600 << 12;

fn content(look: u64) -> Vec<u8> {
    let mut random = Random::new(look << 20);
    match look % 4 {
        0 => vec![0; 4096],
        1 => random.bytes(4096),
        2 => look.to_le_bytes().repeat(512),
        _ => [vec![random.byte(); 2048], random.bytes(2048)].concat(),
    }
}

impl GuestMemory for Changing {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![range(0, SIZE), range(0x1_0000_0000, SIZE)]
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        if buf.len() < 4096 {
            // Not a page, but what a Windows dump's header is checked with.
            buf.fill(0);
            return Ok(());
        }
        for (gpa, page) in (gpa..).step_by(4096).zip(buf.chunks_mut(4096)) {
            let look = self.looks.fetch_add(1, SeqCst);
            page.copy_from_slice(&content(look));
            self.seen.lock().unwrap().entry(gpa).or_default().push(look);
        }
        Ok(())
    }
}

#[test]
fn each_page_is_looked_at_once_and_is_what_was_seen() {
    let mut pages = 0;
    for format in Format::available() {
        for threads in [1, 4] {
            let guest = Changing::default();
            let mut sink = BufferSink::new();
            dump(&guest, &mut sink, &options(format).threads(threads)).unwrap();
            let dump = open(&sink.into_bytes());
            dump.check(&Progress::new()).unwrap();
            for range in guest.ranges() {
                for gpa in (range.start()..range.end()).step_by(4096) {
                    let looks = guest.seen.lock().unwrap()[&gpa].clone();
                    assert_eq!(looks.len(), 1, "{format}: {gpa:#x} was looked at again");
                    let page = page_of(&dump, gpa).unwrap();
                    assert!(page == content(looks[0]), "{format} at {gpa:#x}");
                    pages += 1;
                }
            }
        }
    }
    eprintln!("{pages} pages that change");
}
