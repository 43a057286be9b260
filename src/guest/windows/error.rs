//! Reasons to refuse a Windows dump. All of them are found before anything is
//! written.

use std::fmt;

use crate::abi::FieldOverflow;
use crate::arch::Machine;
use crate::fault::Fault;
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::memory::OverlayError;
use crate::windmp::HeaderError;

/// A list in the Windows kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelList {
    /// `PsLoadedModuleList`.
    Modules,
    /// `PsActiveProcessHead`.
    Processes,
}

impl fmt::Display for KernelList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modules => "modules (PsLoadedModuleList)",
            Self::Processes => "processes (PsActiveProcessHead)",
        })
    }
}

/// Why a list is broken at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListFault {
    /// The entry's links cannot be read.
    #[error("is not in the kernel's memory, or cannot be read")]
    Unreadable,
    /// The entry is not linked back to the one before it. Either the list is
    /// cyclic without its head, or its links are inconsistent.
    #[error("is not linked back to the one at {before:#x}, which is before it")]
    NotLinkedBack {
        /// Guest-virtual address of the entry before it.
        before: u64,
    },
    /// The list has more entries than the search visits.
    #[error("has {max} entries before it, and there is no end")]
    TooLong {
        /// The most entries that the search visits.
        max: usize,
    },
}

