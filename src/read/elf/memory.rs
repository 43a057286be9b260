//! Guest-physical memory in the PT_LOAD segments of an ELF core.
//!
//! A PT_LOAD has bytes in the file, and states memory behind them by p_memsz: zeroes, where it has
//! any bytes (System V ABI, chapter 5), as crash, drgn and gdb read it. A PT_LOAD without bytes
//! names memory that was not dumped.
#![forbid(unsafe_code)]

use crate::abi::Class;
use crate::elf::{PT_LOAD, ProgramHeader};
use crate::guest::paging::Mapping;
use crate::memory::{Lack, MIN_PAGE_SIZE, MemoryRange, difference, union};
use crate::read::elf::overlap::{Overlap, place};
use crate::read::stored::{Piece, StoredMemory};
use crate::read::{Input, VmcoreError};

/// A guest's memory, as the PT_LOADs state it.
#[derive(Debug)]
pub(super) struct PhysicalMemory {
    pub(super) memory: StoredMemory,
    /// Memory that a PT_LOAD states and that is not in the file. It ascends.
    pub(super) absent: Vec<MemoryRange>,
    pub(super) lacks: Vec<Lack>,
    /// Memory that several PT_LOADs contain at different offsets.
    pub(super) overlaps: Vec<Overlap>,
}

/// Finds the guest-physical memory that is in the dump, and what is not.
///
/// Several PT_LOADs may contain the same memory, as in dumps with paging and in those of
/// `/proc/vmcore`.
///
/// # Errors
///
/// - [`VmcoreError::Conflict`] if they contain different bytes of it;
/// - [`VmcoreError::Damaged`] if they state far more memory than there can be.
pub(super) fn physical_memory(
    input: &Input,
    headers: &[ProgramHeader],
    class: Class,
) -> Result<PhysicalMemory, VmcoreError> {
    let mut stored = Vec::new();
    let mut zeroes = Vec::new();
    let mut absent = Vec::new();
    let mut cut: Option<&ProgramHeader> = None;
    let mut unplaced = Unplaced::default();
    for header in headers.iter().filter(|header| header.kind == PT_LOAD) {
        let size = header.filesz.max(header.memsz);
        if size == 0 || is_no_ram(header, class) {
            continue;
        }
        if !has_address(header.paddr, size) {
            unplaced.add(size);
            continue;
        }
        let in_file = bytes_in_file(input, header);
        let piece = |from: u64, to: u64, offset| Piece {
            paddr: header.paddr + from,
            len: to - from,
            offset,
        };
        if in_file > 0 {
            stored.push(piece(0, in_file, Some(header.offset)));
        }
        if in_file < header.filesz {
            absent.push(piece(in_file, header.filesz, None));
            cut = cut
                .filter(|first| first.offset <= header.offset)
                .or(Some(header));
        }
        if header.memsz > header.filesz {
            let list = if header.filesz > 0 {
                &mut zeroes
            } else {
                &mut absent
            };
            list.push(piece(header.filesz, header.memsz, None));
        }
    }
    let absent = union(absent.iter().filter_map(pages_of).collect());
    let claims = zeroes
        .iter()
        .filter_map(pages_of)
        .chain(absent.iter().copied());
    let claimed: u64 = union(claims.collect())
        .iter()
        .map(|range| range.size())
        .sum();
    let limit = input.largest_claim();
    if claimed > limit {
        return Err(VmcoreError::damaged(
            0,
            format!(
                "its PT_LOADs state {claimed} bytes of memory that are not in the file, more than {limit}"
            ),
        ));
    }
    let (mut placed, overlaps) = place(input, stored)?;
    add_zeroes(&mut placed, zeroes);
    let memory = StoredMemory::of_pieces(placed);
    let ranges = union(memory.ranges().collect());
    let cut = cut.map(|header| Lack::CutShort {
        what: "a PT_LOAD's memory",
        offset: header.offset,
        end: input.len(),
    });
    Ok(PhysicalMemory {
        absent: difference(&absent, &ranges),
        memory,
        lacks: cut.into_iter().chain(unplaced.lack()).collect(),
        overlaps,
    })
}

