//! The interface to a guest's memory.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use crate::fault::Fault;
use crate::memory::{Coverage, MIN_PAGE_SIZE, MemoryRange};

/// A guest's physical memory, as a dump reads it.
///
/// Every virtual machine monitor can implement the two required methods: the list of RAM
/// ranges, and an exact, copying read through `&self`. The trait is object-safe. A dump
/// takes `&dyn GuestMemory` and reads from several threads at once.
///
/// The guest should be paused while it is dumped. The dump of a running guest is still
/// well-formed, because each page is read once, into a private buffer.
pub trait GuestMemory: Send + Sync {
    /// Lists the RAM ranges in ascending order, without overlap. Ranges may touch.
    ///
    /// A dump calls this once, checks the list with
    /// [`validate_ranges`](crate::memory::validate_ranges), and refuses an invalid list
    /// before it writes anything.
    fn ranges(&self) -> Vec<MemoryRange>;

    /// Fills all of `buf` from the guest-physical address `gpa` on.
    ///
    /// A dump asks only for bytes inside one of the [`ranges`](Self::ranges), or inside
    /// several that touch.
    ///
    /// # Errors
    ///
    /// If not every byte can be read. An implementation must not fill the rest with other
    /// bytes: they would be in the dump as guest memory.
    /// [`OnReadError`](crate::OnReadError) decides how the dump continues. The error of a
    /// source that is gone, a process that ended for example, should be the system's:
    /// [`OnReadError`](crate::OnReadError) lists the errors that no policy tolerates.
    ///
    /// A plain copy out of a mapping is SIGBUS if the mapped file is truncated or a page
    /// is poisoned. `FileMemory` and `MappedMemory` return an error instead.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Finds the first populated extent that intersects `range`. Memory is populated if
    /// the host has ever backed it.
    ///
    /// The part of `range` before the extent is known to read as zeroes, and so is all of
    /// `range` if there is no extent. A dump never reads that part, so the host need not
    /// allocate memory for it.
    ///
    /// `range` may cover several RAM ranges that touch. The default implementation calls
    /// everything populated.
    ///
    /// # Errors
    ///
    /// If the host cannot tell. The dump then fails with this error.
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Ok(Some(range))
    }

    /// Returns the bytes of `range` in place, if the owner can *prove* that nothing
    /// changes or unmaps them while `self` is borrowed.
    ///
    /// Memory that a virtual CPU, a device or another process can write to does not
    /// qualify, even if the guest is paused. A mapping of a file that can be truncated
    /// does not qualify either. The default implementation returns `None`.
    ///
    /// The slice must be exactly as long as `range`. A dump fails with
    /// [`Fault::SliceLength`](crate::Fault::SliceLength) if it is not.
    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let _ = range;
        None
    }

    /// Tells what the memory knows about guest memory that it does not contain.
    ///
    /// A dump asks once. It takes over what is excluded, and refuses a source that is
    /// incomplete, unless the caller asks to keep it. A memory that wraps another one must pass
    /// the question on. The default implementation lacks nothing, as the memory of a running
    /// guest does.
    fn coverage(&self) -> Coverage {
        Coverage::complete()
    }
}

/// Implements [`GuestMemory`] for pointers to guest memory. A dump in the background owns
/// its memory, so a monitor that also uses the memory passes an `Arc`.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<M: GuestMemory + ?Sized> GuestMemory for $pointer {
            fn ranges(&self) -> Vec<MemoryRange> {
                (**self).ranges()
            }
            fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read(gpa, buf)
            }
            fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
                (**self).next_populated(range)
            }
            fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
                (**self).as_slice(range)
            }
            fn coverage(&self) -> Coverage {
                (**self).coverage()
            }
        }
    )*};
}
pointers!(&M, Box<M>, Arc<M>);

