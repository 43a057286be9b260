//! `DUMP_HEADER64` from what the kernel has in memory.
#![forbid(unsafe_code)]

use zerocopy::FromZeros;

use super::format::{KUSER_SHARED_DATA, Kdbg, SharedData};
use super::kernel::Kernel;
use super::memory::VirtualMemory;
use crate::windmp::format::{DumpHeader64, IMAGE_FILE_MACHINE_AMD64, SIGNATURE, VALID_DUMP_64};
use crate::windmp::options::BugcheckData;

/// `MajorVersion` of a kernel without checks for developers; 0xc with them.
const FREE_BUILD: u32 = 0xf;

/// A header without what the dump says about itself: type, size, memory.
pub(super) fn build(
    memory: &VirtualMemory<'_>,
    kernel: &Kernel,
    kdbg: &Kdbg,
    directory_table_base: u64,
    processors: u32,
) -> DumpHeader64 {
    let mut header = DumpHeader64::new_zeroed();
    header.signature = SIGNATURE;
    header.valid_dump = VALID_DUMP_64;
    header.directory_table_base = directory_table_base.into();
    header.pfn_database = kdbg.mm_pfn_database;
    header.ps_loaded_module_list = kdbg.ps_loaded_module_list;
    header.ps_active_process_head = kdbg.ps_active_process_head;
    header.machine_image_type = IMAGE_FILE_MACHINE_AMD64.into();
    header.number_processors = processors.into();

    let shared: Option<SharedData> = memory.read_struct(KUSER_SHARED_DATA);
    let build = version(memory, kernel);
    let shared_build = shared
        .as_ref()
        .map(|s| (FREE_BUILD, s.nt_build_number.get()));
    let (major, minor) = build.or(shared_build).unwrap_or((FREE_BUILD, 0));
    header.major_version = major.into();
    header.minor_version = minor.into();
    if let Some(shared) = shared {
        header.system_time = shared.system_time.value().into();
        header.system_up_time = shared.interrupt_time.value().into();
        header.product_type = shared.nt_product_type;
        header.suite_mask = shared.suite_mask;
    }
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
pub(super) fn bugcheck(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Option<BugcheckData> {
    let words: [u64; 5] = memory.read_struct(kdbg.ki_bugcheck_data.get())?;
    let [code, parameters @ ..] = words.map(u64::from_le);
    let code = code as u32;
    Some(BugcheckData { code, parameters })
}
