//! ELF dumps with guest-virtual addresses.

use guestdump::arch::x86_64::Registers;
use guestdump::elf::Note;
use guestdump::elf::{PT_LOAD, PT_NOTE, ProgramHeader};
use guestdump::guest::paging::Budget;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::read::{Headers, Vmcore};
use guestdump::{
    ByteOrder, DumpOptions, ElfOptions, Error, Format, FormatOptions, GuestInfo, GuestMemory,
    Machine, NotInFormat, Progress, Refusal, dump,
};
use testkit::options::With;
use testkit::{FaultySink, open, range, slice_memory, to_buffer};

use super::tables::Guest;

const P: u64 = 1;
const PS: u64 = 0x81;
const HIGH: u64 = 0x1_0000_0000;
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
const KERNEL: u64 = 0xffff_ffff_8100_0000;

/// 4 MiB from address 0 on and 64 KiB from 4 GiB on, and page tables as a
/// small Linux might have them, from 0x1000 on.
fn guest() -> Vec<(u64, Vec<u8>)> {
    let mut low = Guest::new(4 << 20);
    for (at, byte) in low.ram.iter_mut().enumerate().skip(0x10_0000) {
        *byte = (at >> 12) as u8 ^ (at % 253) as u8;
    }
    // A process: two pages, out of order.
    low.set(0x1000, 0, 0x2000 | P);
    low.set(0x2000, 0, 0x3000 | P);
    low.set(0x3000, 2, 0x4000 | P);
    low.set(0x4000, 0, 0x20_1000 | P);
    low.set(0x4000, 1, 0x20_0000 | P);
    // All RAM: 4 MiB and a page of 1 GiB that has RAM in its first 64 KiB.
    low.set(0x1000, 273, 0x5000 | P);
    low.set(0x5000, 0, 0x6000 | P);
    low.set(0x6000, 0, PS);
    low.set(0x6000, 1, 0x20_0000 | PS);
    low.set(0x5000, 4, HIGH | PS);
    // The kernel's image.
    low.set(0x1000, 511, 0x7000 | P);
    low.set(0x7000, 510, 0x8000 | P);
    low.set(0x8000, 8, 0x20_0000 | PS);
    vec![(0, low.ram), (HIGH, vec![0x77; 0x10000])]
}

/// A CPU whose first page table is at `cr3`.
fn cpu(cr3: u64) -> Registers {
    Registers {
        cr0: 0x8000_0001,
        cr3,
        cr4: 0x20,
        ..Registers::default()
    }
}

fn options() -> DumpOptions {
    DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .vmcoreinfo(VmcoreinfoSource::None)
            .cpus([cpu(0x1000), cpu(0x1000)]),
        ElfOptions::new().paging(Budget::default()),
    )
}

fn headers(vmcore: &Vmcore) -> &[ProgramHeader] {
    match vmcore.headers() {
        Headers::Elf {
            program_headers, ..
        } => program_headers,
        _ => panic!("not ELF"),
    }
}

/// p_vaddr, p_paddr, p_filesz of the PT_LOADs, in order.
fn loads(vmcore: &Vmcore) -> Vec<(u64, u64, u64)> {
    headers(vmcore)
        .iter()
        .filter(|h| h.kind == PT_LOAD)
        .map(|h| (h.vaddr, h.paddr, h.filesz))
        .collect()
}

const MAPPED: [(u64, u64, u64); 5] = [
    (0x40_0000, 0x20_1000, 0x1000),
    (0x40_1000, 0x20_0000, 0x1000),
    (DIRECT_MAP + HIGH, HIGH, 0x10000),
    (KERNEL, 0x20_0000, 0x20_0000),
    // The longest comes last.
    (DIRECT_MAP, 0, 0x40_0000),
];
const RAM: [(u64, u64, u64); 2] = [(0, 0, 0x40_0000), (HIGH, HIGH, 0x10000)];

