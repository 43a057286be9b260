//! Xen's dump-core, made up by this test after Xen's
//! `docs/misc/dump-core-format.txt`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use guestdump::elf::{ET_CORE, FileHeader, Note, SHT_PROGBITS, SHT_STRTAB, SectionHeader};
use guestdump::memory::MemoryRange;
use guestdump::read::{Headers, ReadAt, Vmcore, VmcoreError};
use guestdump::sink::BufferSink;
use guestdump::{
    ByteOrder, Class, CpuState, Encoding, Format, GuestMemory, Machine, Progress, dump,
};

const PV: u64 = 0xf00f_ebed;
const HVM: u64 = 0xf00f_ebee;
const NONE: u64 = u64::MAX;
const ENCODING: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};
const SHT_NOTE: u32 = 7;

/// A dump-core whose parts a test may damage.
struct Core {
    machine: u16,
    magic: u64,
    version: u64,
    page_size: u64,
    nr_pages: Option<u64>,
    nr_vcpus: u64,
    contexts: Vec<u8>,
    /// Pairs for a paravirtualized guest, of which another has the first number.
    list: Vec<(u64, u64)>,
    without: Option<&'static str>,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            machine: 62,
            magic: HVM,
            version: 1,
            page_size: 4096,
            nr_pages: None,
            nr_vcpus: 1,
            contexts: context_64(),
            list: [0, 1, 8, 9, 0x10_0001].map(|pfn| (pfn, pfn + 77)).to_vec(),
            without: None,
        }
    }
}

/// `vcpu_guest_context` of x86_64, whose words are their offsets.
fn context_64() -> Vec<u8> {
    (0..5168 / 8)
        .flat_map(|n| u64::to_le_bytes(n * 8))
        .collect()
}

