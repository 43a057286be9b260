//! The bytes of VirtualBox's notes in the ELF core that `VBoxManage debugvm VM dumpvmcore` writes.
//!
//! Source: VirtualBox `include/VBox/vmm/dbgfcorefmt.h` (facts only): `DBGFCOREDESCRIPTOR`, `DBGFCORECPU`,
//! `DBGFCORESEL` and `DBGFCOREXDTR` of the formats 0x10005 (sources of 2017 and 2019) and 0x10006
//! (VirtualBox 7.0, and sources of 2026); `src/VBox/VMM/VMMR3/DBGFCoreWrite.cpp` for names and types of the notes. Tetrane's reven
//! `core_virtualbox_def.h` reads 0x10004 by the layout of 0x10005. The formats differ only after
//! `msrApicBase`. The format 0x10000 (VirtualBox 4.0) has another structure, `CPUMCTX`.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};
use std::ops::RangeInclusive;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The name of the note with [`CoreDescriptor`].
pub(crate) const VBCORE: &[u8] = b"VBCORE";
/// The type of the note with [`CoreDescriptor`].
pub(crate) const NT_VBOXCORE: u32 = 0xb00;
/// The name of a note with [`CoreCpu`].
pub(crate) const VBCPU: &[u8] = b"VBCPU";
/// The type of a note with [`CoreCpu`]. Each CPU has one.
pub(crate) const NT_VBOXCPU: u32 = 0xb01;

/// `u32Magic` of the descriptor.
pub(crate) const MAGIC: u32 = 0xc01a_c0de;
/// The values of `u32FmtVersion` whose CPU notes begin with [`CoreCpu`].
pub(crate) const KNOWN_FORMATS: RangeInclusive<u32> = 0x1_0004..=0x1_0006;

/// `DBGFCOREDESCRIPTOR`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CoreDescriptor {
    pub(crate) magic: U32,
    /// Version of the core's format.
    pub(crate) format: U32,
    /// Size of this structure in bytes.
    pub(crate) size: U32,
    /// Version of VirtualBox: major in bits 24 to 31, minor in 16 to 23, build in 0 to 15.
    pub(crate) version: U32,
    pub(crate) revision: U32,
    /// The number of CPUs.
    pub(crate) cpus: U32,
}

const _: () = assert!(size_of::<CoreDescriptor>() == 24);

/// `DBGFCORESEL`: a segment register.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CoreSelector {
    pub(crate) base: U64,
    pub(crate) limit: U32,
    /// The attributes, in the form of VMX's access rights.
    pub(crate) attributes: U32,
    pub(crate) selector: U16,
    pub(crate) reserved: [u8; 6],
}

const _: () = assert!(offset_of!(CoreSelector, selector) == 16);
const _: () = assert!(size_of::<CoreSelector>() == 24);

/// `DBGFCOREXDTR`: a descriptor table register.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CoreTable {
    pub(crate) address: U64,
    /// The table's limit, as in the register.
    pub(crate) limit: U32,
    pub(crate) reserved: U32,
}

const _: () = assert!(size_of::<CoreTable>() == 16);

/// The part of `DBGFCORECPU` that all [`KNOWN_FORMATS`] share.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CoreCpu {
    pub(crate) rax: U64,
    pub(crate) rbx: U64,
    pub(crate) rcx: U64,
    pub(crate) rdx: U64,
    pub(crate) rsi: U64,
    pub(crate) rdi: U64,
    pub(crate) r8_to_r15: [U64; 8],
    pub(crate) rip: U64,
    pub(crate) rsp: U64,
    pub(crate) rbp: U64,
    pub(crate) rflags: U64,
    pub(crate) cs: CoreSelector,
    pub(crate) ds: CoreSelector,
    pub(crate) es: CoreSelector,
    pub(crate) fs: CoreSelector,
    pub(crate) gs: CoreSelector,
    pub(crate) ss: CoreSelector,
    pub(crate) cr0: U64,
    pub(crate) cr2: U64,
    pub(crate) cr3: U64,
    pub(crate) cr4: U64,
    pub(crate) dr: [U64; 8],
    pub(crate) gdtr: CoreTable,
    pub(crate) idtr: CoreTable,
    pub(crate) ldtr: CoreSelector,
    pub(crate) tr: CoreSelector,
    /// CS, EIP and ESP of `SYSENTER`.
    pub(crate) sysenter: [U64; 3],
    pub(crate) efer: U64,
    pub(crate) star: U64,
    pub(crate) pat: U64,
    pub(crate) lstar: U64,
    pub(crate) cstar: U64,
    pub(crate) sfmask: U64,
    pub(crate) kernel_gs_base: U64,
    pub(crate) apic_base: U64,
}

// 18 × 8 = 144, 6 × 24 = 144, 4 × 8, 8 × 8, 2 × 16, 2 × 24, 3 × 8, 8 × 8.
const _: () = assert!(offset_of!(CoreCpu, rip) == 112);
const _: () = assert!(offset_of!(CoreCpu, cs) == 144);
const _: () = assert!(offset_of!(CoreCpu, cr0) == 288);
const _: () = assert!(offset_of!(CoreCpu, cr3) == 304);
const _: () = assert!(offset_of!(CoreCpu, dr) == 320);
const _: () = assert!(offset_of!(CoreCpu, gdtr) == 384);
const _: () = assert!(offset_of!(CoreCpu, ldtr) == 416);
const _: () = assert!(offset_of!(CoreCpu, efer) == 488);
const _: () = assert!(offset_of!(CoreCpu, kernel_gs_base) == 536);
const _: () = assert!(size_of::<CoreCpu>() == 552);
