//! The kernel's image: headers, exports, debug directory, and the places of its variables. The
//! parts that are not mapped stand for pageable code and for code that the kernel has discarded.
#![forbid(unsafe_code)]

use zerocopy::{FromZeros, IntoBytes};

use crate::demo::windows::tables::Tables;
use crate::guest::windows::discover::format::pe::{
    CODEVIEW, CodeView, DataDirectory, DebugDirectory, DosHeader, ExportDirectory,
    IMAGE_DIRECTORY_DEBUG, IMAGE_DIRECTORY_EXPORT, MACHINE_AMD64, MACHINE_I386, MZ, NtHeaders,
    NtHeaders32, PE_SIGNATURE, PE32, PE32_PLUS, RSDS,
};
use crate::guest::windows::discover::width::Width;
use crate::memory::MIN_PAGE_SIZE;

/// The image's size in bytes.
pub(super) const SIZE: u64 = 0x10_0000;

// Offsets in the image.
const NT_HEADERS: u64 = 0x108;
pub(super) const TEXT: u64 = 0x1000;
const EXPORTS: u64 = 0x8_0000;
const DEBUG: u64 = 0x8_1000;
const CODEVIEW_RECORD: u64 = 0x8_1100;
const TEXT_END: u64 = EXPORTS;
const DATA: u64 = 0x9_0000;
/// The end of the last mapped page.
const MAPPED_END: u64 = 0xb_0000;
pub(super) const KDP_DEBUGGER_DATA_LIST_HEAD: u64 = DATA + 0x1040;
pub(super) const KI_WAIT_NEVER: u64 = DATA + 0x1100;
pub(super) const KI_WAIT_ALWAYS: u64 = DATA + 0x1108;
pub(super) const KDP_DATA_BLOCK_ENCODED: u64 = DATA + 0x1110;
pub(super) const PS_LOADED_MODULE_LIST: u64 = DATA + 0x1200;
pub(super) const PS_ACTIVE_PROCESS_HEAD: u64 = DATA + 0x1220;
pub(super) const PS_INITIAL_SYSTEM_PROCESS: u64 = DATA + 0x1240;
pub(super) const NT_BUILD_NUMBER: u64 = DATA + 0x1248;
pub(super) const MM_PFN_DATABASE: u64 = DATA + 0x1250;
pub(super) const MM_PHYSICAL_MEMORY_BLOCK: u64 = DATA + 0x1258;
pub(super) const KI_BUGCHECK_DATA: u64 = DATA + 0x1280;
pub(super) const KI_PROCESSOR_BLOCK: u64 = DATA + 0x1300;
/// KDBG crosses a page boundary.
pub(super) const KDBG: u64 = DATA + 0x2f10;

/// The exports of the image, in ascending order of their names, as the format requires.
const EXPORTED: [(&str, u64); 3] = [
    ("NtBuildNumber", NT_BUILD_NUMBER),
    ("PsInitialSystemProcess", PS_INITIAL_SYSTEM_PROCESS),
    ("PsLoadedModuleList", PS_LOADED_MODULE_LIST),
];

/// Writes the image into memory.
pub(super) fn build(tables: &mut Tables) {
    let kind = tables.kind();
    let mut dos = DosHeader::new_zeroed();
    dos.e_magic = MZ;
    dos.e_lfanew = (NT_HEADERS as u32).into();
    tables.put(kind.vaddr(0), dos.as_bytes());
    let headers = match kind.width() {
        Width::Bits32 => headers_32(kind.base()),
        Width::Bits64 => headers_64(kind.base()),
    };
    tables.put(kind.vaddr(NT_HEADERS), &headers);

    build_exports(tables);
    build_debug(tables);
    let code = (TEXT..TEXT_END).chain(DATA..MAPPED_END);
    for page in code.step_by(MIN_PAGE_SIZE as usize) {
        tables.map(kind.vaddr(page));
    }
}

