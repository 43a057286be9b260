//! Windows guests without registers: a scan of their memory finds the kernel's page tables, and the dump's
//! header leads to the same kernel as with registers.
#![cfg(feature = "demo")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;

use guestdump::demo::{WindowsGuest, WindowsKind};
use guestdump::guest::windows::{HeaderOrigin, HeaderSource, WinDmpError};
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::windmp::{DumpKind, Header};
use guestdump::{
    DumpOptions, Error, Format, GuestInfo, GuestMemory, Machine, MemoryRange, Refusal, Summary,
    WinDmpOptions, dump,
};

const SIZE: u64 = 16 << 20;
const PAGE: u64 = 4096;
const KINDS: [WindowsKind; 3] = [
    WindowsKind::X86_64,
    WindowsKind::I386,
    WindowsKind::I386NoPae,
];

/// A guest's memory with some bytes changed, or moved up by whole pages.
struct Changed {
    guest: WindowsGuest,
    bytes: BTreeMap<u64, u8>,
}

impl Changed {
    fn new(kind: WindowsKind) -> Self {
        Self {
            guest: WindowsGuest::of_kind(kind, SIZE).unwrap(),
            bytes: BTreeMap::new(),
        }
    }

    fn put(mut self, gpa: u64, bytes: &[u8]) -> Self {
        self.bytes.extend((gpa..).zip(bytes.iter().copied()));
        self
    }

    /// Copies the page at `from` to `to`.
    fn copied(self, from: u64, to: u64) -> Self {
        let mut page = vec![0; PAGE as usize];
        self.read(from, &mut page).unwrap();
        self.put(to, &page)
    }
}

impl GuestMemory for Changed {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.guest.ranges()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        self.guest.read(gpa, buf)?;
        for (at, byte) in self.bytes.range(gpa..gpa + buf.len() as u64) {
            buf[(at - gpa) as usize] = *byte;
        }
        Ok(())
    }
}

fn to_buffer(memory: &dyn GuestMemory, info: GuestInfo) -> Result<(Vmcore, Summary), Error> {
    let format = WinDmpOptions::new(DumpKind::Full).header(HeaderSource::Any);
    let mut sink = BufferSink::new();
    let summary = dump(memory, &mut sink, &DumpOptions::new(info, format))?;
    Ok((Vmcore::open(sink.into_bytes()).unwrap(), summary))
}

fn without_registers(memory: &dyn GuestMemory) -> Result<(Vmcore, Summary), Error> {
    to_buffer(memory, GuestInfo::new(Machine::X86_64))
}

fn header_of(vmcore: &Vmcore) -> &Header {
    let Headers::WinDmp { header, .. } = vmcore.headers() else {
        panic!("a Windows dump");
    };
    header
}

/// Everything in a header but the context and the size of the dump.
fn facts(header: &Header) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        header.bits(),
        header.directory_table_base(),
        header.pae_enabled(),
        header.number_processors(),
        header.kd_debugger_data_block(),
        header.pfn_database(),
        header.ps_loaded_module_list(),
        header.ps_active_process_head(),
        header.version(),
        header.bugcheck(),
        (header.system_time(), header.system_up_time()),
    )
}

#[track_caller]
fn same_kernel(memory: &Changed) {
    let kind = memory.guest.kind();
    let given = GuestInfo::new(kind.machine()).cpus(memory.guest.registers());
    let (expected, _) = to_buffer(&memory.guest, given).unwrap();
    let (found, summary) = without_registers(memory).unwrap();
    assert_eq!(summary.windows.unwrap().header, HeaderOrigin::Guest);
    assert_eq!(facts(header_of(&found)), facts(header_of(&expected)));
    let root = memory.guest.directory_table_base();
    assert_eq!(header_of(&found).directory_table_base(), root);
    // The dump states no registers: those of its context would not be the guest's.
    assert!(header_of(&found).context_record().iter().all(|b| *b == 0));
}

#[test]
fn page_tables_that_map_themselves_lead_to_the_kernel() {
    for kind in KINDS {
        let memory = Changed::new(kind);
        same_kernel(&memory);
        let (found, _) = without_registers(&memory).unwrap();
        let mut page = [vec![0; PAGE as usize], vec![0; PAGE as usize]];
        for range in memory.ranges() {
            for gpa in (range.start()..range.end()).step_by(PAGE as usize) {
                memory.read(gpa, &mut page[0]).unwrap();
                found.read(gpa, &mut page[1]).unwrap();
                assert!(page[0] == page[1], "{gpa:#x}");
            }
        }
        // A guest of 32-bit CPUs has no 64-bit kernel.
        let narrow = to_buffer(&memory, GuestInfo::new(Machine::I386));
        assert_eq!(narrow.is_ok(), kind != WindowsKind::X86_64);
    }
}