/// Returns how many bytes of the PT_LOAD are in the file. Of a page that is cut, none are.
fn bytes_in_file(input: &Input, header: &ProgramHeader) -> u64 {
    let left = input.len().saturating_sub(header.offset);
    if left >= header.filesz {
        return header.filesz;
    }
    let end = header.paddr + left;
    (end - end % MIN_PAGE_SIZE).saturating_sub(header.paddr)
}

/// PT_LOADs that state no guest-physical address, such as those of `/proc/kcore` for vmalloc, whose
/// p_paddr is -1.
#[derive(Default)]
struct Unplaced {
    segments: u64,
    bytes: u64,
}

impl Unplaced {
    fn add(&mut self, bytes: u64) {
        self.segments += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn lack(self) -> Option<Lack> {
        let Self { segments, bytes } = self;
        (segments > 0).then_some(Lack::NoAddress { segments, bytes })
    }
}

/// Whether the PT_LOAD maps what is no RAM, such as the memory of a device. QEMU gives it an offset of
/// -1 and no bytes. Source: QEMU `dump/dump.c`, `get_offset_range`.
fn is_no_ram(header: &ProgramHeader, class: Class) -> bool {
    header.filesz == 0 && header.offset == all_ones(class)
}

/// Returns the largest number in a header's address or offset.
fn all_ones(class: Class) -> u64 {
    match class {
        Class::Bits32 => u32::MAX.into(),
        Class::Bits64 => u64::MAX,
    }
}

/// Whether `size` bytes fit below the last page of the address space.
fn has_address(paddr: u64, size: u64) -> bool {
    let end = paddr.checked_add(size);
    end.is_some_and(|end| end <= u64::MAX - MIN_PAGE_SIZE)
}

/// Returns the pages that have a byte of the piece.
fn pages_of(piece: &Piece) -> Option<MemoryRange> {
    let start = piece.paddr - piece.paddr % MIN_PAGE_SIZE;
    MemoryRange::new(start, piece.end().next_multiple_of(MIN_PAGE_SIZE) - start).ok()
}

/// Adds the parts of `zeroes` that no piece of `placed` contains.
fn add_zeroes(placed: &mut Vec<Piece>, mut zeroes: Vec<Piece>) {
    zeroes.sort_by_key(|piece| piece.paddr);
    let mut more = Vec::new();
    let mut end = 0;
    for zero in zeroes {
        let mut at = zero.paddr.max(end);
        let first = placed.partition_point(|piece| piece.end() <= at);
        for piece in placed[first..]
            .iter()
            .take_while(|piece| piece.paddr < zero.end())
        {
            if piece.paddr > at {
                more.push(zero.part(at, piece.paddr));
            }
            at = at.max(piece.end());
        }
        if at < zero.end() {
            more.push(zero.part(at, zero.end()));
        }
        end = end.max(zero.end());
    }
    if !more.is_empty() {
        placed.extend(more);
        placed.sort_by_key(|piece| piece.paddr);
    }
}

/// Returns the guest-virtual addresses that PT_LOADs of `class` state. One that is 0 or repeats the
/// physical address states none, and neither does -1, which kexec-tools gives high memory of 32-bit
/// kernels (`crashdump-elf.c`).
pub(super) fn virtual_addresses(headers: &[ProgramHeader], class: Class) -> Vec<Mapping> {
    let loads = headers.iter().filter(|header| header.kind == PT_LOAD);
    let max = all_ones(class);
    loads
        .filter(|load| load.vaddr != 0 && load.vaddr != load.paddr && load.vaddr != max)
        .filter(|load| load.filesz > 0)
        .map(|load| Mapping {
            vaddr: load.vaddr,
            gpa: load.paddr,
            size: load.filesz.max(load.memsz),
        })
        .filter(|mapping| has_address(mapping.gpa, mapping.size))
        .filter(|mapping| {
            let last = mapping.vaddr.checked_add(mapping.size - 1);
            last.is_some_and(|last| last <= max)
        })
        .collect()
}
