//! Guest architectures: data, chosen at run time, independent of the host.
//!
//! Each architecture is a file: its registers, its CPU notes, and how its
//! kernel's addresses relate to guest-physical ones.
#![forbid(unsafe_code)]

pub mod x86_64;

use std::fmt;

use crate::elf::note::{CORE, NT_PRSTATUS, Notes};
use crate::encoding::{ByteOrder, Class, Encoding};
use crate::kdump::format::HeaderLayout;
use crate::vmcoreinfo::Vmcoreinfo;

/// A guest architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Machine {
    /// AMD64 in long mode.
    #[default]
    X86_64,
}

impl Machine {
    /// Every architecture.
    pub const ALL: &'static [Self] = &[Self::X86_64];

    /// The name in `uname -m`, which is also this crate's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
        }
    }

    /// Word size and byte order of dump headers and notes.
    #[must_use]
    pub const fn encoding(self) -> Encoding {
        match self {
            Self::X86_64 => Encoding {
                class: Class::Bits64,
                order: ByteOrder::Little,
            },
        }
    }

    /// How kdump's headers are laid out.
    #[must_use]
    pub const fn kdump_layout(self) -> HeaderLayout {
        match self {
            Self::X86_64 => HeaderLayout::Bits64,
        }
    }

    /// `e_machine` in ELF headers.
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => x86_64::EM_X86_64,
        }
    }

    /// The architecture with this `e_machine` and encoding.
    #[must_use]
    pub fn from_elf(elf_machine: u16, encoding: Encoding) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|m| m.elf_machine() == elf_machine && m.encoding() == encoding)
    }

    /// The architecture whose `NT_PRSTATUS` notes have the size of those in
    /// `notes`, for dumps that do not say.
    pub(crate) fn from_notes(encoding: Encoding, notes: Notes<'_>) -> Option<Self> {
        let size = notes
            .flatten()
            .find_map(|(_, n)| n.is(CORE, NT_PRSTATUS).then_some(n.desc.len()))?;
        Self::ALL
            .iter()
            .copied()
            .find(|m| m.encoding() == encoding && m.prstatus_size() == size)
    }

    /// Size of an `NT_PRSTATUS` descriptor in bytes.
    #[must_use]
    pub const fn prstatus_size(self) -> usize {
        match self {
            Self::X86_64 => x86_64::PRSTATUS_SIZE,
        }
    }

    /// The page sizes, in bytes, that a guest may have; the usual one first.
    #[must_use]
    pub const fn page_sizes(self) -> &'static [u64] {
        match self {
            Self::X86_64 => &[4096],
        }
    }

    /// The page size, in bytes, where VMCOREINFO and the caller are silent.
    #[must_use]
    pub const fn default_page_size(self) -> u64 {
        self.page_sizes()[0]
    }

    /// `phys_base` of kdump's sub header.
    #[must_use]
    pub fn phys_base(self, info: &Vmcoreinfo) -> Option<u64> {
        match self {
            Self::X86_64 => x86_64::phys_base(info),
        }
    }

    /// Where the byte of the kernel's image at the guest-virtual address
    /// `vaddr` lies in guest-physical memory. Covers static data only.
    #[must_use]
    pub fn kernel_image_to_physical(self, vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
        match self {
            Self::X86_64 => x86_64::kernel_image_to_physical(vaddr, info),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Machine {
    type Err = UnknownMachine;

    fn from_str(s: &str) -> Result<Self, UnknownMachine> {
        Self::ALL
            .iter()
            .copied()
            .find(|m| m.name() == s)
            .ok_or_else(|| UnknownMachine(s.to_owned()))
    }
}

/// A name that no architecture has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no machine '{0}'")]
pub struct UnknownMachine(pub String);

/// The registers of one virtual CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Registers {
    /// Of an [`Machine::X86_64`] guest.
    X86_64(Box<x86_64::Registers>),
}

impl Registers {
    /// The architecture that these registers belong to.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        match self {
            Self::X86_64(_) => Machine::X86_64,
        }
    }
}

impl From<x86_64::Registers> for Registers {
    fn from(registers: x86_64::Registers) -> Self {
        Self::X86_64(Box::new(registers))
    }
}

/// Appends the notes of all `cpus`, which are of one architecture, to `out`,
/// in QEMU's order.
pub(crate) fn encode_cpu_notes(machine: Machine, cpus: &[Registers], out: &mut Vec<u8>) {
    match machine {
        Machine::X86_64 => {
            let cpus = cpus.iter().map(|r| match r {
                Registers::X86_64(registers) => &**registers,
            });
            x86_64::encode_notes(cpus, out);
        }
    }
}
