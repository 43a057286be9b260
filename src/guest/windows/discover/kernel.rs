//! Finds the kernel's image.
//!
//! A CPU's IDT points to interrupt handlers in the kernel's image. The image
//! begins some pages below them, with a header. The header names the image
//! `ntoskrnl.exe`, or its symbols `ntkrnlmp.pdb`, or variants of these names.
//! For 64 bits QEMU `contrib/elf2dmp/main.c` uses the same method. If this
//! finds nothing, all mappings are scanned where Windows puts its kernel.
#![forbid(unsafe_code)]

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::arch::x86_64::DescriptorTable;
use crate::guest::paging::{AddressSpace, Budget, mappings};
use crate::guest::windows::WindowsError;
use crate::guest::windows::discover::format::pe::{
    CODEVIEW, CodeView, DebugDirectory, DosHeader, ExportDirectory, IMAGE_DIRECTORY_DEBUG,
    IMAGE_DIRECTORY_EXPORT, MZ, NtImage, RSDS,
};
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;
use crate::memory::MIN_PAGE_SIZE;
use crate::workers::Progress;

/// The largest image that may be a kernel, in bytes. Windows 11 has about 20
/// MiB.
pub(crate) const MAX_IMAGE: u64 = 64 << 20;
/// The most names that an export directory may have. The kernel has about 3000.
const MAX_EXPORTS: u32 = 1 << 16;

/// Interrupts whose handlers are tried: division by zero, page fault.
const TRIED_INTERRUPTS: [u64; 2] = [0, 14];
/// Names of the kernel's image (volatility3
/// `framework/constants/windows/__init__.py`). They differ for one CPU or more,
/// and for 32 bits with PAE or without. `PDB_NAMES` are those of its symbols.
const IMAGE_NAMES: [&[u8]; 4] = [
    b"ntoskrnl.exe",
    b"ntkrnlmp.exe",
    b"ntkrnlpa.exe",
    b"ntkrpamp.exe",
];
const PDB_NAMES: [&[u8]; 4] = [
    b"ntoskrnl.pdb",
    b"ntkrnlmp.pdb",
    b"ntkrnlpa.pdb",
    b"ntkrpamp.pdb",
];

/// The most work that the scan of the kernel's space may do.
const SCAN: Budget = Budget {
    mappings: 1 << 18,
    table_bytes: 128 << 20,
};

/// A gate of a 64-bit IDT (Intel SDM volume 3, "64-Bit Mode IDT").
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Gate {
    offset_low: U16,
    selector: U16,
    flags: U16,
    offset_middle: U16,
    offset_high: U32,
    reserved: U32,
}

/// A gate of a 32-bit IDT (Intel SDM volume 3, "IDT Descriptors").
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Gate32 {
    offset_low: U16,
    selector: U16,
    flags: U16,
    offset_high: U16,
}

/// Returns the guest-virtual address of the handler of interrupt `number`.
fn handler(memory: &VirtualMemory<'_>, idt: DescriptorTable, number: u64) -> Option<u64> {
    let at = |size: usize| idt.base.checked_add(number * size as u64);
    let (low, high) = match memory.width() {
        Width::Bits32 => {
            let gate: Gate32 = memory.read_struct(at(size_of::<Gate32>())?)?;
            (gate.offset_low, u64::from(gate.offset_high.get()))
        }
        Width::Bits64 => {
            let gate: Gate = memory.read_struct(at(size_of::<Gate>())?)?;
            let high =
                u64::from(gate.offset_middle.get()) | u64::from(gate.offset_high.get()) << 16;
            (gate.offset_low, high)
        }
    };
    Some(u64::from(low.get()) | high << 16)
}

/// Returns the guest-virtual addresses of interrupt handlers in an IDT.
pub(crate) fn handlers(memory: &VirtualMemory<'_>, idt: DescriptorTable) -> Vec<u64> {
    let handler = |number: &u64| handler(memory, idt, *number);
    let handlers = TRIED_INTERRUPTS.iter().filter_map(handler);
    handlers
        .filter(|handler| memory.is_kernel_address(*handler))
        .collect()
}

/// The kernel's image in memory.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// Guest-virtual address of the image.
    pub(crate) base: u64,
    /// Size of the image in bytes.
    pub(crate) size: u64,
    exports: Option<ExportDirectory>,
}

impl Kernel {
    /// Finds the kernel whose image contains `address`.
    pub(crate) fn below(memory: &VirtualMemory<'_>, address: u64) -> Option<Self> {
        let first = address - address % MIN_PAGE_SIZE;
        let lowest = first.saturating_sub(MAX_IMAGE);
        let mut base = first;
        while base > lowest && memory.is_kernel_address(base) && !memory.work.is_used_up() {
            let found = Self::at(memory, base).filter(|kernel| address - base < kernel.size);
            if found.is_some() {
                return found;
            }
            base -= MIN_PAGE_SIZE;
        }
        None
    }

