//! The kinds of Windows that the guest looks like, and their differences: addresses, versions,
//! offsets of fields.
//!
//! Sources: vergiliusproject.com for Windows 10 20H2, x64, and Windows 7 SP1,
//! x86: `_KPCR`, `_EPROCESS`, `_KLDR_DATA_TABLE_ENTRY`.
#![forbid(unsafe_code)]

use crate::arch::Machine;
use crate::demo::MAX_SIZE;
use crate::guest::windows::discover::width::Width;

/// A kind of Windows that a synthetic guest looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WindowsKind {
    /// 64-bit Windows 10.
    X86_64,
    /// 32-bit Windows 7 with PAE.
    I386,
    /// 32-bit Windows 7 without PAE.
    I386NoPae,
}

use WindowsKind::{I386, I386NoPae, X86_64};

impl WindowsKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [X86_64, I386, I386NoPae];

    /// Returns the machine of such a guest.
    #[must_use]
    pub const fn machine(self) -> Machine {
        match self {
            X86_64 => Machine::X86_64,
            I386 | I386NoPae => Machine::I386,
        }
    }

    /// Returns the largest RAM size of such a guest, in bytes.
    #[must_use]
    pub const fn max_size(self) -> u64 {
        match self {
            X86_64 => MAX_SIZE,
            // Physical addresses have 36 bits, and the holes take some of them.
            I386 => 62 << 30,
            // RAM ends below the PCI hole.
            I386NoPae => 3 << 30,
        }
    }

    pub(super) const fn width(self) -> Width {
        match self {
            X86_64 => Width::Bits64,
            I386 | I386NoPae => Width::Bits32,
        }
    }

    /// Returns the virtual address of the kernel's image.
    pub(super) const fn base(self) -> u64 {
        match self {
            X86_64 => 0xffff_f802_4f60_0000,
            I386 | I386NoPae => 0x8281_9000,
        }
    }

    /// Returns the virtual address of the byte at `offset` in the image.
    pub(super) const fn vaddr(self, offset: u64) -> u64 {
        self.base() + offset
    }

    /// Returns the virtual address of the kernel's dynamic memory: processes, modules, names.
    pub(super) const fn pool(self) -> u64 {
        match self {
            X86_64 => 0xffff_d50f_0000_0000,
            I386 | I386NoPae => 0x8540_0000,
        }
    }

    /// Returns the virtual address of another image, `hal.dll`, whose contents are absent.
    pub(super) const fn hal(self) -> u64 {
        match self {
            X86_64 => 0xffff_f802_4f50_0000,
            I386 | I386NoPae => 0x82c2_9000,
        }
    }

    /// Returns the virtual address of the page frames' database, whose contents are absent.
    pub(super) const fn pfn_database(self) -> u64 {
        match self {
            X86_64 => 0xffff_fa80_0000_0000,
            I386 | I386NoPae => 0x8300_0000,
        }
    }

    /// Returns the virtual address of the first CPU's `KPCR`.
    pub(super) const fn kpcrs(self) -> u64 {
        match self {
            X86_64 => 0xffff_f802_4a2c_0000,
            I386 | I386NoPae => 0x807c_0000,
        }
    }

    /// Returns the names of the image and of its symbols.
    pub(super) const fn names(self) -> (&'static str, &'static [u8]) {
        match self {
            X86_64 => ("ntoskrnl.exe", b"ntkrnlmp.pdb\0"),
            I386 => ("ntkrpamp.exe", b"ntkrpamp.pdb\0"),
            I386NoPae => ("ntkrnlmp.exe", b"ntkrnlmp.pdb\0"),
        }
    }

    pub(super) const fn version(self) -> Version {
        match self {
            // Windows 10 22H2.
            X86_64 => Version {
                major: 10,
                minor: 0,
                build: 19045,
            },
            // Windows 7 with service pack 1.
            I386 | I386NoPae => Version {
                major: 6,
                minor: 1,
                build: 7601,
            },
        }
    }

    /// Returns the size of KDBG in bytes. The last 0x40 bytes have no known names in Windows 10.
    pub(super) const fn kdbg_size(self) -> u32 {
        match self {
            X86_64 => 0x380,
            I386 | I386NoPae => 0x340,
        }
    }

    pub(super) const fn offsets(self) -> &'static Offsets {
        match self {
            X86_64 => &Offsets {
                kpcr_self: 0x18,
                kpcr_current_prcb: 0x20,
                kpcr_idt: 0x38,
                kpcr_gdt: 0,
                kpcr_major_version: 0x60,
                kpcr_prcb: 0x180,
                context_frame: 0xc00,
                process_directory_table_base: 0x28,
                process_id: 0x440,
                process_links: 0x448,
                process_name: 0x5a8,
                module_base: 0x30,
                module_full_name: 0x48,
                module_base_name: 0x58,
            },
            I386 | I386NoPae => &Offsets {
                kpcr_self: 0x1c,
                kpcr_current_prcb: 0x20,
                kpcr_idt: 0x38,
                kpcr_gdt: 0x3c,
                kpcr_major_version: 0x44,
                kpcr_prcb: 0x120,
                context_frame: 0xd00,
                process_directory_table_base: 0x18,
                process_id: 0xb4,
                process_links: 0xb8,
                process_name: 0x16c,
                module_base: 0x18,
                module_full_name: 0x24,
                module_base_name: 0x2c,
            },
        }
    }
}

pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) build: u32,
}

/// Offsets of fields in the kernel's structures.
pub(super) struct Offsets {
    pub(super) kpcr_self: u64,
    pub(super) kpcr_current_prcb: u64,
    pub(super) kpcr_idt: u64,
    pub(super) kpcr_gdt: u64,
    pub(super) kpcr_major_version: u64,
    pub(super) kpcr_prcb: u64,
    /// Offset of `CONTEXT` in this crate's own `KPRCB`, chosen so that it crosses a page boundary.
    pub(super) context_frame: u64,
    pub(super) process_directory_table_base: u64,
    pub(super) process_id: u64,
    pub(super) process_links: u64,
    pub(super) process_name: u64,
    pub(super) module_base: u64,
    pub(super) module_full_name: u64,
    pub(super) module_base_name: u64,
}
