//! The raw form of a dump: the bytes of the input, or what a flattened input
//! unfolds to.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::kdump::flattened::FileHeader;
use crate::memory::{Lack, MIN_PAGE_SIZE};
use crate::read::error::VmcoreError;
use crate::read::flattened::Index;
use crate::read::kind::FileKind;
use crate::read::read_at::ReadAt;

/// The raw form of a dump, read by offset.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    bytes: Arc<dyn ReadAt>,
    /// Length of the raw form in bytes.
    len: u64,
    /// Length of the input in bytes.
    stored: u64,
    /// The records of a flattened input.
    index: Option<Index>,
}

/// RAM for each byte of the file that a dump may state without its bytes. A reader takes one bit
/// of memory for each page of it.
const CLAIM: u64 = 8 * MIN_PAGE_SIZE;

/// RAM that a dump of any length may state, in bytes.
const SMALL_CLAIM: u64 = 64 << 30;

impl ReadAt for Input {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Ok(Self::read_at(self, offset, buf)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        Self::next_data(self, offset, end)
    }
}

/// Bytes in which [`Input::skip_hole`] looks for data before it asks for the
/// rest.
const NEAR: u64 = 64 << 10;

impl Input {
    pub(crate) fn open(bytes: Arc<dyn ReadAt>) -> Result<Self, VmcoreError> {
        let len = ReadAt::len(&*bytes).map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported => VmcoreError::Unsupported(format!(
                "{source}; write it to one first (guestdump rearrange takes a flattened stream)"
            )),
            _ => VmcoreError::Read {
                offset: 0,
                len: 0,
                source,
            },
        })?;
        let mut input = Self {
            bytes,
            len,
            stored: len,
            index: None,
        };
        let mut head = [0; FileHeader::FIELDS];
        let n = input.len.min(head.len() as u64) as usize;
        input.read_at(0, &mut head[..n])?;
        match FileHeader::decode(&head[..n]) {
            None => {}
            Some(FileHeader::CURRENT) => {
                let index = Index::new(&*input.bytes, input.len)?;
                input.len = index.raw_len();
                input.index = Some(index);
            }
            Some(FileHeader { kind, version }) => {
                return Err(VmcoreError::Unsupported(format!(
                    "flattened format of type {kind}, version {version}"
                )));
            }
        }
        Ok(input)
    }

    /// The kind of the raw form, if its bytes tell it.
    pub(crate) fn kind(&self) -> Result<Option<FileKind>, VmcoreError> {
        FileKind::of(self).map_err(|source| VmcoreError::Read {
            offset: 0,
            len: FileKind::HEAD_SIZE as u64,
            source,
        })
    }

    /// Length of the raw form in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that the input really has. A flattened input may unfold to more.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// Bytes of memory that the dump may state and not contain, so that a reader takes memory in
    /// proportion to the file.
    pub(crate) fn largest_claim(&self) -> u64 {
        self.stored.saturating_mul(CLAIM).max(SMALL_CLAIM)
    }

    /// Returns the place where a flattened input ends without its end record.
    pub(crate) fn cut(&self) -> Option<Lack> {
        self.index.as_ref()?.cut()
    }

    /// Whether the dump has these bytes: they lie before its end, and in a flattened one that is cut
    /// short, a record contains them.
    pub(crate) fn holds(&self, offset: u64, len: u64) -> bool {
        self.contains(offset, len)
            && match &self.index {
                Some(index) if index.cut().is_some() => index.contains(offset, len),
                _ => true,
            }
    }

    pub(crate) fn is_flattened(&self) -> bool {
        self.index.is_some()
    }

    /// The input itself, unless it has to be unfolded.
    pub(crate) fn plain(&self) -> Option<&Arc<dyn ReadAt>> {
        self.index.is_none().then_some(&self.bytes)
    }

    /// Fills all of `buf`.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VmcoreError> {
        let result = if self.contains(offset, buf.len() as u64) {
            match &self.index {
                None => self.bytes.read_at(offset, buf),
                Some(index) => index.read_at(&*self.bytes, offset, buf),
            }
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        };
        result.map_err(|source| VmcoreError::Read {
            offset,
            len: buf.len() as u64,
            source,
        })
    }

    /// Reads `len` bytes, at most `max`. The limit is needed because a sparse
    /// or flattened file of a few bytes can claim any length.
    pub(crate) fn read_vec(
        &self,
        what: &'static str,
        offset: u64,
        len: u64,
        max: u64,
    ) -> Result<Vec<u8>, VmcoreError> {
        self.require(what, offset, len)?;
        if len > self.stored {
            return Err(VmcoreError::damaged(
                offset,
                format!("{what} of {len} bytes, more than {}", self.stored),
            ));
        }
        if len > max {
            return Err(VmcoreError::Unsupported(format!(
                "{what} at offset {offset} have {len} bytes; at most {max} are read"
            )));
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fails unless the dump has `len` bytes at `offset`.
    pub(crate) fn require(
        &self,
        what: &'static str,
        offset: u64,
        len: u64,
    ) -> Result<(), VmcoreError> {
        if self.contains(offset, len) {
            return Ok(());
        }
        Err(VmcoreError::Truncated {
            what,
            offset,
            end: self.len,
        })
    }

    pub(crate) fn contains(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// Finds the first extent between `offset` and `end` that may contain
    /// anything but zeroes, as [`ReadAt::next_data`] does.
    pub(crate) fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        match &self.index {
            None => self.bytes.next_data(offset, end),
            Some(index) => {
                let start = index.next_data(offset).max(offset);
                Ok((start < end).then_some(start..end))
            }
        }
    }

    /// Returns the first offset from `offset` on that may contain anything but
    /// zeroes; `end` if there is none before it.
    pub(crate) fn skip_hole(&self, offset: u64, end: u64) -> u64 {
        let near = end.min(offset.saturating_add(NEAR));
        // The end of an extent takes time to find, unless the extent is short.
        for (from, to) in [(offset, near), (near, end)] {
            match self.next_data(from, to) {
                Ok(Some(data)) => return data.start,
                Ok(None) => {}
                // A source that cannot tell has data everywhere.
                Err(_) => return from,
            }
        }
        end
    }
}