fn words(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The page at `index`, which names its frame.
fn page(pfn: u64, size: u64) -> Vec<u8> {
    let mut page = format!("PFN{pfn:08x}").into_bytes();
    page.resize(size as usize, pfn as u8 | 1);
    page
}

impl Core {
    fn bytes(&self) -> Vec<u8> {
        let count = self.list.len() as u64;
        let mut notes = Vec::new();
        let header = words([
            self.magic,
            self.nr_vcpus,
            self.nr_pages.unwrap_or(count),
            self.page_size,
        ]);
        let version = self.version.to_le_bytes();
        for (kind, desc) in [
            (0x200_0000, &[][..]),
            (0x200_0001, &header),
            (0x200_0003, &version),
        ] {
            let name = b"Xen";
            let note = Note { name, kind, desc };
            note.encode(ENCODING.order, &mut notes).unwrap();
        }
        let pages = self.list.iter();
        let pages: Vec<u8> = pages
            .flat_map(|(pfn, _)| page(*pfn, self.page_size))
            .collect();
        let pairs = self.list.iter();
        let list = match self.magic {
            PV => (
                ".xen_p2m",
                words(pairs.flat_map(|(pfn, gmfn)| [*pfn, *gmfn])),
            ),
            _ => (".xen_pfn", words(pairs.map(|(pfn, _)| *pfn))),
        };
        let sections = [
            (".note.Xen", notes),
            (".xen_prstatus", self.contexts.clone()),
            (".xen_pages", pages),
            list,
        ];
        let sections = sections.into_iter();
        let sections: Vec<_> = sections
            .filter(|(name, _)| Some(*name) != self.without)
            .collect();
        file(self.machine, &sections)
    }

    fn open(&self) -> Result<Vmcore, VmcoreError> {
        Vmcore::open(self.bytes())
    }
}

/// An ELF core without program headers.
fn file(machine: u16, sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut headers = vec![SectionHeader::default(); 2];
    let mut contents: Vec<u8> = Vec::new();
    let at = (64 + 64 * (2 + sections.len())).next_multiple_of(4096);
    for (name, bytes) in sections {
        let header = SectionHeader {
            name: names.len() as u32,
            kind: if name.starts_with(".note") {
                SHT_NOTE
            } else {
                SHT_PROGBITS
            },
            offset: (at + contents.len()) as u64,
            size: bytes.len() as u64,
            ..SectionHeader::default()
        };
        headers.push(header);
        names.extend(name.bytes());
        names.push(0);
        contents.extend(bytes);
    }
    headers[1].kind = SHT_STRTAB;
    headers[1].offset = (at + contents.len()) as u64;
    headers[1].size = names.len() as u64;
    let mut elf = FileHeader::new(ENCODING, ET_CORE, machine);
    elf.shoff = 64;
    elf.shentsize = 64;
    elf.shnum = headers.len() as u16;
    elf.shstrndx = 1;
    let mut out = Vec::new();
    elf.encode(&mut out).unwrap();
    for header in headers {
        header.encode(ENCODING, &mut out).unwrap();
    }
    out.resize(at, 0);
    out.extend(contents);
    out.extend(names);
    out
}

fn read(memory: &dyn GuestMemory, gpa: u64) -> io::Result<String> {
    let mut text = [0; 11];
    memory.read(gpa, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn good(memory: &Vmcore) {
    assert_eq!(read(memory, 0x8000).unwrap(), "PFN00000008");
    assert_eq!(read(memory, 0x1_0000_1000).unwrap(), "PFN00100001");
    assert!(read(memory, 0x2000).is_err());
    let report = memory.check(&Progress::new()).unwrap();
    assert_eq!(
        (
            report.pages,
            report.raw_pages + report.compressed_pages.iter().map(|c| c.1).sum::<u64>()
        ),
        (5, 5)
    );
}

#[test]
fn memory_of_both_kinds_of_guests_is_read_and_converted() {
    for magic in [PV, HVM] {
        let core = Core {
            magic,
            ..Core::default()
        };
        let vmcore = core.open().unwrap();
        good(&vmcore);
        assert_eq!(vmcore.machine(), Some(Machine::X86_64));
        assert_eq!(vmcore.page_size(), Some(4096));
        for format in [Format::Elf, Format::KDUMP_RAW_ZLIB, Format::KDUMP_ZLIB] {
            let options = vmcore.options(format).unwrap();
            if format == Format::KDUMP_ZLIB {
                let mut sink = guestdump::sink::StreamSink::new(Vec::new());
                dump(&vmcore, &mut sink, &options).unwrap();
                good(&Vmcore::open(sink.into_inner()).unwrap());
                continue;
            }
            let mut sink = BufferSink::new();
            dump(&vmcore, &mut sink, &options).unwrap();
            let written = Vmcore::open(sink).unwrap();
            good(&written);
            assert_eq!(written.cpus(), 1);
            // A reader would take Xen's notes for a dump-core.
            assert!(
                written
                    .notes()
                    .flatten()
                    .all(|(_, note)| note.name != b"Xen")
            );
        }
    }
}

#[test]
fn invalid_pages_are_absent() {
    for magic in [PV, HVM] {
        let mut core = Core {
            magic,
            ..Core::default()
        };
        core.list.insert(1, (NONE, NONE));
        core.list.extend([(NONE, NONE); 3]);
        good(&core.open().unwrap());
    }
    // The machine's frame alone is invalid.
    let mut core = Core {
        magic: PV,
        ..Core::default()
    };
    core.list.insert(2, (2, NONE));
    good(&core.open().unwrap());
}

#[test]
fn pages_are_listed_in_any_order() {
    for magic in [PV, HVM] {
        let core = Core {
            magic,
            list: [0x10_0001, 9, 8, 0, 1].map(|pfn| (pfn, pfn + 77)).to_vec(),
            ..Core::default()
        };
        let vmcore = core.open().unwrap();
        good(&vmcore);
        let starts: Vec<_> = vmcore.ranges().iter().map(MemoryRange::start).collect();
        assert!(starts.is_sorted(), "{starts:x?}");
    }
}

#[test]
fn pages_after_the_end_are_absent_in_any_order() {
    let core = Core {
        list: [5, 0, 2, 1].map(|pfn| (pfn, pfn)).to_vec(),
        ..Core::default()
    };
    let mut bytes = core.bytes();
    // The section with the pages moves to the end of the file, which has two of the four.
    let at = 64 + 64 * 4 + 24;
    let offset = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let two = bytes[offset..offset + 2 * 4096].to_vec();
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    let end = bytes.len() as u64;
    bytes[at..at + 8].copy_from_slice(&end.to_le_bytes());
    bytes.extend(two);
    let vmcore = Vmcore::open(bytes).unwrap();
    assert_eq!(read(&vmcore, 0x5000).unwrap(), "PFN00000005");
    assert_eq!(read(&vmcore, 0).unwrap(), "PFN00000000");
    let coverage = vmcore.coverage();
    let absent: Vec<_> = coverage.absent.iter().map(MemoryRange::start).collect();
    assert_eq!(absent, [0x1000, 0x2000]);
}

#[test]
fn pages_of_64_kib() {
    let core = Core {
        page_size: 65536,
        list: vec![(0, 0), (1, 1), (7, 7)],
        machine: 183,
        ..Core::default()
    };
    let vmcore = core.open().unwrap();
    assert_eq!(vmcore.machine(), Some(Machine::Aarch64));
    assert_eq!(read(&vmcore, 0x7_0000).unwrap(), "PFN00000007");
    assert_eq!(vmcore.check(&Progress::new()).unwrap().pages, 3);
    let Headers::Xen { core, .. } = vmcore.headers() else {
        panic!("not Xen's");
    };
    // An Arm vCPU's context is not known.
    assert_eq!((core.nr_vcpus, vmcore.registers().len()), (1, 0));
}

fn registers(core: &Core) -> Vec<CpuState> {
    core.open().unwrap().registers()
}

#[test]
fn registers_of_x86_64() {
    let of = |magic, change: &dyn Fn(&mut Vec<u8>)| {
        let mut core = Core {
            magic,
            ..Core::default()
        };
        change(&mut core.contexts);
        match &registers(&core)[..] {
            [CpuState::X86_64(registers)] => **registers,
            other => panic!("{other:?}"),
        }
    };
    let hvm = of(HVM, &|_| ());
    assert_eq!((hvm.r15, hvm.rax, hvm.rdi), (520, 600, 632));
    assert_eq!((hvm.rip, hvm.rflags, hvm.rsp), (648, 664, 672));
    let selectors = [hvm.cs, hvm.ss, hvm.es, hvm.ds, hvm.fs, hvm.gs].map(|s| s.selector);
    assert_eq!(selectors, [656, 680, 688, 696, 704, 712]);
    assert_eq!(
        (hvm.cr0, hvm.cr2, hvm.cr3, hvm.cr4),
        (4984, 5000, 5008, 5016)
    );
    // The kernel runs, by cs.
    assert_eq!(
        (hvm.fs.base, hvm.gs.base, hvm.kernel_gs_base),
        (5144, 5152, 5160)
    );
    let user = of(HVM, &|context| context[656] = 0x33);
    assert_eq!((user.gs.base, user.kernel_gs_base), (5160, 5152));

    // The tables of a paravirtualized guest are the machine's.
    let pv = of(PV, &|context| context[512] = 0);
    assert_eq!((pv.rip, pv.cr0, pv.cr3, pv.cr4), (648, 0, 0, 0));
    assert_eq!((pv.gs.base, pv.kernel_gs_base), (5160, 5152));
    let kernel = of(PV, &|context| context[512] = 4);
    assert_eq!((kernel.gs.base, kernel.kernel_gs_base), (5152, 5160));
}

#[test]
fn registers_of_32_bits_and_of_unknown_sizes() {
    let context: Vec<u8> = (0..2800 / 4u32)
        .flat_map(|n| u32::to_le_bytes(n * 4))
        .collect();
    let core = Core {
        magic: PV,
        machine: 3,
        nr_vcpus: 2,
        contexts: [&context[..], &context].concat(),
        ..Core::default()
    };
    let cpus = registers(&core);
    let CpuState::I386(r) = &cpus[1] else {
        panic!("{cpus:?}");
    };
    assert_eq!((r.ebx, r.eax, r.eip, r.esp), (516, 540, 548, 560));
    assert_eq!((r.cs.selector, r.gs.selector, cpus.len()), (552, 580, 2));
    for (nr_vcpus, size) in [
        (0, 5168),
        (1, 5160),
        (2, 5168),
        (3, 5168),
        (u64::MAX, 5168),
        (1, 1 << 20),
    ] {
        let core = Core {
            nr_vcpus,
            contexts: vec![0; size],
            ..Core::default()
        };
        assert_eq!(registers(&core), [], "{nr_vcpus} {size}");
        good(&core.open().unwrap());
    }
}

/// A context of a paravirtualized 32-bit guest in the union of both sizes, as every toolstack writes it.
fn compat_in_union() -> Vec<u8> {
    let mut context: Vec<u8> = (0..2800 / 4u32)
        .flat_map(|n| u32::to_le_bytes(n * 4))
        .collect();
    for (at, word) in [(552, 0xe019u32), (556, 0x246), (564, 0xe021)] {
        context[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    context.resize(5168, 0);
    context
}

#[test]
fn a_paravirtualized_guest_of_32_bits_under_any_toolstack() {
    for machine in [62, 3] {
        let core = Core {
            magic: PV,
            machine,
            nr_vcpus: 2,
            contexts: [compat_in_union(), compat_in_union()].concat(),
            ..Core::default()
        };
        let vmcore = core.open().unwrap();
        assert_eq!(vmcore.machine(), Some(Machine::I386));
        let cpus = vmcore.registers();
        let [CpuState::I386(r), CpuState::I386(_)] = &cpus[..] else {
            panic!("{cpus:?}");
        };
        assert_eq!((r.ebx, r.eip, r.esp), (516, 548, 560));
        assert_eq!((r.cs.selector, r.cr3), (0xe019, 0));
        let options = vmcore.options(Format::Elf).unwrap();
        let mut sink = BufferSink::new();
        dump(&vmcore, &mut sink, &options).unwrap();
        let written = Vmcore::open(sink).unwrap();
        assert_eq!(written.machine(), Some(Machine::I386));
        assert_eq!(written.cpus(), 2);
    }
    // A 64-bit guest under a toolstack of 32 bits.
    let wide = Core {
        magic: PV,
        machine: 3,
        ..Core::default()
    };
    assert_eq!(wide.open().unwrap().machine(), Some(Machine::X86_64));
    assert!(matches!(registers(&wide)[..], [CpuState::X86_64(_)]));
}

#[test]
fn contexts_that_may_be_of_either_width_are_unknown() {
    let without = |at: usize| {
        let mut context = compat_in_union();
        context[at..at + 4].fill(0);
        context
    };
    let mixed = [compat_in_union(), context_64()].concat();
    let zero = vec![0; 5168];
    for contexts in [
        without(548),
        without(552),
        without(556),
        without(564),
        zero,
        mixed,
    ] {
        let core = Core {
            magic: PV,
            nr_vcpus: contexts.len() as u64 / 5168,
            contexts,
            ..Core::default()
        };
        assert_eq!(registers(&core), []);
    }
}

#[test]
fn a_fully_virtualized_guest_with_paging_but_without_pae_has_32_bits() {
    let with = |cr0: u64, cr4: u64| {
        let mut context = context_64();
        context[4984..4992].copy_from_slice(&cr0.to_le_bytes());
        context[5016..5024].copy_from_slice(&cr4.to_le_bytes());
        context
    };
    let (narrow, off, wide) = (with(0x8000_0011, 0), with(0x10, 0), with(0x8000_0011, 0x20));
    for (contexts, machine) in [
        (vec![narrow.clone(); 2], Machine::I386),
        (vec![narrow, wide], Machine::X86_64),
        (vec![off], Machine::X86_64),
    ] {
        let core = Core {
            nr_vcpus: contexts.len() as u64,
            contexts: contexts.concat(),
            ..Core::default()
        };
        let vmcore = core.open().unwrap();
        assert_eq!(vmcore.machine(), Some(machine));
        let cpus = vmcore.registers();
        assert_eq!(cpus.len() as u64, core.nr_vcpus);
        assert!(cpus.iter().all(|cpu| cpu.fit(machine)));
        if let CpuState::I386(r) = &cpus[0] {
            assert_eq!((r.eip, r.cr0, r.cr3), (648, 0x8000_0011, 5008));
        }
    }
}

#[test]
fn damage_is_refused() {
    let base = Core::default;
    let twice = [(1, 1), (0, 0), (1, 2)];
    let damaged = [
        Core {
            list: twice.to_vec(),
            ..base()
        },
        Core {
            list: vec![(1, 1), (1, 1)],
            ..base()
        },
        Core {
            list: vec![(1 << 52, 1)],
            ..base()
        },
        Core {
            list: vec![(NONE - 1, 1)],
            ..base()
        },
        Core {
            nr_pages: Some(4),
            ..base()
        },
        Core {
            nr_pages: Some(6),
            ..base()
        },
        Core {
            nr_pages: Some(u64::MAX),
            ..base()
        },
        Core {
            page_size: 2048,
            ..base()
        },
        Core {
            page_size: 12288,
            ..base()
        },
        Core { magic: 0, ..base() },
        Core {
            without: Some(".xen_pfn"),
            ..base()
        },
        Core {
            without: Some(".xen_pages"),
            ..base()
        },
        Core {
            without: Some(".note.Xen"),
            ..base()
        },
    ];
    for (n, core) in damaged.iter().enumerate() {
        let error = core.open().unwrap_err();
        assert!(matches!(error, VmcoreError::Damaged { .. }), "{n}: {error}");
    }
    let newer = Core {
        version: 1 << 32,
        ..base()
    };
    assert!(matches!(newer.open(), Err(VmcoreError::Unsupported(_))));
}

#[test]
fn a_core_that_is_cut_short_is_not_good() {
    let whole = Core::default().bytes();
    for len in (0..whole.len() - 1).step_by(97) {
        let cut = Vmcore::open(whole[..len].to_vec());
        let result = cut.and_then(|vmcore| vmcore.check(&Progress::new()));
        assert!(result.is_err(), "{len}");
    }
}

#[test]
fn unknown_sections_without_segments_are_no_memory() {
    let core = file(62, &[(".memory", vec![7; 4096])]);
    let error = Vmcore::open(core).unwrap_err();
    assert!(matches!(error, VmcoreError::Unsupported(_)), "{error}");
    assert!(error.to_string().contains(".memory"), "{error}");
}

/// A file with the beginning of a core, of any length, whose rest is a hole.
struct Sparse {
    bytes: Vec<u8>,
    len: u64,
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        assert!(buf.len() <= 2 << 20, "{} bytes at once", buf.len());
        for (at, byte) in (offset..).zip(buf) {
            *byte = self.bytes.get(at as usize).copied().unwrap_or(0);
        }
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

#[test]
fn a_list_in_a_hole_is_refused_at_once() {
    let pages = 1 << 40;
    let core = Core {
        nr_pages: Some(pages),
        nr_vcpus: 8192,
        ..Core::default()
    };
    let mut bytes = core.bytes();
    let lengths = [(3, 8192 * 5168), (4, pages << 12), (5, pages * 8)];
    let mut offset = 1 << 30;
    for (section, size) in lengths {
        let at = 64 + section * 64 + 24;
        bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(offset));
        bytes[at + 8..at + 16].copy_from_slice(&u64::to_le_bytes(size));
        offset += size;
    }
    let error = Vmcore::open(Sparse { bytes, len: offset }).unwrap_err();
    assert!(matches!(error, VmcoreError::Damaged { .. }), "{error}");
}
