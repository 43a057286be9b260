//! Headers that are built from the guest itself, and what kdmp-parser, a
//! reader that nobody here wrote, makes of them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::Ordering;

use guestdump::arch::x86_64::DescriptorTable;
use guestdump::demo::WindowsGuest;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::guest::windows::{
    BugcheckData, HeaderOrigin, HeaderSource, SkipReason, SkippedCpu, WinDmpError,
};
use guestdump::read::Vmcore;
use guestdump::windmp::LIVE_SYSTEM_DUMP;
use guestdump::{DumpOptions, Format, GuestInfo, GuestMemory, Machine};
use kdmp_parser::gxa::{Gva, Gxa};
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::{phys, virt};
use testkit::options::With;
use testkit::windows::Windows;
use testkit::{PAGE, to_buffer};

use super::FORMATS;
use super::discover_support::{Altered, SIZE, parse, refused};

fn read(parser: &KernelDumpParser, vaddr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let reader = virt::Reader::new(parser);
    reader.read_exact(Gva::new(vaddr), &mut bytes).unwrap();
    bytes
}

fn word(parser: &KernelDumpParser, vaddr: u64) -> u64 {
    u64::from_le_bytes(read(parser, vaddr, 8).try_into().unwrap())
}

/// Every page that differs from the guest's memory, by the bytes that do.
fn differences(parser: &KernelDumpParser, memory: &Altered) -> BTreeMap<u64, Vec<usize>> {
    let reader = phys::Reader::new(parser);
    let mut found = BTreeMap::new();
    for (gpa, _) in parser.physmem() {
        let mut page = vec![0; PAGE as usize];
        reader.read_exact(gpa, &mut page).unwrap();
        let original = memory.page(gpa.u64());
        if page == original {
            continue;
        }
        let bytes: Vec<_> = (0..page.len())
            .filter(|i| page[*i] != original[*i])
            .collect();
        found.insert(gpa.u64(), bytes);
    }
    found
}

/// Whether the guest-physical byte is in the `len` bytes at `vaddr`.
fn is_in(memory: &Altered, gpa: u64, vaddr: u64, len: u64) -> bool {
    (vaddr..vaddr + len).any(|at| memory.gpa(at) == gpa)
}

#[test]
fn crashed_guest_gives_header_bugcheck_and_contexts() {
    let memory = Altered::crashed();
    let crash = memory.guest.crash().unwrap();
    for format in FORMATS {
        let (bytes, summary) = to_buffer(&memory, &memory.options(format).threads(2));
        let windows = summary.windows.unwrap();
        assert_eq!(windows.header, HeaderOrigin::Guest);
        assert_eq!(windows.bugcheck, crash);
        assert_eq!(windows.skipped_cpus, []);

        let parser = parse(bytes);
        assert_eq!(parser.physmem().count() as u64, SIZE / PAGE);
        let header = parser.headers();
        assert_eq!((header.major_version, header.minor_version), (15, 19045));
        assert_eq!(header.directory_table_base, 0x1a_d000);
        assert_eq!(header.machine_image_type, 0x8664);
        assert_eq!(header.number_processors, 2);
        assert_eq!(header.bug_check_code, 0xd1);
        assert_eq!(header.bug_check_code_parameters, crash.parameters);
        assert_eq!(header.kd_debugger_data_block, memory.guest.kdbg());
        let base = memory.guest.kernel_base();
        assert_eq!(header.ps_loaded_module_list, base + 0x9_1200);
        assert_eq!(header.ps_active_process_head, base + 0x9_1220);
        assert_eq!(header.pfn_database, base + 0x9_1250);
        // 2026-11-21 08:00 UTC; an hour and a half.
        assert_eq!(header.system_time, 134_397_216_000_000_000);
        assert_eq!(header.system_up_time, 54_000_000_000);
        assert_eq!((header.product_type, header.suite_mask), (1, 0x110));
        let cpu = &memory.guest.cpus()[0];
        assert_eq!(parser.context_record().rip, cpu.rip);

        // The parser follows PsLoadedModuleList by itself.
        let mut modules: Vec<_> = parser
            .kernel_modules()
            .map(|(at, name)| (at.start.u64(), name))
            .collect();
        modules.sort_unstable();
        assert_eq!(modules.len(), 2);
        assert_eq!(modules[0].0, 0xffff_f802_4f50_0000);
        assert!(modules[0].1.ends_with("hal.dll"), "{modules:?}");
        assert_eq!(modules[1].0, base);
        assert!(modules[1].1.ends_with("ntoskrnl.exe"), "{modules:?}");

        // From the header to the names of the processes, through the dump's
        // own page tables.
        let head = header.ps_active_process_head;
        let mut names = Vec::new();
        let mut entry = word(&parser, head);
        while entry != head {
            let name = read(&parser, entry - 0x448 + 0x5a8, 15);
            names.push(
                String::from_utf8(name)
                    .unwrap()
                    .trim_end_matches('\0')
                    .to_owned(),
            );
            entry = word(&parser, entry);
        }
        assert_eq!(names, ["System", "Registry", "smss.exe"]);

        // Each context is where the KPRCB says; nothing else differs.
        for (i, cpu) in memory.guest.cpus().iter().enumerate() {
            let prcb = word(&parser, memory.guest.processor_block() + i as u64 * 8);
            assert_eq!(prcb, memory.guest.prcb(i));
            let context = word(&parser, memory.guest.context_pointer(i));
            let bytes = read(&parser, context, 0x4d0);
            assert_eq!(bytes[0xf8..0x100], cpu.rip.to_le_bytes());
            assert_eq!(bytes[0x98..0xa0], cpu.rsp.to_le_bytes());
            // Over a page border, with pages that are not neighbours.
            assert_ne!(context / PAGE, (context + 0x4cf) / PAGE);
            assert_ne!(
                memory.gpa(context | 0xfff) + 1,
                memory.gpa((context | 0xfff) + 1)
            );
        }
        for (page, bytes) in differences(&parser, &memory) {
            for byte in bytes {
                let gpa = page + byte as u64;
                let in_context = |cpu| is_in(&memory, gpa, memory.guest.context(cpu), 0x4d0);
                assert!(in_context(0) || in_context(1), "{gpa:#x}");
            }
        }
    }
}

