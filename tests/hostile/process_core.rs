//! Core files of a process with more of everything than a process has.

use guestdump::elf::Note;
use guestdump::elf::{PT_LOAD, PT_NOTE, ProgramHeader};
use guestdump::memory::MemoryRange;
use guestdump::process_core::{ProcessCore, ProcessCoreError, RamBlock};
use guestdump::{ByteOrder, GuestMemory, Machine, Progress};
use testkit::PAGE;

use crate::elf::head;
use crate::meter::{alone, file};

const COUNT: u64 = 1_000_000;
/// Host-virtual address of the first segment.
const HVA: u64 = 0x7f00_0000_0000;

#[test]
fn a_million_segments_take_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    let data = (1 << 16) + 56 * COUNT;
    let data = data.next_multiple_of(PAGE);
    let headers: Vec<_> = (0..COUNT)
        .map(|n| ProgramHeader {
            kind: PT_LOAD,
            flags: 6,
            offset: data + n * PAGE,
            vaddr: HVA + n * 2 * PAGE,
            filesz: PAGE,
            memsz: PAGE,
            ..ProgramHeader::default()
        })
        .collect();
    let bytes = head(COUNT as u32, &headers);
    let given = bytes.len() as u64;
    let file = file(&bytes, data + COUNT * PAGE);
    drop((bytes, headers));
    let (core, cost) = meter.measure("a million segments", || ProcessCore::open(file).unwrap());
    assert_eq!(core.segments().len() as u64, COUNT);
    assert!(cost.heap < 6 * given, "{cost:?} of {given}");
    assert!(cost.read < given + (1 << 20), "{cost:?} of {given}");

    let (result, cost) = meter.measure("looking for RAM in them", || {
        core.find_qemu_ram(None, &Progress::new())
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ProcessCoreError::NotFound(_)), "{error}");
    assert!(cost.heap < 1 << 20, "{cost:?}");
    assert!(cost.read < 1 << 20, "{cost:?}");

    // Every second page is there.
    let range = MemoryRange::new(0, COUNT * 2 * PAGE).unwrap();
    let (found, cost) = meter.measure("a RAM block over all of them", || {
        core.extract(&[RamBlock { range, hva: HVA }]).unwrap()
    });
    assert_eq!(found.regions.len() as u64, COUNT);
    assert_eq!(found.missing.len() as u64, COUNT);
    assert!(cost.heap < 6 * given, "{cost:?} of {given}");
    let (memory, cost) = meter.measure("as memory", || found.into_memory().unwrap());
    assert!(cost.heap < 4 * given, "{cost:?} of {given}");
    let mut page = [7; PAGE as usize];
    memory.read((COUNT - 1) * 2 * PAGE, &mut page).unwrap();
    assert_eq!(page, [0; PAGE as usize]);
}

/// `NT_FILE` with a million names, and a block that was in all of them.
#[test]
fn a_million_mapped_files_take_bounded_memory() {
    let Some(meter) = alone!() else {
        return;
    };
    let mut desc = Vec::new();
    desc.extend(COUNT.to_le_bytes());
    desc.extend(PAGE.to_le_bytes());
    for n in 0..COUNT {
        desc.extend((HVA + n * PAGE).to_le_bytes());
        desc.extend((HVA + (n + 1) * PAGE).to_le_bytes());
        // Never where the one before it ends.
        desc.extend((COUNT - n).to_le_bytes());
    }
    desc.resize(desc.len() + 2 * COUNT as usize, 0);
    let mut notes = Vec::new();
    Note {
        name: b"CORE",
        kind: 0x4649_4c45,
        desc: &desc,
    }
    .encode(ByteOrder::Little, &mut notes)
    .unwrap();
    let mut bytes = head(
        1,
        &[ProgramHeader {
            kind: PT_NOTE,
            offset: 128 + 56,
            filesz: notes.len() as u64,
            ..ProgramHeader::default()
        }],
    );
    bytes.extend(&notes);
    let given = bytes.len() as u64;
    let file = file(&bytes, 0);
    drop((bytes, notes, desc));
    let (core, cost) = meter.measure("a million mapped files", || {
        ProcessCore::open(file).unwrap()
    });
    assert_eq!(core.mapped_files().len() as u64, COUNT);
    assert!(cost.heap < 8 * given, "{cost:?} of {given}");
    let range = MemoryRange::new(0, COUNT * PAGE).unwrap();
    let (found, cost) = meter.measure("what of a block is missing", || {
        core.extract(&[RamBlock { range, hva: HVA }]).unwrap()
    });
    assert_eq!(found.missing.len() as u64, COUNT);
    assert!(cost.heap < 10 * given, "{cost:?} of {given}");
}

/// Many kernels, each with page tables without an end: all of them together
/// may cost what one may.
#[test]
fn many_kernels_with_endless_page_tables_cost_what_one_may() {
    const SIZE: usize = 8 << 20;
    const TABLES: usize = 1024;
    const FIRST_TABLE: usize = 2 << 20;
    let Some(meter) = alone!() else {
        return;
    };
    let mut ram = vec![0; SIZE];
    let strings = ["Linux", "host", "6.1.0", "#1", "x86_64", "(none)"];
    for (n, string) in strings.iter().enumerate() {
        let at = 0x10_1000 + 65 * n;
        ram[at..at + string.len()].copy_from_slice(string.as_bytes());
    }
    for kernel in 0..64 {
        let text = format!(
            "OSRELEASE=6.1.0\nNUMBER(kernel)={kernel}\nNUMBER(phys_base)=0\n\
             SYMBOL(init_uts_ns)=ffffffff80101000\nOFFSET(uts_namespace.name)=0\n\
             SYMBOL(init_top_pgt)=ffffffff80200000\n"
        );
        let at = 0x11_0000 + 4096 * kernel;
        ram[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let tables = ram[FIRST_TABLE..].chunks_exact_mut(4096).take(TABLES);
    for (n, table) in tables.enumerate() {
        for (i, entry) in table.chunks_exact_mut(8).enumerate() {
            let next = FIRST_TABLE + (n * 7 + i) % TABLES * 4096;
            entry.copy_from_slice(&(next as u64 | 0x63).to_le_bytes());
        }
    }
    // They map init_uts_ns to its place: tables 0, 511, 1015 and 961.
    let entry = FIRST_TABLE + 961 * 4096 + 257 * 8;
    ram[entry..entry + 8].copy_from_slice(&0x10_1063u64.to_le_bytes());
    let load = ProgramHeader {
        kind: PT_LOAD,
        flags: 6,
        offset: PAGE,
        vaddr: HVA,
        filesz: SIZE as u64,
        memsz: SIZE as u64,
        ..ProgramHeader::default()
    };
    let mut bytes = head(1, &[load]);
    bytes.resize(PAGE as usize, 0);
    bytes.extend(ram);
    let core = ProcessCore::open(file(&bytes, 0)).unwrap();
    let (result, cost) = meter.measure("64 kernels with endless page tables", || {
        core.find_qemu_ram(Some(Machine::X86_64), &Progress::new())
    });
    let error = result.unwrap_err();
    assert!(matches!(error, ProcessCoreError::NotFound(_)), "{error}");
    assert!(cost.read > 100 << 20, "the tables were walked: {cost:?}");
    assert!(cost.read < 300 << 20, "{cost:?}");
    assert!(cost.heap < 100 << 20, "{cost:?}");
}
