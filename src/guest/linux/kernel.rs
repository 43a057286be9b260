//! A Linux guest's kernel.

use super::error::KernelError;
use super::reader::KernelReader;
use super::vmemmap_list;
use crate::arch::Machine;
use crate::guest::GuestInfo;
use crate::guest::reader::Guest;
use crate::guest::vmcoreinfo::{Located, locate};
use crate::memory::{GuestMemory, MemoryRange, validate_ranges};
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::{Progress, Threads, Workers};

/// A Linux guest's kernel, as far as VMCOREINFO leads to it.
///
/// Everything that it reads is the guest's: addresses are checked, sizes are
/// capped, nothing is believed.
pub struct Kernel<'a> {
    pub(super) reader: KernelReader<'a>,
    pub(super) threads: Threads<'a>,
    pub(super) progress: Progress,
    /// The way in which VMCOREINFO was found; `None` if the caller had found it.
    located: Option<Located>,
}

impl<'a> Kernel<'a> {
    /// Finds the kernel of a guest by its VMCOREINFO. `workers` search for it.
    ///
    /// # Errors
    ///
    /// - [`KernelError::Ranges`] if the memory's ranges are bad;
    /// - [`KernelError::Vmcoreinfo`] if VMCOREINFO cannot be used;
    /// - [`KernelError::NoVmcoreinfo`] if there is none;
    /// - [`KernelError::Fault`] if the search failed or was cancelled.
    pub fn find(
        memory: &'a dyn GuestMemory,
        info: &GuestInfo,
        workers: &'a Workers,
    ) -> Result<Self, KernelError> {
        let ranges = memory.ranges();
        validate_ranges(&ranges)?;
        let machine = info.machine;
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine,
        };
        let located = locate(
            guest,
            &info.vmcoreinfo,
            info.phys_base,
            workers.as_threads(),
            workers.handle(),
        )?;
        let located = located.ok_or(KernelError::NoVmcoreinfo)?;
        let vmcoreinfo = located.info.clone();
        Ok(Self {
            located: Some(located),
            ..Self::new(memory, ranges, machine, vmcoreinfo, workers)
        })
    }

    /// The kernel of the guest with this memory, whose ranges are checked, and
    /// this VMCOREINFO.
    pub(crate) fn new(
        memory: &'a dyn GuestMemory,
        ranges: Vec<MemoryRange>,
        machine: Machine,
        info: Vmcoreinfo,
        workers: &'a Workers,
    ) -> Self {
        let mut reader = KernelReader::new(memory, ranges, machine, info);
        if !reader.has_page_tables() {
            // An error is reported when a page of the list is needed. The log
            // needs none.
            let vmemmap = vmemmap_list::read(&reader);
            reader.set_vmemmap(vmemmap.unwrap_or_default());
        }
        Self {
            reader,
            threads: workers.as_threads(),
            progress: workers.handle().clone(),
            located: None,
        }
    }

    /// VMCOREINFO.
    #[must_use]
    pub fn vmcoreinfo(&self) -> &Vmcoreinfo {
        self.reader.vmcoreinfo()
    }

    /// VMCOREINFO as [`find`](Self::find) found it: where, and whether this is the kernel in guest
    /// memory.
    #[must_use]
    pub fn located(&self) -> Option<&Located> {
        self.located.as_ref()
    }

    /// The kernel's page size in bytes.
    pub(crate) fn page_size(&self) -> Result<u64, KernelError> {
        self.reader.page_size()
    }

    /// The guest-physical address of the byte at the guest-virtual address
    /// `vaddr`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Unmapped`].
    pub fn translate(&self, vaddr: u64) -> Result<u64, KernelError> {
        self.reader.translate(vaddr)
    }

    /// Fills `buf` from the guest-virtual address `vaddr` on.
    ///
    /// # Errors
    ///
    /// [`KernelError::Unmapped`], [`KernelError::Read`].
    pub fn read(&self, vaddr: u64, buf: &mut [u8]) -> Result<(), KernelError> {
        self.reader.read(vaddr, buf)
    }
}

impl std::fmt::Debug for Kernel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reader.fmt(f)
    }
}
