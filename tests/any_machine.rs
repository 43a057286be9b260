//! Guests of every architecture, with any page size, ranges, filter, format,
//! number of threads and kind of sink: what is written is what is read.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;

use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::sink::BufferSink;
use guestdump::{
    CpuState, DumpOptions, Error, Format, GuestInfo, GuestMemory, Machine, Progress, Refusal, arch,
    dump,
};
use proptest::prelude::*;
use testkit::{FaultySink, PAGE, Page, PageMemory, linux_formats, open, range};

const GIB: u64 = 1 << 30;

/// A guest and how to dump it.
#[derive(Debug, Clone)]
struct Case {
    machine: Machine,
    page_size: u64,
    /// Whether VMCOREINFO says the page size, or the caller.
    vmcoreinfo: bool,
    guest: PageMemory,
    cpus: usize,
    format: Format,
    threads: usize,
    /// Begin and length in bytes.
    filter: Option<(u64, u64)>,
    stream: bool,
}

fn any_page() -> impl Strategy<Value = Page> {
    prop_oneof![
        2 => Just(Page::Zero),
        2 => Just(Page::Untouched),
        2 => any::<u8>().prop_map(Page::Text),
        1 => any::<u8>().prop_map(Page::Random),
    ]
}

/// RAM whose ends are multiples of 4096 and of nothing else.
fn any_guest() -> impl Strategy<Value = PageMemory> {
    let start = prop::sample::select(vec![0, GIB, 2 * GIB]);
    let gap = prop_oneof![
        8 => (0u64..40).prop_map(|pages| pages * PAGE),
        1 => Just(GIB),
        1 => Just(4 * GIB),
    ];
    let range = (gap, prop::collection::vec(any_page(), 1..60));
    (start, prop::collection::vec(range, 1..6)).prop_map(|(mut at, ranges)| {
        PageMemory::new(ranges.into_iter().map(|(gap, pages)| {
            let start = at + gap;
            at = start + pages.len() as u64 * PAGE;
            (start, pages)
        }))
    })
}

fn any_case() -> impl Strategy<Value = Case> {
    let formats: Vec<_> = linux_formats().collect();
    let filter = (any::<prop::sample::Index>(), 0u64..PAGE, 1u64..80 * PAGE);
    (
        prop::sample::select(Machine::ALL),
        any::<prop::sample::Index>(),
        any::<bool>(),
        any_guest(),
        0usize..4,
        prop::sample::select(formats),
        1usize..5,
        prop::option::of(filter),
        any::<bool>(),
    )
        .prop_map(
            |(machine, size, vmcoreinfo, guest, cpus, format, threads, filter, stream)| {
                let sizes = machine.page_sizes();
                let pages: Vec<_> = guest.pages().map(|(gpa, _)| gpa).collect();
                Case {
                    machine,
                    page_size: sizes[size.index(sizes.len())],
                    vmcoreinfo,
                    filter: filter.map(|(at, inside, length)| {
                        (pages[at.index(pages.len())] + inside, length)
                    }),
                    guest,
                    cpus,
                    format,
                    threads,
                    stream: stream && !format.needs_positions(),
                }
            },
        )
}

fn cpu(machine: Machine) -> CpuState {
    match machine {
        Machine::X86_64 => arch::x86_64::Registers::default().into(),
        Machine::I386 => arch::i386::Registers::default().into(),
        Machine::Aarch64 | Machine::Aarch64Be => arch::aarch64::Registers::default().into(),
        Machine::Arm => arch::arm::Registers::default().into(),
        Machine::Ppc64 | Machine::Ppc64le => arch::ppc64::Registers::default().into(),
        Machine::S390x => arch::s390x::Registers::default().into(),
        Machine::Riscv64 | Machine::Riscv32 => arch::riscv::Registers::default().into(),
        Machine::Loongarch64 => arch::loongarch64::Registers::default().into(),
        other => panic!("{other} is new"),
    }
}

impl Case {
    fn options(&self) -> DumpOptions {
        let guest = GuestInfo::new(self.machine).cpus(vec![cpu(self.machine); self.cpus]);
        let guest = if self.vmcoreinfo {
            let text = format!("OSRELEASE=6.1.0\nPAGESIZE={}\n", self.page_size);
            guest.vmcoreinfo(VmcoreinfoSource::Bytes(text.into_bytes()))
        } else {
            guest
                .vmcoreinfo(VmcoreinfoSource::None)
                .page_size(self.page_size)
        };
        let options = DumpOptions::new(guest, self.format).threads(self.threads);
        match self.filter {
            Some((begin, length)) => options.filter(begin, length),
            None => options,
        }
    }

