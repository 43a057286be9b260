//! The options that only one kind of format has.
#![forbid(unsafe_code)]

use super::Format;
use super::page_filter::{OnUnknownKernel, PageFilter};
use crate::codec::Engine;
use crate::guest::linux::DumpLevel;
use crate::guest::paging::{Budget, Mapping};
use crate::guest::windows::{BugcheckData, HeaderSource};
use crate::kdump::Container;
use crate::windmp::DumpKind;
use crate::write::Section;

/// A dump format with its own options.
///
/// A [`Format`] alone converts into the format without options. Callers that
/// learn the format's name at run time use the methods here, which fail where
/// the format does not have the option.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FormatOptions {
    /// An ELF core.
    Elf(ElfOptions),
    /// A kdump-compressed dump.
    Kdump(KdumpOptions),
    /// A Windows dump.
    Windows(WinDmpOptions),
}

/// Options of an ELF dump.
#[derive(Debug, Clone, Default)]
pub struct ElfOptions {
    pub(crate) sections: Vec<Section>,
    pub(crate) paging: Option<Budget>,
    pub(crate) flags: u32,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) filter: PageFilter,
}

/// Options of a kdump-compressed dump.
///
/// The compressor is an [`Engine`], or a [`Codec`](crate::codec::Codec), which stands for its default
/// engine.
#[derive(Debug, Clone)]
pub struct KdumpOptions {
    pub(crate) engine: Engine,
    pub(crate) container: Container,
    /// Never with a flattened dump.
    pub(crate) keep_partial: bool,
    pub(crate) filter: PageFilter,
}

/// Options of a Windows dump.
#[derive(Debug, Clone)]
pub struct WinDmpOptions {
    pub(crate) kind: DumpKind,
    pub(crate) header: HeaderSource,
    pub(crate) bugcheck: Option<BugcheckData>,
    pub(crate) damaged: bool,
}

impl ElfOptions {
    /// An ELF dump of all pages by guest-physical address.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds sections after the dump's memory: facts that a kind of guest needs
    /// and that no note contains.
    #[must_use]
    pub fn sections(mut self, sections: impl IntoIterator<Item = Section>) -> Self {
        self.sections = sections.into_iter().collect();
        self
    }

    /// Adds a PT_LOAD for each mapping of guest-virtual addresses, by the page
    /// tables of all CPUs and of the kernel. `budget` bounds the work.
    #[must_use]
    pub fn paging(mut self, budget: Budget) -> Self {
        self.paging = Some(budget);
        self
    }

    /// Sets `e_flags`, whose meaning depends on the architecture. The bit of an incomplete dump is
    /// the writer's own.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// Adds a PT_LOAD for each of these guest-virtual addresses, such as another dump's.
    /// [`paging`](Self::paging) takes their place. Addresses outside the dumped RAM are omitted.
    #[must_use]
    pub fn mappings(mut self, mappings: impl IntoIterator<Item = Mapping>) -> Self {
        self.mappings = mappings.into_iter().collect();
        self
    }

    /// Excludes the pages that a Linux guest's kernel uses for what `level`
    /// names, those that the hardware reported as broken, and those that the
    /// guest gave back. They become holes. VMCOREINFO alone finds them.
    #[must_use]
    pub fn dump_level(mut self, level: DumpLevel) -> Self {
        self.filter.level = level;
        self
    }

    /// Sets what [`dump_level`](Self::dump_level) does about a kernel that is
    /// not understood.
    #[must_use]
    pub fn on_unknown_kernel(mut self, policy: OnUnknownKernel) -> Self {
        self.filter.on_unknown_kernel = policy;
        self
    }
}

impl KdumpOptions {
    fn new(engine: Engine, container: Container, keep_partial: bool) -> Self {
        Self {
            engine,
            container,
            keep_partial,
            filter: PageFilter {
                level: DumpLevel::NONE,
                on_unknown_kernel: OnUnknownKernel::Fail,
            },
        }
    }

    /// A raw dump. Its sink can be written at any position.
    #[must_use]
    pub fn raw(compressor: impl Into<Engine>) -> Self {
        Self::new(compressor.into(), Container::Raw, false)
    }

    /// A raw dump that is kept if it fails.
    ///
    /// After a failure, a full disk for example, or a cancellation, the pages
    /// that were written are a valid dump that says that it is incomplete. The
    /// sink is finished, and the error is
    /// [`Error::Incomplete`](crate::Error::Incomplete). The space for headers,
    /// bitmaps and page descriptors is reserved at the beginning.
    #[must_use]
    pub fn raw_or_partial(compressor: impl Into<Engine>) -> Self {
        Self::new(compressor.into(), Container::Raw, true)
    }

    /// A flattened dump, for any sink.
    #[must_use]
    pub fn flattened(compressor: impl Into<Engine>) -> Self {
        Self::new(compressor.into(), Container::Flattened, false)
    }

    /// Excludes the pages that a Linux guest's kernel uses for what `level`
    /// names, those that the hardware reported as broken, and those that the
    /// guest gave back. The dump does not list them. VMCOREINFO alone finds
    /// them.
    #[must_use]
    pub fn dump_level(mut self, level: DumpLevel) -> Self {
        self.filter.level = level;
        self
    }

    /// Sets what [`dump_level`](Self::dump_level) does about a kernel that is
    /// not understood.
    #[must_use]
    pub fn on_unknown_kernel(mut self, policy: OnUnknownKernel) -> Self {
        self.filter.on_unknown_kernel = policy;
        self
    }
}

