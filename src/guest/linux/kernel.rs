//! Reading a kernel's memory by guest-virtual addresses.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::Class;
use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::GuestInfo;
use crate::guest::paging::{
    AddressSpace, ReadPhysical, RecentPages, TranslateError, kernel_address_space,
};
use crate::guest::reader::Guest;
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::guest::vmcoreinfo::locate;
use crate::memory::RangeError;
use crate::memory::{GuestMemory, MemoryRange, validate_ranges};
use crate::selection::Selection;
use crate::selection::SelectionError;
use crate::vmcoreinfo::Vmcoreinfo;
use crate::workers::Progress;
use crate::workers::Threads;
use crate::workers::Workers;

use crate::guest::linux::pages::{DumpLevel, Exclusion, excluded};
use crate::guest::linux::vmemmap::Vmemmap;

/// Translations that are remembered, of 4 KiB each.
const MAX_TRANSLATIONS: usize = 4096;
/// Smallest page of any architecture, in bytes.
const SMALLEST_PAGE: u64 = 4096;

/// A Linux guest's kernel, as far as VMCOREINFO leads to it.
///
/// Everything that it reads is the guest's: addresses are checked, sizes are
/// capped, nothing is believed.
pub struct Kernel<'a> {
    memory: &'a dyn GuestMemory,
    ranges: Vec<MemoryRange>,
    machine: Machine,
    info: Vmcoreinfo,
    space: Option<AddressSpace>,
    /// Where there are no page tables.
    vmemmap: Vmemmap,
    threads: Threads<'a>,
    progress: Progress,
    /// Guest-physical addresses of pages, by their virtual ones.
    translations: Mutex<HashMap<u64, u64>>,
}

/// Why a kernel's memory does not say what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The memory's ranges are bad.
    #[error(transparent)]
    Ranges(#[from] RangeError),
    /// The filter covers no RAM.
    #[error("no RAM lies in the {length:#x} bytes from guest-physical address {begin:#x} on")]
    NoPages {
        /// First guest-physical address.
        begin: u64,
        /// Length in bytes.
        length: u64,
    },
    /// VMCOREINFO cannot be used.
    #[error("VMCOREINFO cannot be used")]
    Vmcoreinfo(#[from] VmcoreinfoError),
    /// The search failed or was cancelled.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// There is no VMCOREINFO, by which everything is found.
    #[error("the guest has no VMCOREINFO: it runs no Linux, or one without CONFIG_VMCORE_INFO")]
    NoVmcoreinfo,
    /// VMCOREINFO lacks what is needed.
    #[error("VMCOREINFO of kernel {osrelease} has no {what}")]
    Missing {
        /// The line that is missing, as `SYMBOL(prb)`.
        what: String,
        /// The kernel's release.
        osrelease: String,
    },
    /// The dump has larger pages than the kernel.
    #[error("the kernel's pages have {kernel} bytes, the dump's {dump}: leave the page size away")]
    PageSize {
        /// Bytes in a page of the kernel.
        kernel: u64,
        /// Bytes in a page of the dump.
        dump: u64,
    },
    /// A virtual address cannot be found in guest memory.
    #[error("cannot follow the kernel's address {vaddr:#x}")]
    Unmapped {
        /// The guest-virtual address.
        vaddr: u64,
        /// What the page tables said; `None` for an architecture whose page
        /// tables are not known.
        source: Option<TranslateError>,
    },
    /// Memory cannot be read.
    #[error(
        "cannot read {len} bytes at the kernel's address {vaddr:#x}, guest-physical address {gpa:#x}"
    )]
    Read {
        /// The guest-virtual address.
        vaddr: u64,
        /// The guest-physical address.
        gpa: u64,
        /// How many bytes.
        len: usize,
        /// What the memory reported.
        source: io::Error,
    },
    /// What was read makes no sense.
    #[error("{what} at the kernel's address {vaddr:#x} makes no sense: {why}")]
    Damaged {
        /// The structure.
        what: &'static str,
        /// Its guest-virtual address.
        vaddr: u64,
        /// What is wrong.
        why: String,
    },
}

impl From<SelectionError> for KernelError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Ranges(error) => Self::Ranges(error),
            SelectionError::EmptyFilter { begin, length } => Self::NoPages { begin, length },
        }
    }
}