/// `PROCESSOR_START_BLOCK`: its first bytes, the kernel's entry, CR3.
fn low_stub(entry: u64, cr3: u64) -> Vec<u8> {
    let mut stub = vec![0; PAGE as usize];
    stub[..8].copy_from_slice(&0x0000_0001_0006_4de9u64.to_le_bytes());
    stub[0x70..0x78].copy_from_slice(&entry.to_le_bytes());
    stub[0xa0..0xa8].copy_from_slice(&cr3.to_le_bytes());
    stub
}

#[test]
fn the_low_stub_leads_to_the_kernel() {
    // Without the entry by which the tables map themselves.
    let memory = Changed::new(WindowsKind::X86_64);
    let root = memory.guest.directory_table_base();
    let (entry, hal) = (memory.guest.kernel_base() + 0x1230, 0xffff_f802_4f50_0010);
    let memory = memory.put(root + 0x1ed * 8, &[0; 8]);
    assert!(without_registers(&memory).is_err());
    for entry in [entry, hal] {
        let memory = Changed::new(WindowsKind::X86_64)
            .put(root + 0x1ed * 8, &[0; 8])
            .put(0x1_3000, &low_stub(entry, root));
        same_kernel(&memory);
    }
    // A stub that leads nowhere does no harm.
    for cr3 in [0x78_0000, 1 << 39] {
        let memory = Changed::new(WindowsKind::X86_64).put(0x1_3000, &low_stub(entry, cr3));
        same_kernel(&memory);
    }
}

#[test]
fn tables_of_processes_lead_to_the_same_kernel() {
    // Another process's first table, whose own entry leads to itself.
    let other = 0x70_0000u64;
    let memory = Changed::new(WindowsKind::X86_64);
    let root = memory.guest.directory_table_base();
    let own = (other | 0x63).to_le_bytes();
    same_kernel(&memory.copied(root, other).put(other + 0x1ed * 8, &own));
    // Below the system process's: the header has the system process's table all the same.
    let lower = 0x1_0000u64;
    let own = (lower | 0x63).to_le_bytes();
    let memory = Changed::new(WindowsKind::X86_64);
    same_kernel(&memory.copied(root, lower).put(lower + 0x1ed * 8, &own));
}

