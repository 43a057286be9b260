//! A dump's bytes: those of a file, or what a flattened file unfolds to.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::SeekFrom;

use crate::kdump::flattened::FileHeader;
use crate::read::error::VmcoreError;
use crate::read::flattened::Index;

/// The raw form of a dump, read by offset.
#[derive(Debug)]
pub(crate) struct Input {
    file: Arc<File>,
    /// Of the raw form, in bytes.
    len: u64,
    /// Of the file, in bytes.
    stored: u64,
    index: Option<Index>,
}

impl Input {
    pub(crate) fn open(file: File) -> Result<Self, VmcoreError> {
        let cannot_read = |source| VmcoreError::Read {
            offset: 0,
            len: 0,
            source,
        };
        let meta = file.metadata().map_err(cannot_read)?;
        if !meta.is_file() {
            return Err(VmcoreError::Unsupported(
                "it is not a regular file; write it to one first (guestdump rearrange takes a flattened stream)"
                    .into(),
            ));
        }
        let mut input = Self {
            file: Arc::new(file),
            len: meta.len(),
            stored: meta.len(),
            index: None,
        };
        let mut head = [0; FileHeader::FIELDS];
        let n = input.len.min(head.len() as u64) as usize;
        input.read_at(0, &mut head[..n])?;
        match FileHeader::decode(&head[..n]) {
            None => {}
            Some(FileHeader::CURRENT) => {
                let index = Index::new(&input.file, input.len)?;
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

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that are really in the file: of a flattened one, not those that
    /// it unfolds to.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    pub(crate) fn is_flattened(&self) -> bool {
        self.index.is_some()
    }

    /// The file itself, unless its bytes have to be unfolded.
    pub(crate) fn plain_file(&self) -> Option<&Arc<File>> {
        self.index.is_none().then_some(&self.file)
    }

    /// Fills all of `buf`.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VmcoreError> {
        let result = if self.contains(offset, buf.len() as u64) {
            match &self.index {
                None => self.file.read_exact_at(buf, offset),
                Some(index) => index.read_at(&self.file, offset, buf),
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

    /// Reads `len` bytes, which may not be more than `max`: a sparse or
    /// flattened file of a few bytes can be of any length.
    pub(crate) fn read_vec(
        &self,
        what: &'static str,
        offset: u64,
        len: u64,
        max: u64,
    ) -> Result<Vec<u8>, VmcoreError> {
        self.require(what, offset, len)?;
        let max = max.min(self.stored);
        if len > max {
            return Err(VmcoreError::damaged(
                offset,
                format!("{what} of {len} bytes, more than {max}"),
            ));
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

    /// The first offset from `offset` on that may be other than zero; the
    /// length of the dump if there is none.
    pub(crate) fn next_data(&self, offset: u64) -> u64 {
        match &self.index {
            Some(index) => index.next_data(offset),
            // A file system that cannot tell has data everywhere.
            None => match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => self.len,
                Err(_) => offset,
            },
        }
    }
}
