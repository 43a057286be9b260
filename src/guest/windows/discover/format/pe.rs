//! The headers of an executable image (PE32 and PE32+).
//!
//! Sources: Microsoft, "PE Format" (learn.microsoft.com, windows/win32/debug);
//! for the CodeView record QEMU `contrib/elf2dmp/pe.h`.

use std::mem::{offset_of, size_of};

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `e_magic` of `DosHeader`.
pub(crate) const MZ: [u8; 2] = *b"MZ";
/// `Signature` of the NT headers.
pub(crate) const PE_SIGNATURE: [u8; 4] = *b"PE\0\0";
/// `Magic` of the optional header of a 32-bit image.
pub(crate) const PE32: u16 = 0x10b;
/// `Magic` of the optional header of a 64-bit image.
pub(crate) const PE32_PLUS: u16 = 0x20b;
/// `Machine` of a 32-bit image for x86.
pub(crate) const MACHINE_I386: u16 = 0x014c;
/// `Machine` of a 64-bit image for x86.
pub(crate) const MACHINE_AMD64: u16 = 0x8664;
/// Index of the data directory for the exports.
pub(crate) const IMAGE_DIRECTORY_EXPORT: usize = 0;
/// Index of the data directory for the debug directory.
pub(crate) const IMAGE_DIRECTORY_DEBUG: usize = 6;
/// `Type` of a CodeView entry in a debug directory.
pub(crate) const CODEVIEW: u32 = 2;
/// Signature of a CodeView record that names a PDB.
pub(crate) const RSDS: [u8; 4] = *b"RSDS";

/// `IMAGE_DOS_HEADER`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct DosHeader {
    pub(crate) e_magic: [u8; 2],
    pub(crate) reserved: [u8; 58],
    /// Offset of the `NtHeaders` in the image.
    pub(crate) e_lfanew: U32,
}

/// `IMAGE_NT_HEADERS64`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct NtHeaders {
    pub(crate) signature: [u8; 4],
    pub(crate) machine: U16,
    pub(crate) number_of_sections: U16,
    pub(crate) reserved1: [u8; 12],
    pub(crate) size_of_optional_header: U16,
    pub(crate) characteristics: U16,
    /// `Magic` of the optional header, which begins here.
    pub(crate) magic: U16,
    pub(crate) reserved2: [u8; 22],
    pub(crate) image_base: U64,
    pub(crate) section_alignment: U32,
    pub(crate) file_alignment: U32,
    pub(crate) reserved3: [u8; 16],
    pub(crate) size_of_image: U32,
    pub(crate) size_of_headers: U32,
    pub(crate) reserved4: [u8; 44],
    pub(crate) number_of_rva_and_sizes: U32,
    pub(crate) data_directories: [DataDirectory; 16],
}

/// `IMAGE_NT_HEADERS32`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct NtHeaders32 {
    pub(crate) signature: [u8; 4],
    pub(crate) machine: U16,
    pub(crate) number_of_sections: U16,
    pub(crate) reserved1: [u8; 12],
    pub(crate) size_of_optional_header: U16,
    pub(crate) characteristics: U16,
    /// `Magic` of the optional header, which begins here.
    pub(crate) magic: U16,
    pub(crate) reserved2: [u8; 26],
    pub(crate) image_base: U32,
    pub(crate) section_alignment: U32,
    pub(crate) file_alignment: U32,
    pub(crate) reserved3: [u8; 16],
    pub(crate) size_of_image: U32,
    pub(crate) size_of_headers: U32,
    pub(crate) reserved4: [u8; 28],
    pub(crate) number_of_rva_and_sizes: U32,
    pub(crate) data_directories: [DataDirectory; 16],
}

/// `IMAGE_DATA_DIRECTORY`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct DataDirectory {
    /// Offset in the loaded image.
    pub(crate) rva: U32,
    pub(crate) size: U32,
}

