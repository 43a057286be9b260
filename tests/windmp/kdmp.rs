//! kdmp-parser: a crate for the dumps of 64-bit guests.

use std::collections::BTreeMap;
use std::io::Cursor;

use guestdump::guest::windows::{BugcheckData, ContextPlace};
use guestdump::{Format, GuestInfo, Machine};
use kdmp_parser::gxa::{Gpa, Gxa};
use kdmp_parser::parse::KernelDumpParser;
use kdmp_parser::phys;
use kdmp_parser::structs::DumpType;
use testkit::windows::{given, header_32, header_64};
use testkit::{PAGE, Page, PageMemory, to_buffer};

use super::{FORMATS, extra, guest, registers};

fn parse(bytes: Vec<u8>) -> KernelDumpParser {
    KernelDumpParser::with_reader(Cursor::new(bytes)).unwrap()
}

/// Every page that the parser finds, by address.
fn pages(parser: &KernelDumpParser) -> BTreeMap<u64, Vec<u8>> {
    let reader = phys::Reader::new(parser);
    let read = |(gpa, _): (Gpa, u64)| {
        let mut page = vec![0xa5; PAGE as usize];
        reader.read_exact(gpa, &mut page).unwrap();
        (gpa.u64(), page)
    };
    parser.physmem().map(read).collect()
}

fn expected(guest: &PageMemory) -> BTreeMap<u64, Vec<u8>> {
    guest
        .pages()
        .map(|(gpa, page)| (gpa, page.bytes()))
        .collect()
}

#[test]
fn every_page_and_field_is_there() {
    let guest = guest();
    for (format, dump_type) in FORMATS.into_iter().zip([DumpType::Full, DumpType::Bmp]) {
        let bugcheck = BugcheckData {
            code: 0xd1,
            parameters: [1, 2, 3, u64::MAX],
        };
        let windows = given(&*header_64(0x1000))
            .bugcheck(bugcheck)
            .extra_state([extra()]);
        let options = windows
            .options(GuestInfo::new(Machine::X86_64).cpus([registers()]), format)
            .threads(3);
        let (bytes, summary) = to_buffer(&guest, &options);
        let len = bytes.len();
        let parser = parse(bytes);
        assert_eq!(parser.dump_type(), dump_type);
        assert!(pages(&parser) == expected(&guest), "{format}");

        let header = parser.headers();
        assert_eq!(header.required_dump_space, len as i64);
        assert_eq!(summary.file_size, len as u64);
        assert_eq!(header.bug_check_code, 0xd1);
        assert_eq!(header.bug_check_code_parameters, bugcheck.parameters);
        assert_eq!(header.directory_table_base, 0x1000);
        assert_eq!(header.number_processors, 2);
        assert_eq!(header.machine_image_type, 0x8664);
        assert_eq!(header.minor_version, 19041);
        assert_eq!(header.kd_debugger_data_block, 0xffff_f800_0003_0000);
        assert_eq!(header.system_time, 132_000_000_000_000_000);
        assert_eq!(header.product_type, 1);

        let context = parser.context_record();
        let r = registers();
        assert_eq!(context.context_flags, 0x10_001f);
        assert_eq!(
            [context.rax, context.rbx, context.rcx, context.rdx],
            [r.rax, r.rbx, r.rcx, r.rdx]
        );
        assert_eq!(
            [context.rsi, context.rdi, context.rsp, context.rbp],
            [r.rsi, r.rdi, r.rsp, r.rbp]
        );
        assert_eq!(
            [context.r8, context.r11, context.r15, context.rip],
            [r.r8, r.r11, r.r15, r.rip]
        );
        assert_eq!(context.eflags, 0x246);
        let segments = [
            context.seg_cs,
            context.seg_ds,
            context.seg_es,
            context.seg_fs,
            context.seg_gs,
            context.seg_ss,
        ];
        assert_eq!(segments, [0x10, 0x2b, 0x2c, 0x53, 0x2d, 0x18]);
        assert_eq!(
            [context.dr0, context.dr3, context.dr6, context.dr7],
            [21, 24, 0xffff_0ff0, 0x400]
        );
        assert_eq!((context.mxcsr, context.mxcsr2), (0x1f80, 0x1f80));
        assert_eq!(context.xmm_registers[15], 15 << 64 | 0xaa);
    }
}

