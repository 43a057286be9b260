//! Makes the seeds: small inputs that a target takes all the way through.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use guestdump::abi::Abi;
use guestdump::codec::Codec;
use guestdump::demo::{DemoGuest, PageKind};
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::read::Vmcore;
use guestdump::sink::BufferSink;
use guestdump::{ByteOrder, DumpOptions, Format, GuestInfo, GuestMemory, Machine, dump};
use testkit::core_file::{Core, LINUX_HVA, Load};
use testkit::elf::Elf;
use testkit::kdump::Kdump;
use testkit::pieces::{Piece, encode, of_bytes};
use testkit::windows::{Windows, given, header_32, header_64};
use testkit::{LAYOUTS, LE64_ABI, Random, TEXT, content, encodings, file};

use super::targets::qemu::{END, HVA};

type Seeds = Vec<(&'static str, String, Vec<u8>)>;

pub(crate) fn write(folder: &Path) {
    let mut seeds = Seeds::new();
    elf(&mut seeds);
    kdump(&mut seeds);
    windmp(&mut seeds);
    headers(&mut seeds);
    notes(&mut seeds);
    vmcoreinfo(&mut seeds);
    map(&mut seeds);
    qmp(&mut seeds);
    qemu(&mut seeds);
    process_core(&mut seeds);
    page_tables(&mut seeds);
    arbitrary(&mut seeds);
    for (target, name, bytes) in seeds {
        assert!(
            bytes.len() < 28 << 10,
            "{target}/{name} has {}",
            bytes.len()
        );
        fs::create_dir_all(folder.join(target)).unwrap();
        fs::write(folder.join(target).join(name), bytes).unwrap();
    }
}

fn pages() -> Vec<(u64, Vec<u8>)> {
    vec![(0x1000, vec![0; 4096]), (0x4000, vec![b'x'; 4096])]
}

/// Random-looking bytes for each header and ABI, and the beginnings of a header
/// that has a magic.
fn headers(seeds: &mut Seeds) {
    let bytes: Vec<u8> = (0..600u32).map(|n| ((n * n) >> 5) as u8).collect();
    let magics: [(u8, &[u8]); 5] = [
        (0, b"\x7fELF\x02\x01\x01"),
        (3, b"KDUMP   "),
        (6, b"FDMPDUMP"),
        (8, b"makedumpfile"),
        (10, b""),
    ];
    for kind in 0..11 {
        for abi in 0..8 {
            let magic = magics.iter().find(|(of, _)| *of == kind);
            let mut seed = vec![abi, kind];
            seed.extend_from_slice(magic.map_or(&[][..], |(_, magic)| magic));
            seed.extend_from_slice(&bytes);
            seeds.push(("headers", format!("kind-{kind}-abi-{abi}"), seed));
        }
    }
    for (name, header) in [("32", header_32(0x1000)), ("64", header_64(0x1000))] {
        let mut seed = vec![0, 7];
        seed.extend_from_slice(header.as_bytes());
        seeds.push(("headers", format!("windows-{name}"), seed));
    }
}

fn elf(seeds: &mut Seeds) {
    for (n, encoding) in encodings().enumerate() {
        let mut elf = Elf::new(encoding, &pages());
        elf.gap = n * 64;
        elf.xnum = n % 2 == 1;
        elf.aliases = vec![(1, 0, 4096)];
        push_dump(seeds, "elf", format!("encoding-{n}"), &elf.build());
    }
    for machine in [Machine::X86_64, Machine::Riscv64] {
        let bytes = small_dump(
            machine,
            Format::Elf,
            DumpOptions::new(GuestInfo::new(machine), Format::Elf),
        );
        push_dump(seeds, "elf", machine.name().into(), &bytes);
    }
}

/// A sparse dump, and the same as a flattened stream.
fn push_dump(seeds: &mut Seeds, target: &'static str, name: String, bytes: &[u8]) {
    let sparse = encode(&of_bytes(bytes));
    let flattened = [&[0], &sparse[..]].concat();
    seeds.push(("flattened", format!("{target}-{name}"), flattened));
    seeds.push((target, name, sparse));
}

/// Of a guest with two pages.
fn small_dump(machine: Machine, format: Format, mut options: DumpOptions) -> Vec<u8> {
    let ram = content(1, 2 * machine.default_page_size() as usize);
    let ram: Vec<u8> = ram.iter().map(|byte| byte & 0x40).collect();
    let memory = SliceMemory::new([(0, &ram[..])]).unwrap();
    if !format.is_windows() {
        let text = VmcoreinfoSource::Bytes(TEXT.to_vec());
        options.guest = options.guest.vmcoreinfo(text);
    }
    let mut sink = BufferSink::new();
    dump(&memory, &mut sink, &options).unwrap();
    sink.into_bytes()
}

fn kdump(seeds: &mut Seeds) {
    let codecs = [Codec::Zlib, Codec::Lzo, Codec::Snappy, Codec::Zstd];
    let text: Vec<(u64, Vec<u8>)> = (1..4).map(|pfn| (pfn, vec![pfn as u8; 4096])).collect();
    for (n, codec) in codecs.into_iter().enumerate() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let (class, u64_align) = LAYOUTS[n % 3];
            let abi = Abi {
                class,
                order,
                u64_align,
            };
            let mut kdump = Kdump::new(abi, &text);
            kdump.codec = Some(codec);
            kdump.version = 6 - n as u32;
            push_dump(
                seeds,
                "kdump",
                format!("{codec:?}-{order:?}"),
                &kdump.build(),
            );
        }
    }
    let mut split = Kdump::new(LE64_ABI, &text);
    split.split = Some((2, 9));
    push_dump(seeds, "kdump", "split".into(), &split.build());
    let mut incomplete = Kdump::new(LE64_ABI, &text);
    incomplete.status |= 8;
    incomplete.pages[1].1 = None;
    push_dump(seeds, "kdump", "incomplete".into(), &incomplete.build());
    let format = Format::KDUMP_RAW_ZLIB;
    for machine in [Machine::X86_64, Machine::S390x, Machine::Arm] {
        let bytes = small_dump(
            machine,
            format,
            DumpOptions::new(GuestInfo::new(machine), format),
        );
        push_dump(seeds, "kdump", machine.name().into(), &bytes);
    }
}

