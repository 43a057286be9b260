//! The output of `guestdump info`.

use guestdump::CpuState;
use guestdump::abi::number::Number;
use serde::Serialize;

use crate::lacks::LackEntry;

/// All that is printed, as text or JSON. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    pub(crate) file: String,
    pub(crate) format: String,
    pub(crate) codec: Option<&'static str>,
    pub(crate) flattened: bool,
    pub(crate) complete: bool,
    pub(crate) lacks: Vec<LackEntry>,
    pub(crate) machine: Option<&'static str>,
    pub(crate) page_size: Option<u64>,
    pub(crate) file_size: u64,
    pub(crate) raw_size: u64,
    pub(crate) pages: u64,
    pub(crate) bytes_total: u64,
    pub(crate) dump_level: u32,
    /// Whether the kernel's page structures of excluded pages are excluded too.
    pub(crate) vmemmap_excluded: bool,
    /// RAM that is not in the dump.
    pub(crate) absent_bytes: u64,
    pub(crate) header: HeaderEntry,
    pub(crate) utsname: Option<UtsnameEntry>,
    pub(crate) vmcoreinfo: Option<VmcoreinfoEntry>,
    pub(crate) cpus: Vec<Cpu>,
    /// Returns the reason why registers that are in the dump are not known.
    pub(crate) unknown_registers: Option<String>,
    pub(crate) notes: Vec<NoteEntry>,
    pub(crate) ranges: Vec<RangeEntry>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum HeaderEntry {
    Elf {
        elf_type: u16,
        elf_machine: u16,
        program_headers: usize,
        loads: usize,
    },
    Kdump {
        version: u32,
        status: u32,
        dump_level: u32,
        split: bool,
        phys_base: i64,
        max_mapnr: u64,
        nr_cpus: u32,
        /// Seconds since 1970; 0 if unknown.
        timestamp: u64,
    },
    WinDmp {
        bits: u32,
        dump_type: u32,
        /// A description of the memory that a whole dump of this type lacks.
        excludes: Option<&'static str>,
        /// The second is Windows's build.
        version: (u32, u32),
        processors: u32,
        directory_table_base: Number,
        kd_debugger_data_block: Number,
        bugcheck_code: Number,
        bugcheck_parameters: [Number; 4],
        /// Units of 100 ns since 1601.
        system_time: u64,
        product_type: u32,
    },
    Xen {
        elf_machine: u16,
        paravirtualized: bool,
        vcpus: u64,
        /// Pages in the list, invalid ones included.
        listed_pages: u64,
    },
    Other {},
}

#[derive(Debug, Serialize)]
pub(crate) struct UtsnameEntry {
    pub(crate) sysname: String,
    pub(crate) nodename: String,
    pub(crate) release: String,
    pub(crate) version: String,
    pub(crate) machine: String,
    pub(crate) domainname: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct VmcoreinfoEntry {
    pub(crate) size: usize,
    pub(crate) osrelease: String,
    pub(crate) build_id: Option<String>,
    pub(crate) page_size: Option<u64>,
    pub(crate) phys_base: Option<i64>,
    pub(crate) kernel_offset: Option<u64>,
    pub(crate) crash_time: Option<u64>,
}

/// The contents of a CPU's notes; empty if the machine is not known.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Cpu {
    /// `pr_pid` of `NT_PRSTATUS`.
    pub(crate) pid: Option<u32>,
    pub(crate) program_counter: Option<Number>,
    pub(crate) stack_pointer: Option<Number>,
    pub(crate) page_table_root: Option<Number>,
    pub(crate) registers: Option<CpuState>,
}

#[derive(Debug, Serialize)]
pub(crate) struct NoteEntry {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: u32,
    pub(crate) size: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct RangeEntry {
    pub(crate) gpa: u64,
    pub(crate) size: u64,
}