    /// Bytes in a page of the dump.
    fn unit(&self) -> u64 {
        let aligned = |r: &MemoryRange| (r.start() | r.end()).is_multiple_of(self.page_size);
        match self.format {
            Format::Elf if !self.guest.ranges().iter().all(aligned) => PAGE,
            _ => self.page_size,
        }
    }

    /// The page frames of RAM, and those in the dump.
    fn frames(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let unit = self.unit();
        let ram: BTreeSet<_> = self.guest.pages().map(|(gpa, _)| gpa / unit).collect();
        let inside = |frame: &u64| {
            self.filter.is_none_or(|(begin, length)| {
                frame * unit < begin + length && begin < (frame + 1) * unit
            })
        };
        let dumped = ram.iter().copied().filter(inside).collect();
        (ram, dumped)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_guest_in_any_format_is_read_back(case in any_case()) {
        let mut sink = FaultySink {
            stream: case.stream,
            short_writes: true,
            ..FaultySink::default()
        };
        let (ram, dumped) = case.frames();
        let summary = match dump(&case.guest, &mut sink, &case.options()) {
            Err(Error::Refused(Refusal::EmptyFilter { .. })) if dumped.is_empty() => return Ok(()),
            // Page frames of Arm count from where RAM begins, and kdump's
            // header has 32 bits for that.
            Err(Error::Refused(Refusal::AddressTooHigh { .. })) => {
                prop_assert_eq!(case.machine, Machine::Arm);
                prop_assert!(case.format != Format::Elf);
                prop_assert!(case.guest.ranges()[0].start() >= 4 * GIB);
                return Ok(());
            }
            result => result.unwrap(),
        };
        let bytes = sink.into_bytes();
        let vmcore = open(&bytes);
        let unit = case.unit();
        prop_assert_eq!(summary.page_size, unit);
        prop_assert_eq!(summary.pages, dumped.len() as u64);
        prop_assert_eq!(vmcore.cpus(), case.cpus);
        // A riscv32 guest with memory above 4 GiB has an ELF dump of 64 bits,
        // which only its CPUs tell apart.
        if case.cpus > 0 || case.machine != Machine::Riscv32 || case.format != Format::Elf {
            prop_assert_eq!(vmcore.machine(), Some(case.machine));
        }

        let mut ranges: Vec<MemoryRange> = Vec::new();
        for frame in &dumped {
            let page = range(frame * unit, unit);
            match ranges.last_mut() {
                Some(last) if last.end() == page.start() => {
                    *last = range(last.start(), last.size() + unit);
                }
                _ => ranges.push(page),
            }
        }
        prop_assert_eq!(vmcore.ranges(), ranges.clone());
        let mut page = vec![0; PAGE as usize];
        for gpa in ranges.iter().flat_map(|r| (r.start()..r.end()).step_by(PAGE as usize)) {
            vmcore.read(gpa, &mut page).unwrap();
            let expected = case.guest.page(gpa).unwrap_or(Page::Zero);
            prop_assert!(page == expected.bytes(), "{gpa:#x}");
        }

        let report = vmcore.check(&Progress::new()).unwrap();
        // An ELF dump may not tell the page size, and of RAM that is not made
        // of whole pages a filter may leave some.
        if report.pages == summary.pages {
            prop_assert_eq!(report.zero_pages, summary.zero_pages);
        } else {
            prop_assert!(case.format == Format::Elf);
            prop_assert!(unit < case.page_size || !case.vmcoreinfo);
        }
        if case.format != Format::Elf {
            let end = *dumped.last().unwrap();
            let excluded = ram.range(..=end).count() - dumped.len();
            prop_assert_eq!(report.excluded_pages, excluded as u64);
        }

        // What the dump says of itself is enough to write it again.
        if case.filter.is_none() && case.vmcoreinfo && vmcore.machine() == Some(case.machine) {
            let mut again = BufferSink::new();
            let options = vmcore.options(case.format).unwrap();
            dump(&vmcore, &mut again, &options).unwrap();
            prop_assert!(again.into_bytes() == bytes);
        }
    }
}
