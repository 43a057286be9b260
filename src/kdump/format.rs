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

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::{ByteOrder as Order, LittleEndian, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::Codec;
use crate::encoding::{ByteOrder, Class, with_order};

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
            Class::Bits32 => size_of::<MainHeader32<Le>>(),
            Class::Bits64 => size_of::<MainHeader64<Le>>(),
        }
    }

    /// Size of the sub header in bytes.
    #[must_use]
    pub const fn sub_size(self) -> usize {
        match self {
            Self::Bits32Packed => size_of::<SubHeader32Packed<Le>>(),
            Self::Bits32Padded => size_of::<SubHeader32Padded<Le>>(),
            Self::Bits64 => size_of::<SubHeader64<Le>>(),
        }
    }
}

/// Length of each string in [`Utsname`], its NUL included.
pub const UTS_LEN: usize = 65;

/// Linux `struct new_utsname`: six strings, padded with NULs.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)] // The names are those of uname(2).
pub struct Utsname {
    pub sysname: [u8; UTS_LEN],
    pub nodename: [u8; UTS_LEN],
    pub release: [u8; UTS_LEN],
    pub version: [u8; UTS_LEN],
    pub machine: [u8; UTS_LEN],
    pub domainname: [u8; UTS_LEN],
}

/// `struct disk_dump_header` with 32-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MainHeader32<O: Order> {
    signature: [u8; 8],
    header_version: U32<O>,
    utsname: Utsname,
    gap: [u8; 2],
    timestamp_sec: U32<O>,
    timestamp_usec: U32<O>,
    fields: MainFields<O>,
}

/// `struct disk_dump_header` with 64-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MainHeader64<O: Order> {
    signature: [u8; 8],
    header_version: U32<O>,
    utsname: Utsname,
    gap: [u8; 6],
    timestamp_sec: U64<O>,
    timestamp_usec: U64<O>,
    fields: MainFields<O>,
}

/// The end of `struct disk_dump_header`, the same everywhere.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MainFields<O: Order> {
    status: U32<O>,
    block_size: U32<O>,
    sub_hdr_size: U32<O>,
    bitmap_blocks: U32<O>,
    max_mapnr: U32<O>,
    total_ram_blocks: U32<O>,
    device_blocks: U32<O>,
    written_blocks: U32<O>,
    current_cpu: U32<O>,
    nr_cpus: U32<O>,
}

/// `struct kdump_sub_header` with 64-bit words.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SubHeader64<O: Order> {
    phys_base: U64<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U64<O>,
    end_pfn: U64<O>,
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U64<O>,
    offset_note: U64<O>,
    size_note: U64<O>,
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U64<O>,
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

/// `struct kdump_sub_header` with 32-bit words, no gaps.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SubHeader32Packed<O: Order> {
    phys_base: U32<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U32<O>,
    end_pfn: U32<O>,
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U32<O>,
    offset_note: U64<O>,
    size_note: U32<O>,
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U32<O>,
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

/// `struct kdump_sub_header` with 32-bit words, 64-bit fields aligned.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SubHeader32Padded<O: Order> {
    phys_base: U32<O>,
    dump_level: U32<O>,
    split: U32<O>,
    start_pfn: U32<O>,
    end_pfn: U32<O>,
    gap1: [u8; 4],
    offset_vmcoreinfo: U64<O>,
    size_vmcoreinfo: U32<O>,
    gap2: [u8; 4],
    offset_note: U64<O>,
    size_note: U32<O>,
    gap3: [u8; 4],
    offset_eraseinfo: U64<O>,
    size_eraseinfo: U32<O>,
    gap4: [u8; 4],
    start_pfn_64: U64<O>,
    end_pfn_64: U64<O>,
    max_mapnr_64: U64<O>,
}

/// `struct page_desc`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPageDescriptor<O: Order> {
    offset: U64<O>,
    size: U32<O>,
    flags: U32<O>,
    page_flags: U64<O>,
}

type Le = LittleEndian;

