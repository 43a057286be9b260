//! The synthetic Windows guest, with changes and under watch.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use guestdump::demo::WindowsGuest;
use guestdump::memory::MemoryRange;
use guestdump::windmp::format::DumpHeader64;
use guestdump::windmp::{HeaderSource, WinDmpError, WindowsOptions};
use guestdump::{DumpOptions, Error, Format, GuestMemory, dump};
use kdmp_parser::parse::KernelDumpParser;

use super::support::{FaultySink, PAGE};
use super::to_buffer;

pub(crate) const SIZE: u64 = 16 << 20;

/// The guest with other bytes here and there.
pub(crate) struct Altered {
    pub(crate) guest: WindowsGuest,
    /// By guest-physical address.
    bytes: Vec<(u64, Vec<u8>)>,
    /// Pages whose reading fails.
    unreadable: Vec<u64>,
    pub(crate) reads: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
}

impl Altered {
    pub(crate) fn new(guest: WindowsGuest) -> Self {
        Self {
            guest,
            bytes: Vec::new(),
            unreadable: Vec::new(),
            reads: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
        }
    }

    /// A guest that has crashed.
    pub(crate) fn crashed() -> Self {
        Self::new(WindowsGuest::new(SIZE).unwrap())
    }

    /// Guest-physical address of `vaddr`.
    pub(crate) fn gpa(&self, vaddr: u64) -> u64 {
        self.guest.translate(vaddr).unwrap()
    }

    pub(crate) fn put_physical(mut self, gpa: u64, bytes: &[u8]) -> Self {
        self.bytes.push((gpa, bytes.to_vec()));
        self
    }

    /// Other bytes at a virtual address, byte by byte: they may go over a
    /// page border.
    pub(crate) fn put(mut self, vaddr: u64, bytes: &[u8]) -> Self {
        for (at, byte) in (vaddr..).zip(bytes) {
            let gpa = self.gpa(at);
            self.bytes.push((gpa, vec![*byte]));
        }
        self
    }

    pub(crate) fn put_word(self, vaddr: u64, word: u64) -> Self {
        self.put(vaddr, &word.to_le_bytes())
    }

    /// Takes the page at `vaddr` out of the page tables.
    pub(crate) fn unmap(self, vaddr: u64) -> Self {
        let entry = self.page_table_entry(vaddr);
        self.put_physical(entry, &[0; 8])
    }

    /// Guest-physical address of the last level's entry for `vaddr`.
    pub(crate) fn page_table_entry(&self, vaddr: u64) -> u64 {
        let mut table = self.guest.directory_table_base();
        for shift in [39, 30, 21] {
            let entry = self.word(table + (vaddr >> shift) % 512 * 8);
            table = entry & 0x000f_ffff_ffff_f000;
        }
        table + (vaddr >> 12) % 512 * 8
    }

    fn word(&self, gpa: u64) -> u64 {
        let mut bytes = [0; 8];
        self.guest.read(gpa, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// All bytes as they would be in the dump if nothing were overlaid.
    pub(crate) fn page(&self, gpa: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE as usize];
        self.read(gpa, &mut page).unwrap();
        page
    }

    pub(crate) fn options(&self, format: Format) -> DumpOptions {
        let windows = WindowsOptions::new().header(HeaderSource::Guest);
        DumpOptions::new(format)
            .cpus(self.guest.cpus())
            .windows(windows)
    }
}

impl GuestMemory for Altered {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.guest.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_read
            .fetch_add(buf.len() as u64, Ordering::Relaxed);
        let all = gpa..gpa + buf.len() as u64;
        if self.unreadable.iter().any(|bad| all.contains(bad)) {
            return Err(io::Error::other("unreadable page"));
        }
        self.guest.read(gpa, buf)?;
        let meets = |at: u64, len: usize| at < all.end && all.start < at + len as u64;
        let changed = self.bytes.iter().filter(|(at, b)| meets(*at, b.len()));
        for (at, bytes) in changed {
            for (at, byte) in (*at..).zip(bytes) {
                if all.contains(&at) {
                    buf[(at - gpa) as usize] = *byte;
                }
            }
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        self.guest.next_populated(range)
    }
}

pub(crate) fn parse(bytes: Vec<u8>) -> KernelDumpParser {
    KernelDumpParser::with_reader(io::Cursor::new(bytes)).unwrap()
}

/// Why the dump is refused, before anything is written.
pub(crate) fn refused(memory: &dyn GuestMemory, options: &DumpOptions) -> WinDmpError {
    let mut sink = FaultySink::default();
    let error = dump(memory, &mut sink, options).unwrap_err();
    assert!(error.is_refusal(), "{error}");
    match error {
        Error::WinDmp(error) => error,
        other => panic!("{other}"),
    }
}

/// The synthetic Windows guest, and the header that is built from it. Without
/// registers, a dump with this header has the guest's pages as they are.
pub(crate) fn built_header() -> (WindowsGuest, WindowsOptions) {
    let guest = WindowsGuest::new(32 << 20).unwrap();
    let options = DumpOptions::new(Format::WinDmp).cpus(guest.cpus());
    let (bytes, _) = to_buffer(&guest, &options);
    let header = HeaderSource::Given(bytes[..DumpHeader64::SIZE].to_vec());
    (guest, WindowsOptions::new().header(header))
}
