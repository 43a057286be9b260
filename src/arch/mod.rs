//! Guest architectures.
//!
//! The architecture of a guest is data, chosen at run time, and does not depend
//! on the host. Each architecture has one file. That file defines its
//! registers, its CPU notes, and how its kernel's addresses relate to
//! guest-physical addresses.
//!
//! ```
//! use guestdump::arch::aarch64;
//! use guestdump::{Machine, CpuState};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let machine: Machine = "aarch64".parse()?;
//! let vcpu0 = aarch64::Registers { pc: 0xffff_8000_0801_0000, ..Default::default() };
//! let vcpu0 = CpuState::from(vcpu0);
//! assert!(vcpu0.fit(machine));
//! assert_eq!(vcpu0.program_counter(), 0xffff_8000_0801_0000);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod aarch64;
pub mod arm;
pub mod i386;
mod json;
pub mod loongarch64;
pub mod ppc64;
mod prstatus;
pub mod riscv;
pub mod s390x;
mod segment;
mod x86;
pub mod x86_64;
mod x86_64_registers;

use std::fmt;

use crate::abi::{Abi, Class, Encoding, FieldOverflow, U64Align};
use crate::elf::note::{CORE, NT_PRSTATUS, Notes};
use crate::vmcoreinfo::Vmcoreinfo;

use prstatus::CpuNotes;

/// A guest architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Machine {
    /// AMD64 in long mode.
    X86_64,
    /// 64-bit Arm, little-endian.
    Aarch64,
    /// 64-bit Arm, big-endian.
    Aarch64Be,
    /// 32-bit Arm, little-endian.
    Arm,
    /// 64-bit PowerPC, big-endian.
    Ppc64,
    /// 64-bit PowerPC, little-endian.
    Ppc64le,
    /// z/Architecture, big-endian.
    S390x,
    /// Intel's 32-bit architecture.
    I386,
    /// RISC-V, 64-bit.
    Riscv64,
    /// RISC-V, 32-bit.
    Riscv32,
    /// LoongArch, 64-bit.
    Loongarch64,
}