const _: () = assert!(size_of::<Utsname>() == 6 * 65);
// 8 + 4 + 390 = 402, then 2 and 2 × 4, or 6 and 2 × 8, then 10 × 4.
const _: () = assert!(size_of::<MainFields<Le>>() == 40);
const _: () = assert!(offset_of!(MainHeader32<Le>, utsname) == 12);
const _: () = assert!(offset_of!(MainHeader32<Le>, timestamp_sec) == 404);
const _: () = assert!(offset_of!(MainHeader32<Le>, fields) == 412);
const _: () = assert!(size_of::<MainHeader32<Le>>() == 452);
const _: () = assert!(offset_of!(MainHeader64<Le>, header_version) == 8);
const _: () = assert!(offset_of!(MainHeader64<Le>, utsname) == 12);
const _: () = assert!(offset_of!(MainHeader64<Le>, timestamp_sec) == 408);
const _: () = assert!(offset_of!(MainHeader64<Le>, fields) == 424);
const _: () = assert!(offset_of!(MainFields<Le>, block_size) == 4);
const _: () = assert!(offset_of!(MainFields<Le>, sub_hdr_size) == 8);
const _: () = assert!(offset_of!(MainFields<Le>, bitmap_blocks) == 12);
const _: () = assert!(offset_of!(MainFields<Le>, max_mapnr) == 16);
const _: () = assert!(offset_of!(MainFields<Le>, nr_cpus) == 36);
const _: () = assert!(size_of::<MainHeader64<Le>>() == 464);
// 8, 2 × 4, then 11 × 8.
const _: () = assert!(offset_of!(SubHeader64<Le>, start_pfn) == 16);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_vmcoreinfo) == 32);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_note) == 48);
const _: () = assert!(offset_of!(SubHeader64<Le>, offset_eraseinfo) == 64);
const _: () = assert!(offset_of!(SubHeader64<Le>, start_pfn_64) == 80);
const _: () = assert!(offset_of!(SubHeader64<Le>, max_mapnr_64) == 96);
const _: () = assert!(size_of::<SubHeader64<Le>>() == 104);
// 5 × 4, 3 × (8 + 4), 3 × 8.
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, offset_vmcoreinfo) == 20);
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, offset_note) == 32);
const _: () = assert!(offset_of!(SubHeader32Packed<Le>, start_pfn_64) == 56);
const _: () = assert!(size_of::<SubHeader32Packed<Le>>() == 80);
// 6 × 4, 3 × (8 + 8), 3 × 8.
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, offset_vmcoreinfo) == 24);
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, offset_note) == 40);
const _: () = assert!(offset_of!(SubHeader32Padded<Le>, start_pfn_64) == 72);
const _: () = assert!(size_of::<SubHeader32Padded<Le>>() == 96);
const _: () = assert!(offset_of!(RawPageDescriptor<Le>, size) == 8);
const _: () = assert!(offset_of!(RawPageDescriptor<Le>, flags) == 12);
const _: () = assert!(offset_of!(RawPageDescriptor<Le>, page_flags) == 16);
const _: () = assert!(size_of::<RawPageDescriptor<Le>>() == PageDescriptor::SIZE);

/// What the main header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainHeader {
    /// The version decides which fields of the sub header there are.
    pub header_version: u32,
    /// The guest kernel's `struct new_utsname`.
    pub utsname: Utsname,
    /// Seconds since 1970; 0 if unknown.
    pub timestamp_sec: u64,
    /// Microseconds of the second.
    pub timestamp_usec: u64,
    /// The codec's flag, and [`DUMP_DH_COMPRESSED_INCOMPLETE`].
    pub status: u32,
    /// Size of a block and of a page, in bytes.
    pub block_size: u32,
    /// Blocks of the sub header and what follows it up to the bitmaps.
    pub sub_hdr_size: u32,
    /// Blocks of both bitmaps together.
    pub bitmap_blocks: u32,
    /// Page frames that a bitmap covers; [`u32::MAX`] if they are more, and
    /// then [`SubHeader::max_mapnr_64`] has the number.
    pub max_mapnr: u32,
    /// Pages of RAM; [`u32::MAX`] if they are more. No reader needs it.
    pub total_ram_blocks: u32,
    /// Blocks of the dump device; 0, as there is none. No reader needs it.
    pub device_blocks: u32,
    /// Pages in the dump; [`u32::MAX`] if they are more. No reader needs it.
    pub written_blocks: u32,
    /// The CPU that handled the dump.
    pub current_cpu: u32,
    /// Number of CPUs. crash wants more than 0.
    pub nr_cpus: u32,
}