#[test]
fn every_mapping_is_a_pt_load_in_the_memory_of_ram() {
    let guest = guest();
    let memory = slice_memory(&guest);
    let (bytes, summary) = to_buffer(&memory, &options());
    let vmcore = open(&bytes);
    assert_eq!(loads(&vmcore), [&MAPPED[..], &RAM[..]].concat());
    assert_eq!(headers(&vmcore)[0].kind, PT_NOTE);
    for header in headers(&vmcore).iter().filter(|h| h.kind == PT_LOAD) {
        let ram = guest.iter().rev().find(|(start, _)| *start <= header.paddr);
        let (start, ram) = ram.unwrap();
        let at = (header.paddr - start) as usize;
        let len = header.filesz as usize;
        let offset = header.offset as usize;
        assert_eq!(header.memsz, header.filesz);
        assert!(
            bytes[offset..offset + len] == ram[at..at + len],
            "{header:x?}"
        );
    }
    // The memory is there once.
    let without = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).vmcoreinfo(VmcoreinfoSource::None),
        Format::Elf,
    );
    let (plain, plain_summary) = to_buffer(&memory, &without);
    assert!(bytes.len() - plain.len() < 8192);
    assert_eq!(summary.pages, plain_summary.pages);
    assert!(plain_summary.paging.is_none());
    let paging = summary.paging.unwrap();
    assert_eq!((paging.mappings, paging.tables), (5, 8));
    assert!(!paging.partial);
    // And it is read back once.
    assert_eq!(vmcore.ranges(), [range(0, 4 << 20), range(HIGH, 0x10000)]);
    let report = vmcore.check(&Progress::new()).unwrap();
    assert_eq!(report.pages, summary.pages);
    assert_eq!(report.zero_pages, summary.zero_pages);
}

#[test]
fn notes_of_another_dump_lead_to_the_page_tables() {
    let guest = guest();
    let memory = slice_memory(&guest);
    let (bytes, _) = to_buffer(&memory, &options());
    let vmcore = open(&bytes);
    let again = vmcore.options(Format::Elf).unwrap();
    let again = again.with_format(|format| format.paging(Budget::default()));
    assert!(to_buffer(&vmcore, &again).0 == bytes);
    // Without paging the other dump's addresses are kept.
    let plain = vmcore.options(Format::Elf).unwrap();
    assert!(to_buffer(&vmcore, &plain).0 == bytes);
}

#[test]
fn the_kernels_own_tables_come_from_vmcoreinfo() {
    // A CPU in a process, with page table isolation: its tables have no
    // kernel.
    let mut guest = guest();
    let root = guest[0].1[0x1000..0x1008].to_vec();
    guest[0].1[0x9000..0x9008].copy_from_slice(&root);
    let memory = slice_memory(&guest);
    let alone = options().with_guest(|guest| guest.cpus([cpu(0x9000)]));
    assert_eq!(
        loads(&open(&to_buffer(&memory, &alone).0)),
        [MAPPED[0], MAPPED[1], RAM[0], RAM[1]]
    );
    let text =
        b"OSRELEASE=6.1.0\nNUMBER(phys_base)=-14680064\nSYMBOL(init_top_pgt)=ffffffff80e01000\n";
    let told = alone.with_guest(|guest| guest.vmcoreinfo(VmcoreinfoSource::Bytes(text.to_vec())));
    let all = [&MAPPED[..], &RAM[..]].concat();
    assert_eq!(loads(&open(&to_buffer(&memory, &told).0)), all);
    let no_cpus = told.with_guest(|guest| guest.cpus(Vec::<Registers>::new()));
    assert_eq!(loads(&open(&to_buffer(&memory, &no_cpus).0)), all);
}

#[test]
fn a_filter_cuts_mappings_too() {
    let guest = guest();
    let (bytes, _) = to_buffer(
        &slice_memory(&guest),
        &options().filter(0x20_1000, 0x10_0000),
    );
    assert_eq!(
        loads(&open(&bytes)),
        [
            (0x40_0000, 0x20_1000, 0x1000),
            (DIRECT_MAP + 0x20_1000, 0x20_1000, 0x10_0000),
            (KERNEL + 0x1000, 0x20_1000, 0x10_0000),
            (0x20_1000, 0x20_1000, 0x10_0000),
        ]
    );
    open(&bytes).check(&Progress::new()).unwrap();
}

