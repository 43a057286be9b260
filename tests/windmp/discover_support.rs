//! The synthetic Windows guest, with changes and under watch.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use guestdump::demo::{WindowsGuest, WindowsKind};
use guestdump::guest::windows::{HeaderSource, WinDmpError};
use guestdump::memory::MemoryRange;
use guestdump::windmp::Header;
use guestdump::{DumpOptions, Error, Format, GuestInfo, GuestMemory, Refusal, dump};
use kdmp_parser::parse::KernelDumpParser;
use testkit::windows::Windows;
use testkit::{FaultySink, PAGE, to_buffer};

pub(crate) const SIZE: u64 = 16 << 20;
/// The kinds of 32 bits.
pub(crate) const NARROW: [WindowsKind; 2] = [WindowsKind::I386, WindowsKind::I386NoPae];

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

    /// The same of any kind.
    pub(crate) fn of_kind(kind: WindowsKind) -> Self {
        Self::new(WindowsGuest::of_kind(kind, SIZE).unwrap())
    }

    /// Bytes of a pointer.
    pub(crate) fn word_size(&self) -> usize {
        match self.guest.kind() {
            WindowsKind::X86_64 => 8,
            _ => 4,
        }
    }

    /// The pointer at `vaddr`.
    pub(crate) fn pointer(&self, vaddr: u64) -> u64 {
        let mut bytes = [0; 8];
        let size = self.word_size();
        bytes[..size].copy_from_slice(&self.bytes_at(vaddr, size));
        u64::from_le_bytes(bytes)
    }

    /// The bytes at `vaddr`.
    pub(crate) fn bytes_at(&self, vaddr: u64, len: usize) -> Vec<u8> {
        let byte = |at| {
            let mut byte = [0];
            self.read(self.gpa(at), &mut byte).unwrap();
            byte[0]
        };
        (vaddr..vaddr + len as u64).map(byte).collect()
    }

    /// Guest-physical address of `vaddr`.
    pub(crate) fn gpa(&self, vaddr: u64) -> u64 {
        self.guest.translate(vaddr).unwrap()
    }

    pub(crate) fn put_physical(mut self, gpa: u64, bytes: &[u8]) -> Self {
        self.bytes.push((gpa, bytes.to_vec()));
        self
    }

    /// Other bytes at a virtual address, page by page.
    pub(crate) fn put(mut self, mut vaddr: u64, mut bytes: &[u8]) -> Self {
        while !bytes.is_empty() {
            let room = (PAGE - vaddr % PAGE) as usize;
            let (here, behind) = bytes.split_at(bytes.len().min(room));
            self.bytes.push((self.gpa(vaddr), here.to_vec()));
            vaddr += here.len() as u64;
            bytes = behind;
        }
        self
    }

    pub(crate) fn put_word(self, vaddr: u64, word: u64) -> Self {
        self.put(vaddr, &word.to_le_bytes())
    }

    /// A word of the guest's size.
    pub(crate) fn put_pointer(self, vaddr: u64, pointer: u64) -> Self {
        let size = self.word_size();
        self.put(vaddr, &pointer.to_le_bytes()[..size])
    }

    /// Takes the page at `vaddr` out of the page tables.
    pub(crate) fn unmap(self, vaddr: u64) -> Self {
        let entry = self.page_table_entry(vaddr);
        let size = self.entry_size();
        self.put_physical(entry, &vec![0; size])
    }

    /// Puts the page at `gpa` into the page tables; the table of the last
    /// level is there.
    pub(crate) fn map(self, vaddr: u64, gpa: u64) -> Self {
        let entry = self.page_table_entry(vaddr);
        let size = self.entry_size();
        self.put_physical(entry, &(gpa | 0x63).to_le_bytes()[..size])
    }

    /// Guest-physical address of RAM behind all that the kernel uses.
    pub(crate) fn unused(&self) -> u64 {
        match self.guest.kind() {
            WindowsKind::I386NoPae => 0x60_0000,
            _ => 4 << 30,
        }
    }

    /// Guest-physical address of the last level's entry for `vaddr`.
    pub(crate) fn page_table_entry(&self, vaddr: u64) -> u64 {
        let mut table = self.guest.directory_table_base();
        let (shifts, entries): (&[u32], u64) = match self.guest.kind() {
            WindowsKind::X86_64 => (&[39, 30, 21], 512),
            WindowsKind::I386 => (&[30, 21], 512),
            _ => (&[22], 1024),
        };
        let size = self.entry_size();
        let at = |table, shift| table + (vaddr >> shift) % entries * size as u64;
        for shift in shifts {
            let mut entry = [0; 8];
            let gpa = at(table, *shift);
            self.guest.read(gpa, &mut entry[..size]).unwrap();
            table = u64::from_le_bytes(entry) & 0x000f_ffff_ffff_f000;
        }
        at(table, 12)
    }

    /// Bytes of a page table's entry.
    fn entry_size(&self) -> usize {
        match self.guest.kind() {
            WindowsKind::I386NoPae => 4,
            _ => 8,
        }
    }

    /// All bytes as they would be in the dump if nothing were overlaid.
    pub(crate) fn page(&self, gpa: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE as usize];
        self.read(gpa, &mut page).unwrap();
        page
    }

    pub(crate) fn options(&self, format: Format) -> DumpOptions {
        let windows = Windows::new().header(HeaderSource::Guest);
        windows.options(
            GuestInfo::new(self.guest.kind().machine()).cpus(self.guest.registers()),
            format,
        )
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
            let (from, to) = (all.start.max(*at), all.end.min(at + bytes.len() as u64));
            let here = &bytes[(from - at) as usize..(to - at) as usize];
            buf[(from - gpa) as usize..(to - gpa) as usize].copy_from_slice(here);
        }
        Ok(())
    }

    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let is_changed = |(at, bytes): &(u64, Vec<u8>)| {
            *at < range.end() && range.start() < at + bytes.len() as u64
        };
        if self.bytes.iter().any(is_changed) {
            Ok(Some(range))
        } else {
            self.guest.next_populated(range)
        }
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
        Error::Refused(Refusal::WinDmp(error)) => error,
        other => panic!("{other}"),
    }
}

/// The synthetic Windows guest, and the header that is built from it. Without
/// registers, a dump with this header has the guest's pages as they are.
pub(crate) fn built_header(kind: WindowsKind) -> (WindowsGuest, Windows) {
    let guest = WindowsGuest::of_kind(kind, 32 << 20).unwrap();
    let options = DumpOptions::new(
        GuestInfo::new(kind.machine()).cpus(guest.registers()),
        Format::WIN_DMP,
    );
    let (bytes, _) = to_buffer(&guest, &options);
    let size = header(&bytes).as_bytes().len();
    let header = HeaderSource::Given(bytes[..size].to_vec());
    (guest, Windows::new().header(header))
}

/// The header of a dump.
pub(crate) fn header(dump: &[u8]) -> Header {
    let size = match &dump[..8] {
        b"PAGEDUMP" => 0x1000,
        _ => 0x2000,
    };
    Header::decode(&dump[..size]).unwrap()
}