impl WinDmpOptions {
    /// A dump of this kind. Its header comes from the guest's note, or else
    /// from its kernel.
    #[must_use]
    pub fn new(kind: DumpKind) -> Self {
        Self {
            kind,
            header: HeaderSource::default(),
            bugcheck: None,
            damaged: false,
        }
    }

    /// Sets where the header comes from.
    #[must_use]
    pub fn header(mut self, source: HeaderSource) -> Self {
        self.header = source;
        self
    }

    /// Sets why the guest crashed. The default is the guest's
    /// `KiBugcheckData`, or the header's own code, and where that is none,
    /// [`BugcheckData::LIVE`].
    #[must_use]
    pub fn bugcheck(mut self, data: BugcheckData) -> Self {
        self.bugcheck = Some(data);
        self
    }

    /// Sets whether a header is built although the guest's kernel has broken
    /// lists of modules, processes or memory.
    ///
    /// [`WindowsSummary::damage`](crate::write::WindowsSummary::damage) then
    /// lists what is broken. By default such a guest is refused, unless its
    /// header comes from its note or the caller.
    #[must_use]
    pub fn damaged(mut self, may_be: bool) -> Self {
        self.damaged = may_be;
        self
    }
}

/// An option that a format does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotInFormat {
    /// Only ELF has a place for guest-virtual addresses.
    #[error("{0} has no place for guest-virtual addresses; paging goes with elf only")]
    Paging(Format),
    /// Windows dumps exclude no pages.
    #[error("{0} has no dump levels: its readers expect every page")]
    DumpLevel(Format),
    /// The compressor does not belong to the format's codec.
    #[error("{format} cannot use the compressor {engine}, which writes {}", engine.codec().feature())]
    Compressor {
        /// The compressor.
        engine: Engine,
        /// The format.
        format: Format,
    },
    /// Only raw kdump can be closed before it is complete.
    #[error(
        "an incomplete {0} cannot be kept, because no reader would open it; use one of the kdump-raw formats, or do without keep-partial"
    )]
    KeepPartial(Format),
}

impl FormatOptions {
    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Elf(_) => Format::Elf,
            &Self::Kdump(KdumpOptions {
                engine, container, ..
            }) => Format::Kdump {
                codec: engine.codec(),
                container,
            },
            Self::Windows(options) => Format::Windows(options.kind),
        }
    }

    /// Sets [`ElfOptions::paging`].
    ///
    /// # Errors
    ///
    /// [`NotInFormat::Paging`] for other formats.
    pub fn paging(self, budget: Budget) -> Result<Self, NotInFormat> {
        match self {
            Self::Elf(options) => Ok(Self::Elf(options.paging(budget))),
            other => Err(NotInFormat::Paging(other.format())),
        }
    }

    /// Sets `dump_level` and `on_unknown_kernel` of an ELF or kdump dump.
    ///
    /// # Errors
    ///
    /// [`NotInFormat::DumpLevel`] for a Windows dump and any level but
    /// [`DumpLevel::NONE`].
    pub fn dump_level(
        self,
        level: DumpLevel,
        policy: OnUnknownKernel,
    ) -> Result<Self, NotInFormat> {
        match self {
            Self::Elf(options) => Ok(Self::Elf(
                options.dump_level(level).on_unknown_kernel(policy),
            )),
            Self::Kdump(options) => Ok(Self::Kdump(
                options.dump_level(level).on_unknown_kernel(policy),
            )),
            Self::Windows(_) if level == DumpLevel::NONE => Ok(self),
            Self::Windows(options) => Err(NotInFormat::DumpLevel(Format::Windows(options.kind))),
        }
    }

    /// Sets the compressor of a kdump dump.
    ///
    /// # Errors
    ///
    /// [`NotInFormat::Compressor`] if it does not belong to the format's codec.
    pub fn compressor(self, engine: Engine) -> Result<Self, NotInFormat> {
        match self {
            Self::Kdump(options) if options.engine.codec() == engine.codec() => {
                Ok(Self::Kdump(KdumpOptions { engine, ..options }))
            }
            other => Err(NotInFormat::Compressor {
                engine,
                format: other.format(),
            }),
        }
    }

    /// Keeps a raw kdump dump that fails, as
    /// [`KdumpOptions::raw_or_partial`].
    ///
    /// # Errors
    ///
    /// [`NotInFormat::KeepPartial`] for other formats.
    pub fn keep_partial(self) -> Result<Self, NotInFormat> {
        match self {
            Self::Kdump(options) if options.container == Container::Raw => {
                Ok(Self::Kdump(KdumpOptions {
                    keep_partial: true,
                    ..options
                }))
            }
            other => Err(NotInFormat::KeepPartial(other.format())),
        }
    }

    pub(crate) fn filter(&self) -> PageFilter {
        match self {
            Self::Elf(options) => options.filter,
            Self::Kdump(options) => options.filter,
            Self::Windows(_) => PageFilter::default(),
        }
    }
}

impl From<Format> for FormatOptions {
    fn from(format: Format) -> Self {
        match format {
            Format::Elf => Self::Elf(ElfOptions::new()),
            Format::Kdump { codec, container } => {
                Self::Kdump(KdumpOptions::new(codec.into(), container, false))
            }
            Format::Windows(kind) => Self::Windows(WinDmpOptions::new(kind)),
        }
    }
}

impl From<ElfOptions> for FormatOptions {
    fn from(options: ElfOptions) -> Self {
        Self::Elf(options)
    }
}

impl From<KdumpOptions> for FormatOptions {
    fn from(options: KdumpOptions) -> Self {
        Self::Kdump(options)
    }
}

impl From<WinDmpOptions> for FormatOptions {
    fn from(options: WinDmpOptions) -> Self {
        Self::Windows(options)
    }
}