#[test]
fn a_guest_that_lives_has_an_encoded_kdbg_and_the_dump_a_plain_one() {
    let memory = Altered::new(WindowsGuest::new(SIZE).unwrap().live());
    let kdbg = memory.guest.kdbg();
    let encoded: Vec<u8> = memory.page(memory.gpa(kdbg))[(kdbg % PAGE) as usize..][..0x18].to_vec();
    assert_ne!(encoded[0x10..0x14], *b"KDBG");
    for format in FORMATS {
        let (bytes, summary) = to_buffer(&memory, &memory.options(format));
        let windows = summary.windows.unwrap();
        assert_eq!(windows.bugcheck, BugcheckData::LIVE);
        assert_eq!(windows.skipped_cpus, []);
        let parser = parse(bytes);
        let header = parser.headers();
        assert_eq!(header.bug_check_code, LIVE_SYSTEM_DUMP);
        assert_eq!(header.bug_check_code, 0x161);
        assert_eq!(header.kd_debugger_data_block, kdbg);
        assert_eq!(parser.kernel_modules().count(), 2);
        let plain = memory.guest.plain_kdbg();
        assert_eq!(plain[0x10..0x18], *b"KDBG\x80\x03\0\0");
        assert_eq!(read(&parser, kdbg, plain.len()), plain);
        for (page, bytes) in differences(&parser, &memory) {
            for byte in bytes {
                let gpa = page + byte as u64;
                let in_context = |cpu| is_in(&memory, gpa, memory.guest.context(cpu), 0x4d0);
                assert!(
                    in_context(0) || in_context(1) || is_in(&memory, gpa, kdbg, 0x380),
                    "{gpa:#x}"
                );
            }
        }
    }
}