#[test]
fn kdmp_parser_reads_memory_in_many_pieces() {
    // Page n of every odd n: 60 pieces, one page between them.
    let piece = |n: u8| (u64::from(n) * 2 * PAGE, vec![Page::Random(n)]);
    let guest = PageMemory::new((0..60).map(piece));
    let options =
        |format| given(&*header_64(2 * PAGE)).options(GuestInfo::new(Machine::X86_64), format);
    let (bytes, _) = to_buffer(&guest, &options(Format::WIN_DMP_BITMAP));
    assert!(pages(&parse(bytes)) == expected(&guest));

    // Of a full dump the smallest gaps are zeroes.
    let (bytes, summary) = to_buffer(&guest, &options(Format::WIN_DMP));
    assert_eq!(summary.pages, 60 + 18);
    let mut found = pages(&parse(bytes));
    assert_eq!(found.len(), 60 + 18);
    let wanted = expected(&guest);
    found.retain(|gpa, page| wanted.contains_key(gpa) || page.iter().any(|b| *b != 0));
    assert!(found == wanted);
}

#[test]
fn contexts_lie_where_windows_keeps_them_and_nothing_else_differs() {
    let guest = guest();
    let plain = expected(&guest);
    // The first over a page border, the second in two pages far apart, one of
    // them never touched by the guest.
    let places = [
        (0, vec![(0x10_0f00, 0x100), (0x10_1000, 0x3d0)]),
        (1, vec![(0x3f00, 0x100), (0x1_0000_1000, 0x3d0)]),
    ]
    .map(|(cpu, pieces)| ContextPlace { cpu, pieces });
    let second = guestdump::arch::x86_64::Registers {
        rip: 0x1234,
        ..registers()
    };
    for format in FORMATS {
        let windows = given(&*header_64(0x1000))
            .contexts(places.clone())
            .crashed_cpu(1);
        let options = windows.options(
            GuestInfo::new(Machine::X86_64).cpus([registers(), second]),
            format,
        );
        let (bytes, _) = to_buffer(&guest, &options);
        let parser = parse(bytes);
        assert_eq!(parser.context_record().rip, 0x1234);
        let mut found = pages(&parser);
        for (place, rip) in places.iter().zip([registers().rip, 0x1234]) {
            let mut context = Vec::new();
            for &(gpa, len) in &place.pieces {
                let base = gpa - gpa % PAGE;
                let at = (gpa - base) as usize;
                let page = found.get_mut(&base).unwrap();
                context.extend_from_slice(&page[at..at + len]);
                page[at..at + len].copy_from_slice(&plain[&base][at..at + len]);
            }
            assert_eq!(context.len(), 0x4d0);
            assert_eq!(context[0x30..0x34], 0x10_0007u32.to_le_bytes());
            assert_eq!(context[0xf8..0x100], rip.to_le_bytes());
        }
        assert!(found == plain, "{format}");
    }
}

/// The words are in docs/formats/windmp.md: should it read them one day, it has
/// to.
#[test]
fn dumps_of_32_bit_guests_are_none_of_its() {
    let mut guest = guest();
    guest.ranges.pop();
    for format in FORMATS {
        let options = given(&*header_32(0x1000)).options(GuestInfo::new(Machine::X86_64), format);
        let (bytes, _) = to_buffer(&guest, &options);
        let error = KernelDumpParser::with_reader(Cursor::new(bytes)).unwrap_err();
        assert!(
            format!("{error:?}").contains("InvalidValidDump"),
            "{error:?}"
        );
    }
}
