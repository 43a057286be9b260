//! Numbers of the kdump-compressed format: signature, versions, flags.
//!
//! Source: makedumpfile `IMPLEMENTATION` ("The kdump-compressed format") and its `diskdump_mod.h`.
#![forbid(unsafe_code)]

use zerocopy::byteorder::LittleEndian;

use crate::codec::Codec;

/// The byte order in const assertions, on which no size or offset depends.
pub(super) type Le = LittleEndian;

/// `signature` of the main header.
pub const SIGNATURE: [u8; 8] = *b"KDUMP   ";
/// The newest `header_version`, which this crate writes.
pub const HEADER_VERSION: u32 = 6;
/// The number of blocks of the main header.
pub const HEADER_BLOCKS: u64 = 1;
/// `status`, and `flags` of a page: zlib.
pub const DUMP_DH_COMPRESSED_ZLIB: u32 = 0x1;
/// `status`, and `flags` of a page: LZO1X.
pub const DUMP_DH_COMPRESSED_LZO: u32 = 0x2;
/// `status`, and `flags` of a page: snappy.
pub const DUMP_DH_COMPRESSED_SNAPPY: u32 = 0x4;
/// `status`: the dump is not complete. Pages whose descriptor has offset 0 are missing.
pub const DUMP_DH_COMPRESSED_INCOMPLETE: u32 = 0x8;
/// `status`: unused vmemmap pages are excluded.
pub const DUMP_DH_EXCLUDED_VMEMMAP: u32 = 0x10;
/// `status`, and `flags` of a page: zstd.
pub const DUMP_DH_COMPRESSED_ZSTD: u32 = 0x20;

/// The flag of a codec, in `status` and in page descriptors.
#[must_use]
pub const fn codec_flag(codec: Codec) -> u32 {
    match codec {
        Codec::Zlib => DUMP_DH_COMPRESSED_ZLIB,
        Codec::Lzo => DUMP_DH_COMPRESSED_LZO,
        Codec::Snappy => DUMP_DH_COMPRESSED_SNAPPY,
        Codec::Zstd => DUMP_DH_COMPRESSED_ZSTD,
    }
}

/// The codec whose flag `flags` are; `None` for a page that is not compressed.
///
/// # Errors
///
/// Returns `flags` if they are not the flag of exactly one codec.
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