/// Fills `buf` from `gpa` on, which all lies in `range`. Memory that is not populated is
/// zeroes and is not read.
///
/// # Errors
///
/// As [`GuestMemory::read`] and [`GuestMemory::next_populated`].
pub(crate) fn read_populated(
    memory: &dyn GuestMemory,
    range: MemoryRange,
    gpa: u64,
    buf: &mut [u8],
) -> io::Result<()> {
    buf.fill(0);
    let end = gpa + buf.len() as u64;
    // The question is limited to the pages of `buf`: finding the end of a long extent takes
    // long.
    let asked = range.starting_at(gpa - gpa % MIN_PAGE_SIZE).map(|rest| {
        rest.split_at((end - rest.start()).next_multiple_of(MIN_PAGE_SIZE))
            .0
    });
    let mut rest = asked;
    while let Some(part) = rest {
        let found = memory.next_populated(part)?;
        let Some(extent) = found.and_then(|extent| extent.intersection(&part)) else {
            break;
        };
        let from = extent.start().max(gpa);
        let to = extent.end().min(end);
        if from < to {
            memory.read(from, &mut buf[(from - gpa) as usize..(to - gpa) as usize])?;
        }
        rest = part.starting_at(extent.end());
    }
    Ok(())
}

/// Returns the bytes of `range` in place, if the memory can give them.
///
/// # Errors
///
/// [`Fault::SliceLength`] if the memory gives too few bytes or too many.
pub(crate) fn slice(memory: &dyn GuestMemory, range: MemoryRange) -> Result<Option<&[u8]>, Fault> {
    let Some(bytes) = memory.as_slice(range) else {
        return Ok(None);
    };
    let (got, len) = (bytes.len() as u64, range.size());
    if got != len {
        let gpa = range.start();
        return Err(Fault::SliceLength { gpa, len, got });
    }
    Ok(Some(bytes))
}

/// Makes the error that `read` returns for addresses outside the memory's ranges.
pub(crate) fn not_ram(gpa: u64, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{len} bytes at guest-physical address {gpa:#x} are not all RAM"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that is populated throughout and records which ranges it is asked about.
    #[derive(Default)]
    struct Asked(std::sync::Mutex<Vec<MemoryRange>>);

    impl GuestMemory for Asked {
        fn ranges(&self) -> Vec<MemoryRange> {
            MemoryRange::new(0, 1 << 40).into_iter().collect()
        }
        fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(7);
            Ok(())
        }
        fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
            self.0.lock().map_err(|_| io::ErrorKind::Other)?.push(range);
            Ok(Some(range))
        }
    }

    #[test]
    fn a_small_read_asks_only_about_its_own_pages() {
        let memory = Asked::default();
        let all = memory.ranges()[0];
        let mut buf = [0; 16];
        assert!(read_populated(&memory, all, 0x1ff8, &mut buf).is_ok());
        assert_eq!(buf, [7; 16]);
        let asked = memory.0.into_inner().unwrap_or_default();
        let asked: Vec<_> = asked
            .iter()
            .map(|range| (range.start(), range.size()))
            .collect();
        assert_eq!(asked, [(0x1000, 0x2000)]);
    }

    #[test]
    fn pointers_forward_every_method() {
        struct Odd([u8; 4096]);
        impl GuestMemory for Odd {
            fn ranges(&self) -> Vec<MemoryRange> {
                MemoryRange::new(0x1000, 0x1000).into_iter().collect()
            }
            fn read(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
                buf.fill(7);
                Ok(())
            }
            fn next_populated(&self, _: MemoryRange) -> io::Result<Option<MemoryRange>> {
                Ok(None)
            }
            fn as_slice(&self, _: MemoryRange) -> Option<&[u8]> {
                Some(&self.0)
            }
            fn coverage(&self) -> Coverage {
                Coverage {
                    dump_level: 31,
                    ..Coverage::complete()
                }
            }
        }
        fn check(memory: impl GuestMemory) {
            let range = memory.ranges()[0];
            assert_eq!(range.start(), 0x1000);
            let mut byte = [0];
            assert!(memory.read(0x1000, &mut byte).is_ok() && byte == [7]);
            assert!(matches!(memory.next_populated(range), Ok(None)));
            assert!(memory.as_slice(range).is_some());
            assert_eq!(memory.coverage().dump_level, 31);
        }
        let odd = || Odd([0; 4096]);
        check(odd());
        check(Box::new(odd()));
        check(Arc::new(odd()));
        check(Arc::new(odd()) as Arc<dyn GuestMemory>);
    }
}
