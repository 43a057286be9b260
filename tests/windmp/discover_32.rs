//! Headers that are built from 32-bit guests, with PAE and without; and of both
//! word sizes from kernels with an older KDBG.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use guestdump::demo::{WindowsGuest, WindowsKind};
use guestdump::guest::windows::{
    BugcheckData, HeaderOrigin, HeaderSource, SkipReason, SkippedCpu, WinDmpError,
};
use guestdump::memory::{FileMemory, FileRegion};
use guestdump::read::Vmcore;
use guestdump::windmp::Header;
use guestdump::{CpuState, DumpOptions, Format, GuestInfo, GuestMemory, Machine};
use testkit::options::With;
use testkit::windows::{Windows, with_header};
use testkit::{PAGE, to_buffer};

use super::FORMATS;
use super::discover_support::{Altered, NARROW, SIZE, header, refused};

const CONTEXT: usize = 0x2cc;

/// A dump, read back, and the header in it.
fn dumped(memory: &Altered, options: &DumpOptions) -> (Vmcore, Header) {
    let (bytes, _) = to_buffer(memory, options);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    (Vmcore::open(file).unwrap(), header(&bytes))
}

/// The bytes of a dump at a virtual address of the guest.
fn read(vmcore: &Vmcore, memory: &Altered, vaddr: u64, len: usize) -> Vec<u8> {
    let byte = |at| {
        let mut byte = [0];
        vmcore.read(memory.gpa(at), &mut byte).unwrap();
        byte[0]
    };
    (vaddr..vaddr + len as u64).map(byte).collect()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Everything that differs from the guest's memory lies in the contexts of
/// `cpus`, at `contexts`.
fn check_differences(vmcore: &Vmcore, memory: &Altered, contexts: &[u64]) {
    let places: Vec<u64> = contexts
        .iter()
        .flat_map(|context| (*context..context + CONTEXT as u64).map(|at| memory.gpa(at)))
        .collect();
    let mut differing = 0;
    for range in memory.ranges() {
        for gpa in (range.start()..range.end()).step_by(PAGE as usize) {
            let mut page = vec![0; PAGE as usize];
            vmcore.read(gpa, &mut page).unwrap();
            let original = memory.page(gpa);
            if page == original {
                continue;
            }
            for at in (0..PAGE as usize).filter(|at| page[*at] != original[*at]) {
                assert!(places.contains(&(gpa + at as u64)), "{gpa:#x} + {at:#x}");
                differing += 1;
            }
        }
    }
    assert_eq!(differing == 0, contexts.is_empty());
}

#[test]
fn crashed_32_bit_guest_gives_header_bugcheck_and_contexts() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let guest = &memory.guest;
        let crash = guest.crash().unwrap();
        for format in FORMATS {
            let options = memory.options(format).threads(2);
            let (_, summary) = to_buffer(&memory, &options);
            let windows = summary.windows.unwrap();
            assert_eq!(windows.header, HeaderOrigin::Guest);
            assert_eq!(windows.bugcheck, crash);
            assert_eq!((windows.skipped_cpus, windows.damage), (vec![], vec![]));

            let (vmcore, header) = dumped(&memory, &options);
            assert_eq!(vmcore.machine(), Some(Machine::I386));
            assert_eq!(vmcore.ranges(), memory.ranges());
            assert_eq!(header.version(), (15, 7601));
            assert_eq!(header.directory_table_base(), 0x18_5000);
            assert_eq!(header.machine_image_type(), 0x14c);
            assert_eq!(header.number_processors(), 2);
            let pae = u8::from(kind == WindowsKind::I386);
            assert_eq!(header.pae_enabled(), Some(pae));
            assert_eq!(header.bugcheck(), crash);
            assert_eq!(header.bugcheck().code, 0xd1);
            assert_eq!(header.bugcheck().parameters[0], 0x8540_0040);
            assert_eq!(header.kd_debugger_data_block(), guest.kdbg());
            assert_eq!(header.ps_loaded_module_list(), 0x8281_9000 + 0x9_1200);
            assert_eq!(header.ps_active_process_head(), 0x8281_9000 + 0x9_1220);
            assert_eq!(header.pfn_database(), 0x8281_9000 + 0x9_1250);
            // 2026-11-21 08:00 UTC; an hour and a half.
            assert_eq!(header.system_time(), 134_397_216_000_000_000);
            assert_eq!(header.system_up_time(), 54_000_000_000);
            assert_eq!(header.product_type(), 1);
            // SuiteMask.
            assert_eq!(number(header.as_bytes(), 0xf98), 0x110);
            let record = header.context_record();
            let eips = guest
                .registers()
                .into_iter()
                .map(|registers| match registers {
                    CpuState::I386(r) => (r.eip, r.esp),
                    other => panic!("{other:?}"),
                });
            let eips: Vec<_> = eips.collect();
            assert_eq!((number(record, 0xb8), number(record, 0xc4)), eips[0]);

            // Each context is where the KPRCB says, over a page border.
            for (cpu, registers) in eips.iter().enumerate() {
                let prcb = memory.pointer(guest.processor_block() + cpu as u64 * 4);
                assert_eq!(prcb, guest.prcb(cpu));
                let place = memory.pointer(guest.context_pointer(cpu));
                assert_eq!(place, guest.context(cpu));
                assert_ne!(place / PAGE, (place + CONTEXT as u64 - 1) / PAGE);
                let context = read(&vmcore, &memory, place, CONTEXT);
                assert_eq!((number(&context, 0xb8), number(&context, 0xc4)), *registers);
                assert_eq!(number(&context, 0xbc), 0x8);
                assert_eq!(number(&context, 0x90), 0x30);
            }
            check_differences(&vmcore, &memory, &[guest.context(0), guest.context(1)]);
        }
    }
}

