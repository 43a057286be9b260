//! Guest memory that this process has mapped, read without a risk.
#![forbid(unsafe_code)]

use std::io::{self, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::memory::{GuestMemory, MemoryRange, RangeError, find_range, not_ram, validate_ranges};

/// Guest memory at addresses of this process, as a virtual machine monitor
/// has it mapped. Needs the feature `mapped`, and Linux.
///
/// The kernel reads it, with `process_vm_readv` from the process itself: what
/// would be SIGBUS or SIGSEGV to a copying loop is an error of
/// [`read`](GuestMemory::read), for a page of a file that was cut short, for
/// one with a hardware error, for one that is no longer mapped. A seccomp
/// filter must allow the call.
///
/// All counts as populated. Where the mapping is of a file or a memory file,
/// [`FileMemory`](crate::memory::FileMemory) reads as safely and passes over holes.
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
    /// Guest memory of `regions`: each a guest-physical range and the address
    /// in this process where it begins, in ascending order of range.
    ///
    /// # Errors
    ///
    /// Every [`RangeError`]; [`RangeError::Overflow`] also for a range that
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
        let len = buf.len();
        let (mut gpa, mut rest) = (gpa, buf);
        while !rest.is_empty() {
            let index = find_range(&self.regions, gpa, |region| region.0);
            let (range, address) = self.regions[index.ok_or_else(|| not_ram(gpa, len))?];
            let n = rest.len().min((range.end() - gpa) as usize);
            let (here, behind) = rest.split_at_mut(n);
            read_process(Pid::this(), address + (gpa - range.start()) as usize, here)?;
            gpa += n as u64;
            rest = behind;
        }
        Ok(())
    }
}

/// Fills `buf` from the address `base` of a process on.
pub(crate) fn read_process(pid: Pid, mut base: usize, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let len = buf.len();
        let n = process_vm_readv(
            pid,
            &mut [IoSliceMut::new(buf)],
            &[RemoteIoVec { base, len }],
        )?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        base += n;
        buf = &mut buf[n..];
    }
    Ok(())
}