#[test]
fn guest_with_paging_off_has_pt_loads_of_ram_alone() {
    let guest = guest();
    let memory = slice_memory(&guest);
    let off = Registers {
        cr0: 0x11,
        cr3: 0x1000,
        ..Registers::default()
    };
    let (bytes, summary) = to_buffer(&memory, &options().with_guest(|guest| guest.cpus([off])));
    assert_eq!(loads(&open(&bytes)), RAM);
    assert_eq!(summary.paging.unwrap().mappings, 0);
}

#[test]
fn paging_in_formats_without_virtual_addresses_is_not_in_the_format() {
    for format in Format::available().filter(|f| *f != Format::Elf) {
        let error = FormatOptions::from(format)
            .paging(Budget::default())
            .unwrap_err();
        assert_eq!(error, NotInFormat::Paging(format));
        assert!(error.to_string().contains(format.name()), "{error}");
    }
}

#[test]
fn paging_without_page_tables_is_refused_before_the_first_byte() {
    let guest = guest();
    let memory = slice_memory(&guest);
    let refused = |options: &DumpOptions| {
        let mut sink = FaultySink::default();
        let error = dump(&memory, &mut sink, options).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        assert_eq!(sink.len(), 0);
        error
    };
    let nobody = options().with_guest(|guest| guest.cpus(Vec::<Registers>::new()));
    assert!(matches!(
        refused(&nobody),
        Error::Refused(Refusal::NoPageTables)
    ));
    // A note that is too short to be a CPU's state.
    let mut notes = Vec::new();
    let note = Note {
        name: b"QEMU",
        kind: 0,
        desc: &[1; 100],
    };
    note.encode(ByteOrder::Little, &mut notes).unwrap();
    assert!(matches!(
        refused(&nobody.with_guest(|guest| guest.raw_notes(notes))),
        Error::Refused(Refusal::NoPageTables)
    ));
}

#[test]
fn what_the_budget_cuts_is_reported() {
    let guest = guest();
    let budget = Budget {
        mappings: 3,
        ..Budget::default()
    };
    let (bytes, summary) = to_buffer(
        &slice_memory(&guest),
        &options().with_format(|format| format.paging(budget)),
    );
    let paging = summary.paging.unwrap();
    assert!(paging.partial);
    assert_eq!((paging.mappings, paging.cut_tables), (3, 0));
    assert_eq!(paging.cut_bytes, 0x2000);
    // The kernel's are kept.
    assert_eq!(loads(&open(&bytes)), [&MAPPED[2..], &RAM[..]].concat());
}

#[test]
fn seventy_thousand_mappings_are_pt_loads_of_an_elf_dump() {
    // One table of pages for a process; 140 tables of the kernel's point to
    // every second page.
    let mut guest = Guest::new(4 << 20);
    guest.set(0x1000, 256, 0x2000 | P);
    guest.set(0x2000, 0, 0x3000 | P);
    for table in 0..140u64 {
        let at = 0x10_0000 + (table << 12);
        guest.set(0x3000, table as usize, at | P);
        for index in 0..512u64 {
            guest.set(at, index as usize, (index * 2 % 1024) << 12 | P);
        }
    }
    let memory = [(0, guest.ram)];
    let (bytes, summary) = to_buffer(&slice_memory(&memory), &options());
    let mappings = summary.paging.unwrap().mappings;
    assert_eq!(mappings, 140 * 512);
    let vmcore = open(&bytes);
    let loads = loads(&vmcore);
    assert_eq!(loads.len() as u64, mappings + 1);
    assert_eq!(loads[69_999].0, 0xffff_8000_0000_0000 + (69_999 << 12));
    assert_eq!(vmcore.ranges(), [range(0, 4 << 20)]);
    vmcore.check(&Progress::new()).unwrap();
}
