//! Bytes that are read at any position: the input of every reader.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::sink::BufferSink;

/// Bytes that can be read at any position, from several threads at once.
///
/// A dump may lie in a file, in memory, or in whatever the caller implements
/// the trait for.
///
/// ```
/// use guestdump::read::ReadAt;
///
/// # fn main() -> std::io::Result<()> {
/// let bytes: &[u8] = b"a dump";
/// let mut word = [0; 4];
/// ReadAt::read_at(&bytes, 2, &mut word)?;
/// assert_eq!(&word, b"dump");
/// # Ok(())
/// # }
/// ```
#[allow(clippy::len_without_is_empty)]
pub trait ReadAt: Send + Sync {
    /// Fills all of `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the bytes end before
    /// `buf` is full; any error of the source.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the source has no
    /// length, as a pipe; any error of the source.
    fn len(&self) -> io::Result<u64>;

    /// Finds the first extent between `offset` and `end` that may contain
    /// anything but zeroes.
    ///
    /// All bytes before the extent are zero. `None` means that all bytes up to
    /// `end` are. The extent may end early: a caller asks again from its end
    /// on. Bytes that the source has lost count as data, so that reading them
    /// fails. The default calls everything data.
    ///
    /// # Errors
    ///
    /// Any error of the source.
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        Ok((offset < end).then_some(offset..end))
    }

    /// Returns the source behind a shared pointer, as a reader keeps it.
    ///
    /// A source may remember there what it would otherwise find out for each
    /// call: a `File` whether it lies on tmpfs.
    fn shared(self) -> Arc<dyn ReadAt>
    where
        Self: Sized + 'static,
    {
        Arc::new(self)
    }
}

impl fmt::Debug for dyn ReadAt + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn ReadAt")
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buf.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }
}

impl ReadAt for BufferSink {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.lock().read(offset, buf)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size())
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.lock().next_data(offset, end))
    }
}

/// Implements the trait for pointers, which pass every call on.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read_at(offset, buf)
            }
            fn len(&self) -> io::Result<u64> {
                ReadAt::len(&**self)
            }
            fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
                (**self).next_data(offset, end)
            }
        }
    )*};
}
pointers!(&T, Box<T>, Arc<T>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(bytes: impl ReadAt) {
        let mut buf = [0; 2];
        bytes.read_at(1, &mut buf).unwrap();
        assert_eq!(buf, [2, 3]);
        assert_eq!(bytes.len().unwrap(), 3);
        assert_eq!(bytes.next_data(1, 3).unwrap(), Some(1..3));
        assert_eq!(bytes.next_data(3, 3).unwrap(), None);
        for offset in [2, 3, 4, u64::MAX] {
            let error = bytes.read_at(offset, &mut buf).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn bytes_in_memory_are_read_exactly() {
        const BYTES: &[u8] = &[1, 2, 3];
        check(BYTES);
        check(BYTES.to_vec());
        check(Arc::new(BYTES.to_vec()));
        check(Box::new(BYTES) as Box<dyn ReadAt>);
        check(Arc::<[u8]>::from(BYTES) as Arc<[u8]>);
    }
}