#[test]
fn encoded_or_not_and_crashed_or_not_are_independent() {
    for (live, encoded) in [(false, true), (true, false)] {
        let guest = WindowsGuest::new(SIZE).unwrap();
        let guest = if live { guest.live() } else { guest };
        let memory = Altered::new(guest.encoded(encoded));
        let (bytes, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        let parser = parse(bytes);
        let code = parser.headers().bug_check_code;
        assert_eq!(code, if live { 0x161 } else { 0xd1 });
        assert_eq!(read(&parser, memory.guest.kdbg() + 0x10, 4), b"KDBG");
    }
}

#[test]
fn vcpus_that_windows_does_not_use_are_skipped() {
    let memory = Altered::crashed();
    let mut cpus = memory.guest.cpus();
    cpus.extend([cpus[0], cpus[1]]);
    let options = memory.options(Format::WIN_DMP);
    let options = options.with_guest(|guest| guest.cpus(cpus));
    let (bytes, summary) = to_buffer(&memory, &options);
    let why = SkipReason::NotInUse { processors: 2 };
    let skipped = [2, 3].map(|cpu| SkippedCpu { cpu, why });
    assert_eq!(summary.windows.unwrap().skipped_cpus, skipped);
    assert_eq!(parse(bytes).headers().number_processors, 2);
}

/// Guest-physical address and size of what the kernel uses.
const KERNEL: (u64, u64) = (0x1a_d000, 0x60_0000 - 0x1a_d000);

/// The dump of a guest one of whose CPUs has no place for its registers; the
/// other one has.
#[track_caller]
fn skips(memory: &Altered, cpu: usize, why: SkipReason) {
    for format in FORMATS {
        let options = memory.options(format).filter(KERNEL.0, KERNEL.1);
        let (bytes, summary) = to_buffer(memory, &options);
        let skipped = summary.windows.unwrap().skipped_cpus;
        assert_eq!(skipped, [SkippedCpu { cpu, why }]);
        let parser = parse(bytes);
        assert_eq!(parser.headers().number_processors, 2);
        let other = 1 - cpu;
        let context = read(&parser, memory.guest.context(other), 0x4d0);
        let rip = memory.guest.cpus()[other].rip;
        assert_eq!(context[0xf8..0x100], rip.to_le_bytes());
        let kdbg = memory.guest.kdbg();
        for (page, bytes) in differences(&parser, memory) {
            for byte in bytes {
                let gpa = page + byte as u64;
                let in_context = is_in(memory, gpa, memory.guest.context(other), 0x4d0);
                assert!(in_context || is_in(memory, gpa, kdbg, 0x380), "{gpa:#x}");
            }
        }
    }
}

#[test]
fn a_cpu_whose_prcb_or_context_is_unreadable_is_skipped() {
    for cpu in [0, 1] {
        let prcb = Altered::crashed().guest.prcb(cpu);
        let pointer = Altered::crashed().guest.context_pointer(cpu);
        // The page with the pointer.
        let memory = Altered::crashed().unmap(pointer);
        skips(&memory, cpu, SkipReason::Prcb { prcb });
        // All of it.
        let memory = memory.unmap(prcb);
        skips(&memory, cpu, SkipReason::Prcb { prcb });
        // Pointers to nothing, to user space, to the end of all addresses.
        for context in [0, 0x10_0000, 0xffff_d50f_4000_0000, u64::MAX - 8] {
            let memory = Altered::crashed().put_word(pointer, context);
            skips(&memory, cpu, SkipReason::Context { context });
        }
        // Mapped to what is no RAM.
        let context = Altered::crashed().guest.context(cpu);
        let entry = Altered::crashed().page_table_entry(pointer);
        let memory = Altered::crashed().put_physical(entry, &0xfee0_0063u64.to_le_bytes());
        skips(&memory, cpu, SkipReason::Prcb { prcb });
        assert_ne!(context / PAGE, pointer / PAGE + 1);
    }
}

#[test]
fn contexts_do_not_lie_over_one_another_nor_over_kdbg() {
    let guest = WindowsGuest::new(SIZE).unwrap().live();
    let (kdbg, first) = (guest.kdbg(), guest.context(0));
    for context in [kdbg - 0x4cf, kdbg + 0x37f, first, first + 0x4cf] {
        let memory = Altered::new(WindowsGuest::new(SIZE).unwrap().live());
        let pointer = memory.guest.context_pointer(1);
        let memory = memory.put_word(pointer, context);
        skips(&memory, 1, SkipReason::Overlap { context });
    }
}

#[test]
fn a_pointer_behind_the_last_cpu_is_none() {
    // Of another variable: to what is no KPRCB, or to one of another number.
    let behind = Altered::crashed().guest.processor_block() + 16;
    let kdbg = Altered::crashed().guest.kdbg();
    let prcb = Altered::crashed().guest.prcb(0);
    for pointer in [kdbg, prcb, 7] {
        let memory = Altered::crashed().put_word(behind, pointer);
        let (bytes, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
        assert_eq!(parse(bytes).headers().number_processors, 2);
    }
}

#[test]
fn bugcheck_comes_from_the_kernel_else_the_hypervisor_else_nobody() {
    let registers = [0x1e, 1, 2, 3, u64::MAX];
    let of = |memory: &Altered, windows: Windows| {
        let options = memory.options(Format::WIN_DMP);
        let windows = windows.header(HeaderSource::Guest);
        let (bytes, summary) = to_buffer(memory, &windows.instead(options));
        let parser = parse(bytes);
        let header = parser.headers();
        let bugcheck = summary.windows.unwrap().bugcheck;
        assert_eq!(header.bug_check_code, bugcheck.code);
        assert_eq!(header.bug_check_code_parameters, bugcheck.parameters);
        bugcheck
    };
    let hyperv = || Windows::new().crash_registers(registers);
    let told = BugcheckData {
        code: 0x1e,
        parameters: [1, 2, 3, u64::MAX],
    };
    let crashed = Altered::crashed();
    assert_eq!(Some(of(&crashed, hyperv())), crashed.guest.crash());
    let explicit = BugcheckData {
        code: 5,
        parameters: [9; 4],
    };
    assert_eq!(of(&crashed, hyperv().bugcheck(explicit)), explicit);

    // KDBG points to nothing.
    let pointer = crashed.guest.kdbg() + 0x88;
    let unreadable = || Altered::crashed().put_word(pointer, 0xffff_d50f_4000_0000);
    assert_eq!(of(&unreadable(), hyperv()), told);
    let live = BugcheckData::LIVE;
    assert_eq!(of(&unreadable(), Windows::new()), live);
    // It says that the guest lives.
    let memory = Altered::new(WindowsGuest::new(SIZE).unwrap().live());
    assert_eq!(of(&memory, hyperv()), live);
}

#[test]
fn the_kernel_is_found_without_an_idt_and_in_a_process() {
    let memory = Altered::crashed();
    let (expected, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
    let mut cpus = memory.guest.cpus();
    for idt in [0, 0xffff_d50f_4000_0000, u64::MAX - 7] {
        for cpu in &mut cpus {
            cpu.idt = DescriptorTable {
                base: idt,
                limit: 0,
            };
        }
        let options = memory.options(Format::WIN_DMP);
        let options = options.with_guest(|guest| guest.cpus(cpus.clone()));
        assert!(to_buffer(&memory, &options).0 == expected, "{idt:#x}");
    }
    // The first CPU runs a process whose page tables are without the kernel;
    // the second has not begun.
    let first = &mut cpus[0];
    let tables = 0x70_0000;
    let kpcr = memory.guest.prcb(0) - 0x180;
    let memory = Altered::crashed().put_physical(tables, &[0; PAGE as usize]);
    assert_eq!(first.cr3, memory.guest.directory_table_base());
    first.cr3 = tables;
    first.kernel_gs_base = kpcr;
    cpus[1].cr0 = 0x6000_0010;
    let options = memory.options(Format::WIN_DMP);
    let options = options.with_guest(|guest| guest.cpus(cpus.clone()));
    // No registers lead to the kernel, and a scan of memory does.
    let parser = parse(to_buffer(&memory, &options).0);
    assert_eq!(parser.headers().directory_table_base, 0x1a_d000);
    cpus[1].cr0 = cpus[0].cr0;
    let options = options.with_guest(|guest| guest.cpus(cpus.clone()));
    let parser = parse(to_buffer(&memory, &options).0);
    assert_eq!(parser.headers().directory_table_base, 0x1a_d000);

    // As with page table isolation: the process's page tables have the KPCR,
    // and there is CR3 of the kernel.
    cpus[1].cr0 = 0x6000_0010;
    let root = memory.page(memory.guest.directory_table_base());
    let entry = (kpcr >> 39) as usize % 512 * 8;
    let memory = memory.put_physical(tables + entry as u64, &root[entry..entry + 8]);
    let options = options.with_guest(|guest| guest.cpus(cpus));
    let parser = parse(to_buffer(&memory, &options).0);
    assert_eq!(parser.headers().directory_table_base, 0x1a_d000);
}

#[test]
fn the_note_comes_first_and_the_guest_without_one() {
    let memory = Altered::crashed();
    let base = DumpOptions::new(
        GuestInfo::new(Machine::X86_64).cpus(memory.guest.cpus()),
        Format::WIN_DMP,
    );
    let (built, summary) = to_buffer(&memory, &base);
    assert_eq!(summary.windows.unwrap().header, HeaderOrigin::Guest);

    // A note with the header of another build.
    let mut header = built[..0x2000].to_vec();
    header[0xc..0x10].copy_from_slice(&7601u32.to_le_bytes());
    // What the kernel has counts more than these.
    header[0x18..0x20].fill(0);
    header[0x38..0x3c].fill(0);
    let mut note = [11u32, 0x2000, 0].map(u32::to_le_bytes).concat();
    note.extend(b"VMCOREINFO\0\0");
    note.extend(&header);
    let note = VmcoreinfoSource::Bytes(note);
    let options = base.clone().with_guest(|guest| guest.vmcoreinfo(note));
    let (bytes, summary) = to_buffer(&memory, &options);
    let windows = summary.windows.unwrap();
    assert_eq!(windows.header, HeaderOrigin::Note);
    assert_eq!(windows.skipped_cpus, []);
    assert_eq!(Some(windows.bugcheck), memory.guest.crash());
    let parser = parse(bytes.clone());
    assert_eq!(parser.headers().minor_version, 7601);
    assert_eq!(
        parser.headers().pfn_database,
        memory.guest.kernel_base() + 0x9_1250
    );
    // All else is the same: the contexts are there, too.
    assert!(bytes[0x2000..] == built[0x2000..]);

    let given = Windows::new().header(HeaderSource::Given(header));
    let (bytes, summary) = to_buffer(&memory, &given.instead(base));
    assert_eq!(summary.windows.unwrap().header, HeaderOrigin::Given);
    assert!(bytes[0x2000..] == built[0x2000..]);
}

#[test]
fn given_header_with_a_bad_kdbg_is_corrected_refused_or_reported() {
    let memory = Altered::crashed();
    let (built, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
    let with = |kdbg: u64, parameter: u64| {
        let mut header = built[..0x2000].to_vec();
        header[0x80..0x88].copy_from_slice(&kdbg.to_le_bytes());
        header[0x40..0x48].copy_from_slice(&parameter.to_le_bytes());
        let windows = Windows::new().header(HeaderSource::Given(header));
        windows.instead(memory.options(Format::WIN_DMP))
    };
    let kdbg = memory.guest.kdbg();
    // The tag is false.
    let vaddr = kdbg + 8;
    assert_eq!(
        refused(&memory, &with(vaddr, 0)),
        WinDmpError::KdbgTag { vaddr }
    );
    // The driver's decoded copy is where the first parameter says.
    let (bytes, _) = to_buffer(&memory, &with(vaddr, kdbg));
    assert!(bytes[0x2000..] == built[0x2000..]);
    assert_eq!(parse(bytes).headers().kd_debugger_data_block, kdbg);
    // Nothing is there: no contexts, and that is reported.
    let (bytes, summary) = to_buffer(&memory, &with(0xffff_d50f_4000_0000, 0));
    let why = SkipReason::Kdbg;
    let skipped = [0, 1].map(|cpu| SkippedCpu { cpu, why });
    assert_eq!(summary.windows.unwrap().skipped_cpus, skipped);
    assert_eq!(differences(&parse(bytes), &memory).len(), 0);
}

#[test]
fn encoded_kdbg_is_found_by_a_given_header_of_this_kernel_alone() {
    let memory = Altered::new(WindowsGuest::new(SIZE).unwrap().live());
    let (built, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
    let header = built[..0x2000].to_vec();
    let windows = Windows::new().header(HeaderSource::Given(header.clone()));
    let options = windows.instead(memory.options(Format::WIN_DMP));
    assert!(to_buffer(&memory, &options).0 == built);
    // Of another kernel.
    let mut other = header;
    other[0x20..0x28].copy_from_slice(&0xffff_f802_4f69_1208u64.to_le_bytes());
    let windows = Windows::new().header(HeaderSource::Given(other));
    let vaddr = memory.guest.kdbg();
    assert_eq!(
        refused(&memory, &windows.instead(options)),
        WinDmpError::KdbgTag { vaddr }
    );
}

#[test]
fn an_elf_dump_becomes_a_windows_dump() {
    let memory = Altered::crashed();
    let (expected, _) = to_buffer(&memory, &memory.options(Format::WIN_DMP));
    let elf = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .cpus(memory.guest.cpus())
            .vmcoreinfo(VmcoreinfoSource::None),
        Format::Elf,
    );
    let (elf, _) = to_buffer(&memory, &elf);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&elf).unwrap();
    let vmcore = Vmcore::open(file).unwrap();
    let options = vmcore.options(Format::WIN_DMP).unwrap();
    let (bytes, summary) = to_buffer(&vmcore, &options);
    assert_eq!(summary.windows.unwrap().header, HeaderOrigin::Guest);
    assert!(bytes == expected);
}

#[test]
fn what_is_read_is_little_and_counted() {
    for memory in [
        Altered::crashed(),
        Altered::new(WindowsGuest::new(SIZE).unwrap().live()),
    ] {
        // A sink that takes nothing: only the search reads.
        let filter = memory.options(Format::WIN_DMP).filter(0, PAGE);
        to_buffer(&memory, &filter);
        let reads = memory.reads.load(Ordering::Relaxed);
        let bytes = memory.bytes_read.load(Ordering::Relaxed);
        assert!(reads < 5_000, "{reads} reads");
        assert!(bytes < 2 << 20, "{bytes} bytes");
    }
    assert_eq!(memory_size(&Altered::crashed()), SIZE);
}

fn memory_size(memory: &dyn GuestMemory) -> u64 {
    memory.ranges().iter().map(|range| range.size()).sum()
}
