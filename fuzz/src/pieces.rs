//! Long sparse files and memories in short inputs: pieces, each with an
//! offset of 3 bytes, a length of 2, and its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use guestdump::memory::is_zero;
use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub offset: u32,
    pub bytes: Vec<u8>,
}

/// No offset is larger.
pub const MAX_OFFSET: u32 = (1 << 24) - 1;

/// The pieces of an input. What is cut short has the bytes that there are.
pub fn decode(mut input: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    while let Some((head, rest)) = input.split_first_chunk::<5>() {
        let [a, b, c, len_low, len_high] = *head;
        let len = usize::from(u16::from_le_bytes([len_low, len_high]));
        let (bytes, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(Piece {
            offset: u32::from_le_bytes([a, b, c, 0]),
            bytes: bytes.to_vec(),
        });
        input = behind;
    }
    pieces
}

/// The input that gives these pieces.
#[allow(dead_code)]
pub fn encode(pieces: &[Piece]) -> Vec<u8> {
    let mut input = Vec::new();
    for piece in pieces {
        assert!(piece.offset <= MAX_OFFSET);
        let len = u16::try_from(piece.bytes.len()).unwrap();
        input.extend_from_slice(&piece.offset.to_le_bytes()[..3]);
        input.extend_from_slice(&len.to_le_bytes());
        input.extend_from_slice(&piece.bytes);
    }
    input
}

/// The pieces of `bytes` that are not zero; the last one is there in any
/// case, for the length.
#[allow(dead_code)]
pub fn of_bytes(bytes: &[u8]) -> Vec<Piece> {
    const GRAIN: usize = 64;
    let mut pieces: Vec<Piece> = Vec::new();
    let last = bytes.len().saturating_sub(1) / GRAIN;
    for (number, part) in bytes.chunks(GRAIN).enumerate() {
        if is_zero(part) && number != last {
            continue;
        }
        let offset = (number * GRAIN) as u32;
        match pieces.last_mut() {
            Some(piece) if piece.offset + piece.bytes.len() as u32 == offset => {
                piece.bytes.extend_from_slice(part);
            }
            _ => pieces.push(Piece {
                offset,
                bytes: part.to_vec(),
            }),
        }
    }
    pieces
}

/// Length of a file of pieces.
pub fn len(pieces: &[Piece]) -> usize {
    let end = |piece: &Piece| piece.offset as usize + piece.bytes.len();
    pieces.iter().map(end).max().unwrap_or(0)
}

/// A file in memory.
pub fn empty_file() -> File {
    memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap().into()
}

pub fn file_of_bytes(bytes: &[u8]) -> File {
    let file = empty_file();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// A file with holes.
pub fn file(pieces: &[Piece]) -> File {
    let file = empty_file();
    for piece in pieces {
        file.write_all_at(&piece.bytes, piece.offset.into())
            .unwrap();
    }
    file
}

/// All bytes of a file.
pub fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
