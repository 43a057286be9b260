//! Why a Windows dump is refused. All of it is found before anything is
//! written.

use crate::arch::Machine;

/// Why a Windows dump is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WinDmpError {
    /// There is no header.
    #[error(
        "there is no Windows dump header: the guest's driver (virtio-win fwcfg) has left no note; start it in the guest, or give a header"
    )]
    NoHeader,
    /// No CPU's registers lead to page tables of 64-bit mode.
    #[error(
        "no Windows kernel found: no vCPU has registers with 64-bit page tables; give the registers, or the dump's header"
    )]
    NoPageTables,
    /// What the CPUs' registers lead to is no kernel of Windows.
    #[error(
        "no Windows kernel found: neither the IDTs nor a scan of {address_spaces} address spaces lead to an image of ntoskrnl.exe; give the dump's header"
    )]
    NoKernel {
        /// Address spaces that were scanned: those with the page that
        /// Windows shares with all processes.
        address_spaces: usize,
    },
    /// The kernel has no KDBG, plain or encoded, that is known.
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
        /// Reads that a search may make.
        reads: u64,
        /// Bytes that a search may read.
        bytes: u64,
    },
    /// The block that the header calls KDBG is something else.
    #[error(
        "the header's KdDebuggerDataBlock {vaddr:#x} is no KDBG, nor is the first bug check parameter, where the guest's driver leaves a decoded one"
    )]
    KdbgTag {
        /// Guest-virtual address.
        vaddr: u64,
    },
    /// The guest's note holds something else.
    #[error(
        "the guest's note of {len} bytes is no ELF note with a Windows dump header of 4096 or 8192 bytes"
    )]
    NotANote {
        /// Length of the note in bytes.
        len: usize,
    },
    /// The header has another length.
    #[error("a Windows dump header has 4096 or 8192 bytes, this has {len}")]
    HeaderSize {
        /// Its length in bytes.
        len: usize,
    },
    /// `Signature` and `ValidDump` are not those of a header of this size.
    #[error(
        "the Windows dump header of {len} bytes begins with '{}'; 4096 bytes begin with 'PAGEDUMP', 8192 with 'PAGEDU64'",
        .found.escape_ascii()
    )]
    Signature {
        /// Length of the header in bytes.
        len: usize,
        /// Its first eight bytes.
        found: [u8; 8],
    },
    /// `MachineImageType` is not that of the header's word size.
    #[error("the header's MachineImageType is {found:#x}, a header of this size has {expected:#x}")]
    MachineImageType {
        /// What the header says.
        found: u32,
        /// What fits the header.
        expected: u32,
    },
    /// Windows dumps are of x86 guests.
    #[error(
        "a Windows dump is of an x86 guest, and this is a {machine} guest; use elf or a kdump format"
    )]
    NotX86 {
        /// The dump's machine.
        machine: Machine,
    },
    /// The dump's machine cannot run such a Windows.
    #[error("a {machine} guest has no Windows dump header of {bits} bits")]
    WrongMachine {
        /// The dump's machine.
        machine: Machine,
        /// Word size of the header.
        bits: u32,
    },
    /// `DirectoryTableBase` is no page of RAM.
    #[error("the header's DirectoryTableBase {gpa:#x} is not in the guest's RAM")]
    DirectoryTableBase {
        /// The guest-physical address.
        gpa: u64,
    },
    /// `NumberProcessors` is not possible.
    #[error("the header's NumberProcessors is {count}; Windows has 1 to {max}")]
    NumberProcessors {
        /// What the header says.
        count: u32,
        /// More than any Windows can have.
        max: u32,
    },
    /// `PaeEnabled` is neither 0 nor 1.
    #[error("the header's PaeEnabled is {0}, neither 0 nor 1")]
    PaeEnabled(u8),
    /// The header's own list of memory has more runs than there is room for.
    #[error("the header's PhysicalMemoryBlock has {count} runs, there is room for {max}")]
    RunCount {
        /// What the header says.
        count: u32,
        /// The limit.
        max: usize,
    },
    /// A run of the header's own list is not above the one before it.
    #[error(
        "run {index} of the header's PhysicalMemoryBlock begins at page frame {base_page:#x}, which is not behind the run before it"
    )]
    RunOrder {
        /// Index of the run.
        index: usize,
        /// Its first page frame.
        base_page: u64,
    },
    /// A run of the header's own list is not all RAM.
    #[error(
        "run {index} of the header's PhysicalMemoryBlock, {page_count:#x} pages from page frame {base_page:#x} on, is not all in the guest's RAM"
    )]
    RunOutsideRam {
        /// Index of the run.
        index: usize,
        /// Its first page frame.
        base_page: u64,
        /// How many pages it has.
        page_count: u64,
    },
    /// The guest's memory has more pieces than the header has room for.
    #[error(
        "the guest's memory has {runs} pieces and a header of win-dmp has room for {max}; to join them takes {gap_pages} pages of zeroes, more than {limit}; use win-dmp-bitmap instead"
    )]
    TooManyRuns {
        /// Pieces of memory.
        runs: usize,
        /// The limit.
        max: usize,
        /// Pages of the smallest gaps that would have to be filled.
        gap_pages: u64,
        /// Pages that may be filled.
        limit: u64,
    },
    /// Windows on x86 has pages of 4096 bytes.
    #[error("a Windows dump has pages of 4096 bytes, not of {0}")]
    PageSize(u64),
    /// A context is to be written for a CPU without registers.
    #[error("the context of vCPU {cpu} has a place, but the vCPU's registers are not given")]
    NoRegisters {
        /// Index of the virtual CPU.
        cpu: usize,
    },
    /// The pieces of a context are not as long as a context.
    #[error("the place of the context of vCPU {cpu} has {len} bytes, a context has {expected}")]
    ContextSize {
        /// Index of the virtual CPU.
        cpu: usize,
        /// Length of all pieces in bytes.
        len: usize,
        /// Length of a context in bytes.
        expected: usize,
    },
    /// Bytes of the output that differ from guest memory are not in RAM.
    #[error(
        "{len} bytes at guest-physical address {gpa:#x} are to differ in the dump, but are not all RAM"
    )]
    PatchOutsideRam {
        /// Guest-physical address.
        gpa: u64,
        /// Length in bytes.
        len: usize,
    },
    /// The same bytes of the output are given twice.
    #[error("the byte at guest-physical address {gpa:#x} is to differ in two ways")]
    PatchOverlap {
        /// Guest-physical address.
        gpa: u64,
    },
}

impl WinDmpError {
    /// Whether no header was found, so that one has to be given.
    #[must_use]
    pub const fn wants_header(&self) -> bool {
        matches!(
            self,
            Self::NoHeader
                | Self::NoPageTables
                | Self::NoKernel { .. }
                | Self::NoKdbg { .. }
                | Self::TooMuchWork { .. }
        )
    }
}