impl Machine {
    /// Every architecture.
    pub const ALL: &'static [Self] = &[
        Self::X86_64,
        Self::Aarch64,
        Self::Aarch64Be,
        Self::Arm,
        Self::Ppc64,
        Self::Ppc64le,
        Self::S390x,
        Self::I386,
        Self::Riscv64,
        Self::Riscv32,
        Self::Loongarch64,
    ];

    /// Returns the description of this architecture.
    const fn architecture(self) -> &'static Architecture {
        match self {
            Self::X86_64 => &x86_64::ARCHITECTURE,
            Self::Aarch64 => &aarch64::ARCHITECTURE,
            Self::Aarch64Be => &aarch64::BIG_ENDIAN,
            Self::Arm => &arm::ARCHITECTURE,
            Self::Ppc64 => &ppc64::ARCHITECTURE,
            Self::Ppc64le => &ppc64::LITTLE_ENDIAN,
            Self::S390x => &s390x::ARCHITECTURE,
            Self::I386 => &i386::ARCHITECTURE,
            Self::Riscv64 => &riscv::RISCV64,
            Self::Riscv32 => &riscv::RISCV32,
            Self::Loongarch64 => &loongarch64::ARCHITECTURE,
        }
    }

    /// Returns this crate's name for the architecture.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.architecture().name
    }

    /// Returns the `uname -m` of the architecture's kernels. Readers of kdump
    /// choose the architecture by it.
    #[must_use]
    pub const fn uname(self) -> &'static str {
        self.architecture().uname
    }

    /// Returns the word size and byte order of dump headers and notes.
    #[must_use]
    pub const fn encoding(self) -> Encoding {
        self.architecture().encoding
    }

    /// Returns the ABI that decides the layout of the kernel's structs and of
    /// kdump's headers.
    #[must_use]
    pub const fn abi(self) -> Abi {
        let Architecture {
            encoding,
            u64_align,
            ..
        } = *self.architecture();
        Abi {
            class: encoding.class,
            order: encoding.order,
            u64_align,
        }
    }

    /// Returns `e_machine` of ELF headers.
    #[must_use]
    pub const fn elf_machine(self) -> u16 {
        self.architecture().elf_machine
    }

    /// Returns the architecture with this `e_machine` and encoding.
    ///
    /// A guest with 32-bit words may have a dump of 64-bit class: its memory,
    /// or QEMU's ROMs, may not fit into the 32-bit class.
    #[must_use]
    pub fn from_elf(elf_machine: u16, encoding: Encoding) -> Option<Self> {
        Self::in_encoding(encoding, |m| m.elf_machine() == elf_machine)
    }

    /// Returns the architecture whose `NT_PRSTATUS` notes have the size of
    /// those in `notes`. It serves dumps that do not name their architecture.
    #[must_use]
    pub fn from_notes(encoding: Encoding, notes: Notes<'_>) -> Option<Self> {
        let size = notes
            .flatten()
            .find_map(|(_, n)| n.is(CORE, NT_PRSTATUS).then_some(n.desc.len()))?;
        Self::in_encoding(encoding, |m| m.prstatus_size() == size)
    }

    /// Returns the architecture that `fits` accepts in a dump of this encoding.
    fn in_encoding(encoding: Encoding, fits: impl Fn(Self) -> bool) -> Option<Self> {
        let Encoding { class, order } = encoding;
        let fitting = |e: Encoding| {
            let all = Self::ALL.iter().copied();
            all.filter(move |m| m.encoding() == e).find(|m| fits(*m))
        };
        let narrow = Encoding {
            class: Class::Bits32,
            order,
        };
        fitting(encoding).or_else(|| fitting(narrow).filter(|_| class == Class::Bits64))
    }

    /// Returns the size of an `NT_PRSTATUS` descriptor in bytes.
    #[must_use]
    pub const fn prstatus_size(self) -> usize {
        self.architecture().prstatus_size
    }

    /// Returns the page sizes, in bytes, that a guest may have; the usual one
    /// first.
    #[must_use]
    pub const fn page_sizes(self) -> &'static [u64] {
        self.architecture().page_sizes
    }

    /// Returns the page size, in bytes, to use when neither VMCOREINFO nor the
    /// caller gives one.
    #[must_use]
    pub const fn default_page_size(self) -> u64 {
        self.page_sizes()[0]
    }

    /// Returns whether kdump's page frame numbers count from `phys_base`, where
    /// RAM begins. Otherwise they count from address 0 (`ARCH_PFN_OFFSET`; see
    /// docs/formats/kdump.md).
    #[must_use]
    pub const fn frames_from_phys_base(self) -> bool {
        self.architecture().frames_from_phys_base
    }

    /// Returns `phys_base` for kdump's sub header.
    #[must_use]
    pub fn phys_base(self, info: &Vmcoreinfo) -> Option<u64> {
        (self.architecture().phys_base)(info)
    }

    /// Returns whether VMCOREINFO does not tell where the kernel is, so that its
    /// addresses are only those for which it was linked: x86_64 before Linux 4.10.
    #[must_use]
    pub fn is_only_linked(self, info: &Vmcoreinfo) -> bool {
        self == Self::X86_64 && x86_64::is_only_linked(info)
    }

    /// Translates the guest-virtual address `vaddr` in the kernel's image to
    /// its guest-physical address. It covers static data only.
    #[must_use]
    pub fn kernel_image_to_physical(self, vaddr: u64, info: &Vmcoreinfo) -> Option<u64> {
        (self.architecture().kernel_image_to_physical)(vaddr, info)
    }

    /// Returns the `phys_base` that QEMU, crash and makedumpfile assume for a
    /// guest whose RAM begins at `ram_start`. It serves guests for which no
    /// source states `phys_base`.
    pub(crate) fn likely_phys_base(self, ram_start: u64) -> Option<u64> {
        match self {
            Self::Aarch64 | Self::Aarch64Be | Self::Arm => Some(ram_start),
            _ => None,
        }
    }

    /// Translates like
    /// [`kernel_image_to_physical`](Self::kernel_image_to_physical), for RAM
    /// that begins at `ram_start`. arm needs `ram_start` because its VMCOREINFO
    /// does not contain it.
    pub(crate) fn kernel_image_in_ram(
        self,
        vaddr: u64,
        info: &Vmcoreinfo,
        ram_start: u64,
    ) -> Option<u64> {
        match self {
            Self::Arm => arm::linear_to_physical(vaddr, info, ram_start),
            _ => self.kernel_image_to_physical(vaddr, info),
        }
    }

    /// Returns `pr_pid` of an `NT_PRSTATUS` descriptor, or `None` if the
    /// descriptor is too short. In dumps of VMs it is the CPU's number plus
    /// one.
    #[must_use]
    pub fn prstatus_pid(self, desc: &[u8]) -> Option<u32> {
        Some(prstatus::decode_prstatus(self.encoding(), desc, 0)?.0)
    }

    /// Returns where the kernel maps physical memory, for an ELF dump's program
    /// headers. It is `None` where no reader needs to know it from there, and for
    /// 32-bit Arm, whose page tables tell it.
    pub(crate) fn direct_mapping(self, info: &Vmcoreinfo) -> Option<DirectMapping> {
        (self.architecture().direct_mapping)(info)
    }

    /// Decodes the registers of each CPU that `notes` describe, one for each
    /// `NT_PRSTATUS` note. Registers that the notes do not contain are 0 or
    /// `None`.
    #[must_use]
    pub fn decode_notes(self, notes: Notes<'_>) -> Vec<CpuState> {
        (self.architecture().decode_notes)(&CpuNotes::new(notes))
    }
}

