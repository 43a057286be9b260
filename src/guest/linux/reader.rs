//! Reading a kernel's memory by guest-virtual addresses.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::KernelError;
use super::vmemmap::Vmemmap;
use crate::abi::Class;
use crate::arch::Machine;
use crate::guest::paging::{AddressSpace, ReadPhysical, RecentPages, kernel_address_space};
use crate::guest::reader::Guest;
use crate::memory::{GuestMemory, MemoryRange};
use crate::vmcoreinfo::Vmcoreinfo;

/// Translations that are remembered, of 4 KiB each.
const MAX_TRANSLATIONS: usize = 4096;
/// Smallest page of any architecture, in bytes.
const SMALLEST_PAGE: u64 = 4096;

/// A reader of the memory of a Linux guest's kernel.
///
/// Everything that it reads is the guest's: addresses are checked, sizes are
/// capped, nothing is believed.
pub(super) struct KernelReader<'a> {
    memory: &'a dyn GuestMemory,
    ranges: Vec<MemoryRange>,
    machine: Machine,
    info: Vmcoreinfo,
    space: Option<AddressSpace>,
    /// Pages that are mapped although there are no page tables.
    vmemmap: Vmemmap,
    /// Guest-physical addresses of pages, by their virtual ones.
    translations: Mutex<HashMap<u64, u64>>,
}

impl<'a> KernelReader<'a> {
    /// The reader of a guest with this memory, whose ranges are checked, and
    /// this VMCOREINFO.
    pub(super) fn new(
        memory: &'a dyn GuestMemory,
        ranges: Vec<MemoryRange>,
        machine: Machine,
        info: Vmcoreinfo,
    ) -> Self {
        let guest = Guest {
            memory,
            ranges: &ranges,
            machine,
        };
        let read = |gpa, buf: &mut [u8]| guest.read(gpa, buf);
        let ram_start = ranges.first().map_or(0, MemoryRange::start);
        let space = kernel_address_space(machine, &info, ram_start, &read);
        Self {
            memory,
            ranges,
            machine,
            info,
            space,
            vmemmap: Vmemmap::default(),
            translations: Mutex::default(),
        }
    }

    /// Whether the kernel's page tables are known.
    pub(super) fn has_page_tables(&self) -> bool {
        self.space.is_some()
    }

    /// Sets the pages that are mapped where there are no page tables.
    pub(super) fn set_vmemmap(&mut self, vmemmap: Vmemmap) {
        self.vmemmap = vmemmap;
    }

    /// VMCOREINFO.
    pub(super) fn vmcoreinfo(&self) -> &Vmcoreinfo {
        &self.info
    }

    /// The kernel's page size in bytes.
    pub(super) fn page_size(&self) -> Result<u64, KernelError> {
        let size = self.info.page_size();
        size.filter(|size| self.machine.page_sizes().contains(size))
            .ok_or_else(|| KernelError::Missing {
                what: "PAGESIZE that the architecture has".to_owned(),
                osrelease: self.info.osrelease(),
            })
    }

    /// RAM in bytes: no array of the kernel's is larger.
    pub(super) fn ram_size(&self) -> u64 {
        let sizes = self.ranges.iter().map(MemoryRange::size);
        sizes.fold(0, u64::saturating_add)
    }

    /// All of RAM.
    pub(super) fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
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
    pub(super) fn translate(&self, vaddr: u64) -> Result<u64, KernelError> {
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
            let gpa = vaddr.checked_sub(direct.vaddr)?.checked_add(direct.start)?;
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
    pub(super) fn read(&self, vaddr: u64, buf: &mut [u8]) -> Result<(), KernelError> {
        self.read_by(vaddr, buf, |at| {
            let in_page = SMALLEST_PAGE - at % SMALLEST_PAGE;
            Ok((self.translate(at)?, in_page))
        })
    }

    /// As [`read`](Self::read), for much at once: page tables are walked once
    /// for each of the kernel's pages, large ones too, and no translation is
    /// remembered.
    pub(super) fn read_large(&self, vaddr: u64, buf: &mut [u8]) -> Result<(), KernelError> {
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
    pub(super) fn number(&self, bytes: &[u8]) -> u64 {
        self.machine.encoding().order.number(bytes)
    }

    /// Bytes in the guest's `unsigned long`, and in a pointer.
    pub(super) fn word_size(&self) -> usize {
        match self.machine.encoding().class {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        }
    }

    /// The `unsigned long` or pointer at `vaddr`.
    pub(super) fn word_at(&self, vaddr: u64) -> Result<u64, KernelError> {
        self.number_at(vaddr, self.word_size())
    }

    /// The number of `len` bytes at `vaddr`.
    pub(super) fn number_at(&self, vaddr: u64, len: usize) -> Result<u64, KernelError> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..len];
        self.read(vaddr, bytes)?;
        Ok(self.number(bytes))
    }

    pub(super) fn symbol(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.symbol(name), "SYMBOL", name)
    }

    pub(super) fn offset(&self, member: &str) -> Result<u64, KernelError> {
        self.need(self.info.offset(member), "OFFSET", member)
    }

    pub(super) fn size(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.size(name), "SIZE", name)
    }

    pub(super) fn length(&self, name: &str) -> Result<u64, KernelError> {
        self.need(self.info.length(name), "LENGTH", name)
    }

    pub(super) fn number_of(&self, name: &str) -> Result<i64, KernelError> {
        self.need(self.info.number(name), "NUMBER", name)
    }

    fn need<T>(&self, value: Option<T>, kind: &str, name: &str) -> Result<T, KernelError> {
        value.ok_or_else(|| KernelError::Missing {
            what: format!("{kind}({name})"),
            osrelease: self.info.osrelease(),
        })
    }
}

impl std::fmt::Debug for KernelReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel")
            .field("machine", &self.machine)
            .field("vmcoreinfo", &self.info)
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}
