//! Guest memory that this process has mapped, read without the risk of a signal.
#![forbid(unsafe_code)]

use std::io;

use crate::host::process_memory::Process;
use crate::memory::{GuestMemory, MemoryRange, RangeError, read_by_range, validate_ranges};

/// Guest memory at addresses of this process, where a virtual machine monitor has mapped
/// it. Needs the feature `mapped`, and Linux.
///
/// The kernel reads the memory, with `process_vm_readv` on the process itself. A page that
/// was truncated, has a hardware error or is no longer mapped is an error of
/// [`read`](GuestMemory::read). A copying loop would end with SIGBUS or SIGSEGV there. A
/// seccomp filter must allow the call.
///
/// All memory counts as populated. If a file or a memory file is mapped,
/// [`FileMemory`](crate::memory::FileMemory) reads as safely and skips holes.
///
/// ```
/// use guestdump::memory::{GuestMemory, MappedMemory, MemoryRange};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mapping = vec![7u8; 0x4000]; // stands for what mmap(2) gave
/// let range = MemoryRange::new(1 << 20, 0x4000)?;
/// let memory = MappedMemory::new([(range, mapping.as_ptr().addr())])?;
/// let mut bytes = [0; 2];
/// memory.read((1 << 20) + 0x3ffe, &mut bytes)?;
/// assert_eq!(bytes, [7, 7]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MappedMemory {
    regions: Vec<(MemoryRange, usize)>,
}

impl MappedMemory {
    /// Makes guest memory of `regions`, which ascend by range. Each is a guest-physical
    /// range and the address in this process where it begins.
    ///
    /// # Errors
    ///
    /// Every [`RangeError`]. [`RangeError::Overflow`] is also returned for a range that
    /// reaches past the end of the address space of the process.
    pub fn new(
        regions: impl IntoIterator<Item = (MemoryRange, usize)>,
    ) -> Result<Self, RangeError> {
        let regions: Vec<_> = regions.into_iter().collect();
        let ranges: Vec<_> = regions.iter().map(|(range, _)| *range).collect();
        validate_ranges(&ranges)?;
        for (range, address) in &regions {
            let size = usize::try_from(range.size()).ok();
            if size.and_then(|size| address.checked_add(size)).is_none() {
                return Err(RangeError::Overflow {
                    start: range.start(),
                    size: range.size(),
                });
            }
        }
        Ok(Self { regions })
    }
}

impl GuestMemory for MappedMemory {
    fn ranges(&self) -> Vec<MemoryRange> {
        self.regions.iter().map(|(range, _)| *range).collect()
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> io::Result<()> {
        let range_of = |region: &(MemoryRange, usize)| region.0;
        read_by_range(&self.regions, range_of, gpa, buf, |region, gpa, buf| {
            let (range, address) = region;
            Process::Own.read(*address as u64 + (gpa - range.start()), buf)
        })
    }
}