impl<'a> Kernel<'a> {
    /// Finds the kernel of a guest by its VMCOREINFO. `workers` search for it.
    ///
    /// # Errors
    ///
    /// - [`KernelError::Ranges`] if the memory's ranges are bad;
    /// - [`KernelError::Vmcoreinfo`] if VMCOREINFO cannot be used;
    /// - [`KernelError::NoVmcoreinfo`] if there is none.
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
            workers.as_threads(),
            workers.handle(),
        )?;
        let located = located.ok_or(KernelError::NoVmcoreinfo)?;
        Ok(Self::new(memory, ranges, machine, located.info, workers))
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
        let mut kernel = Self {
            space: None,
            vmemmap: Vmemmap::default(),
            memory,
            ranges,
            machine,
            info,
            threads: workers.as_threads(),
            progress: workers.handle().clone(),
            translations: Mutex::default(),
        };
        let guest = kernel.guest();
        let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
        kernel.space = kernel_address_space(machine, &kernel.info, &read);
        if kernel.space.is_none() {
            // What is not found there is reported when it is looked for: the
            // log does not need it.
            kernel.vmemmap = Vmemmap::of(&kernel).unwrap_or_default();
        }
        kernel
    }

    /// VMCOREINFO.
    #[must_use]
    pub fn vmcoreinfo(&self) -> &Vmcoreinfo {
        &self.info
    }

    /// The pages of RAM that `level` leaves out, by what the kernel uses them
    /// for. Whether a page is zero is not looked at.
    ///
    /// # Errors
    ///
    /// - [`KernelError::Fault`] if the search was cancelled;
    /// - any other [`KernelError`] if the kernel's memory map cannot be
    ///   understood.
    pub fn exclusion(&self, level: DumpLevel) -> Result<Exclusion, KernelError> {
        let all = Selection::new(&self.ranges, self.page_size()?, None)?;
        self.exclude(level, &all)
    }

    /// As [`exclusion`](Self::exclusion), of `selection`, which has this
    /// kernel's pages.
    pub(crate) fn exclude(
        &self,
        level: DumpLevel,
        selection: &Selection,
    ) -> Result<Exclusion, KernelError> {
        excluded(self, selection, level, self.threads, &self.progress)
    }

    /// The kernel's page size in bytes.
    pub(crate) fn page_size(&self) -> Result<u64, KernelError> {
        let size = self.info.page_size();
        size.filter(|size| self.machine.page_sizes().contains(size))
            .ok_or_else(|| KernelError::Missing {
                what: "PAGESIZE that the architecture has".to_owned(),
                osrelease: self.info.osrelease(),
            })
    }

    /// RAM in bytes: no array of the kernel's is larger.
    pub(crate) fn ram_size(&self) -> u64 {
        let sizes = self.ranges.iter().map(MemoryRange::size);
        sizes.fold(0, u64::saturating_add)
    }

    fn guest(&self) -> Guest<'_> {
        Guest {
            memory: self.memory,
            ranges: &self.ranges,
            machine: self.machine,
        }
    }

    /// The guest-physical address of the byte at the guest-virtual address
    /// `vaddr`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Unmapped`].
    pub fn translate(&self, vaddr: u64) -> Result<u64, KernelError> {
        let offset = vaddr % SMALLEST_PAGE;
        let page = vaddr - offset;
        if let Some(gpa) = self.translations().get(&page) {
            return Ok(gpa + offset);
        }
        let guest = self.guest();
        let (gpa, _) = self.extent(page, &|gpa, buf| guest.read(gpa, buf))?;
        // So that what is remembered has no end beyond all addresses.
        let behind = gpa.checked_add(SMALLEST_PAGE);
        behind.ok_or(KernelError::Unmapped {
            vaddr,
            source: None,
        })?;
        let mut translations = self.translations();
        if translations.len() == MAX_TRANSLATIONS {
            translations.clear();
        }
        translations.insert(page, gpa);
        gpa.checked_add(offset).ok_or(KernelError::Unmapped {
            vaddr,
            source: None,
        })
    }

    fn translations(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        // Nothing is half changed whenever this could panic.
        self.translations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest-physical address of the byte at `vaddr`, and how many bytes
    /// from there on are as contiguous in guest-physical memory. `read` reads
    /// page tables.
    fn extent(&self, vaddr: u64, read: &ReadPhysical<'_>) -> Result<(u64, u64), KernelError> {
        if let Some(space) = self.space {
            let found = space.extent(read, vaddr);
            return found.map_err(|source| KernelError::Unmapped {
                vaddr,
                source: Some(source),
            });
        }
        if let Some(found) = self.vmemmap.extent(vaddr) {
            return Ok(found);
        }
        let ram_start = self.ranges.first().map_or(0, MemoryRange::start);
        let direct = || {
            let direct = self.machine.direct_mapping(&self.info)?;
            let gpa = vaddr.checked_sub(direct.vaddr)?;
            (gpa < direct.end).then_some(gpa)
        };
        self.machine
            .kernel_image_in_ram(vaddr, &self.info, ram_start)
            .or_else(direct)
            .map(|gpa| (gpa, SMALLEST_PAGE - vaddr % SMALLEST_PAGE))
            .ok_or(KernelError::Unmapped {
                vaddr,
                source: None,
            })
    }

    /// Fills `buf` from the guest-virtual address `vaddr` on.
    ///
    /// # Errors
    ///
    /// [`KernelError::Unmapped`], [`KernelError::Read`].
    pub fn read(&self, vaddr: u64, buf: &mut [u8]) -> Result<(), KernelError> {
        self.read_by(vaddr, buf, |at| {
            let in_page = SMALLEST_PAGE - at % SMALLEST_PAGE;
            Ok((self.translate(at)?, in_page))
        })
    }

    /// As [`read`](Self::read), for much at once: page tables are walked once
    /// for each of the kernel's pages, large ones too, and no translation is
    /// remembered.
    pub(crate) fn read_large(&self, vaddr: u64, buf: &mut [u8]) -> Result<(), KernelError> {
        let guest = self.guest();
        let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
        // The kernel's pages may be small, and so many.
        let tables = RecentPages::new(&read);
        let read = |gpa, buf: &mut [u8]| tables.read(gpa, buf);
        self.read_by(vaddr, buf, |at| self.extent(at, &read))
    }

    /// Reads by `extent`, which gives a guest-physical address and how many
    /// bytes are contiguous there.
    fn read_by(
        &self,
        vaddr: u64,
        buf: &mut [u8],
        extent: impl Fn(u64) -> Result<(u64, u64), KernelError>,
    ) -> Result<(), KernelError> {
        let mut done = 0;
        while done < buf.len() {
            let at = vaddr.wrapping_add(done as u64);
            let (gpa, contiguous) = extent(at)?;
            let len = contiguous.min((buf.len() - done) as u64) as usize;
            let read = self.guest().read(gpa, &mut buf[done..done + len]);
            read.map_err(|source| KernelError::Read {
                vaddr: at,
                gpa,
                len,
                source,
            })?;
            done += len;
        }
        Ok(())
    }

    /// The number of up to 8 bytes at the beginning of `bytes`, in the
    /// guest's byte order.
    pub(crate) fn number(&self, bytes: &[u8]) -> u64 {
        self.machine.encoding().order.number(bytes)
    }

    /// Bytes in the guest's `unsigned long`, and in a pointer.
    pub(crate) fn word_size(&self) -> usize {
        match self.machine.encoding().class {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        }
    }

    /// The `unsigned long` or pointer at `vaddr`.
    pub(crate) fn word_at(&self, vaddr: u64) -> Result<u64, KernelError> {
        self.number_at(vaddr, self.word_size())
    }

    /// The number of `len` bytes at `vaddr`.
    pub(crate) fn number_at(&self, vaddr: u64, len: usize) -> Result<u64, KernelError> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..len];
        self.read(vaddr, bytes)?;
        Ok(self.number(bytes))
    }

    pub(crate) fn symbol(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.symbol(name), "SYMBOL", name)
    }

    pub(crate) fn offset(&self, member: &str) -> Result<u64, KernelError> {
        self.need(self.info.offset(member), "OFFSET", member)
    }

    pub(crate) fn size(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.size(name), "SIZE", name)
    }

    pub(crate) fn length(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.length(name), "LENGTH", name)
    }

    pub(crate) fn number_of(&self, name: &str) -> Result<i64, KernelError> {
        self.need(self.info.number(name), "NUMBER", name)
    }

    fn need<T>(&self, value: Option<T>, kind: &str, name: &str) -> Result<T, KernelError> {
        value.ok_or_else(|| KernelError::Missing {
            what: format!("{kind}({name})"),
            osrelease: self.info.osrelease(),
        })
    }
}

impl std::fmt::Debug for Kernel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("machine", &self.machine)
            .field("vmcoreinfo", &self.info)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}