    /// Finds a kernel that is mapped where Windows puts it.
    pub(crate) fn by_scan(
        memory: &VirtualMemory<'_>,
        progress: &Progress,
    ) -> Result<Option<Self>, WindowsError> {
        let read = |gpa, buf: &mut [u8]| memory.read_physical(gpa, buf);
        let ranges = memory.guest.ranges;
        let mapped = mappings(
            &[AddressSpace::X86(memory.tables)],
            &read,
            ranges,
            SCAN,
            progress,
        )?;
        let space = memory.width().kernel_space();
        let mut candidates = mapped.list.iter().flat_map(|mapping| {
            // Mappings elsewhere may have billions of pages.
            let end = mapping.vaddr.saturating_add(mapping.size);
            let inside = mapping.vaddr.max(space.start)..end.min(space.end);
            let pages = inside.step_by(MIN_PAGE_SIZE as usize);
            pages.map(|vaddr| (vaddr, mapping.gpa + (vaddr - mapping.vaddr)))
        });
        Ok(candidates.find_map(|(vaddr, gpa)| {
            let mut magic = [0; 2];
            memory.read_physical(gpa, &mut magic).ok()?;
            (magic == MZ).then(|| Self::at(memory, vaddr))?
        }))
    }

    /// Returns the kernel whose image begins at `base`.
    fn at(memory: &VirtualMemory<'_>, base: u64) -> Option<Self> {
        let mut magic = [0; 2];
        memory.read(base, &mut magic)?;
        (magic == MZ).then_some(())?;
        let dos: DosHeader = memory.read_struct(base)?;
        let lfanew = u64::from(dos.e_lfanew.get());
        (lfanew < MAX_IMAGE).then_some(())?;
        let at = base.checked_add(lfanew)?;
        let image = match memory.width() {
            Width::Bits32 => NtImage::of_32(&memory.read_struct(at)?)?,
            Width::Bits64 => NtImage::of_64(&memory.read_struct(at)?)?,
        };
        let size = u64::from(image.size);
        let is_image =
            (MIN_PAGE_SIZE..=MAX_IMAGE).contains(&size) && base.checked_add(size).is_some();
        is_image.then_some(())?;
        let directory = |index: usize| {
            let directory = image.directories.get(index)?;
            Some(directory.rva.get()).filter(|rva| *rva != 0)
        };
        let mut kernel = Self {
            base,
            size,
            exports: None,
        };
        kernel.exports =
            directory(IMAGE_DIRECTORY_EXPORT).and_then(|rva| kernel.read_struct(memory, rva));
        let is_named = kernel
            .exports
            .as_ref()
            .is_some_and(|exports| kernel.has_name(memory, exports.name.get(), &IMAGE_NAMES));
        let is_kernel = is_named
            || directory(IMAGE_DIRECTORY_DEBUG)
                .is_some_and(|rva| kernel.has_symbols(memory, rva).is_some());
        is_kernel.then_some(kernel)
    }

    /// Returns `Some` if the debug directory at `rva` names the kernel's
    /// symbols.
    fn has_symbols(&self, memory: &VirtualMemory<'_>, rva: u32) -> Option<()> {
        let directory: DebugDirectory = self.read_struct(memory, rva)?;
        (directory.kind.get() == CODEVIEW).then_some(())?;
        let at = directory.address_of_raw_data.get();
        let record: CodeView = self.read_struct(memory, at)?;
        (record.signature == RSDS).then_some(())?;
        let name = at.checked_add(size_of::<CodeView>() as u32)?;
        self.has_name(memory, name, &PDB_NAMES).then_some(())
    }

    /// Returns the guest-virtual address of the `len` bytes at `rva`, if they
    /// are in the image.
    fn vaddr(&self, rva: u32, len: usize) -> Option<u64> {
        let end = u64::from(rva).checked_add(len as u64)?;
        (end <= self.size).then_some(self.base + u64::from(rva))
    }

    fn read_struct<T: FromBytes + IntoBytes>(
        &self,
        memory: &VirtualMemory<'_>,
        rva: u32,
    ) -> Option<T> {
        memory.read_struct(self.vaddr(rva, size_of::<T>())?)
    }

    /// Returns whether the string at `rva` is one of `names`.
    fn has_name(&self, memory: &VirtualMemory<'_>, rva: u32, names: &[&[u8]]) -> bool {
        let is = |name: &&&[u8]| self.compare(memory, rva, name) == Some(std::cmp::Ordering::Equal);
        names.iter().any(|name| is(&name))
    }

    /// Compares the NUL-terminated string at `rva` with `name`.
    fn compare(
        &self,
        memory: &VirtualMemory<'_>,
        rva: u32,
        name: &[u8],
    ) -> Option<std::cmp::Ordering> {
        let mut bytes = vec![0; name.len() + 1];
        memory.read(self.vaddr(rva, bytes.len())?, &mut bytes)?;
        let len = bytes.iter().position(|b| *b == 0);
        bytes.truncate(len.unwrap_or(bytes.len()));
        Some(bytes.as_slice().cmp(name))
    }

    /// Returns the guest-virtual address of the export `name`.
    pub(crate) fn export(&self, memory: &VirtualMemory<'_>, name: &str) -> Option<u64> {
        let exports = self.exports.as_ref()?;
        let (mut low, mut high) = (0, exports.number_of_names.get().min(MAX_EXPORTS));
        let item =
            |table: &U32, index: u32, size: u32| table.get().checked_add(index.checked_mul(size)?);
        // The names ascend, so a binary search finds `name`.
        while low < high {
            let middle = low.midpoint(high);
            let name_rva: U32 = self.read_struct(memory, item(&exports.names, middle, 4)?)?;
            match self.compare(memory, name_rva.get(), name.as_bytes())? {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let ordinal = item(&exports.name_ordinals, middle, 2)?;
                    let ordinal: U16 = self.read_struct(memory, ordinal)?;
                    let function = item(&exports.functions, ordinal.get().into(), 4)?;
                    let rva: U32 = self.read_struct(memory, function)?;
                    return self.vaddr(rva.get(), 1);
                }
            }
        }
        None
    }
}
