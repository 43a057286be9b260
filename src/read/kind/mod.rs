//! Kinds of files that people hold instead of a dump, by their first bytes.
#![forbid(unsafe_code)]

mod magic;
mod name;
mod text;

use std::fmt;
use std::io;

use crate::read::ReadAt;

pub use name::FileKind;

/// Size of a sector, in which some formats have a footer at the end.
const SECTOR: usize = 512;

impl FileKind {
    /// The number of bytes at the beginning of a file that
    /// [`recognise`](Self::recognise) looks at.
    pub const HEAD_SIZE: usize = magic::HEAD_SIZE;

    /// Recognises a file by its first bytes; `None` if they say nothing.
    ///
    /// With fewer than [`HEAD_SIZE`](Self::HEAD_SIZE) bytes, kinds whose magic
    /// lies further on are not recognised.
    ///
    /// ```
    /// use guestdump::read::FileKind;
    ///
    /// let kind = FileKind::recognise(b"LibvirtQemudSave\x02\0\0\0").unwrap();
    /// assert_eq!(kind, FileKind::LibvirtSave);
    /// assert!(kind.advice().contains("virsh restore"));
    /// ```
    #[must_use]
    pub fn recognise(head: &[u8]) -> Option<Self> {
        let mut fixed = magic::FIXED.iter();
        let found = fixed.find(|magic| magic.matches(head));
        match found {
            Some(magic) => Some(magic.kind),
            None => magic::by_structure(head),
        }
    }

    /// Recognises a file by its first and last bytes and its length.
    ///
    /// # Errors
    ///
    /// Any error of the input.
    pub fn of(input: &dyn ReadAt) -> io::Result<Option<Self>> {
        let len = ReadAt::len(input)?;
        if len == 0 {
            return Ok(Some(Self::Empty));
        }
        let mut head = vec![0; len.min(Self::HEAD_SIZE as u64) as usize];
        input.read_at(0, &mut head)?;
        if let Some(kind) = Self::recognise(&head) {
            return Ok(Some(kind));
        }
        if let Some(at) = len.checked_sub(SECTOR as u64) {
            let mut end = [0; SECTOR];
            input.read_at(at, &mut end)?;
            if let Some(kind) = magic::by_end(&end) {
                return Ok(Some(kind));
            }
        }
        if head.iter().any(|byte| *byte != 0) {
            return Ok(None);
        }
        let is_hole = input.next_data(0, len)?.is_none();
        Ok(Some(if is_hole || head.len() as u64 == len {
            Self::AllZero
        } else {
            Self::BeginsWithZeroes
        }))
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

#[cfg(test)]
mod tests;
