//! The bytes of the kdump-compressed format: main header, sub header, page
//! descriptor; 32-bit and 64-bit, in either byte order.
//!
//! Sources: makedumpfile `IMPLEMENTATION` ("The kdump-compressed format")
//! and the field list of its `diskdump_mod.h`; the gaps that the C compiler
//! leaves on each architecture: libkdumpfile `src/kdumpfile/diskdump.c`.
//!
//! Readers known to accept what [`crate::kdump`] writes: see the table in
//! README.md.
#![forbid(unsafe_code)]

use std::mem::size_of;

use zerocopy::byteorder::LittleEndian;

use crate::abi::Class;
use crate::codec::Codec;

/// Sizes do not depend on the byte order.
pub(super) type Le = LittleEndian;

/// `signature` of the main header.
pub const SIGNATURE: [u8; 8] = *b"KDUMP   ";
/// `header_version` that this crate writes, the newest there is.
pub const HEADER_VERSION: u32 = 6;
/// Blocks that the main header takes.
pub const HEADER_BLOCKS: u64 = 1;
/// `status`, and `flags` of a page: zlib.
pub const DUMP_DH_COMPRESSED_ZLIB: u32 = 0x1;
/// `status`, and `flags` of a page: LZO1X.
pub const DUMP_DH_COMPRESSED_LZO: u32 = 0x2;
/// `status`, and `flags` of a page: snappy.
pub const DUMP_DH_COMPRESSED_SNAPPY: u32 = 0x4;
/// `status`: the dump is not complete. Pages whose descriptor has offset 0
/// are missing.
pub const DUMP_DH_COMPRESSED_INCOMPLETE: u32 = 0x8;
/// `status`: unused vmemmap pages are left out.
pub const DUMP_DH_EXCLUDED_VMEMMAP: u32 = 0x10;
/// `status`, and `flags` of a page: zstd.
pub const DUMP_DH_COMPRESSED_ZSTD: u32 = 0x20;

/// The flag that stands for a codec, in `status` and in page descriptors.
#[must_use]
pub const fn codec_flag(codec: Codec) -> u32 {
    match codec {
        Codec::Zlib => DUMP_DH_COMPRESSED_ZLIB,
        Codec::Lzo => DUMP_DH_COMPRESSED_LZO,
        Codec::Snappy => DUMP_DH_COMPRESSED_SNAPPY,
        Codec::Zstd => DUMP_DH_COMPRESSED_ZSTD,
    }
}

/// The codec that `flags` stand for; `None` for a page stored as it is.
///
/// # Errors
///
/// Gives `flags` back if they are no single codec's.
pub const fn flag_codec(flags: u32) -> Result<Option<Codec>, u32> {
    match flags {
        0 => Ok(None),
        DUMP_DH_COMPRESSED_ZLIB => Ok(Some(Codec::Zlib)),
        DUMP_DH_COMPRESSED_LZO => Ok(Some(Codec::Lzo)),
        DUMP_DH_COMPRESSED_SNAPPY => Ok(Some(Codec::Snappy)),
        DUMP_DH_COMPRESSED_ZSTD => Ok(Some(Codec::Zstd)),
        other => Err(other),
    }
}

/// How a guest's C compiler lays the headers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeaderLayout {
    /// 32-bit words, 64-bit fields aligned to 4 bytes (i386).
    Bits32Packed,
    /// 32-bit words, 64-bit fields aligned to 8 bytes (arm, riscv32, …).
    Bits32Padded,
    /// 64-bit words.
    Bits64,
}

impl HeaderLayout {
    /// Word size of this layout.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Bits32Packed | Self::Bits32Padded => Class::Bits32,
            Self::Bits64 => Class::Bits64,
        }
    }

    /// Size of the main header in bytes.
    #[must_use]
    pub const fn main_size(self) -> usize {
        match self.class() {
            Class::Bits32 => size_of::<crate::kdump::main_header::MainHeader32<Le>>(),
            Class::Bits64 => size_of::<crate::kdump::main_header::MainHeader64<Le>>(),
        }
    }

    /// Size of the sub header in bytes.
    #[must_use]
    pub const fn sub_size(self) -> usize {
        match self {
            Self::Bits32Packed => size_of::<crate::kdump::sub_header::SubHeader32Packed<Le>>(),
            Self::Bits32Padded => size_of::<crate::kdump::sub_header::SubHeader32Padded<Le>>(),
            Self::Bits64 => size_of::<crate::kdump::sub_header::SubHeader64<Le>>(),
        }
    }
}
