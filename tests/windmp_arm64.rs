//! Windows dumps of 64-bit Arm (machine 0xaa64): they are read and converted, and not written.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Cursor;

use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::windmp::{CONTEXT_ARM64, Header, IMAGE_FILE_MACHINE_ARM64};
use guestdump::{Class, CpuState, Error, Format, GuestMemory, Machine, Progress, Refusal, dump};
use kdmp_parser::gxa::Gxa;
use kdmp_parser::parse::KernelDumpParser;

const PAGE: u64 = 4096;
const PC: u64 = 0xffff_f800_5c80_1234;
const SP: u64 = 0xffff_8000_1234_5670;

/// A full dump of four pages in two runs, each with its address repeated.
fn make(context_flags: u32) -> Vec<u8> {
    let mut header = Header::new(Class::Bits64);
    header.set_machine_image_type(IMAGE_FILE_MACHINE_ARM64);
    header.set_dump_type(1);
    header.set_number_processors(2);
    header.set_directory_table_base(0x8000_1000).unwrap();
    let frames = [0x8_0000..0x8_0003, 0x9_0000..0x9_0001];
    header.set_runs(&frames, 4).unwrap();
    let mut context = vec![0; 0x390];
    let mut put = |at: usize, word: u64| context[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0, u64::from(context_flags) | 0x6000_0304 << 32);
    for n in 0..31 {
        put(8 + 8 * n as usize, 0x1000 + n);
    }
    put(0x100, SP);
    put(0x108, PC);
    header.set_context_record(&context).unwrap();
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    for frame in frames.into_iter().flatten() {
        bytes.extend((frame * PAGE).to_le_bytes().repeat(512));
    }
    bytes
}

fn convert(vmcore: &Vmcore, format: Format) -> Result<Vmcore, Error> {
    let mut sink = BufferSink::new();
    dump(vmcore, &mut sink, &vmcore.options(format).unwrap())?;
    Ok(Vmcore::open(sink.into_bytes()).unwrap())
}

#[test]
fn a_dump_is_read_and_checked() {
    let bytes = make(CONTEXT_ARM64 | 7);
    let parser = KernelDumpParser::with_reader(Cursor::new(bytes.clone())).unwrap();
    let theirs: Vec<u64> = parser.physmem().map(|(gpa, _)| gpa.u64()).collect();
    let vmcore = Vmcore::open(bytes).unwrap();
    assert_eq!(vmcore.machine(), Some(Machine::Aarch64));
    assert_eq!(vmcore.page_size(), Some(PAGE));
    let ours: Vec<u64> = vmcore
        .ranges()
        .iter()
        .flat_map(|range| (range.start()..range.end()).step_by(PAGE as usize))
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(vmcore.check(&Progress::new()).unwrap().pages, 4);
    let Headers::WinDmp { header, .. } = vmcore.headers() else {
        panic!("a Windows dump");
    };
    assert_eq!(header.directory_table_base(), 0x8000_1000);
}

#[test]
fn an_elf_dump_has_its_memory_and_registers() {
    let vmcore = Vmcore::open(make(CONTEXT_ARM64 | 7)).unwrap();
    for format in [Format::Elf, Format::KDUMP_RAW_ZLIB] {
        let other = convert(&vmcore, format).unwrap();
        assert_eq!(other.machine(), Some(Machine::Aarch64));
        let mut word = [0; 8];
        other.read(0x9000_0ff8, &mut word).unwrap();
        assert_eq!(word, 0x9000_0000u64.to_le_bytes());
        let [CpuState::Aarch64(cpu)] = &other.registers()[..] else {
            panic!("one CPU");
        };
        assert_eq!((cpu.pc, cpu.sp, cpu.pstate), (PC, SP, 0x6000_0304));
        assert_eq!((cpu.x[0], cpu.x[30]), (0x1000, 0x101e));
        // Which of the two tables the header has is not known.
        assert_eq!((cpu.ttbr0, cpu.ttbr1, cpu.tcr), (0, 0, 0));
    }
    // A context that is not of this machine, or has too little, is no CPU.
    for flags in [0x10_0007, CONTEXT_ARM64 | 1, 0] {
        let vmcore = Vmcore::open(make(flags)).unwrap();
        let other = convert(&vmcore, Format::Elf).unwrap();
        assert_eq!(other.registers().len(), 0, "{flags:#x}");
    }
}

#[test]
fn no_windows_dump_of_arm_is_written() {
    let vmcore = Vmcore::open(make(CONTEXT_ARM64 | 7)).unwrap();
    let error = convert(&vmcore, Format::WIN_DMP).unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::WinDmp(_))),
        "{error}"
    );
    assert!(error.to_string().contains("aarch64") || format!("{error:?}").contains("Aarch64"));
    // A header of 32 bits has no such machine, nor has any header another one.
    let mut bytes = make(0);
    bytes[0x30..0x34].copy_from_slice(&0x1c4u32.to_le_bytes());
    let error = Vmcore::open(bytes).unwrap_err().to_string();
    assert!(error.contains("machine type 0x1c4"), "{error}");
}
