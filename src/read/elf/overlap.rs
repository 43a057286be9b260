//! PT_LOADs that contain the same guest-physical memory.
#![forbid(unsafe_code)]

use crate::memory::MIN_PAGE_SIZE;
use crate::read::check::stop_if_cancelled;
use crate::read::stored::Piece;
use crate::read::{Input, VmcoreError};
use crate::workers::Progress;

/// Memory that lies at two offsets of the dump.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overlap {
    /// The memory, at the offset from which it is read.
    piece: Piece,
    /// The other offset.
    other: u64,
}

/// Pages of one overlap that are compared when a dump is opened.
const SAMPLES: u64 = 64;

/// Pages of all overlaps together that are compared when a dump is opened.
const ALL_SAMPLES: u64 = 16 << 10;

/// How many times the length of the file its overlaps may have together.
const OVERLAPPING: u64 = 8;

/// The most bytes that are compared at once.
const AT_ONCE: u64 = 64 << 10;

/// Puts pieces of memory, which lie in the file, in the order of their addresses. Where several contain the same
/// memory, the one with the lowest address is kept. Some pages of the others are compared with it.
///
/// # Errors
///
/// - [`VmcoreError::Conflict`] if two pieces have different bytes of the same memory;
/// - [`VmcoreError::Damaged`] if they overlap far more than any writer's;
/// - [`VmcoreError::Read`] if the input cannot be read.
pub(super) fn place(
    input: &Input,
    pieces: Vec<Piece>,
) -> Result<(Vec<Piece>, Vec<Overlap>), VmcoreError> {
    let mut placed: Vec<Piece> = Vec::new();
    let mut overlaps = Vec::new();
    let mut samples = ALL_SAMPLES;
    let (most, mut bytes) = (4 * pieces.len() + 64, 0u64);
    for piece in joined(pieces) {
        let mut at = piece.paddr;
        let first = placed.partition_point(|before| before.end() <= at);
        for before in &placed[first..] {
            if at >= piece.end() {
                break;
            }
            let end = before.end().min(piece.end());
            let overlap = Overlap {
                piece: before.part(at, end),
                other: piece.part(at, end).offset.unwrap_or_default(),
            };
            samples -= overlap.compare_some(input, samples)?;
            overlaps.push(overlap);
            bytes = bytes.saturating_add(end - at);
            // Each piece overlaps all others: no writer makes such a file, and comparing takes long.
            if overlaps.len() > most || bytes > input.stored().saturating_mul(OVERLAPPING) {
                let what = "its PT_LOADs contain the same memory again and again";
                return Err(VmcoreError::damaged(0, what));
            }
            at = end;
        }
        if at < piece.end() {
            placed.push(piece.part(at, piece.end()));
        }
    }
    Ok((placed, overlaps))
}

/// Joins pieces that continue or repeat one another, in memory and in the file alike. The result
/// is in the order of addresses, then of offsets.
fn joined(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let shift = |piece: &Piece| piece.offset.unwrap_or_default().wrapping_sub(piece.paddr);
    pieces.sort_by_key(|piece| (shift(piece), piece.paddr));
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if shift(last) == shift(&piece) && piece.paddr <= last.end() => {
                last.len = last.len.max(piece.end() - last.paddr);
            }
            _ => joined.push(piece),
        }
    }
    joined.sort_by_key(|piece| (piece.paddr, piece.offset));
    joined
}

impl Overlap {
    /// Compares up to `most` pages, spread over the memory. Returns their number.
    fn compare_some(&self, input: &Input, most: u64) -> Result<u64, VmcoreError> {
        let pages = self.piece.len.div_ceil(MIN_PAGE_SIZE);
        let count = pages.min(SAMPLES).min(most);
        for n in 0..count {
            // The first and the last page are among them.
            let page = if count > 1 {
                n * (pages - 1) / (count - 1)
            } else {
                0
            };
            let at = page * MIN_PAGE_SIZE;
            self.compare_part(input, at, MIN_PAGE_SIZE.min(self.piece.len - at))?;
        }
        Ok(count)
    }