/// What the sub header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubHeader {
    /// Where the kernel's image lies, as the architecture means it.
    pub phys_base: u64,
    /// makedumpfile's `-d`: the kinds of pages that are left out.
    pub dump_level: u32,
    /// 1 if this file has only the pages from start to end page frame.
    pub split: u32,
    /// The first page frame of a split dump, low bits.
    pub start_pfn: u64,
    /// Behind the last page frame of a split dump, low bits.
    pub end_pfn: u64,
    /// File offset of VMCOREINFO's text; 0 if there is none.
    pub offset_vmcoreinfo: u64,
    /// Its length in bytes.
    pub size_vmcoreinfo: u64,
    /// File offset of the ELF notes; 0 if there are none.
    pub offset_note: u64,
    /// Their length in bytes.
    pub size_note: u64,
    /// File offset of makedumpfile's erase information; 0 if there is none.
    pub offset_eraseinfo: u64,
    /// Its length in bytes.
    pub size_eraseinfo: u64,
    /// The first page frame of a split dump.
    pub start_pfn_64: u64,
    /// Behind the last page frame of a split dump.
    pub end_pfn_64: u64,
    /// Page frames that a bitmap covers.
    pub max_mapnr_64: u64,
}

/// What a page descriptor says. There is one for each bit that is set in the
/// second bitmap, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PageDescriptor {
    /// File offset of the page's data; 0 if it is missing (incomplete dump).
    pub offset: u64,
    /// Length of the data in bytes.
    pub size: u32,
    /// The codec's flag; 0 for a page stored as it is.
    pub flags: u32,
    /// Not used; 0.
    pub page_flags: u64,
}

impl PageDescriptor {
    /// Size of a descriptor in bytes, for every architecture.
    pub const SIZE: usize = 24;

    /// Appends the descriptor's bytes to `out`.
    pub fn encode(&self, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => out.extend_from_slice(RawPageDescriptor::<O> {
            offset: self.offset.into(),
            size: self.size.into(),
            flags: self.flags.into(),
            page_flags: self.page_flags.into(),
        }.as_bytes()));
    }

    /// Decodes the descriptor at the beginning of `bytes`; `None` if they
    /// are too few.
    #[must_use]
    pub fn decode(order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => {
            let (d, _) = RawPageDescriptor::<O>::read_from_prefix(bytes).ok()?;
            Self {
                offset: d.offset.get(),
                size: d.size.get(),
                flags: d.flags.get(),
                page_flags: d.page_flags.get(),
            }
        }))
    }
}

impl MainHeader {
    fn fields<O: Order>(&self) -> MainFields<O> {
        MainFields {
            status: self.status.into(),
            block_size: self.block_size.into(),
            sub_hdr_size: self.sub_hdr_size.into(),
            bitmap_blocks: self.bitmap_blocks.into(),
            max_mapnr: self.max_mapnr.into(),
            total_ram_blocks: self.total_ram_blocks.into(),
            device_blocks: self.device_blocks.into(),
            written_blocks: self.written_blocks.into(),
            current_cpu: self.current_cpu.into(),
            nr_cpus: self.nr_cpus.into(),
        }
    }

