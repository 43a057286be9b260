//! ELF dumps of 32-bit guests: virtual addresses of the kernel's own memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;

use guestdump::guest::paging::Budget;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::MemoryRange;
use guestdump::read::{Headers, Vmcore};
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, ElfOptions, Format, GuestInfo, GuestMemory, Machine, dump};

const MIB: u64 = 1 << 20;
const RAM: u64 = 0x4000_0000;
const VMALLOC: u64 = 0xf080_0000;

/// A guest with RAM from 1 GiB on, whose words are their guest-physical
/// addresses, and page tables of 32-bit Arm.
struct Guest {
    size: u64,
    /// MiB of the linear map.
    low: u64,
    lpae: bool,
}

impl Guest {
    /// The entry at `gpa`, if a table is there.
    fn entry(&self, gpa: u64) -> Option<u64> {
        if self.lpae {
            return self.long_entry(gpa);
        }
        let index = gpa.checked_sub(RAM + 0x4000)? / 4;
        if index >= 4096 {
            let page = gpa.checked_sub(RAM + 0x8000)? / 4;
            // A page of the vmalloc area.
            return (page < 256).then_some(u64::from(page == 1) * ((RAM + 0x12_3000) | 0x2));
        }
        let section = index
            .checked_sub(0xc00)
            .filter(|section| *section < self.low);
        if let Some(section) = section {
            return Some((RAM + section * MIB) | 0xc0e);
        }
        Some(u64::from(index == VMALLOC >> 20) * ((RAM + 0x8000) | 1))
    }

    fn long_entry(&self, gpa: u64) -> Option<u64> {
        let offset = gpa.checked_sub(RAM + 0x3000)?;
        let table = offset / 4096;
        let index = offset % 4096 / 8;
        match table {
            0 => Some(u64::from(index == 3) * ((RAM + 0x4000) | 3)),
            1 if index * 2 < self.low => Some((RAM + index * 2 * MIB) | 0x701),
            1 => Some(0),
            _ => None,
        }
    }

    fn info(&self) -> VmcoreinfoSource {
        let (swapper, lpae) = if self.lpae {
            ("c0003000", "CONFIG_ARM_LPAE=y\n")
        } else {
            ("c0004000", "")
        };
        let text = format!(
            "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(_stext)=c0100000\n\
             SYMBOL(swapper_pg_dir)={swapper}\n{lpae}"
        );
        VmcoreinfoSource::Bytes(text.into_bytes())
    }

    fn dump(&self, elf: ElfOptions) -> Vmcore {
        let guest = GuestInfo::new(Machine::Arm).vmcoreinfo(self.info());
        let mut sink = BufferSink::new();
        dump(self, &mut sink, &DumpOptions::new(guest, elf)).unwrap();
        Vmcore::open(sink).unwrap()
    }
}

impl GuestMemory for Guest {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(RAM, self.size).unwrap()]
    }
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let size = if self.lpae { 8 } else { 4 };
        for (at, bytes) in (gpa..).step_by(size).zip(buf.chunks_mut(size)) {
            let word = self.entry(at).unwrap_or(at);
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        Ok(())
    }
    /// Only the first two MiB have been touched.
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        let touched = MemoryRange::new(RAM, 2 * MIB).unwrap();
        Ok(touched.intersection(&range))
    }
}

/// Guest-virtual and guest-physical address and size of each PT_LOAD.
fn loads(vmcore: &Vmcore) -> Vec<(u64, u64, u64)> {
    let Headers::Elf {
        program_headers, ..
    } = vmcore.headers()
    else {
        panic!("no ELF");
    };
    let loads = program_headers[1..].iter();
    loads
        .map(|load| (load.vaddr, load.paddr, load.memsz))
        .collect()
}

#[test]
fn low_memory_of_arm_has_the_kernels_addresses() {
    for lpae in [false, true] {
        let small = Guest {
            size: 512 * MIB,
            low: 512,
            lpae,
        };
        let loads_of = |guest: &Guest| loads(&guest.dump(ElfOptions::new()));
        assert_eq!(loads_of(&small), [(0xc000_0000, RAM, 512 * MIB)], "{lpae}");
        // High memory below the kernel's addresses keeps its physical ones.
        let large = Guest {
            size: 1024 * MIB,
            low: 760,
            lpae,
        };
        let high = RAM + 760 * MIB;
        let expected = [(0xc000_0000, RAM, 760 * MIB), (high, high, 264 * MIB)];
        assert_eq!(loads_of(&large), expected, "{lpae}");
        // Above, it would take the kernel's.
        let largest = Guest {
            size: 2560 * MIB,
            low: 760,
            lpae,
        };
        let none = u32::MAX.into();
        let expected = [(0xc000_0000, RAM, 760 * MIB), (none, high, 1800 * MIB)];
        assert_eq!(loads_of(&largest), expected, "{lpae}");
    }
}

#[test]
fn paging_lists_what_the_tables_of_arm_map() {
    let guest = Guest {
        size: 64 * MIB,
        low: 64,
        lpae: false,
    };
    let vmcore = guest.dump(ElfOptions::new().paging(Budget::default()));
    let expected = [
        (VMALLOC + 0x1000, RAM + 0x12_3000, 0x1000),
        (0xc000_0000, RAM, 64 * MIB),
        (0xc000_0000, RAM, 64 * MIB),
    ];
    assert_eq!(loads(&vmcore), expected);
}

/// RAM of a PC with 3.5 GiB, as `pc` has it.
struct Pc;

impl GuestMemory for Pc {
    fn ranges(&self) -> Vec<MemoryRange> {
        vec![MemoryRange::new(0, 3584 * MIB).unwrap()]
    }
    fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        Ok(())
    }
    fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Ok(None)
    }
}

#[test]
fn high_memory_of_i386_does_not_take_the_kernels_addresses() {
    let text = b"OSRELEASE=6.1\nSYMBOL(_stext)=c1000000\n".to_vec();
    let guest = GuestInfo::new(Machine::I386).vmcoreinfo(VmcoreinfoSource::Bytes(text));
    let mut sink = BufferSink::new();
    dump(&Pc, &mut sink, &DumpOptions::new(guest, Format::Elf)).unwrap();
    let low = (0xc000_0000, 0, 896 * MIB);
    let high = (u32::MAX.into(), 896 * MIB, 2688 * MIB);
    assert_eq!(loads(&Vmcore::open(sink).unwrap()), [low, high]);
}

#[test]
fn loongarch_has_the_addresses_of_its_window() {
    let text = b"OSRELEASE=6.6\nPAGESIZE=16384\n".to_vec();
    let guest = GuestInfo::new(Machine::Loongarch64).vmcoreinfo(VmcoreinfoSource::Bytes(text));
    let mut sink = BufferSink::new();
    dump(&Pc, &mut sink, &DumpOptions::new(guest, Format::Elf)).unwrap();
    let expected = (0x9000_0000_0000_0000, 0, 3584 * MIB);
    assert_eq!(loads(&Vmcore::open(sink).unwrap()), [expected]);
}