    /// Compares all of the memory.
    pub(super) fn compare(&self, input: &Input, progress: &Progress) -> Result<(), VmcoreError> {
        let from = self.piece.offset.unwrap_or_default();
        let mut at = 0;
        while at < self.piece.len {
            stop_if_cancelled(progress)?;
            // Holes of both copies are equal.
            let hole = |offset: u64| input.skip_hole(offset + at, offset + self.piece.len) - offset;
            at = hole(from).min(hole(self.other)).max(at);
            let len = AT_ONCE.min(self.piece.len - at);
            self.compare_part(input, at, len)?;
            at += len;
        }
        Ok(())
    }

    fn compare_part(&self, input: &Input, at: u64, len: u64) -> Result<(), VmcoreError> {
        let from = self.piece.offset.unwrap_or_default();
        let (mut one, mut two) = (vec![0; len as usize], vec![0; len as usize]);
        input.read_at(from + at, &mut one)?;
        input.read_at(self.other + at, &mut two)?;
        match one.iter().zip(&two).position(|(one, two)| one != two) {
            None => Ok(()),
            Some(n) => Err(VmcoreError::Conflict {
                gpa: self.piece.paddr + at + n as u64,
                offsets: [from + at + n as u64, self.other + at + n as u64],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    fn piece(paddr: u64, len: u64, offset: u64) -> Piece {
        Piece {
            paddr,
            len,
            offset: Some(offset),
        }
    }

    fn input(change: Option<usize>) -> Input {
        let mut bytes: Vec<u8> = [[1; 0x4000], [1; 0x4000]].concat();
        if let Some(at) = change {
            bytes[at] = 2;
        }
        Input::open(Arc::new(bytes)).unwrap()
    }

    #[test]
    fn pieces_at_one_offset_are_joined_whatever_lies_between() {
        let pieces = vec![
            piece(0x1000, 0x2000, 0),
            piece(0x1800, 0x1000, 0x4800),
            piece(0x2000, 0x2000, 0x1000),
        ];
        let (placed, overlaps) = place(&input(None), pieces).unwrap();
        assert_eq!(placed, [piece(0x1000, 0x3000, 0)]);
        assert_eq!(overlaps.len(), 1);
    }

    #[test]
    fn equal_copies_are_one_memory_and_different_ones_a_conflict() {
        let pieces = || vec![piece(0, 0x3000, 0), piece(0x1000, 0x3000, 0x5000)];
        let (placed, _) = place(&input(None), pieces()).unwrap();
        assert_eq!(placed, [piece(0, 0x3000, 0), piece(0x3000, 0x1000, 0x7000)]);
        let error = place(&input(Some(0x5123)), pieces()).unwrap_err();
        let VmcoreError::Conflict { gpa, offsets } = error else {
            panic!("{error}");
        };
        assert_eq!((gpa, offsets), (0x1123, [0x1123, 0x5123]));
    }

    #[test]
    fn a_piece_inside_an_overlap_is_compared_once() {
        let pieces = vec![
            piece(0, 0x3000, 0),
            piece(0x1000, 0x5000, 0x2000),
            piece(0x1000, 0x1000, 0x7000),
        ];
        let (placed, overlaps) = place(&input(None), pieces).unwrap();
        assert_eq!(placed, [piece(0, 0x3000, 0), piece(0x3000, 0x3000, 0x4000)]);
        assert_eq!(overlaps.len(), 2);
    }

    #[test]
    fn memory_that_is_there_again_and_again_is_damage() {
        let page = 0x1000;
        let pieces = (0..2000u64).map(|n| piece(n * page, 7 * page, 7 - n % 8));
        let error = place(&input(None), pieces.collect()).unwrap_err();
        assert!(matches!(error, VmcoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_check_finds_a_difference_between_the_samples() {
        let len = 1 << 20;
        let mut bytes = vec![1; 2 * len];
        bytes[len + 5 * 0x1000] = 2;
        let input = Input::open(Arc::new(bytes)).unwrap();
        let size = len as u64;
        let (_, overlaps) = place(&input, vec![piece(0, size, 0), piece(0, size, size)]).unwrap();
        let error = overlaps[0].compare(&input, &Progress::new()).unwrap_err();
        assert!(
            matches!(error, VmcoreError::Conflict { gpa: 0x5000, .. }),
            "{error}"
        );
    }
}
