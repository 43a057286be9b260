//! Reasons for which a dump is refused before its first byte is written.
#![forbid(unsafe_code)]

use crate::arch::Machine;
use crate::codec::Engine;
use crate::dump::Format;
use crate::guest::linux::{DumpLevel, KernelError};
use crate::guest::vmcoreinfo::VmcoreinfoError;
use crate::guest::windows::WinDmpError;
use crate::memory::{Lack, RangeError, list_lacks};
use crate::write::SectionsError;

/// A reason for which a dump is refused before its first byte is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The list of RAM ranges is invalid.
    #[error("the guest's memory map is refused: {0}")]
    Ranges(#[from] RangeError),
    /// The source is less than the guest's memory, and
    /// [`DumpOptions::keep_incomplete`](crate::DumpOptions::keep_incomplete) is not set.
    #[error(
        "the source is incomplete: {}; a dump that says so can be written (guestdump: --keep-incomplete)",
        list_lacks(lacks)
    )]
    IncompleteSource {
        /// The lacks of the source.
        lacks: Vec<Lack>,
    },
    /// The source is incomplete, and the format cannot say so.
    #[error(
        "the source is incomplete: {}; {format} has no mark for that, so write elf or a kdump format",
        list_lacks(lacks)
    )]
    NoMark {
        /// The requested format.
        format: Format,
        /// The lacks of the source.
        lacks: Vec<Lack>,
    },
    /// The source does not contain all of the guest's RAM, and a dump of this format would not show that.
    #[error(
        "{bytes} bytes of the guest's RAM are not in the source, and {format} cannot say so for this guest; use {instead} instead"
    )]
    AbsentRam {
        /// The requested format.
        format: Format,
        /// The RAM that is not in the source, in bytes.
        bytes: u64,
        /// A format that says so.
        instead: Format,
    },
    /// The source contains none of the RAM that was asked for, although it knows of it.
    #[error("the source contains no page of the guest memory that was asked for")]
    NothingPresent,
    /// `begin` and `length` cover no RAM.
    #[error(
        "no RAM lies in the {length:#x} bytes from guest-physical address {begin:#x} on; give a begin and length inside the guest's RAM"
    )]
    EmptyFilter {
        /// First guest-physical address.
        begin: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The formats do not support this page size.
    #[error("a page size of {0} bytes is not supported; it is a power of two from 4096 to 65536")]
    PageSize(u64),
    /// The format needs a positioned sink and the sink is a stream.
    #[error(
        "{format} needs a file that can be written at any position, and the target is a stream; use {instead} instead"
    )]
    NeedsPositions {
        /// The requested format.
        format: Format,
        /// The flattened format with the same contents.
        instead: Format,
    },
    /// The format's codec is not part of this build.
    #[error("{format} is not part of this build; build with the feature '{feature}'")]
    CodecMissing {
        /// The requested format.
        format: Format,
        /// The crate feature that has the codec.
        feature: &'static str,
    },
    /// The chosen compressor is not part of this build.
    #[error(
        "the compressor {engine} is not part of this build; build with the feature '{}'", engine.feature()
    )]
    EngineMissing {
        /// The engine that the caller chose.
        engine: Engine,
    },
    /// VMCOREINFO that the caller points to cannot be used.
    #[error("VMCOREINFO cannot be used")]
    Vmcoreinfo(#[source] VmcoreinfoError),
    /// The caller gave registers of another architecture than the guest's.
    #[error("the registers of vCPU {cpu} are not those of a {machine} guest")]
    WrongRegisters {
        /// The vCPU's index.
        cpu: usize,
        /// The guest's machine.
        machine: Machine,
    },
    /// The notes are too large for the format.
    #[error("{len} bytes of notes do not fit into the dump's header; the limit is {max}")]
    NotesTooLarge {
        /// The notes' length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A Windows dump cannot be made of this guest.
    #[error("a Windows dump cannot be made")]
    WinDmp(#[from] WinDmpError),
    /// The dump cannot contain the sections that the caller gave.
    #[error("the sections are refused: {0}")]
    Sections(#[from] SectionsError),
    /// The guest's memory does not fit into the format's fields.
    #[error("the guest's memory reaches {end:#x}, too high for {format}")]
    AddressTooHigh {
        /// The requested format.
        format: Format,
        /// The guest-physical address after the last byte.
        end: u64,
    },
    /// The dump must contain every page, but the caller asked to omit pages that cannot be read.
    #[error(
        "a page that cannot be read cannot be left out of {format}{}; use zeroes for it, or another format",
        if *stream { " in a stream" } else { "" }
    )]
    SkipFormat {
        /// The requested format.
        format: Format,
        /// Whether the same format in a file can omit pages.
        stream: bool,
    },
    /// This crate does not know the architecture's page tables.
    #[error("the page tables of {machine} guests are not known; leave paging out")]
    PagingMachine {
        /// The guest's machine.
        machine: Machine,
    },
    /// The throttle is less than a page a second.
    #[error(
        "a throttle of {rate} bytes a second is less than a page; give 4096 or more, 100 MiB/s for example, or leave it out"
    )]
    Throttle {
        /// The throttle in bytes a second.
        rate: u64,
    },
    /// The guest's page tables are unknown, because neither registers nor VMCOREINFO lead to them.
    #[error(
        "paging needs the guest's page tables, and nothing says where they are: give the CPUs' registers or VMCOREINFO"
    )]
    NoPageTables,
    /// The guest's Linux kernel cannot be understood. A dump itself gives
    /// [`DumpLevel`](Self::DumpLevel); callers of [`Kernel`](crate::guest::linux::Kernel)
    /// may pass its errors on as this one.
    #[error("the guest's kernel cannot be understood")]
    Kernel(#[source] KernelError),
    /// The kernel's facts do not tell which pages a dump level excludes.
    #[error(
        "cannot tell which pages dump level {level} leaves out; without a level all pages are dumped"
    )]
    DumpLevel {
        /// The requested level.
        level: DumpLevel,
        /// The fact that this crate does not understand.
        source: KernelError,
    },
    /// A dump level excludes every page of the dump.
    #[error("dump level {level} leaves out every page that was asked for")]
    NothingLeft {
        /// The requested level.
        level: DumpLevel,
    },
}