#[test]
fn registers_of_a_64_bit_cpu_make_the_same_32_bit_dump() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        for format in FORMATS {
            let options = memory.options(format);
            let (expected, _) = to_buffer(&memory, &options);
            let wide = GuestInfo::new(Machine::X86_64).cpus(memory.guest.cpus());
            let options = Windows::new()
                .header(HeaderSource::Guest)
                .options(wide, format);
            assert!(to_buffer(&memory, &options).0 == expected, "{kind:?}");
        }
    }
}

#[test]
fn an_elf_dump_becomes_a_windows_dump() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let (expected, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        let elf = DumpOptions::new(
            GuestInfo::new(Machine::I386).cpus(memory.guest.registers()),
            Format::Elf,
        );
        let (elf, _) = to_buffer(&memory, &elf);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&elf).unwrap();
        let vmcore = Vmcore::open(file).unwrap();
        let options = vmcore.options(Format::WIN_DMP).unwrap();
        assert!(to_buffer(&vmcore, &options).0 == expected, "{kind:?}");
    }
}

#[test]
fn the_kernel_is_found_without_an_idt() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let options = memory.options(Format::WIN_DMP);
        let (expected, _) = to_buffer(&memory, &options);
        for idt in [0, 0x9000_0000, u32::MAX.into(), u64::MAX] {
            let mut cpus = memory.guest.registers();
            for cpu in &mut cpus {
                let CpuState::I386(r) = cpu else {
                    panic!("{cpu:?}");
                };
                r.idt.base = idt;
            }
            let options = options.clone().with_guest(|guest| guest.cpus(cpus));
            assert!(to_buffer(&memory, &options).0 == expected, "{idt:#x}");
        }
    }
}

#[test]
fn live_32_bit_guest_has_the_live_bugcheck_unless_its_own_is_unreadable() {
    for kind in NARROW {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap().live();
        assert!(!guest.is_encoded());
        let memory = Altered::new(guest);
        let (_, header) = dumped(&memory, &memory.options(Format::WIN_DMP));
        assert_eq!(header.bugcheck(), BugcheckData::LIVE);
        // What Hyper-V was told counts only where the kernel's is unreadable.
        let registers = [0x1e, 1, 2, 3, 4];
        let windows = Windows::new()
            .header(HeaderSource::Guest)
            .crash_registers(registers);
        let options = windows.instead(memory.options(Format::WIN_DMP));
        assert_eq!(dumped(&memory, &options).1.bugcheck(), BugcheckData::LIVE);
        let pointer = memory.guest.kdbg() + 0x88;
        let memory = memory.put_word(pointer, 0x9000_0000);
        let told = dumped(&memory, &options).1.bugcheck();
        assert_eq!((told.code, told.parameters), (0x1e, [1, 2, 3, 4]));
    }
}