/// `IMAGE_EXPORT_DIRECTORY`. `name`, `functions`, `names` and `name_ordinals`
/// are offsets in the image.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ExportDirectory {
    pub(crate) reserved: [u8; 12],
    pub(crate) name: U32,
    pub(crate) base: U32,
    pub(crate) number_of_functions: U32,
    pub(crate) number_of_names: U32,
    pub(crate) functions: U32,
    /// Array of offsets of names, in ascending order of the names.
    pub(crate) names: U32,
    /// Array of 16-bit indices into `functions`, one for each name.
    pub(crate) name_ordinals: U32,
}

/// `IMAGE_DEBUG_DIRECTORY`.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct DebugDirectory {
    pub(crate) reserved: [u8; 12],
    pub(crate) kind: U32,
    pub(crate) size_of_data: U32,
    /// Offset in the loaded image.
    pub(crate) address_of_raw_data: U32,
    pub(crate) pointer_to_raw_data: U32,
}

/// A CodeView record. The PDB's name follows it and ends with a NUL.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CodeView {
    pub(crate) signature: [u8; 4],
    pub(crate) guid: [u8; 16],
    pub(crate) age: U32,
}

/// The properties of an image that both kinds of headers contain.
pub(crate) struct NtImage {
    /// Size of the image in bytes.
    pub(crate) size: u32,
    /// The data directories that the image really has.
    pub(crate) directories: Vec<DataDirectory>,
}

impl NtImage {
    /// Reads the headers of a 32-bit image for x86. It returns `None` for any
    /// other image.
    pub(crate) fn of_32(headers: &NtHeaders32) -> Option<Self> {
        let is_image = headers.signature == PE_SIGNATURE
            && headers.machine.get() == MACHINE_I386
            && headers.magic.get() == PE32;
        let count = headers.number_of_rva_and_sizes.get();
        is_image.then(|| {
            Self::new(
                headers.size_of_image.get(),
                count,
                &headers.data_directories,
            )
        })
    }

    /// Reads the headers of a 64-bit image for x86. It returns `None` for any
    /// other image.
    pub(crate) fn of_64(headers: &NtHeaders) -> Option<Self> {
        let is_image = headers.signature == PE_SIGNATURE
            && headers.machine.get() == MACHINE_AMD64
            && headers.magic.get() == PE32_PLUS;
        let count = headers.number_of_rva_and_sizes.get();
        is_image.then(|| {
            Self::new(
                headers.size_of_image.get(),
                count,
                &headers.data_directories,
            )
        })
    }

    fn new(size: u32, count: u32, directories: &[DataDirectory]) -> Self {
        let count = directories.len().min(count as usize);
        let directories = directories[..count].to_vec();
        Self { size, directories }
    }
}

const _: () = assert!(offset_of!(DosHeader, e_lfanew) == 0x3c);
const _: () = assert!(offset_of!(NtHeaders, magic) == 24);
const _: () = assert!(offset_of!(NtHeaders, image_base) == 24 + 24);
const _: () = assert!(offset_of!(NtHeaders, size_of_image) == 24 + 56);
const _: () = assert!(offset_of!(NtHeaders, number_of_rva_and_sizes) == 24 + 108);
const _: () = assert!(offset_of!(NtHeaders, data_directories) == 24 + 112);
const _: () = assert!(size_of::<NtHeaders>() == 24 + 240);
const _: () = assert!(offset_of!(NtHeaders32, magic) == 24);
const _: () = assert!(offset_of!(NtHeaders32, image_base) == 24 + 28);
const _: () = assert!(offset_of!(NtHeaders32, size_of_image) == 24 + 56);
const _: () = assert!(offset_of!(NtHeaders32, number_of_rva_and_sizes) == 24 + 92);
const _: () = assert!(offset_of!(NtHeaders32, data_directories) == 24 + 96);
const _: () = assert!(size_of::<NtHeaders32>() == 24 + 224);
const _: () = assert!(offset_of!(ExportDirectory, name) == 12);
const _: () = assert!(offset_of!(ExportDirectory, functions) == 28);
const _: () = assert!(size_of::<ExportDirectory>() == 40);
const _: () = assert!(offset_of!(DebugDirectory, address_of_raw_data) == 20);
const _: () = assert!(size_of::<DebugDirectory>() == 28);
const _: () = assert!(size_of::<CodeView>() == 24);