/// The kernel's direct mapping: guest-virtual addresses from `vaddr` on map
/// guest-physical memory from `start` to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectMapping {
    /// Guest-virtual address of the guest-physical address `start`.
    pub(crate) vaddr: u64,
    /// The guest-physical address at which the mapping begins.
    pub(crate) start: u64,
    /// The guest-physical address at which the mapping ends; page-aligned.
    pub(crate) end: u64,
}

/// The differences between architectures. Each architecture's file has one
/// static of this type per variant.
struct Architecture {
    name: &'static str,
    /// `uname -m`.
    uname: &'static str,
    /// Other names by which a user, or a dump's utsname, may call it.
    aliases: &'static [&'static str],
    encoding: Encoding,
    u64_align: U64Align,
    elf_machine: u16,
    /// Page sizes in bytes; the usual one first.
    page_sizes: &'static [u64],
    /// Size of an `NT_PRSTATUS` descriptor in bytes.
    prstatus_size: usize,
    /// Whether kdump's page frame numbers count from `phys_base`.
    frames_from_phys_base: bool,
    /// Returns `phys_base` for kdump's sub header.
    phys_base: fn(&Vmcoreinfo) -> Option<u64>,
    /// Translates a guest-virtual address in the kernel's image to a
    /// guest-physical one.
    kernel_image_to_physical: fn(u64, &Vmcoreinfo) -> Option<u64>,
    /// Returns where the kernel maps physical memory, if readers of ELF dumps
    /// take that from the program headers.
    direct_mapping: fn(&Vmcoreinfo) -> Option<DirectMapping>,
    /// Appends the notes of all CPUs in QEMU's order. Registers of other
    /// architectures are ignored.
    encode_notes: fn(&[CpuState], &mut Vec<u8>) -> Result<(), FieldOverflow>,
    /// Decodes the registers of each CPU, one for each `NT_PRSTATUS` note.
    decode_notes: fn(&CpuNotes<'_>) -> Vec<CpuState>,
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
            .find(|m| {
                let Architecture {
                    name,
                    uname,
                    aliases,
                    ..
                } = *m.architecture();
                name == s || uname == s || aliases.contains(&s)
            })
            .ok_or_else(|| UnknownMachine(s.to_owned()))
    }
}

/// An error: no architecture has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no machine '{0}'; there are {names}", names = names())]
pub struct UnknownMachine(pub String);

/// Returns every architecture's name, separated by commas.
fn names() -> String {
    let names = Machine::ALL.iter().map(|machine| machine.name());
    names.collect::<Vec<_>>().join(", ")
}

/// Declares [`CpuState`]. Each entry has a variant, its module, and the
/// machines whose CPUs have these registers.
macro_rules! registers {
    ($($Variant:ident($module:ident) for $($Machine:ident)|+;)*) => {
        /// The registers of one virtual CPU.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum CpuState {
            $(
                #[doc = concat!("The registers of [`", stringify!($module), "`].")]
                $Variant(Box<$module::Registers>),
            )*
        }

        impl CpuState {
            /// Returns whether these are registers of a CPU of `machine`.
            #[must_use]
            pub const fn fit(&self, machine: Machine) -> bool {
                match self {
                    $(Self::$Variant(_) => matches!(machine, $(Machine::$Machine)|+),)*
                }
            }

            /// Returns the guest-virtual address of the next instruction.
            #[must_use]
            pub fn program_counter(&self) -> u64 {
                match self {
                    $(Self::$Variant(registers) => registers.program_counter(),)*
                }
            }

            /// Returns the stack pointer, a guest-virtual address.
            #[must_use]
            pub fn stack_pointer(&self) -> u64 {
                match self {
                    $(Self::$Variant(registers) => registers.stack_pointer(),)*
                }
            }

            /// Returns the register that leads to the page tables, cr3 for
            /// example, if it is known.
            #[must_use]
            pub fn page_table_root(&self) -> Option<u64> {
                match self {
                    $(Self::$Variant(registers) => registers.page_table_root(),)*
                }
            }

            /// Reads the registers of a CPU of `machine` by their names, all
            /// optional. It needs the feature `serde`.
            ///
            /// # Errors
            ///
            /// The deserializer's error names the field: the architecture has
            /// no such name, or the value does not fit.
            #[cfg(feature = "serde")]
            pub fn deserialize_for<'de, D: serde::Deserializer<'de>>(
                machine: Machine,
                deserializer: D,
            ) -> Result<Self, D::Error> {
                match machine {
                    $($(Machine::$Machine)|+ => {
                        let registers: $module::Registers =
                            serde::Deserialize::deserialize(deserializer)?;
                        Ok(registers.into())
                    })*
                }
            }
        }

        /// Serializes the registers by their names.
        #[cfg(feature = "serde")]
        impl serde::Serialize for CpuState {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$Variant(registers) => registers.serialize(serializer),)*
                }
            }
        }

        $(
            impl From<$module::Registers> for CpuState {
                fn from(registers: $module::Registers) -> Self {
                    Self::$Variant(Box::new(registers))
                }
            }

            impl $module::Registers {
                /// Returns those of `cpus` that are of this architecture.
                fn of(cpus: &[CpuState]) -> Vec<&Self> {
                    let one = |registers| match registers {
                        &CpuState::$Variant(ref registers) => Some(&**registers),
                        #[allow(unreachable_patterns)]
                        _ => None,
                    };
                    cpus.iter().filter_map(one).collect()
                }
            }
        )*
    };
}

