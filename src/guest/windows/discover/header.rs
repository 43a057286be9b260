//! A dump's header from what the kernel has in memory.
#![forbid(unsafe_code)]

use zerocopy::FromZeros;

use crate::guest::paging::X86Mode;
use crate::guest::windows::BugcheckData;
use crate::guest::windows::discover::format::{Kdbg, SharedData};
use crate::guest::windows::discover::kdbg::Found;
use crate::guest::windows::discover::kernel::Kernel;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;
use crate::windmp::Header;
use crate::windmp::{
    DumpHeader32, DumpHeader64, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_I386, SIGNATURE,
    VALID_DUMP_32, VALID_DUMP_64,
};

/// `MajorVersion` of a kernel without checks for developers; 0xc with them.
const FREE_BUILD: u32 = 0xf;

/// A header without what the dump says about itself: type, size, memory. The
/// memory is seen through the page tables of `DirectoryTableBase`.
pub(crate) fn build(
    memory: &VirtualMemory<'_>,
    kernel: &Kernel,
    found: &Found,
    processors: u32,
) -> Header {
    let mut header = match memory.width() {
        Width::Bits32 => Header::Bits32(Box::new(build_32(memory, found, processors))),
        Width::Bits64 => Header::Bits64(Box::new(build_64(memory, found, processors))),
    };
    let shared: Option<SharedData> = memory.read_struct(memory.width().shared_data());
    let build = version(memory, kernel);
    let shared_build = shared
        .as_ref()
        .map(|s| (FREE_BUILD, s.nt_build_number.get()));
    header.set_version(build.or(shared_build).unwrap_or((FREE_BUILD, 0)));
    if let Some(shared) = shared {
        header.set_system_time(shared.system_time.value());
        header.set_system_up_time(shared.interrupt_time.value());
        header.set_product(shared.nt_product_type.get(), shared.suite_mask.get());
    }
    header
}

fn build_32(memory: &VirtualMemory<'_>, found: &Found, processors: u32) -> DumpHeader32 {
    let Found { vaddr, kdbg, .. } = found;
    // Of a 32-bit kernel all addresses are as small.
    let narrow = |address: u64| (address as u32).into();
    let mut header = DumpHeader32::new_zeroed();
    header.signature = SIGNATURE;
    header.valid_dump = VALID_DUMP_32;
    header.directory_table_base = narrow(memory.tables.cr3);
    header.pfn_database = narrow(kdbg.mm_pfn_database.get());
    header.ps_loaded_module_list = narrow(kdbg.ps_loaded_module_list.get());
    header.ps_active_process_head = narrow(kdbg.ps_active_process_head.get());
    header.machine_image_type = IMAGE_FILE_MACHINE_I386.into();
    header.number_processors = processors.into();
    header.pae_enabled = u8::from(memory.tables.mode == X86Mode::Pae);
    header.kd_debugger_data_block = narrow(*vaddr);
    header
}

fn build_64(memory: &VirtualMemory<'_>, found: &Found, processors: u32) -> DumpHeader64 {
    let Found { vaddr, kdbg, .. } = found;
    let mut header = DumpHeader64::new_zeroed();
    header.signature = SIGNATURE;
    header.valid_dump = VALID_DUMP_64;
    header.directory_table_base = memory.tables.cr3.into();
    header.pfn_database = kdbg.mm_pfn_database;
    header.ps_loaded_module_list = kdbg.ps_loaded_module_list;
    header.ps_active_process_head = kdbg.ps_active_process_head;
    header.machine_image_type = IMAGE_FILE_MACHINE_AMD64.into();
    header.number_processors = processors.into();
    header.kd_debugger_data_block = (*vaddr).into();
    header
}

/// `MajorVersion` and `MinorVersion` by the variable `NtBuildNumber`, which
/// the kernel exports: the mark of the build in the highest four bits, its
/// number in the lower half.
fn version(memory: &VirtualMemory<'_>, kernel: &Kernel) -> Option<(u32, u32)> {
    let number = memory.read_u32(kernel.export(memory, "NtBuildNumber")?)?;
    Some((number >> 28, number & 0xffff))
}

/// `KiBugcheckData`: the code, 0 without a crash, and the parameters, a word
/// each. `None` if it cannot be read.
pub(crate) fn bugcheck(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Option<BugcheckData> {
    let [code, parameters @ ..] = memory.read_words::<5>(kdbg.ki_bugcheck_data.get())?;
    let code = code as u32;
    Some(BugcheckData { code, parameters })
}