    fn from_parts<O: Order>(
        header_version: u32,
        utsname: Utsname,
        timestamp_sec: u64,
        timestamp_usec: u64,
        f: &MainFields<O>,
    ) -> Self {
        Self {
            header_version,
            utsname,
            timestamp_sec,
            timestamp_usec,
            status: f.status.get(),
            block_size: f.block_size.get(),
            sub_hdr_size: f.sub_hdr_size.get(),
            bitmap_blocks: f.bitmap_blocks.get(),
            max_mapnr: f.max_mapnr.get(),
            total_ram_blocks: f.total_ram_blocks.get(),
            device_blocks: f.device_blocks.get(),
            written_blocks: f.written_blocks.get(),
            current_cpu: f.current_cpu.get(),
            nr_cpus: f.nr_cpus.get(),
        }
    }

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, class: Class, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => match class {
            Class::Bits32 => out.extend_from_slice(MainHeader32::<O> {
                signature: SIGNATURE,
                header_version: self.header_version.into(),
                utsname: self.utsname,
                gap: [0; 2],
                timestamp_sec: (self.timestamp_sec as u32).into(),
                timestamp_usec: (self.timestamp_usec as u32).into(),
                fields: self.fields(),
            }.as_bytes()),
            Class::Bits64 => out.extend_from_slice(MainHeader64::<O> {
                signature: SIGNATURE,
                header_version: self.header_version.into(),
                utsname: self.utsname,
                gap: [0; 6],
                timestamp_sec: self.timestamp_sec.into(),
                timestamp_usec: self.timestamp_usec.into(),
                fields: self.fields(),
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`, taking its class and
    /// byte order on trust; `None` if the signature is another or the bytes
    /// are too few.
    #[must_use]
    pub fn decode(class: Class, order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != SIGNATURE {
            return None;
        }
        Some(with_order!(order, O => match class {
            Class::Bits32 => {
                let (h, _) = MainHeader32::<O>::read_from_prefix(bytes).ok()?;
                Self::from_parts(
                    h.header_version.get(),
                    h.utsname,
                    h.timestamp_sec.get().into(),
                    h.timestamp_usec.get().into(),
                    &h.fields,
                )
            }
            Class::Bits64 => {
                let (h, _) = MainHeader64::<O>::read_from_prefix(bytes).ok()?;
                Self::from_parts(
                    h.header_version.get(),
                    h.utsname,
                    h.timestamp_sec.get(),
                    h.timestamp_usec.get(),
                    &h.fields,
                )
            }
        }))
    }
}

/// Fills the fields of a 32-bit sub header, packed or padded, from `$s`.
macro_rules! sub_header_32 {
    ($Raw:ident, $O:ident, $s:expr) => {{
        let mut raw = $Raw::<$O>::new_zeroed();
        raw.phys_base = ($s.phys_base as u32).into();
        raw.dump_level = $s.dump_level.into();
        raw.split = $s.split.into();
        raw.start_pfn = ($s.start_pfn as u32).into();
        raw.end_pfn = ($s.end_pfn as u32).into();
        raw.offset_vmcoreinfo = $s.offset_vmcoreinfo.into();
        raw.size_vmcoreinfo = ($s.size_vmcoreinfo as u32).into();
        raw.offset_note = $s.offset_note.into();
        raw.size_note = ($s.size_note as u32).into();
        raw.offset_eraseinfo = $s.offset_eraseinfo.into();
        raw.size_eraseinfo = ($s.size_eraseinfo as u32).into();
        raw.start_pfn_64 = $s.start_pfn_64.into();
        raw.end_pfn_64 = $s.end_pfn_64.into();
        raw.max_mapnr_64 = $s.max_mapnr_64.into();
        raw
    }};
}

/// A [`SubHeader`] of the bytes of any of the three layouts.
macro_rules! from_sub_header {
    ($Raw:ident, $O:ident, $bytes:expr) => {{
        let (raw, _) = $Raw::<$O>::read_from_prefix($bytes).ok()?;
        SubHeader {
            phys_base: raw.phys_base.into(),
            dump_level: raw.dump_level.into(),
            split: raw.split.into(),
            start_pfn: raw.start_pfn.into(),
            end_pfn: raw.end_pfn.into(),
            offset_vmcoreinfo: raw.offset_vmcoreinfo.into(),
            size_vmcoreinfo: raw.size_vmcoreinfo.into(),
            offset_note: raw.offset_note.into(),
            size_note: raw.size_note.into(),
            offset_eraseinfo: raw.offset_eraseinfo.into(),
            size_eraseinfo: raw.size_eraseinfo.into(),
            start_pfn_64: raw.start_pfn_64.into(),
            end_pfn_64: raw.end_pfn_64.into(),
            max_mapnr_64: raw.max_mapnr_64.into(),
        }
    }};
}

impl SubHeader {
    /// Appends the header's bytes to `out`.
    pub fn encode(&self, layout: HeaderLayout, order: ByteOrder, out: &mut Vec<u8>) {
        with_order!(order, O => match layout {
            HeaderLayout::Bits32Packed => {
                out.extend_from_slice(sub_header_32!(SubHeader32Packed, O, self).as_bytes());
            }
            HeaderLayout::Bits32Padded => {
                out.extend_from_slice(sub_header_32!(SubHeader32Padded, O, self).as_bytes());
            }
            HeaderLayout::Bits64 => out.extend_from_slice(SubHeader64::<O> {
                phys_base: self.phys_base.into(),
                dump_level: self.dump_level.into(),
                split: self.split.into(),
                start_pfn: self.start_pfn.into(),
                end_pfn: self.end_pfn.into(),
                offset_vmcoreinfo: self.offset_vmcoreinfo.into(),
                size_vmcoreinfo: self.size_vmcoreinfo.into(),
                offset_note: self.offset_note.into(),
                size_note: self.size_note.into(),
                offset_eraseinfo: self.offset_eraseinfo.into(),
                size_eraseinfo: self.size_eraseinfo.into(),
                start_pfn_64: self.start_pfn_64.into(),
                end_pfn_64: self.end_pfn_64.into(),
                max_mapnr_64: self.max_mapnr_64.into(),
            }.as_bytes()),
        });
    }

    /// Decodes the header at the beginning of `bytes`; `None` if they are
    /// too few. Fields newer than the dump's header version are whatever
    /// lies there.
    #[must_use]
    pub fn decode(layout: HeaderLayout, order: ByteOrder, bytes: &[u8]) -> Option<Self> {
        Some(with_order!(order, O => match layout {
            HeaderLayout::Bits32Packed => from_sub_header!(SubHeader32Packed, O, bytes),
            HeaderLayout::Bits32Padded => from_sub_header!(SubHeader32Padded, O, bytes),
            HeaderLayout::Bits64 => from_sub_header!(SubHeader64, O, bytes),
        }))
    }
}

impl Default for Utsname {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl Utsname {
    /// The string in a field: up to its first NUL, with bytes that are not
    /// UTF-8 replaced.
    #[must_use]
    pub fn text(field: &[u8; UTS_LEN]) -> std::borrow::Cow<'_, str> {
        let len = field.iter().position(|b| *b == 0).unwrap_or(UTS_LEN);
        String::from_utf8_lossy(&field[..len])
    }

    /// A field with `text`, cut to what fits before the last NUL.
    #[must_use]
    pub fn field(text: impl AsRef<[u8]>) -> [u8; UTS_LEN] {
        let text = text.as_ref();
        let len = text.len().min(UTS_LEN - 1);
        let mut field = [0; UTS_LEN];
        field[..len].copy_from_slice(&text[..len]);
        field
    }
}

impl std::fmt::Debug for Utsname {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Utsname")
            .field("sysname", &Self::text(&self.sysname))
            .field("nodename", &Self::text(&self.nodename))
            .field("release", &Self::text(&self.release))
            .field("version", &Self::text(&self.version))
            .field("machine", &Self::text(&self.machine))
            .field("domainname", &Self::text(&self.domainname))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn main_header() -> MainHeader {
        MainHeader {
            header_version: 6,
            utsname: Utsname {
                sysname: Utsname::field("Linux"),
                machine: Utsname::field("x86_64"),
                ..Utsname::default()
            },
            timestamp_sec: 0x11,
            timestamp_usec: 0x12,
            status: 0x21,
            block_size: 0x22,
            sub_hdr_size: 0x23,
            bitmap_blocks: 0x24,
            max_mapnr: 0x25,
            total_ram_blocks: 0x26,
            device_blocks: 0x27,
            written_blocks: 0x28,
            current_cpu: 0x29,
            nr_cpus: 0x2a,
        }
    }

    #[test]
    fn main_header_bytes() {
        for (class, order, time_at, fields_at, size) in [
            (Class::Bits64, ByteOrder::Little, 408, 424, 464),
            (Class::Bits32, ByteOrder::Big, 404, 412, 452),
        ] {
            let mut expected = vec![0u8; size];
            expected[..8].copy_from_slice(b"KDUMP   ");
            expected[12..17].copy_from_slice(b"Linux");
            expected[12 + 4 * 65..12 + 4 * 65 + 6].copy_from_slice(b"x86_64");
            let word = if class == Class::Bits64 { 8 } else { 4 };
            let least = |width| {
                if order == ByteOrder::Little {
                    0
                } else {
                    width - 1
                }
            };
            expected[8 + least(4)] = 6;
            expected[time_at + least(word)] = 0x11;
            expected[time_at + word + least(word)] = 0x12;
            for i in 0..10 {
                expected[fields_at + i * 4 + least(4)] = 0x21 + i as u8;
            }
            let mut bytes = Vec::new();
            main_header().encode(class, order, &mut bytes);
            assert_eq!(bytes, expected);
            assert_eq!(
                MainHeader::decode(class, order, &bytes),
                Some(main_header())
            );
            assert_eq!(MainHeader::decode(class, order, &bytes[..size - 1]), None);
        }
    }

    #[test]
    fn sub_header_bytes() {
        let sub = SubHeader {
            phys_base: 1,
            dump_level: 2,
            split: 3,
            start_pfn: 4,
            end_pfn: 5,
            offset_vmcoreinfo: 6,
            size_vmcoreinfo: 7,
            offset_note: 8,
            size_note: 9,
            offset_eraseinfo: 10,
            size_eraseinfo: 11,
            start_pfn_64: 12,
            end_pfn_64: 13,
            max_mapnr_64: 14,
        };
        /// Offset and width of each of the fields, in order.
        type Fields<'a> = &'a [(usize, usize)];
        let layouts: [(HeaderLayout, Fields<'_>, usize); 3] = [
            (
                HeaderLayout::Bits64,
                &[
                    (0, 8),
                    (8, 4),
                    (12, 4),
                    (16, 8),
                    (24, 8),
                    (32, 8),
                    (40, 8),
                    (48, 8),
                    (56, 8),
                    (64, 8),
                    (72, 8),
                    (80, 8),
                    (88, 8),
                    (96, 8),
                ],
                104,
            ),
            (
                HeaderLayout::Bits32Packed,
                &[
                    (0, 4),
                    (4, 4),
                    (8, 4),
                    (12, 4),
                    (16, 4),
                    (20, 8),
                    (28, 4),
                    (32, 8),
                    (40, 4),
                    (44, 8),
                    (52, 4),
                    (56, 8),
                    (64, 8),
                    (72, 8),
                ],
                80,
            ),
            (
                HeaderLayout::Bits32Padded,
                &[
                    (0, 4),
                    (4, 4),
                    (8, 4),
                    (12, 4),
                    (16, 4),
                    (24, 8),
                    (32, 4),
                    (40, 8),
                    (48, 4),
                    (56, 8),
                    (64, 4),
                    (72, 8),
                    (80, 8),
                    (88, 8),
                ],
                96,
            ),
        ];
        for (layout, fields, size) in layouts {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let mut expected = vec![0u8; size];
                for (value, (at, width)) in (1u8..).zip(fields) {
                    let byte = if order == ByteOrder::Little {
                        0
                    } else {
                        width - 1
                    };
                    expected[at + byte] = value;
                }
                let mut bytes = Vec::new();
                sub.encode(layout, order, &mut bytes);
                assert_eq!(bytes, expected, "{layout:?}");
                assert_eq!(SubHeader::decode(layout, order, &bytes), Some(sub));
            }
        }
    }

    #[test]
    fn page_descriptor_bytes() {
        let desc = PageDescriptor {
            offset: 0x0102,
            size: 0x0304,
            flags: DUMP_DH_COMPRESSED_ZSTD,
            page_flags: 0,
        };
        let mut bytes = Vec::new();
        desc.encode(ByteOrder::Little, &mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            2, 1, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0x20, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(
            PageDescriptor::decode(ByteOrder::Little, &bytes),
            Some(desc)
        );
    }

    #[test]
    fn strings_are_cut_before_the_last_nul() {
        let field = Utsname::field("x".repeat(100));
        assert_eq!(field[64], 0);
        assert_eq!(Utsname::text(&field).len(), 64);
        assert_eq!(Utsname::text(&[b'y'; 65]).len(), 65);
    }
}