/// Addresses in a 32-bit kernel's KDBG are made of words of 64 bits.
#[test]
fn addresses_with_and_without_a_sign_are_the_same() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let (expected, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        let kdbg = memory.guest.kdbg();
        assert_eq!(
            memory.bytes_at(kdbg + 0x18, 8)[3..],
            [0x82, 0xff, 0xff, 0xff, 0xff]
        );
        let mut memory = memory;
        for field in [0x18, 0x48, 0x50, 0x88, 0xc0, 0x218, 0x270] {
            memory = memory.put(kdbg + field + 4, &[0; 4]);
        }
        let (bytes, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        assert_eq!(bytes[..0x1000], expected[..0x1000]);
        // The base with anything else in front is another word.
        let memory = memory.put(kdbg + 0x18 + 4, &[1]);
        let error = refused(&memory, &memory.options(Format::WIN_DMP));
        assert!(matches!(error, WinDmpError::NoKdbg { .. }), "{error}");
    }
}

#[test]
fn blocks_and_images_that_do_not_fit_are_no_32_bit_kernel() {
    for kind in NARROW {
        let altered = || Altered::of_kind(kind);
        let (base, kdbg) = (altered().guest.kernel_base(), altered().guest.kdbg());
        let (head, nt) = (base + 0x9_1040, base + 0x108);
        let blocks = [
            altered().put(kdbg + 0x10, b"KDBX"),
            altered().put(kdbg + 0x14, &0x288u32.to_le_bytes()),
            altered().put(kdbg + 0x14, &0x341u32.to_le_bytes()),
            altered().put_pointer(kdbg + 0x18, base + 0x1000),
            // The list: to nowhere, to itself, to one that does not point back.
            altered().put_pointer(kdbg, 0),
            altered().put_pointer(kdbg, kdbg),
            altered().put_pointer(kdbg + 4, 0x9000_0000),
            altered().put_pointer(head, head),
            altered().put_pointer(head + 4, kdbg + 4),
            altered().unmap(kdbg + 0xf8),
        ];
        for memory in blocks {
            let error = refused(&memory, &memory.options(Format::WIN_DMP));
            assert_eq!(error, WinDmpError::NoKdbg { base });
        }
        let images = [
            altered().put(base, b"ZM"),
            altered().put(nt, b"NE\0\0"),
            // Machine, magic, size.
            altered().put(nt + 4, &[0x64, 0x86]),
            altered().put(nt + 24, &[0x0b, 0x02]),
            altered().put(nt + 24 + 56, &[0; 4]),
            // Some driver, which has other names.
            altered()
                .put(base + 0x8_1100 + 24, b"driver.pdb\0\0\0")
                .put(nt + 24 + 96, &[0; 8]),
        ];
        for memory in images {
            let error = refused(&memory, &memory.options(Format::WIN_DMP));
            assert_eq!(error, WinDmpError::NoKernel { address_spaces: 1 });
        }
        // Known by its symbols alone.
        let memory = altered().put(nt + 24 + 96, &[0; 8]);
        to_buffer(&memory, &memory.options(Format::WIN_DMP).filter(0, PAGE));
    }
}

/// A CPU without a place for its registers; the other one has.
#[track_caller]
fn skips(memory: &Altered, cpu: usize, why: SkipReason) {
    let options = memory.options(Format::WIN_DMP);
    let (_, summary) = to_buffer(memory, &options);
    let skipped = summary.windows.unwrap().skipped_cpus;
    assert_eq!(skipped, [SkippedCpu { cpu, why }]);
    let (vmcore, header) = dumped(memory, &options);
    assert_eq!(header.number_processors(), 2);
    check_differences(&vmcore, memory, &[memory.guest.context(1 - cpu)]);
}