/// Makes `IMAGE_NT_HEADERS` of a width. Both widths have fields of the same names.
macro_rules! headers {
    ($headers:ty, $base:expr, $machine:expr, $magic:expr, $characteristics:expr) => {{
        let mut headers = <$headers>::new_zeroed();
        headers.signature = PE_SIGNATURE;
        headers.machine = $machine.into();
        // The fields before the optional header have 24 bytes.
        headers.size_of_optional_header = (size_of::<$headers>() as u16 - 24).into();
        headers.characteristics = u16::into($characteristics);
        headers.magic = $magic.into();
        headers.image_base = $base.into();
        headers.section_alignment = (MIN_PAGE_SIZE as u32).into();
        headers.file_alignment = 0x200.into();
        headers.size_of_image = (SIZE as u32).into();
        headers.size_of_headers = 0x400.into();
        headers.number_of_rva_and_sizes = 16.into();
        put_directories(&mut headers.data_directories);
        headers.as_bytes().to_vec()
    }};
}

fn headers_32(base: u64) -> Vec<u8> {
    // Executable, 32-bit.
    headers!(NtHeaders32, base as u32, MACHINE_I386, PE32, 0x102)
}

fn headers_64(base: u64) -> Vec<u8> {
    // Executable, large address aware.
    headers!(NtHeaders, base, MACHINE_AMD64, PE32_PLUS, 0x22)
}

fn put_directories(directories: &mut [DataDirectory; 16]) {
    let exports = &mut directories[IMAGE_DIRECTORY_EXPORT];
    (exports.rva, exports.size) = ((EXPORTS as u32).into(), 0x200.into());
    let debug = &mut directories[IMAGE_DIRECTORY_DEBUG];
    let size = size_of::<DebugDirectory>() as u32;
    (debug.rva, debug.size) = ((DEBUG as u32).into(), size.into());
}

/// Writes the export directory, its three tables, and the names.
fn build_exports(tables: &mut Tables) {
    let kind = tables.kind();
    let vaddr = |offset| kind.vaddr(offset);
    let count = EXPORTED.len() as u64;
    let functions = EXPORTS + size_of::<ExportDirectory>() as u64;
    let names = functions + count * 4;
    let ordinals = names + count * 4;
    let mut text = ordinals + count * 2;
    let mut put_name = |tables: &mut Tables, name: &str| {
        let at = text;
        tables.put(vaddr(at), format!("{name}\0").as_bytes());
        text += name.len() as u64 + 1;
        (at as u32).to_le_bytes()
    };
    for (i, (name, variable)) in EXPORTED.iter().enumerate() {
        let i = i as u64;
        // The functions are in another order than the names.
        let ordinal = count - 1 - i;
        let name = put_name(tables, name);
        tables.put(vaddr(names + i * 4), &name);
        tables.put(vaddr(ordinals + i * 2), &(ordinal as u16).to_le_bytes());
        let variable = (*variable as u32).to_le_bytes();
        tables.put(vaddr(functions + ordinal * 4), &variable);
    }
    let mut directory = ExportDirectory::new_zeroed();
    directory.name = u32::from_le_bytes(put_name(tables, kind.names().0)).into();
    directory.base = 1.into();
    directory.number_of_functions = (count as u32).into();
    directory.number_of_names = (count as u32).into();
    directory.functions = (functions as u32).into();
    directory.names = (names as u32).into();
    directory.name_ordinals = (ordinals as u32).into();
    tables.put(vaddr(EXPORTS), directory.as_bytes());
}

fn build_debug(tables: &mut Tables) {
    let kind = tables.kind();
    let vaddr = |offset| kind.vaddr(offset);
    let (_, pdb) = kind.names();
    let mut directory = DebugDirectory::new_zeroed();
    directory.kind = CODEVIEW.into();
    directory.size_of_data = ((size_of::<CodeView>() + pdb.len()) as u32).into();
    directory.address_of_raw_data = (CODEVIEW_RECORD as u32).into();
    directory.pointer_to_raw_data = (CODEVIEW_RECORD as u32).into();
    tables.put(vaddr(DEBUG), directory.as_bytes());
    let record = CodeView {
        signature: RSDS,
        guid: *b"guestdump's demo",
        age: 1.into(),
    };
    tables.put(vaddr(CODEVIEW_RECORD), record.as_bytes());
    tables.put(vaddr(CODEVIEW_RECORD) + size_of::<CodeView>() as u64, pdb);
}
