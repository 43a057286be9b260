//! Guest memory: what a virtual machine monitor implements ([`GuestMemory`]),
//! and implementations for slices, files and mappings.
//!
//! ```
//! use guestdump::memory::{GuestMemory, SliceMemory};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (low, high) = (vec![1; 0x2000], vec![2; 0x1000]);
//! let memory = SliceMemory::new([(0, &low[..]), (4 << 30, &high[..])])?;
//! let mut byte = [0];
//! memory.read((4 << 30) + 0xfff, &mut byte)?;
//! assert_eq!(byte, [2]);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "file")]
mod file;
#[cfg(feature = "file")]
pub(crate) mod file_data;
#[cfg(feature = "mapped")]
mod mapped;
pub(crate) mod overlay;
mod range;
mod slices;
pub(crate) mod throttled;
mod tolerant;
mod whole_pages;
mod zero;

use std::io;
use std::sync::Arc;

#[cfg(feature = "file")]
pub use file::{FileMemory, FileMemoryError, FileRegion};
#[cfg(feature = "mapped")]
pub use mapped::MappedMemory;
#[cfg(any(feature = "qemu", feature = "vm-memory", feature = "vm-memory-0-17"))]
pub(crate) use mapped::read_process;
pub use range::{MIN_PAGE_SIZE, MemoryRange, RangeError, validate_ranges};
pub use slices::SliceMemory;
pub use tolerant::{OnReadError, Unreadable};
pub(crate) use tolerant::{Tolerant, UnreadableLog};
pub(crate) use whole_pages::WholePages;
pub use zero::is_zero;

/// A guest's physical memory, as a dump reads it.
///
/// The trait asks for what every virtual machine monitor can give: the list
/// of RAM ranges and an exact, copying read through `&self`. It is
/// object-safe; a dump takes `&dyn GuestMemory` and reads from several
/// threads at once.
///
/// The guest should stand still while it is dumped. If it does not, the dump
/// stays well-formed: each page is read once, into a private buffer.
pub trait GuestMemory: Send + Sync {
    /// The RAM ranges in ascending order, without overlap. Ranges may touch.
    ///
    /// A dump asks once, checks the list with [`validate_ranges`] and refuses
    /// a bad one before anything is written.
    fn ranges(&self) -> Vec<MemoryRange>;

    /// Fills all of `buf` from the guest-physical address `gpa` on.
    ///
    /// A dump asks only for bytes inside one of the [`ranges`](Self::ranges),
    /// or inside several that touch.
    ///
    /// # Errors
    ///
    /// If not every byte can be read. Filling a part with made-up bytes
    /// instead would put them into the dump as guest memory; what becomes of
    /// it is for [`OnReadError`] to say. A mapping of a file that can be cut
    /// short, or that has poisoned pages, must not be read by a plain copy:
    /// that is SIGBUS. `FileMemory` and `MappedMemory` are safe ways.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The first populated extent that has anything in `range`: guest memory
    /// that the host has ever backed. All of `range` before it, or the whole of it for `None`,
    /// is known to read as zeroes; a dump never reads it, so that the host
    /// need not allocate memory for it.
    ///
    /// `range` may cover several RAM ranges that touch. The default calls
    /// everything populated.
    ///
    /// # Errors
    ///
    /// If the host cannot tell; a dump reports it and stops.
    fn next_populated(&self, range: MemoryRange) -> io::Result<Option<MemoryRange>> {
        Ok(Some(range))
    }

    /// The bytes of `range` in place, if the owner can *prove* that nothing
    /// changes or unmaps them for as long as `self` is borrowed.
    ///
    /// Memory that a virtual CPU, a device or another process can write to
    /// does not qualify, stopped guest or not; nor does a mapping of a file
    /// that can be truncated. The default has none.
    fn as_slice(&self, range: MemoryRange) -> Option<&[u8]> {
        let _ = range;
        None
    }
}

/// A pointer to guest memory is guest memory. A dump in the background keeps
/// its memory to itself, so a monitor that goes on using it gives an `Arc`.
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
        }
    )*};
}
pointers!(&M, Box<M>, Arc<M>);

/// Fills `buf` from `gpa` on, all of it in `range`. Memory that is not
/// populated gives zeroes and is not read.
pub(crate) fn read_populated(
    memory: &dyn GuestMemory,
    range: MemoryRange,
    gpa: u64,
    buf: &mut [u8],
) -> io::Result<()> {
    buf.fill(0);
    let end = gpa + buf.len() as u64;
    // Only about these pages: an extent may be long, and so may it take to
    // find its end.
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

/// What `read` returns for addresses outside the memory's ranges.
pub(crate) fn not_ram(gpa: u64, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{len} bytes at guest-physical address {gpa:#x} are not all RAM"),
    )
}

/// The index of the range in `ranges` (ascending) that contains `gpa`.
pub(crate) fn find_range<T>(
    ranges: &[T],
    gpa: u64,
    range_of: impl Fn(&T) -> MemoryRange,
) -> Option<usize> {
    let behind = ranges.partition_point(|r| range_of(r).start() <= gpa);
    let index = behind.checked_sub(1)?;
    (gpa < range_of(&ranges[index]).end()).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Populated throughout; knows what it was asked for.
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
    fn a_small_read_asks_about_its_own_pages_only() {
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
    fn pointers_pass_everything_on() {
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
        }
        fn check(memory: impl GuestMemory) {
            let range = memory.ranges()[0];
            assert_eq!(range.start(), 0x1000);
            let mut byte = [0];
            assert!(memory.read(0x1000, &mut byte).is_ok() && byte == [7]);
            assert!(matches!(memory.next_populated(range), Ok(None)));
            assert!(memory.as_slice(range).is_some());
        }
        let odd = || Odd([0; 4096]);
        check(odd());
        check(Box::new(odd()));
        check(Arc::new(odd()));
        check(Arc::new(odd()) as Arc<dyn GuestMemory>);
    }
}
