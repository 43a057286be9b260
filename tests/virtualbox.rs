//! ELF cores that VirtualBox writes (`dumpvmcore`): the CPUs' registers are in notes of its own.
#![cfg(feature = "demo")]
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::arch::x86_64::{Registers, Segment};
use guestdump::demo::{WindowsGuest, WindowsKind};
use guestdump::elf::note::{CORE, NT_PRSTATUS};
use guestdump::guest::windows::HeaderOrigin;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::{CpuState, Error, Format, GuestMemory, Machine, OnReadError, Progress, dump};

const SIZE: u64 = 16 << 20;

fn put(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// The attributes of a segment's descriptor as VMX's access rights, which VirtualBox has.
fn access_rights(flags: u32) -> u32 {
    (flags >> 8) & 0xf0ff
}

/// `DBGFCORECPU` of the formats 0x10005 and 0x10006, by offsets that gcc gives for dbgfcorefmt.h:
/// 8768 and 8776 bytes.
fn cpu_note(r: &Registers, long_mode: bool, format: u32) -> Vec<u8> {
    let mut note = vec![0; if format < 0x1_0006 { 8768 } else { 8776 }];
    let general = [
        r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14,
        r.r15, r.rip, r.rsp, r.rbp, r.rflags,
    ];
    for (word, at) in general.into_iter().zip((0..).step_by(8)) {
        put(&mut note, at, word);
    }
    let mut segment = |at: usize, s: Segment| {
        put(&mut note, at, s.base);
        let attributes = u64::from(access_rights(s.flags)) << 32;
        put(&mut note, at + 8, u64::from(s.limit) | attributes);
        put(&mut note, at + 16, s.selector.into());
    };
    for (s, at) in [r.cs, r.ds, r.es, r.fs, r.gs, r.ss]
        .into_iter()
        .zip((144..).step_by(24))
    {
        segment(at, s);
    }
    segment(416, r.ldt);
    segment(440, r.tr);
    for (word, at) in [r.cr0, r.cr2, r.cr3, r.cr4]
        .into_iter()
        .zip((288..).step_by(8))
    {
        put(&mut note, at, word);
    }
    // DR0 to DR7.
    for (n, at) in (0..8).zip((320..).step_by(8)) {
        put(&mut note, at, 0xd0 + n);
    }
    for (table, at) in [(r.gdt, 384), (r.idt, 400)] {
        put(&mut note, at, table.base);
        put(&mut note, at + 8, table.limit.into());
    }
    // EFER: NXE, LMA, LME, SCE.
    put(&mut note, 488, if long_mode { 0xd01 } else { 0 });
    put(&mut note, 536, r.kernel_gs_base);
    note
}

fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The name's length is without its NUL, and all is aligned to 8 bytes.
    for word in [
        name.len() as u32,
        desc.len().next_multiple_of(8) as u32,
        kind,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(name);
    bytes.resize(12 + (name.len() + 1).next_multiple_of(8), 0);
    bytes.extend(desc);
    bytes.resize(bytes.len() + desc.len().next_multiple_of(8) - desc.len(), 0);
    bytes
}

fn descriptor(format: u32, cpus: u32) -> Vec<u8> {
    let words = [0xc01a_c0de, format, 24, 0x0700_000a, 158_379, cpus];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A core as `DBGFCoreWrite.cpp` writes it: of 64 bits whatever the guest, `EI_VERSION` 0, and ranges of
/// devices with `p_filesz` 0.
fn core_of(memory: &dyn GuestMemory, notes: &[u8]) -> Vec<u8> {
    let ranges: Vec<_> = memory
        .ranges()
        .iter()
        .map(|range| (range.start(), range.size(), true))
        .chain([(0xfec0_0000, 0x1000, false)])
        .collect();
    let headers = 64 + 56 * (1 + ranges.len());
    let mut bytes = vec![0; headers];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\0");
    for (at, half) in [
        (16, 4u16),
        (18, 62),
        (52, 64),
        (54, 56),
        (56, 1 + ranges.len() as u16),
    ] {
        bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
    }
    bytes[20] = 1;
    put(&mut bytes, 32, 64);
    let mut offset = headers + notes.len();
    let mut header = |index: usize, kind: u64, words: [u64; 5]| {
        let at = 64 + 56 * index;
        put(&mut bytes, at, kind | 4 << 32);
        for (word, at) in words.into_iter().zip((at + 8..).step_by(8)) {
            put(&mut bytes, at, word);
        }
    };
    let len = notes.len() as u64;
    header(0, 4, [headers as u64, 0, 0, len, len]);
    for (index, &(start, size, is_ram)) in ranges.iter().enumerate() {
        let in_file = if is_ram { size } else { 0 };
        header(index + 1, 1, [offset as u64, 0, start, in_file, size]);
        offset += in_file as usize;
    }
    bytes.extend(notes);
    for &(start, size, _) in ranges.iter().filter(|(.., is_ram)| *is_ram) {
        let at = bytes.len();
        bytes.resize(at + size as usize, 0);
        memory.read(start, &mut bytes[at..]).unwrap();
    }
    bytes
}

fn core_with(guest: &WindowsGuest, format: u32) -> Vec<u8> {
    let long_mode = guest.kind() == WindowsKind::X86_64;
    let cpus = guest.cpus();
    let mut notes = note(b"VBCORE", 0xb00, &descriptor(format, cpus.len() as u32));
    for cpu in &cpus {
        notes.extend(note(b"VBCPU", 0xb01, &cpu_note(cpu, long_mode, format)));
    }
    core_of(guest, &notes)
}

fn convert(vmcore: &Vmcore, format: Format) -> Result<(Vmcore, guestdump::Summary), Error> {
    let mut options = vmcore.options(format).unwrap();
    options = options.on_read_error(OnReadError::Fail);
    let mut sink = BufferSink::new();
    let summary = dump(vmcore, &mut sink, &options)?;
    Ok((Vmcore::open(sink.into_bytes()).unwrap(), summary))
}

const KINDS: [WindowsKind; 3] = [
    WindowsKind::X86_64,
    WindowsKind::I386,
    WindowsKind::I386NoPae,
];

#[test]
fn registers_of_every_format_and_width() {
    for kind in KINDS {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap();
        for format in [0x1_0004, 0x1_0005, 0x1_0006] {
            let vmcore = Vmcore::open(core_with(&guest, format)).unwrap();
            assert_eq!(vmcore.machine(), Some(kind.machine()));
            assert_eq!((vmcore.cpus(), vmcore.unknown_registers()), (2, None));
            // The range of a device is no RAM that the dump lacks.
            assert_eq!(vmcore.coverage(), guest.coverage());
            assert_eq!(vmcore.ranges(), guest.ranges());
            let expected = guest.registers();
            let found = vmcore.registers();
            // The selectors' flags are the attributes alone.
            for (found, expected) in found.iter().zip(&expected) {
                let root = expected.page_table_root();
                assert_eq!(found.page_table_root(), root);
                assert_eq!(found.program_counter(), expected.program_counter());
                assert_eq!(found.stack_pointer(), expected.stack_pointer());
                match (found, expected) {
                    (CpuState::X86_64(found), CpuState::X86_64(expected)) => {
                        assert_eq!(found.gs.base, expected.gs.base);
                        assert_eq!(found.cs.flags, expected.cs.flags & 0x00f0_ff00);
                        assert_eq!((found.idt, found.cr4), (expected.idt, expected.cr4));
                        assert_eq!(found.r8, expected.r8);
                    }
                    (CpuState::I386(found), CpuState::I386(expected)) => {
                        assert_eq!(found.fs.base, expected.fs.base);
                        assert_eq!((found.idt, found.cr4), (expected.idt, expected.cr4));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn conversions_have_cpu_notes_and_keep_virtualboxs_own() {
    for kind in KINDS {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap();
        let vmcore = Vmcore::open(core_with(&guest, 0x1_0006)).unwrap();
        let (elf, _) = convert(&vmcore, Format::Elf).unwrap();
        assert_eq!(elf.machine(), Some(kind.machine()));
        assert_eq!(elf.registers(), vmcore.registers());
        let names: Vec<_> = elf
            .notes()
            .map(|note| note.unwrap().1)
            .map(|note| (note.name, note.kind))
            .collect();
        let statuses = [(CORE, NT_PRSTATUS); 2];
        let kept = [
            (&b"VBCORE"[..], 0xb00),
            (b"VBCPU", 0xb01),
            (b"VBCPU", 0xb01),
        ];
        let qemu = [(&b"QEMU"[..], 0); 2];
        assert_eq!(names, [&statuses[..], &qemu, &kept].concat());
        // A second conversion adds nothing.
        let (again, _) = convert(&elf, Format::Elf).unwrap();
        assert_eq!(again.note_bytes(), elf.note_bytes());
        assert_eq!(elf.check(&Progress::new()).unwrap().notes, 7);
    }
}

#[test]
fn the_registers_lead_to_the_windows_kernel() {
    for kind in KINDS {
        let guest = WindowsGuest::of_kind(kind, SIZE).unwrap();
        let vmcore = Vmcore::open(core_with(&guest, 0x1_0005)).unwrap();
        let (windows, summary) = convert(&vmcore, Format::WIN_DMP).unwrap();
        let summary = summary.windows.unwrap();
        assert_eq!(summary.header, HeaderOrigin::Guest);
        assert_eq!(Some(summary.bugcheck), guest.crash());
        let Headers::WinDmp { header, .. } = windows.headers() else {
            panic!("{kind:?}");
        };
        assert_eq!(header.directory_table_base(), guest.directory_table_base());
        let kdbg = guest.kdbg();
        assert_eq!(header.kd_debugger_data_block(), kdbg);
        if kind == WindowsKind::X86_64 {
            // CONTEXT: its flags with debug registers, DR0 and DR7, RIP.
            let context = header.context_record();
            assert_eq!(context[0x30..0x34], 0x10_0017u32.to_le_bytes());
            assert_eq!(context[0x48..0x50], 0xd0u64.to_le_bytes());
            assert_eq!(context[0x70..0x78], 0xd7u64.to_le_bytes());
            assert_eq!(context[0xf8..0x100], guest.cpus()[0].rip.to_le_bytes());
        }
    }
}

#[track_caller]
fn unknown(notes: &[u8], what: &str) {
    let guest = WindowsGuest::new(SIZE).unwrap();
    let vmcore = Vmcore::open(core_of(&guest, notes)).unwrap();
    assert_eq!((vmcore.cpus(), vmcore.registers().len()), (0, 0));
    let why = vmcore.unknown_registers().unwrap();
    assert!(why.contains(what), "{why}");
    // The memory is good all the same.
    let (elf, _) = convert(&vmcore, Format::Elf).unwrap();
    assert_eq!((elf.pages(), elf.cpus()), (vmcore.pages(), 0));
}

#[test]
fn registers_of_another_version_are_not_guessed() {
    let cpu = note(b"VBCPU", 0xb01, &[0; 1024]);
    let of_format = |format, cpus| note(b"VBCORE", 0xb00, &descriptor(format, cpus));
    let version = "unknown VirtualBox version";
    // CPUMCTX of VirtualBox 4.0, and a version that is not there yet.
    for format in [0x1_0000, 0x1_0003, 0x1_0007, 0x2_0005] {
        let notes = [of_format(format, 1), cpu.clone()].concat();
        unknown(&notes, &format!("core format {format:#x}"));
        unknown(&notes, version);
    }
    let short = note(b"VBCPU", 0xb01, &[0; 544]);
    unknown(
        &[of_format(0x1_0006, 1), short].concat(),
        "less than 552 bytes",
    );
    let two = [of_format(0x1_0006, 3), cpu.clone(), cpu.clone()].concat();
    unknown(&two, "says 3 CPUs, and there are 2 VBCPU notes");
    let no_magic = note(b"VBCORE", 0xb00, &[0; 24]);
    unknown(&[no_magic, cpu].concat(), version);
}

#[test]
fn cpus_before_their_guest_runs() {
    // All registers but the general ones are 0, in a note that is shorter than VirtualBox's own.
    let guest = WindowsGuest::new(SIZE).unwrap();
    let mut cpu = vec![0; 1208];
    for (n, at) in (0..18).zip((0..).step_by(8)) {
        put(&mut cpu, at, 0x1000 + n);
    }
    let notes = [
        note(b"VBCORE", 0xb00, &descriptor(0x1_0006, 2)),
        note(b"VBCPU", 0xb01, &cpu),
        note(b"VBCPU", 0xb01, &cpu),
    ]
    .concat();
    let vmcore = Vmcore::open(core_of(&guest, &notes)).unwrap();
    assert_eq!(vmcore.machine(), Some(Machine::X86_64));
    let found = vmcore.registers();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[1].program_counter(), found[1].stack_pointer()),
        (0x100e, 0x100f)
    );
    // The kernel is in memory, and a scan finds it.
    let (_, summary) = convert(&vmcore, Format::WIN_DMP).unwrap();
    assert_eq!(summary.windows.unwrap().header, HeaderOrigin::Guest);
}

#[test]
fn a_core_of_an_arm_host_has_no_x86_registers() {
    let guest = WindowsGuest::new(SIZE).unwrap();
    let mut cpu = vec![0; 1208];
    cpu[..288].fill(0x5a);
    let notes = [
        note(b"VBCORE", 0xb00, &descriptor(0x1_0006, 1)),
        note(b"VBCPU", 0xb01, &cpu),
    ]
    .concat();
    let mut core = core_of(&guest, &notes);
    core[18..20].copy_from_slice(&183u16.to_le_bytes());
    let vmcore = Vmcore::open(core).unwrap();
    assert_eq!(vmcore.machine(), Some(Machine::Aarch64));
    assert_eq!((vmcore.cpus(), vmcore.registers().len()), (0, 0));
    let why = vmcore.unknown_registers().unwrap();
    assert!(
        why.contains("another architecture: e_machine is 183"),
        "{why}"
    );
    let (elf, _) = convert(&vmcore, Format::Elf).unwrap();
    assert_eq!((elf.pages(), elf.cpus()), (vmcore.pages(), 0));
}

#[cfg(feature = "cli")]
fn run(folder: &std::path::Path, args: &str) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_guestdump"))
        .args(args.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
#[cfg(feature = "cli")]
fn the_command_shows_the_cpus_or_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let guest = WindowsGuest::new(SIZE).unwrap();
    std::fs::write(folder.join("core"), core_with(&guest, 0x1_0006)).unwrap();
    let (ok, text) = run(folder, "info core");
    assert!(ok && text.contains("CPUs: 2"), "{text}");
    let cpu = format!("CPU 0: pc {:#x}", guest.cpus()[0].rip);
    assert!(
        text.contains(&cpu) && text.contains("page tables 0x1ad000"),
        "{text}"
    );
    let (ok, text) = run(folder, "dump --from vmcore:core --to dmp --format win-dmp");
    assert!(
        ok && text.contains("built from the guest's kernel"),
        "{text}"
    );

    // A version that is not known, and no kernel in memory.
    let notes = [
        note(b"VBCORE", 0xb00, &descriptor(0x1_0007, 1)),
        note(b"VBCPU", 0xb01, &[0; 8776]),
    ];
    let ram = vec![1; 1 << 20];
    let memory = guestdump::memory::SliceMemory::new([(0, &ram[..])]).unwrap();
    std::fs::write(folder.join("core"), core_of(&memory, &notes.concat())).unwrap();
    let why = "registers of an unknown VirtualBox version: core format 0x10007";
    let (ok, text) = run(folder, "info core");
    assert!(
        ok && text.contains("CPUs: 0") && text.contains(why),
        "{text}"
    );
    let (ok, text) = run(folder, "dump --from vmcore:core --to elf --format elf");
    assert!(ok && text.contains(why), "{text}");
    let (ok, text) = run(folder, "dump --from vmcore:core --to x --format win-dmp");
    assert!(
        !ok && text.contains("no CPU registers") && text.contains(why),
        "{text}"
    );
    assert!(!text.contains("driver"), "{text}");
}