/// Why a Windows dump is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WinDmpError {
    /// There is no header.
    #[error(
        "there is no Windows dump header: the guest's driver (virtio-win fwcfg) has left no note; start it in the guest, or give a header"
    )]
    NoHeader,
    /// There are no registers, and a scan of memory finds no Windows kernel.
    #[error(
        "no CPU registers: no Windows kernel found, because no vCPU's registers are given and a scan of the guest's memory finds no page tables of one; give the registers, or the dump's header"
    )]
    NoCpuRegisters,
    /// No CPU's registers lead to page tables, and a scan of memory finds no
    /// Windows kernel.
    #[error(
        "no Windows kernel found: no vCPU has registers with page tables, and a scan of the guest's memory finds none; give the registers, or the dump's header"
    )]
    NoPageTables,
    /// A scan of memory finds page tables of different Windows kernels.
    #[error(
        "two Windows kernels found: the page tables at {:#x} lead to one at virtual address {:#x}, those at {:#x} to one at {:#x}; give the registers, or the dump's header",
        .roots[0], .bases[0], .roots[1], .bases[1]
    )]
    TwoKernels {
        /// CR3 of both.
        roots: [u64; 2],
        /// Guest-virtual addresses of both kernels' images.
        bases: [u64; 2],
    },
    /// The CPUs' registers lead to no Windows kernel.
    #[error(
        "no Windows kernel found: neither the IDTs, nor a scan of {address_spaces} address spaces, nor one of the guest's memory for page tables lead to an image of ntoskrnl.exe; give the dump's header"
    )]
    NoKernel {
        /// Number of scanned address spaces. Each maps the page that Windows
        /// shares with all processes.
        address_spaces: usize,
    },
    /// The kernel contains no known KDBG, plain or encoded.
    #[error(
        "no KDBG, plain or encoded, found in the Windows kernel at virtual address {base:#x}; give the dump's header"
    )]
    NoKdbg {
        /// Guest-virtual address of the kernel's image.
        base: u64,
    },
    /// The guest's structures make the search for its kernel too long.
    #[error(
        "the search for the Windows kernel was stopped after {reads} reads or {bytes} bytes; give the dump's header"
    )]
    TooMuchWork {
        /// The most reads that a search may make.
        reads: u64,
        /// The most bytes that a search may read.
        bytes: u64,
    },
    /// A list of the kernel is broken.
    #[error(
        "the kernel's list of {list} is broken: its entry at virtual address {entry:#x} {fault}"
    )]
    BrokenList {
        /// The broken list.
        list: KernelList,
        /// Guest-virtual address of the entry.
        entry: u64,
        /// The fault of the entry.
        fault: ListFault,
    },
    /// The kernel's data in memory is damaged, and the header would be built
    /// from it.
    #[error(
        "the Windows kernel is damaged: {0}; give the dump's header, say that the guest may be damaged, or use elf, which needs neither"
    )]
    Damaged(Box<WinDmpError>),
    /// The header's KDBG address leads to something else.
    #[error(
        "the header's KdDebuggerDataBlock {vaddr:#x} is no KDBG, nor is the first bug check parameter, where the guest's driver leaves a decoded one"
    )]
    KdbgTag {
        /// Guest-virtual address from the header.
        vaddr: u64,
    },
    /// The guest's note contains something else than a header.
    #[error(
        "the guest's note of {len} bytes is no ELF note with a Windows dump header of 4096 or 8192 bytes"
    )]
    NotANote {
        /// Length of the note in bytes.
        len: usize,
    },
    /// The header is refused, or a value does not fit into it.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// `MachineImageType` does not match the header's word size.
    #[error("the header's MachineImageType is {found:#x}, a header of this size has {expected:#x}")]
    MachineImageType {
        /// The header's value.
        found: u32,
        /// The value that matches the header.
        expected: u32,
    },
    /// The guest is not an x86 guest, so it cannot have a Windows dump.
    #[error(
        "a Windows dump is of an x86 guest, and this is a {machine} guest; use elf or a kdump format"
    )]
    NotX86 {
        /// The guest's machine.
        machine: Machine,
    },
    /// The guest's machine cannot run a Windows with such a header.
    #[error("a {machine} guest has no Windows dump header of {bits} bits")]
    WrongMachine {
        /// The guest's machine.
        machine: Machine,
        /// Word size of the header.
        bits: u32,
    },
    /// `DirectoryTableBase` is not in RAM.
    #[error("the header's DirectoryTableBase {gpa:#x} is not in the guest's RAM")]
    DirectoryTableBase {
        /// The guest-physical address.
        gpa: u64,
    },
    /// `NumberProcessors` is 0 or too large.
    #[error("the header's NumberProcessors is {count}; Windows has 1 to {max}")]
    NumberProcessors {
        /// The header's value.
        count: u32,
        /// The limit, which is more than any Windows supports.
        max: u32,
    },
    /// `PaeEnabled` is neither 0 nor 1.
    #[error("the header's PaeEnabled is {0}, neither 0 nor 1")]
    PaeEnabled(u8),
    /// The guest's list of its memory, in the header or in the kernel, has too
    /// many runs.
    #[error("PhysicalMemoryBlock has {count} runs, at most {max} are possible")]
    RunCount {
        /// The list's value.
        count: u32,
        /// The limit.
        max: usize,
    },
    /// A run in the guest's list of its memory is not above the run before it.
    #[error(
        "run {index} of PhysicalMemoryBlock begins at page frame {base_page:#x}, which is not behind the run before it"
    )]
    RunOrder {
        /// Index of the run.
        index: usize,
        /// First page frame of the run.
        base_page: u64,
    },
    /// A run in the guest's list of its memory is not entirely RAM.
    #[error(
        "run {index} of PhysicalMemoryBlock, {page_count:#x} pages from page frame {base_page:#x} on, is not all in the guest's RAM"
    )]
    RunOutsideRam {
        /// Index of the run.
        index: usize,
        /// First page frame of the run.
        base_page: u64,
        /// Number of pages in the run.
        page_count: u64,
    },
    /// The page size is not 4096 bytes, which is that of Windows on x86.
    #[error("a Windows dump has pages of 4096 bytes, not of {0}")]
    PageSize(u64),
    /// The caller gave a place for the context of a CPU without registers.
    #[error("the context of vCPU {cpu} has a place, but the vCPU's registers are not given")]
    NoRegisters {
        /// Index of the virtual CPU.
        cpu: usize,
    },
    /// The pieces of a context do not add up to a context's length.
    #[error("the place of the context of vCPU {cpu} has {len} bytes, a context has {expected}")]
    ContextSize {
        /// Index of the virtual CPU.
        cpu: usize,
        /// Length of all pieces in bytes.
        len: usize,
        /// Length of a context in bytes.
        expected: usize,
    },
    /// The places of CPU contexts and of KDBG cannot be patched in the dump.
    #[error(transparent)]
    Patch(#[from] OverlayError),
}

impl From<FieldOverflow> for WinDmpError {
    fn from(error: FieldOverflow) -> Self {
        HeaderError::from(error).into()
    }
}

impl WinDmpError {
    /// Returns whether no header was found, so that the caller has to give one.
    #[must_use]
    pub const fn wants_header(&self) -> bool {
        matches!(
            self,
            Self::NoHeader
                | Self::NoCpuRegisters
                | Self::NoPageTables
                | Self::TwoKernels { .. }
                | Self::NoKernel { .. }
                | Self::NoKdbg { .. }
                | Self::TooMuchWork { .. }
        )
    }
}

/// Why a Windows guest cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WindowsError {
    #[error(transparent)]
    WinDmp(#[from] WinDmpError),
    #[error(transparent)]
    Vmcoreinfo(VmcoreinfoError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<VmcoreinfoError> for WindowsError {
    fn from(error: VmcoreinfoError) -> Self {
        match error {
            VmcoreinfoError::Fault(fault) => Self::Fault(fault),
            error => Self::Vmcoreinfo(error),
        }
    }
}