registers! {
    X86_64(x86_64) for X86_64;
    Aarch64(aarch64) for Aarch64 | Aarch64Be;
    Arm(arm) for Arm;
    Ppc64(ppc64) for Ppc64 | Ppc64le;
    S390x(s390x) for S390x;
    I386(i386) for I386;
    Riscv(riscv) for Riscv64 | Riscv32;
    Loongarch64(loongarch64) for Loongarch64;
}

/// Appends the notes of all `cpus` to `out`, in QEMU's order. All `cpus` are of
/// one architecture.
///
/// # Errors
///
/// [`FieldOverflow`] for a note of 4 GiB or more.
pub(crate) fn encode_cpu_notes(
    machine: Machine,
    cpus: &[CpuState],
    out: &mut Vec<u8>,
) -> Result<(), FieldOverflow> {
    (machine.architecture().encode_notes)(cpus, out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::abi::ByteOrder;

    #[test]
    fn names_uname_and_aliases_are_of_one_machine_each() {
        for machine in Machine::ALL {
            let Architecture {
                name,
                uname,
                aliases,
                ..
            } = *machine.architecture();
            for text in aliases.iter().chain([&name, &uname]) {
                assert_eq!(text.parse(), Ok(*machine), "{text}");
            }
        }
        let error = "vax".parse::<Machine>().err().map(|e| e.to_string());
        assert!(error.is_some_and(|text| text.contains("vax") && text.contains("riscv64")));
    }

    #[test]
    fn notes_tell_machines_apart() {
        for machine in Machine::ALL {
            let encoding = machine.encoding();
            let mut notes = Vec::new();
            crate::elf::note::Note {
                name: CORE,
                kind: NT_PRSTATUS,
                desc: &vec![0; machine.prstatus_size()],
            }
            .encode(encoding.order, &mut notes)
            .unwrap();
            let found = Machine::from_notes(encoding, Notes::new(&notes, encoding.order));
            assert_eq!(found, Some(*machine));
        }
    }

    #[test]
    fn kdump_without_vmcoreinfo_has_the_abi_of_the_machine_it_names() {
        use crate::kdump::{DumpHeaders, SubHeader};
        use crate::testing::{kdump_headers, main_header};
        for machine in Machine::ALL {
            let main = main_header(machine.uname());
            let bytes = kdump_headers(machine.abi(), &main, &SubHeader::default());
            assert_eq!(DumpHeaders::decode(&bytes).unwrap().abi, machine.abi());
        }
    }

    /// Decodes narrow notes as in QEMU's kdump of an i386 guest with a ROM.
    /// That dump does not name its architecture otherwise.
    #[test]
    fn narrow_notes_in_a_wide_dump_name_the_machine() {
        let order = ByteOrder::Little;
        let mut notes = Vec::new();
        encode_cpu_notes(
            Machine::I386,
            &[i386::Registers::default().into()],
            &mut notes,
        )
        .unwrap();
        let wide = Encoding {
            class: Class::Bits64,
            order,
        };
        let found = Machine::from_notes(wide, Notes::new(&notes, order));
        assert_eq!(found, Some(Machine::I386));
    }

    #[test]
    fn a_narrow_guest_may_have_a_wide_dump() {
        let encoding = |class| Encoding {
            class,
            order: ByteOrder::Little,
        };
        let (narrow, wide) = (encoding(Class::Bits32), encoding(Class::Bits64));
        let found = Machine::from_elf;
        assert_eq!(found(i386::EM_386, narrow), Some(Machine::I386));
        assert_eq!(found(i386::EM_386, wide), Some(Machine::I386));
        assert_eq!(found(x86_64::EM_X86_64, narrow), None);
        assert_eq!(found(riscv::EM_RISCV, wide), Some(Machine::Riscv64));
        assert_eq!(found(riscv::EM_RISCV, narrow), Some(Machine::Riscv32));
    }
}