#[test]
fn cpu_without_a_good_context_is_skipped_with_the_reason() {
    for kind in NARROW {
        let altered = || Altered::of_kind(kind);
        let guest = altered().guest;
        let (prcb, pointer) = (guest.prcb(1), guest.context_pointer(1));
        skips(&altered().unmap(pointer), 1, SkipReason::Prcb { prcb });
        for context in [0, 0x10_0000, 0x9000_0000, 0xffff_fffc] {
            let memory = altered().put_pointer(pointer, context);
            skips(&memory, 1, SkipReason::Context { context });
        }
        for context in [guest.context(0) + 0x2cb, guest.context(0) - 0x2cb] {
            let memory = altered().put_pointer(pointer, context);
            skips(&memory, 1, SkipReason::Overlap { context });
        }
        // More than Windows uses.
        let memory = altered();
        let mut cpus = memory.guest.registers();
        cpus.push(cpus[0].clone());
        let options = memory
            .options(Format::WIN_DMP)
            .with_guest(|guest| guest.cpus(cpus));
        let (bytes, summary) = to_buffer(&memory, &options);
        let why = SkipReason::NotInUse { processors: 2 };
        let skipped = summary.windows.unwrap().skipped_cpus;
        assert_eq!(skipped, [SkippedCpu { cpu: 2, why }]);
        assert_eq!(header(&bytes).number_processors(), 2);
        // None at all.
        let memory = altered().put_pointer(guest.processor_block(), 0);
        let error = refused(&memory, &memory.options(Format::WIN_DMP));
        let is_0 = matches!(error, WinDmpError::NumberProcessors { count: 0, .. });
        assert!(is_0, "{error}");
    }
}

#[test]
fn endless_list_of_32_bit_processors_ends_at_32() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let prcb = memory.guest.prcb(0);
        let number = memory.guest.kdbg() + 0x2be;
        let page: Vec<u8> = (prcb as u32).to_le_bytes().repeat(PAGE as usize / 4);
        let block = memory.guest.processor_block();
        // Numbers that cannot be read: each KPRCB counts.
        let memory = memory
            .put(number, &0xe000u16.to_le_bytes())
            .put(block, &page[..0x400]);
        let (bytes, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        assert_eq!(header(&bytes).number_processors(), 32);
    }
}

#[test]
fn given_32_bit_header_with_a_bad_kdbg_is_corrected_refused_or_reported() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let (built, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        let with = |kdbg: u64, parameter: u64| {
            let mut header = built[..0x1000].to_vec();
            header[0x60..0x64].copy_from_slice(&kdbg.to_le_bytes()[..4]);
            header[0x2c..0x30].copy_from_slice(&parameter.to_le_bytes()[..4]);
            // What the kernel has counts more than these.
            header[0x14..0x18].fill(0);
            header[0x28..0x2c].fill(0);
            let header = HeaderSource::Given(header);
            with_header(memory.options(Format::WIN_DMP), header)
        };
        let kdbg = memory.guest.kdbg();
        let (bytes, summary) = to_buffer(&memory, &with(kdbg, 0));
        assert_eq!(summary.windows.unwrap().skipped_cpus, []);
        assert!(bytes == built);
        // The tag is false.
        let vaddr = kdbg + 8;
        let error = refused(&memory, &with(vaddr, 0));
        assert_eq!(error, WinDmpError::KdbgTag { vaddr });
        // The driver's copy is where the first parameter says.
        assert!(to_buffer(&memory, &with(vaddr, kdbg)).0 == built);
        // Nothing is there: no contexts, and that is reported.
        let options = with(0x9000_0000, 0);
        let (_, summary) = to_buffer(&memory, &options);
        let why = SkipReason::Kdbg;
        let skipped = [0, 1].map(|cpu| SkippedCpu { cpu, why });
        assert_eq!(summary.windows.unwrap().skipped_cpus, skipped);
        check_differences(&dumped(&memory, &options).0, &memory, &[]);
        // Fewer CPUs in the header than in the kernel.
        let mut header = built[..0x1000].to_vec();
        header[0x24] = 1;
        let options = with_header(options, HeaderSource::Given(header));
        let (_, summary) = to_buffer(&memory, &options);
        let why = SkipReason::NotInUse { processors: 1 };
        let skipped = [SkippedCpu { cpu: 1, why }];
        assert_eq!(summary.windows.unwrap().skipped_cpus, skipped);
    }
}

