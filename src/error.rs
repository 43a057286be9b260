//! Why a dump is refused or fails.

use std::io;

use crate::codec::Engine;
use crate::format::Format;
use crate::linux::{DumpLevel, KernelError};
use crate::memory::RangeError;
use crate::vmcoreinfo::VmcoreinfoError;
use crate::windmp::WinDmpError;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a dump is refused or fails.
///
/// The first group ([`is_refusal`](Self::is_refusal)) is found before the
/// first byte is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The list of RAM ranges is bad.
    #[error("the guest's memory map is refused: {0}")]
    Ranges(#[from] RangeError),
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
    /// The page size is not one that dump formats know.
    #[error("a page size of {0} bytes is not supported; it is a power of two from 4096 to 65536")]
    PageSize(u64),
    /// The format needs a positioned sink and the sink is a stream.
    #[error(
        "{format} needs a file that can be written at any position, and the target is a stream; use {instead} instead"
    )]
    NeedsPositions {
        /// The format asked for.
        format: Format,
        /// The flattened format with the same contents.
        instead: Format,
    },
    /// The format's codec is not part of this build.
    #[error("{format} is not part of this build; build with the feature '{feature}'")]
    CodecMissing {
        /// The format asked for.
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
    /// The chosen compressor does not belong to the format's codec.
    #[error(
        "{format} cannot use the compressor {engine}, which writes {}", engine.codec().feature()
    )]
    EngineFormat {
        /// The engine that the caller chose.
        engine: Engine,
        /// The format asked for.
        format: Format,
    },
    /// VMCOREINFO that the caller points to cannot be used.
    #[error("VMCOREINFO cannot be used")]
    Vmcoreinfo(#[from] VmcoreinfoError),
    /// The caller gave registers of another architecture than the dump's.
    #[error("the registers of vCPU {cpu} are not those of a {machine} guest")]
    WrongRegisters {
        /// The vCPU's index.
        cpu: usize,
        /// The dump's machine.
        machine: crate::Machine,
    },
    /// The notes are too large for the format.
    #[error("{len} bytes of notes do not fit into the dump's header; the limit is {max}")]
    NotesTooLarge {
        /// Their length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A Windows dump cannot be made of this guest.
    #[error("a Windows dump cannot be made")]
    WinDmp(#[from] WinDmpError),
    /// The dump cannot have the sections that the caller gave.
    #[error("the sections are refused: {0}")]
    Sections(#[from] crate::elf::SectionsError),
    /// The guest's memory does not fit into the format's fields.
    #[error("the guest's memory reaches {end:#x}, too high for {format}")]
    AddressTooHigh {
        /// The format asked for.
        format: Format,
        /// The guest-physical address behind the last byte.
        end: u64,
    },
    /// The format has no place for guest-virtual addresses.
    #[error("{format} has no place for guest-virtual addresses; paging goes with elf only")]
    PagingFormat {
        /// The format asked for.
        format: Format,
    },
    /// The format cannot be closed before it is complete.
    #[error(
        "an incomplete {format} cannot be kept, because no reader would open it; use one of the kdump-raw formats, or do without keep-partial"
    )]
    KeepPartialFormat {
        /// The format asked for.
        format: Format,
    },
    /// The dump must have every page.
    #[error(
        "a page that cannot be read cannot be left out of {format}{}; use zeroes for it, or another format",
        if *stream { " in a stream" } else { "" }
    )]
    SkipFormat {
        /// The format asked for.
        format: Format,
        /// Whether a file could do it.
        stream: bool,
    },
    /// The architecture's page tables are not known to this crate.
    #[error("the page tables of {machine} guests are not known; leave paging out")]
    PagingMachine {
        /// The dump's machine.
        machine: crate::Machine,
    },
    /// The throttle is less than a page a second.
    #[error(
        "a throttle of {rate} bytes a second is less than a page; give 4096 or more, 100 MiB/s for example, or leave it out"
    )]
    Throttle {
        /// In bytes a second.
        rate: u64,
    },
    /// Nothing says where the guest's page tables are.
    #[error(
        "paging needs the guest's page tables, and nothing says where they are: give the CPUs' registers or VMCOREINFO"
    )]
    NoPageTables,
    /// The guest's Linux kernel cannot be understood.
    #[error("the guest's kernel cannot be understood")]
    Kernel(#[from] KernelError),

    /// The kernel does not say which pages a dump level leaves out.
    #[error(
        "cannot tell which pages dump level {level} leaves out; without a level all pages are dumped"
    )]
    DumpLevel {
        /// The level that was asked for.
        level: DumpLevel,
        /// What is not understood.
        source: KernelError,
    },
    /// A format that has all pages cannot leave out any.
    #[error("{format} has no dump levels: its readers expect every page")]
    DumpLevelFormat {
        /// The format that was asked for.
        format: Format,
    },
    /// A dump level leaves out every page that was asked for.
    #[error("dump level {level} leaves out every page that was asked for")]
    NothingLeft {
        /// The level.
        level: DumpLevel,
    },

    /// Guest memory cannot be read.
    #[error("cannot read {len} bytes of guest memory at guest-physical address {gpa:#x}")]
    ReadMemory {
        /// The guest-physical address.
        gpa: u64,
        /// How many bytes were asked for.
        len: u64,
        /// What the memory reported.
        source: io::Error,
    },
    /// The contents of a section cannot be had.
    #[error("cannot get the contents of the section {name:?}")]
    Section {
        /// The section's name.
        name: String,
        /// What the caller's function reported.
        source: io::Error,
    },
    /// The sink does not take bytes.
    #[error("cannot write {len} bytes at offset {offset} of the dump")]
    Write {
        /// Offset in the dump, in bytes.
        offset: u64,
        /// How many bytes were left to write.
        len: usize,
        /// What the sink reported.
        source: io::Error,
    },
    /// The sink took every byte but could not finish.
    #[error("the dump is written but cannot be finished")]
    Finish(#[source] io::Error),
    /// A codec failed.
    #[error("cannot compress a page at guest-physical address {gpa:#x}")]
    Compress {
        /// The page's guest-physical address.
        gpa: u64,
        /// What the codec reported.
        source: io::Error,
    },
    /// The dump failed, and what there is was kept, as it was asked for
    /// ([`keep_partial`](crate::DumpOptions::keep_partial)): a dump that says
    /// that it is incomplete, in the finished sink.
    #[error("the dump is incomplete, {pages} of {of} pages are in it")]
    Incomplete {
        /// Pages in the dump.
        pages: u64,
        /// Pages that it should have.
        of: u64,
        /// Why it failed.
        #[source]
        cause: Box<Error>,
    },
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error("the dump was cancelled")]
    Cancelled,
    /// A thread that helps with the dump cannot be started.
    #[error("cannot start a thread for the dump")]
    Thread(#[source] io::Error),
    /// The guest memory or the sink panicked.
    #[error("the guest memory or the sink panicked: {0}")]
    Panicked(String),
}

impl Error {
    /// Whether the dump was refused before the first byte was written.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Ranges(_)
                | Self::EmptyFilter { .. }
                | Self::PageSize(_)
                | Self::NeedsPositions { .. }
                | Self::CodecMissing { .. }
                | Self::EngineMissing { .. }
                | Self::EngineFormat { .. }
                | Self::Vmcoreinfo(_)
                | Self::WrongRegisters { .. }
                | Self::NotesTooLarge { .. }
                | Self::WinDmp(_)
                | Self::Sections(_)
                | Self::AddressTooHigh { .. }
                | Self::PagingFormat { .. }
                | Self::PagingMachine { .. }
                | Self::Throttle { .. }
                | Self::NoPageTables
                | Self::Kernel(_)
                | Self::DumpLevel { .. }
                | Self::DumpLevelFormat { .. }
                | Self::NothingLeft { .. }
                | Self::KeepPartialFormat { .. }
                | Self::SkipFormat { .. }
        )
    }
}

/// An error and its causes, joined by `: `. Some errors repeat their cause in
/// their own text; it is not said twice.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