fn windmp(seeds: &mut Seeds) {
    for format in [Format::WIN_DMP, Format::WIN_DMP_BITMAP] {
        let with = |machine, header: Windows| header.options(GuestInfo::new(machine), format);
        let options = with(Machine::X86_64, given(&*header_64(0x1000)));
        let bytes = small_dump(Machine::X86_64, format, options);
        push_dump(seeds, "windmp", format!("{format}-64"), &bytes);
        let options = with(Machine::I386, given(&*header_32(0x1000)));
        let bytes = small_dump(Machine::I386, format, options);
        push_dump(seeds, "windmp", format!("{format}-32"), &bytes);
    }
}

/// The map file of each architecture that the documentation shows.
fn map_example(machine: Machine) -> Vec<u8> {
    let name = format!("docs/examples/map-{machine}.json");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn notes(seeds: &mut Seeds) {
    for (n, machine) in Machine::ALL.iter().enumerate() {
        let map: serde_json::Value = serde_json::from_slice(&map_example(*machine)).unwrap();
        let cpus = map["cpus"].as_array().unwrap();
        let cpus = cpus
            .iter()
            .map(|cpu| guestdump::CpuState::deserialize_for(*machine, cpu.clone()).unwrap());
        let options = DumpOptions::new(GuestInfo::new(*machine).cpus(cpus), Format::Elf);
        let vmcore = Vmcore::open(file(&small_dump(*machine, Format::Elf, options))).unwrap();
        let input = [&[n as u8], vmcore.note_bytes()].concat();
        seeds.push(("notes", machine.name().into(), input));
    }
}

fn vmcoreinfo(seeds: &mut Seeds) {
    let guest = DemoGuest::new(16 << 20).unwrap();
    let (gpa, size) = guest.vmcoreinfo_note();
    let mut note = vec![0; size as usize];
    guest.read(gpa, &mut note).unwrap();
    let note: Vec<u8> = note[..note.iter().rposition(|b| *b != 0).unwrap() + 1].to_vec();
    let text = note[24..].to_vec();
    for (n, first) in [(0u8, 0x80), (1, 1), (4, 0x84), (6, 8)] {
        let input = [&[first], &text[..]].concat();
        seeds.push(("vmcoreinfo", format!("demo-{n}"), input));
    }
    let others = "OSRELEASE=6.1.0\nPAGESIZE=4096\nKERNELOFFPHYS=0x2000\n\
        NUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)=0xffff7fffc0000000\n\
        NUMBER(PHYS_OFFSET)=0x40000000\nNUMBER(phys_ram_base)=0x80000000\n\
        SYMBOL(swapper_pg_dir)=ffffffff81000000\nCRASHTIME=1700000000\n\
        NUMBER(tcr_el1_t1sz)=16\nNUMBER(TCR_EL1_T1SZ)=0x10\nNUMBER(SATP)=0x0\n";
    for n in 0..Machine::ALL.len() as u8 {
        let input = [&[n], others.as_bytes()].concat();
        seeds.push(("vmcoreinfo", format!("others-{n}"), input));
    }

    let at = |gpa: u64| {
        let size = (note.len() as u64).to_le_bytes();
        [gpa.to_le_bytes(), size].concat()
    };
    let memory = encode(&[
        Piece {
            offset: 0x2000,
            bytes: text.clone(),
        },
        Piece {
            offset: 0x5000,
            bytes: note.clone(),
        },
        Piece {
            offset: 0xff000,
            bytes: note[..1000].to_vec(),
        },
    ]);
    for kind in [0, 1, 2, 3, 0x80] {
        let place = match kind {
            3 => at(0x5000),
            // struct FWCfgVMCoreInfo
            _ => {
                let mut place = vec![1, 0, 1, 0];
                place.extend((note.len() as u32).to_le_bytes());
                place.extend(0x5000u64.to_le_bytes());
                place
            }
        };
        let input = [&[0, kind], &place[..], &memory[..]].concat();
        seeds.push(("vmcoreinfo_scan", format!("kind-{kind}"), input));
    }
}

fn map(seeds: &mut Seeds) {
    for machine in Machine::ALL {
        let input = [&[0xff], &map_example(*machine)[..]].concat();
        seeds.push(("map", machine.name().into(), input));
    }
    let input = b"\xff{\"regions\":[{\"gpa\":\"0\",\"size\":4096,\"hva\":\"0x1000\"},\
        {\"gpa\":8192,\"size\":\"0x1000\",\"path\":\"a\",\"offset\":0}],\
        \"page_size\":4096,\"vmcoreinfo\":{\"gpa\":1,\"size\":2}}";
    seeds.push(("map", "places".into(), input.to_vec()));
}

fn qmp(seeds: &mut Seeds) {
    let messages = [
        r#"{"execute":"query-dump","id":{"a":[1,null]}}"#,
        r#"{"execute":"query-dump-guest-memory-capability","arguments":{}}"#,
        r#"{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"file:x","detach":true,"begin":0,"length":4096,"format":"kdump-zlib"}}"#,
        r#"{"paging":false,"protocol":"fd:name","begin":4096,"length":1,"format":"elf"}"#,
        r#"{"paging":true,"protocol":"file:\u00e4","detach":false}"#,
        r#"{"return":{"status":"active","completed":1,"total":2},"id":7}"#,
        r#"{"return":{"formats":["elf","win-dmp","kdump-raw-zstd"]}}"#,
        r#"{"error":{"class":"GenericError","desc":"no \u0001"}}"#,
        r#"{"event":"DUMP_COMPLETED","data":{"result":{"total":1,"status":"failed","completed":0},"error":"x"},"timestamp":{"seconds":1,"microseconds":2}}"#,
        r#"{"event":"GUEST_PANICKED","data":{"action":"pause","info":{"type":"hyper-v","arg1":1,"arg2":2,"arg3":3,"arg4":4,"arg5":5}},"timestamp":{"seconds":-1,"microseconds":-1}}"#,
        r#"{"status":"guest-panicked","running":false,"singlestep":false}"#,
    ];
    for (n, message) in messages.iter().enumerate() {
        let input = [&[n as u8 * 23], message.as_bytes()].concat();
        seeds.push(("qmp", format!("message-{n}"), input));
    }
}

fn qemu(seeds: &mut Seeds) {
    let tree = r#"{"return":"FlatView #0\r\n AS \"memory\", root: system\r\n  0000000000000000-0000000000001fff (prio 0, ram): ram0\r\n  0000000000002000-0000000000002fff (prio 0, rom): bios\r\n\r\n"}"#;
    let address = format!(r#"{{"return":"Host virtual address for 0x0 (ram0) is {HVA}\r\n"}}"#);
    let script = [
        r#"{"QMP":{"version":{},"capabilities":[]}}"#,
        r#"{"return":{}}"#,
        r#"{"return":{},"id":2}"#,
        r#"{"return":[{"id":"ram0","size":8192}]}"#,
        tree,
        &address,
        r#"{"return":{"status":"running","running":true}}"#,
        "{\"event\":\"STOP\",\"timestamp\":{}}\r\n{\"return\":\n{}}",
        r#"{"return":{"status":"paused","running":false}}"#,
        r#"{"return":[{"id":"ram0","size":8192}]}"#,
        tree,
        r#"{"return":{}}"#,
        r#"{"return":[{"cpu-index":0,"qom-path":"/machine/cpu[0]"}]}"#,
        r#"{"return":{"type":"hyper-v","arg1":30,"arg2":1,"arg3":2,"arg4":3,"arg5":4}}"#,
        r#"{"return":{"status":"paused","running":false}}"#,
        r#"{"return":{}}"#,
    ];
    let join = |script: &[&str]| script.join(&char::from(END).to_string()).into_bytes();
    seeds.push(("qemu", "all".into(), join(&script)));
    seeds.push(("qemu", "hangs-up".into(), join(&script[..9])));
    let refused = r#"{"error":{"class":"GenericError","desc":"not today"}}"#;
    seeds.push((
        "qemu",
        "refuses".into(),
        join(&[script[0], script[1], refused]),
    ));
}

fn process_core(seeds: &mut Seeds) {
    let guest = DemoGuest::new(16 << 20).unwrap();
    let size = 8 << 20;
    let mut ram = Load::new(LINUX_HVA, size);
    for gpa in (0..size).step_by(4096) {
        if guest.page_kind(gpa) == Some(PageKind::Kernel) {
            let mut page = vec![0; 4096];
            guest.read(gpa, &mut page).unwrap();
            ram.data.push((gpa, page));
        }
    }
    let mut core = Core::new([
        Load::filled(0x40_1000, vec![1; 64]),
        Load::left_out(0x7000_0000, 0x3000),
        Load::new(0x7010_0000, 0x2000),
    ]);
    core.mapped_files = vec![(0x7000_0000, 0x7000_2000, 3, "/lib/x.so")];
    push_core(seeds, "small", &core);
    core.loads.push(ram);
    push_core(seeds, "guest", &core);
}

fn push_core(seeds: &mut Seeds, name: &str, core: &Core) {
    let file = core.write();
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).unwrap_or(0);
    let len = file.metadata().unwrap().len() as usize;
    bytes.resize(len, 0);
    file.read_exact_at(&mut bytes, 0).unwrap();
    seeds.push(("process_core", name.into(), encode(&of_bytes(&bytes))));
}

/// Word in RAM, count less one, first entry, step.
type Entries = (u16, u8, u64, u32);

/// Bytes as `arbitrary` takes them; see `fuzz/src/page_tables.rs`.
fn page_tables(seeds: &mut Seeds) {
    let x86 = [
        (0, 1, 0x1003u64, 0x1000u32),
        (0x200, 1, 0x2003, 0x1000),
        (0x400, 3, 0x3003, 0x1000),
        (0x600, 255, 0x1_0003, 0x1000),
        (0x401, 0, 0x83, 0),
        (511, 0, 3, 0),
    ];
    let riscv = [
        (0, 1, 0x401, 0x400),
        (0x200, 1, 0x801, 0x400),
        (0x400, 3, 0xf, 0x400),
        (0x403, 0, 0xcf, 0),
    ];
    // A segment table of all quarters, whose entries are invalid but for four.
    let s390x = [
        (0, 255, 0x20u64, 0u32),
        (0, 3, 0x8000, 0x800),
        (0x1000, 255, 0x1_0000, 0x1000),
        (0x1003, 1, 0x400, 0),
    ];
    // Pages of 4 KiB, and one of 2 MiB.
    let ppc64 = [
        (0, 0, 1 << 63 | 0x1_0009, 0),
        (0x2000, 0, 1 << 63 | 0x1_1009, 0),
        (0x2200, 0, 1 << 63 | 0x1_2009, 0),
        (0x2201, 0, 3 << 62, 0),
        (0x2400, 255, 3 << 62, 0x1000),
    ];
    let spaces: Vec<(Vec<u8>, &[Entries])> = (0..5)
        .map(|mode| (x86_space(mode), &x86[..]))
        .chain([
            (aarch64_space(0), &x86[..]),
            (aarch64_space(1), &x86[..]),
            (vec![6, 0, 0, 0, 0x80], &riscv[..]),
            ([&[7][..], &(8u64 << 60).to_le_bytes()].concat(), &riscv[..]),
            ([&[7][..], &(9u64 << 60).to_le_bytes()].concat(), &riscv[..]),
            (
                [&[7][..], &(10u64 << 60).to_le_bytes()].concat(),
                &riscv[..],
            ),
            ([&[8][..], &3u64.to_le_bytes()].concat(), &s390x[..]),
            ([&[9][..], &[0; 9]].concat(), &ppc64[..]),
        ])
        .collect();
    for (n, (space, entries)) in spaces.iter().enumerate() {
        let mut input = [&space[..], &space[..], &[1, entries.len() as u8]].concat();
        for (at, count, first, step) in *entries {
            input.extend(at.to_le_bytes());
            input.push(*count);
            input.extend(first.to_le_bytes());
            input.extend(step.to_le_bytes());
        }
        seeds.push(("page_tables", format!("space-{n}"), input));
    }
}

fn x86_space(mode: u8) -> Vec<u8> {
    [&[mode][..], &0u64.to_le_bytes()].concat()
}

/// 4 KiB pages, 48 bits; of either byte order.
fn aarch64_space(big_endian: u8) -> Vec<u8> {
    let tcr: u64 = 16 | 16 << 16 | 2 << 30 | 5 << 32;
    let words = [0u64, 0, tcr].map(u64::to_le_bytes).concat();
    [&[5][..], &words, &[big_endian]].concat()
}

/// For targets that make something of any bytes.
fn arbitrary(seeds: &mut Seeds) {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let mut bytes = |first: &[u8], len: usize| [first, &random.bytes(len - first.len())].concat();
    for format in 0..Format::available().count() as u8 {
        for machine in [0, 1, 6, 7, 9] {
            let input = bytes(&[format, machine], 250);
            seeds.push(("round_trip", format!("{format}-{machine}"), input));
        }
    }
    // Two chunks, written to a disk that has room for the first: x86_64,
    // VMCOREINFO, no CPUs, two threads, zeroes for what cannot be read. One
    // range from address 0 on, of three runs of pages, of which one is bad.
    // The first and the last 12 pages are random.
    let raw = |format: &Format| format.codec().is_some() && format.needs_positions();
    for (n, format) in (0u8..).zip(Format::available()).filter(|(_, f)| raw(f)) {
        let how = [n, 0, 3, 0, 0, 1, 4, 1, 1, 220, 0];
        let guest = [0, 0, 2, 2, 3, 7, 0, 12, 1, 0, 250, 3, 99, 0, 12, 6, 0, 5];
        let input = [&how[..], &guest, &[1; 4]].concat();
        seeds.push(("round_trip", format!("full-{format}"), input));
    }
    for kind in 0..6 {
        // No registers and no bytes are other than they were.
        seeds.push((
            "windows_guest",
            format!("as-it-is-{kind}"),
            vec![kind, 1, 2, 0, 0, 1, 0],
        ));
        for (n, wide, damaged) in [(0, 0, 0), (1, 0, 1), (2, 1, 1)] {
            let input = bytes(&[kind, 1, 2, wide, damaged, 1], 200);
            seeds.push(("windows_guest", format!("altered-{kind}-{n}"), input));
        }
    }
}
