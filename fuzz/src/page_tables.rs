//! Page tables in arbitrary memory.

use std::io;

use arbitrary::{Result, Unstructured};
use guestdump::guest::paging::{
    Aarch64, AddressSpace, Budget, Mappings, Ppc64Radix, Riscv, S390x, X86, X86Mode, mappings,
};
use guestdump::memory::MemoryRange;
use guestdump::{ByteOrder, GuestMemory, Progress};

use super::allocator::bounded;
use super::ram::Ram;

/// RAM in bytes.
const SIZE: usize = 256 << 10;

const BUDGET: Budget = Budget {
    mappings: 4096,
    table_bytes: 4 << 20,
};

fn address_space(u: &mut Unstructured<'_>) -> Result<AddressSpace> {
    Ok(match u.int_in_range(0..=9)? {
        kind @ 0..=4 => {
            let mode = match kind {
                0 => X86Mode::TwoLevel { pse: false },
                1 => X86Mode::TwoLevel { pse: true },
                2 => X86Mode::Pae,
                3 => X86Mode::FourLevel,
                _ => X86Mode::FiveLevel,
            };
            AddressSpace::X86(X86 {
                cr3: u.arbitrary()?,
                mode,
            })
        }
        5 => {
            let order = if u.arbitrary()? {
                ByteOrder::Big
            } else {
                ByteOrder::Little
            };
            AddressSpace::Aarch64(Aarch64 {
                ttbr0: u.arbitrary()?,
                ttbr1: u.arbitrary()?,
                tcr: u.arbitrary()?,
                order,
            })
        }
        6 => AddressSpace::Riscv(Riscv::Bits32 {
            satp: u.arbitrary()?,
        }),
        7 => AddressSpace::Riscv(Riscv::Bits64 {
            satp: u.arbitrary()?,
        }),
        8 => AddressSpace::S390x(S390x {
            asce: u.arbitrary()?,
        }),
        _ => AddressSpace::Ppc64(Ppc64Radix {
            root: u.arbitrary()?,
            page_size: *u.choose(&[0x1000, 0x1_0000])?,
        }),
    })
}

pub fn page_tables(input: &[u8]) {
    let _ = parse(&mut Unstructured::new(input));
}

fn parse(u: &mut Unstructured<'_>) -> Result<()> {
    let space = address_space(u)?;
    let other = address_space(u)?;
    let start = if u.arbitrary()? { 0 } else { 1 << 30 };
    let mut ram = Ram::new(start, SIZE, &[]);
    for _ in 0..u.int_in_range(0..=64)? {
        // Entries of a table that go up in steps.
        let at: u16 = u.arbitrary()?;
        let count: u8 = u.arbitrary()?;
        let (first, step): (u64, u32) = (u.arbitrary()?, u.arbitrary()?);
        let words = ram.bytes.chunks_exact_mut(8).skip(at.into());
        for (n, word) in words.take(usize::from(count) + 1).enumerate() {
            let up = u64::from(step).wrapping_mul(n as u64);
            let entry = first.wrapping_add(up);
            let bytes = match space {
                AddressSpace::S390x(_) | AddressSpace::Ppc64(_) => entry.to_be_bytes(),
                _ => entry.to_le_bytes(),
            };
            word.copy_from_slice(&bytes);
        }
    }
    walk(&ram, space, other);
    Ok(())
}

fn walk(ram: &Ram, space: AddressSpace, other: AddressSpace) {
    let read = |gpa: u64, buf: &mut [u8]| -> io::Result<()> {
        gpa.checked_add(buf.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        ram.read(gpa, buf)
    };
    let ranges = ram.ranges();
    let list = |spaces: &[AddressSpace]| {
        // The mappings, twice while the list grows; visits of tables.
        bounded((1 << 20) + 200 * BUDGET.mappings, || {
            mappings(spaces, &read, &ranges, BUDGET, &Progress::new()).unwrap()
        })
    };
    let found = list(&[space]);
    sound(&found, ranges[0]);
    for mapping in found.list.iter().take(64) {
        for offset in [0, mapping.size / 2, mapping.size - 1] {
            let gpa = space.translate(&read, mapping.vaddr + offset).unwrap();
            assert_eq!(gpa, mapping.gpa + offset, "{mapping:x?} {space:x?}");
        }
    }
    sound(&list(&[space, other, space]), ranges[0]);
    for vaddr in [0, 1 << 31, 1 << 47, 0xffff_8000_0000_0000, u64::MAX] {
        let _ = space.translate(&read, vaddr);
    }
}

fn sound(found: &Mappings, ram: MemoryRange) {
    assert!(found.list.is_sorted());
    assert!(found.list.len() <= BUDGET.mappings);
    for mapping in &found.list {
        assert!(mapping.size > 0 && ram.contains(mapping.gpa, mapping.size));
        assert!(mapping.vaddr.checked_add(mapping.size - 1).is_some());
    }
}