#[test]
fn shorter_kdbg_of_older_kernels_gives_the_same_header() {
    for kind in WindowsKind::ALL {
        let altered = || Altered::of_kind(kind);
        let (expected, _) = to_buffer(&altered(), &altered().options(Format::WIN_DMP));
        let kdbg = altered().guest.kdbg();
        // Behind the block there is something else.
        let of_size = |size: u32| {
            let rest = vec![0xa5; (0x340 - size) as usize];
            let memory = altered().put(kdbg + 0x14, &size.to_le_bytes());
            memory.put(kdbg + u64::from(size), &rest)
        };
        // Server 2003, Vista, Server 2008: the context is in the KPRCB.
        for size in [0x318, 0x328, 0x330] {
            let memory = of_size(size);
            let (bytes, summary) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
            assert_eq!(summary.windows.unwrap().skipped_cpus, []);
            let len = header(&expected).as_bytes().len();
            assert_eq!(bytes[..len], expected[..len], "{size:#x}");
        }
        // Windows XP, which does not say where; nor where CR3 is.
        let memory = of_size(0x290);
        let (bytes, summary) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        let why = SkipReason::Kdbg;
        let skipped = [0, 1].map(|cpu| SkippedCpu { cpu, why });
        assert_eq!(summary.windows.unwrap().skipped_cpus, skipped);
        let len = header(&expected).as_bytes().len();
        assert_eq!(bytes[..len], expected[..len]);
    }
}

/// The guest's RAM in a file that nobody may write.
#[test]
fn guest_memory_is_not_written() {
    for kind in WindowsKind::ALL {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ram");
        let mut places = Vec::new();
        let mut ram = Vec::new();
        for range in guest.ranges() {
            places.push((range, ram.len() as u64));
            let mut bytes = vec![0; range.size() as usize];
            guest.read(range.start(), &mut bytes).unwrap();
            ram.extend(bytes);
        }
        std::fs::write(&path, &ram).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let modified = || std::fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        // Opened for reading only: a write would fail.
        let file = Arc::new(File::open(&path).unwrap());
        let regions = places.into_iter().map(|(range, offset)| {
            let file = Arc::clone(&file);
            FileRegion {
                range,
                file,
                offset,
            }
        });
        let memory = FileMemory::new(regions.collect()).unwrap();
        for format in FORMATS {
            let altered = Altered::of_kind(kind);
            let options = altered.options(format).threads(2);
            let (bytes, summary) = to_buffer(&memory, &options);
            assert_eq!(summary.windows.unwrap().skipped_cpus, []);
            assert!(bytes == to_buffer(&altered, &options).0);
        }
        assert!(std::fs::read(&path).unwrap() == ram);
        assert_eq!(modified(), before);
    }
}

#[test]
fn page_tables_that_map_themselves_end_the_search() {
    for kind in NARROW {
        let memory = Altered::of_kind(kind);
        let root = memory.guest.directory_table_base();
        let entry = (root | 0x63).to_le_bytes();
        let size = match kind {
            WindowsKind::I386 => 8,
            _ => 4,
        };
        let page = entry[..size].repeat(PAGE as usize / size);
        let memory = memory.put_physical(root, &page);
        let error = refused(&memory, &memory.options(Format::WIN_DMP));
        let ended = matches!(
            error,
            WinDmpError::NoKernel { .. } | WinDmpError::TooMuchWork { .. }
        );
        assert!(ended, "{error}");
    }
}