fn refused(memory: &dyn GuestMemory) -> WinDmpError {
    match without_registers(memory) {
        Err(Error::Refused(Refusal::WinDmp(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_kernels_are_refused() {
    // Copies of all tables and of the image's first page, as an earlier start may leave them.
    let memory = Changed::new(WindowsKind::X86_64);
    let base = memory.guest.kernel_base();
    let mut tables = vec![memory.guest.directory_table_base()];
    for shift in [39, 30, 21] {
        let entry = tables[tables.len() - 1] + (base >> shift & 511) * 8;
        let mut bytes = [0; 8];
        memory.read(entry, &mut bytes).unwrap();
        tables.push(u64::from_le_bytes(bytes) & 0xf_ffff_ffff_f000);
    }
    let image = memory.guest.translate(base).unwrap();
    let copies = [0x70_0000u64, 0x70_1000, 0x70_2000, 0x70_3000, 0x70_4000];
    let mut memory = memory;
    for (from, to) in tables.iter().chain([&image]).zip(copies) {
        memory = memory.copied(*from, to);
    }
    for (n, shift) in [39, 30, 21, 12].into_iter().enumerate() {
        let entry = copies[n] + (base >> shift & 511) * 8;
        memory = memory.put(entry, &(copies[n + 1] | 0x163).to_le_bytes());
    }
    let own = (copies[0] | 0x63).to_le_bytes();
    let memory = memory.put(copies[0] + 0x1ed * 8, &own);
    let error = refused(&memory);
    let roots = [memory.guest.directory_table_base(), copies[0]];
    assert_eq!(
        error,
        WinDmpError::TwoKernels {
            roots,
            bases: [base; 2]
        }
    );
    // With registers there is no doubt.
    let given = GuestInfo::new(Machine::X86_64).cpus(memory.guest.registers());
    assert!(to_buffer(&memory, given).is_ok());
}

#[test]
fn memory_without_windows_names_what_is_lacking() {
    for kind in KINDS {
        // The image is no image.
        let memory = Changed::new(kind);
        let image = memory.guest.translate(memory.guest.kernel_base()).unwrap();
        let memory = memory.put(image, b"ZM");
        let error = refused(&memory);
        assert_eq!(error, WinDmpError::NoCpuRegisters);
        let text = error.to_string();
        assert!(text.starts_with("no CPU registers: "), "{text}");
        // Registers that lead nowhere are another lack.
        let given = GuestInfo::new(kind.machine()).cpus(memory.guest.registers());
        let error = to_buffer(&memory, given).unwrap_err();
        let Error::Refused(Refusal::WinDmp(WinDmpError::NoKernel { address_spaces: 1 })) = error
        else {
            panic!("{error}");
        };
    }
}

/// Pages that look like tables of every kind, and lead nowhere.
#[test]
fn candidates_are_limited() {
    let mut memory = Changed::new(WindowsKind::X86_64);
    for gpa in (0x1_0000u64..0x8_0000).step_by(PAGE as usize) {
        let mut page = vec![0; PAGE as usize];
        page[0xf68..0xf70].copy_from_slice(&(gpa | 0x63).to_le_bytes());
        let pdpt = [1u64, 2, 3, 4].map(|n| (n << 20) | 1);
        let pdpt: Vec<u8> = pdpt.into_iter().flat_map(u64::to_le_bytes).collect();
        for at in (0..0xc00).step_by(32) {
            page[at..at + 32].copy_from_slice(&pdpt);
        }
        memory = memory.put(gpa, &page);
    }
    // They take a bounded amount of work, and leave enough for the kernel.
    same_kernel(&memory);
}

/// Pages of zeroes in front of the kernel's page tables, which nothing uses.
fn free_pages(guest: &WindowsGuest) -> Vec<u64> {
    let mut page = vec![0; PAGE as usize];
    let pages = (PAGE..guest.directory_table_base()).step_by(PAGE as usize);
    let is_free = |gpa: &u64| guest.read(*gpa, &mut page).is_ok() && page.iter().all(|b| *b == 0);
    pages.filter(is_free).collect()
}

fn entries(entries: impl IntoIterator<Item = u64>) -> Vec<u8> {
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Data that looks like 1536 page directory pointer tables, more than all candidates.
#[test]
fn data_that_looks_like_tables_does_not_hide_the_kernel() {
    for kind in KINDS {
        let mut memory = Changed::new(kind);
        let free = free_pages(&memory.guest);
        assert!(free.len() >= 12, "{}", free.len());
        for gpa in &free[..12] {
            let directories = (1..=PAGE / 8).map(|n| (n * PAGE) | 1);
            memory = memory.put(*gpa, &entries(directories));
        }
        same_kernel(&memory);
    }
}

/// Tables that map themselves and all RAM again and again, where the kernel would be.
#[test]
fn tables_that_take_long_to_search_leave_work_for_the_kernel() {
    let mut memory = Changed::new(WindowsKind::X86_64);
    let free = free_pages(&memory.guest);
    let mut root = vec![0; PAGE as usize];
    let base = memory.guest.directory_table_base();
    memory.read(base, &mut root).unwrap();
    memory = memory.put(free[0], &entries([0x1e3; 512]));
    for gpa in &free[1..4] {
        let mut decoy = entries([0; 512]);
        // KUSER_SHARED_DATA.
        decoy[8 * 495..8 * 496].copy_from_slice(&root[8 * 495..8 * 496]);
        for (index, to) in [(493, *gpa), (496, free[0])] {
            decoy[8 * index..8 * index + 8].copy_from_slice(&(to | 0x63).to_le_bytes());
        }
        memory = memory.put(*gpa, &decoy);
    }
    same_kernel(&memory);
}

/// The command: the raw memory of each demo guest becomes a Windows dump with the same pages.
#[test]
#[cfg(feature = "cli")]
fn the_command_dumps_raw_memory() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("guest.vmem");
    let to = folder.path().join("guest.dmp");
    let map = folder.path().join("map.json");
    for kind in KINDS {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap();
        // The file has the ranges one after the other, as `.vmem` has.
        let mut bytes = Vec::new();
        let mut regions = Vec::new();
        for range in guest.ranges() {
            let (gpa, size, offset) = (range.start(), range.size(), bytes.len());
            regions.push(format!(
                r#"{{"gpa": {gpa}, "size": {size}, "offset": {offset}}}"#
            ));
            bytes.resize(offset + size as usize, 0);
            guest.read(gpa, &mut bytes[offset..]).unwrap();
        }
        let regions = regions.join(", ");
        std::fs::write(&map, format!(r#"{{"regions": [{regions}]}}"#)).unwrap();
        std::fs::write(&raw, &bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_guestdump"))
            .args(["dump", "--force", "--format", "win-dmp", "--from"])
            .arg(format!("raw:{}", raw.display()))
            .arg("--map")
            .arg(&map)
            .arg("--to")
            .arg(&to)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let found = Vmcore::open(std::fs::File::open(&to).unwrap()).unwrap();
        let info = GuestInfo::new(kind.machine()).cpus(guest.registers());
        let (expected, _) = to_buffer(&guest, info).unwrap();
        assert_eq!(facts(header_of(&found)), facts(header_of(&expected)));
        let mut all = Vec::new();
        for range in found.ranges() {
            let at = all.len();
            all.resize(at + range.size() as usize, 0);
            found.read(range.start(), &mut all[at..]).unwrap();
        }
        assert!(all == bytes, "{kind:?}");
    }
}

#[test]
fn other_formats_need_no_kernel() {
    let memory = Changed::new(WindowsKind::X86_64);
    let options = DumpOptions::new(GuestInfo::new(Machine::X86_64), Format::Elf);
    dump(&memory, &mut BufferSink::new(), &options).unwrap();
}
