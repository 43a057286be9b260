//! Long sparse files and memories in short inputs: pieces, each with an
//! offset of 3 bytes, a length of 2, and its bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use guestdump::memory::is_zero;
use guestdump::read::ReadAt;
use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub offset: u32,
    pub bytes: Vec<u8>,
}

/// The largest offset.
pub const MAX_OFFSET: u32 = (1 << 24) - 1;

/// Returns the pieces of an input. The last piece may be cut short.
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

/// Returns the input that decodes to these pieces.
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

/// Returns the pieces of `bytes` that are not zero, and the last piece, which
/// keeps the length.
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

/// Returns the length of a file of pieces.
pub fn len(pieces: &[Piece]) -> usize {
    let end = |piece: &Piece| piece.offset as usize + piece.bytes.len();
    pieces.iter().map(end).max().unwrap_or(0)
}

/// Makes a file in memory.
pub fn empty_file() -> File {
    memfd_create("pieces", MemfdFlags::CLOEXEC).unwrap().into()
}

/// The bytes of pieces, with holes between them: a sparse file without a file
/// system. A piece overrides the pieces before it.
pub struct Sparse {
    blocks: BTreeMap<u64, [u8; Self::BLOCK as usize]>,
    len: u64,
}

impl Sparse {
    /// Bytes in a block. A block is data or a hole as a whole.
    const BLOCK: u64 = 4096;

    pub fn new(pieces: &[Piece]) -> Self {
        let mut blocks = BTreeMap::new();
        for piece in pieces {
            let mut rest = &piece.bytes[..];
            let mut at = u64::from(piece.offset);
            while !rest.is_empty() {
                let block = blocks.entry(at / Self::BLOCK).or_insert([0; 4096]);
                let into = &mut block[(at % Self::BLOCK) as usize..];
                let n = into.len().min(rest.len());
                into[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
                at += n as u64;
            }
        }
        let len = len(pieces) as u64;
        Self { blocks, len }
    }

    /// The same with a length of `len` bytes, whatever the pieces' length.
    #[must_use]
    pub fn with_len(mut self, len: u64) -> Self {
        self.len = len;
        self
    }
}

impl ReadAt for Sparse {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let from = (at % Self::BLOCK) as usize;
            let n = rest.len().min(Self::BLOCK as usize - from);
            let (part, after) = rest.split_at_mut(n);
            match self.blocks.get(&(at / Self::BLOCK)) {
                Some(block) => part.copy_from_slice(&block[from..from + n]),
                None => part.fill(0),
            }
            rest = after;
            at += n as u64;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        // Bytes after the end count as data: they are lost.
        let data = self.blocks.range(offset / Self::BLOCK..).next();
        let lost = self.len.max(offset)..end;
        let extent = data.map_or(lost, |(block, _)| {
            let start = block * Self::BLOCK;
            start.max(offset)..(start + Self::BLOCK).min(end)
        });
        Ok((extent.start < extent.end).then_some(extent))
    }
}

/// Returns all bytes of a file.
pub fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
