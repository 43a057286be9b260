//! Builds a dump's header from the kernel's data in memory.
#![forbid(unsafe_code)]

use crate::abi::{Class, FieldOverflow};
use crate::guest::paging::X86Mode;
use crate::guest::windows::BugcheckData;
use crate::guest::windows::discover::format::{Kdbg, SharedData};
use crate::guest::windows::discover::kdbg::Found;
use crate::guest::windows::discover::kernel::Kernel;
use crate::guest::windows::discover::memory::VirtualMemory;
use crate::guest::windows::discover::width::Width;
use crate::windmp::Header;

/// `MajorVersion` of a kernel without checks for developers. A kernel with them
/// has 0xc.
const FREE_BUILD: u32 = 0xf;

/// Builds a header without the fields that describe the dump: type, size,
/// memory. `DirectoryTableBase` leads to the page tables of `memory`.
pub(crate) fn build(
    memory: &VirtualMemory<'_>,
    kernel: &Kernel,
    found: &Found,
    processors: u32,
) -> Result<Header, FieldOverflow> {
    let Found { vaddr, kdbg, .. } = found;
    let width = memory.width();
    let mut header = Header::new(match width {
        Width::Bits32 => Class::Bits32,
        Width::Bits64 => Class::Bits64,
    });
    header.set_directory_table_base(width.address(memory.tables.cr3))?;
    header.set_pfn_database(width.address(kdbg.mm_pfn_database.get()))?;
    header.set_ps_loaded_module_list(width.address(kdbg.ps_loaded_module_list.get()))?;
    header.set_ps_active_process_head(width.address(kdbg.ps_active_process_head.get()))?;
    header.set_kd_debugger_data_block(width.address(*vaddr))?;
    header.set_number_processors(processors);
    header.set_pae_enabled(u8::from(memory.tables.mode == X86Mode::Pae));
    let shared: Option<SharedData> = memory.read_struct(width.shared_data());
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
    Ok(header)
}

/// Reads `MajorVersion` and `MinorVersion` from the variable `NtBuildNumber`,
/// which the kernel exports. The mark of the build is in its highest four bits,
/// the number of the build in its lower half.
fn version(memory: &VirtualMemory<'_>, kernel: &Kernel) -> Option<(u32, u32)> {
    let number = memory.read_u32(kernel.export(memory, "NtBuildNumber")?)?;
    Some((number >> 28, number & 0xffff))
}

/// Reads `KiBugcheckData`: the code, which is 0 without a crash, and the
/// parameters, one word each. It returns `None` if it cannot be read.
pub(crate) fn bugcheck(memory: &VirtualMemory<'_>, kdbg: &Kdbg) -> Option<BugcheckData> {
    let [code, parameters @ ..] = memory.read_words::<5>(kdbg.ki_bugcheck_data.get())?;
    let code = code as u32;
    Some(BugcheckData { code, parameters })
}
