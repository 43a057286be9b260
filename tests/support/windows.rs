//! Windows dump headers with nothing behind their addresses.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use guestdump::guest::windows::{
    BugcheckData, ContextPlace, ExtraState, HeaderSource, WindowsInfo,
};
use guestdump::windmp::{
    DUMP_TYPE_FULL, DumpHeader32, DumpHeader64, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_I386,
    SIGNATURE, VALID_DUMP_32, VALID_DUMP_64,
};
use guestdump::{DumpOptions, Format, FormatOptions, GuestInfo, WinDmpOptions};
use zerocopy::{FromZeros, IntoBytes};

/// A Windows guest's facts, and the options of its dump.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    info: WindowsInfo,
    header: HeaderSource,
    bugcheck: Option<BugcheckData>,
    damaged: bool,
}

impl Windows {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn header(mut self, source: HeaderSource) -> Self {
        self.header = source;
        self
    }
    pub fn bugcheck(mut self, data: BugcheckData) -> Self {
        self.bugcheck = Some(data);
        self
    }
    pub fn damaged(mut self, may_be: bool) -> Self {
        self.damaged = may_be;
        self
    }
    pub fn crash_registers(mut self, registers: [u64; 5]) -> Self {
        self.info = self.info.crash_registers(registers);
        self
    }
    pub fn extra_state(mut self, cpus: impl IntoIterator<Item = ExtraState>) -> Self {
        self.info = self.info.extra_state(cpus);
        self
    }
    pub fn contexts(mut self, places: impl IntoIterator<Item = ContextPlace>) -> Self {
        self.info = self.info.contexts(places);
        self
    }
    pub fn crashed_cpu(mut self, cpu: usize) -> Self {
        self.info = self.info.crashed_cpu(cpu);
        self
    }

    /// Options of a dump of `guest` in `format`, which need not be one of
    /// Windows's.
    pub fn options(self, guest: GuestInfo, format: Format) -> DumpOptions {
        let format = match format {
            Format::Windows(kind) => {
                let options = WinDmpOptions::new(kind)
                    .header(self.header)
                    .damaged(self.damaged);
                FormatOptions::Windows(match self.bugcheck {
                    Some(data) => options.bugcheck(data),
                    None => options,
                })
            }
            other => other.into(),
        };
        DumpOptions::new(guest.windows(self.info), format)
    }

    /// Options of the same dump with these instead of its own.
    pub fn instead(self, mut options: DumpOptions) -> DumpOptions {
        let format = options.format.format();
        let with = self.options(options.guest, format);
        (options.guest, options.format) = (with.guest, with.format);
        options
    }
}

/// Options of the same Windows dump with this header.
pub fn with_header(mut options: DumpOptions, header: HeaderSource) -> DumpOptions {
    let FormatOptions::Windows(windows) = options.format else {
        panic!("{:?}", options.format);
    };
    options.format = windows.header(header).into();
    options
}

/// Of a guest with two CPUs whose page tables begin at `cr3`. What Windows
/// does not set, it leaves as its filler.
pub fn header_64(cr3: u64) -> Box<DumpHeader64> {
    let mut header = Box::new(DumpHeader64::new_zeroed());
    for (byte, filler) in header
        .as_mut_bytes()
        .iter_mut()
        .zip(SIGNATURE.iter().cycle())
    {
        *byte = *filler;
    }
    header.valid_dump = VALID_DUMP_64;
    header.major_version = 15.into();
    header.minor_version = 19041.into();
    header.directory_table_base = cr3.into();
    header.pfn_database = 0xffff_8000_0000_0000.into();
    header.ps_loaded_module_list = 0xffff_f800_0001_0000.into();
    header.ps_active_process_head = 0xffff_f800_0002_0000.into();
    header.machine_image_type = IMAGE_FILE_MACHINE_AMD64.into();
    header.number_processors = 2.into();
    header.kd_debugger_data_block = 0xffff_f800_0003_0000.into();
    header.dump_type = DUMP_TYPE_FULL.into();
    header.system_time = 132_000_000_000_000_000.into();
    header.system_up_time = 36_000_000_000.into();
    header.product_type = 1.into();
    header
}

/// The same of a 32-bit guest with PAE.
pub fn header_32(cr3: u32) -> Box<DumpHeader32> {
    let mut header = Box::new(DumpHeader32::new_zeroed());
    for (byte, filler) in header
        .as_mut_bytes()
        .iter_mut()
        .zip(SIGNATURE.iter().cycle())
    {
        *byte = *filler;
    }
    header.valid_dump = VALID_DUMP_32;
    header.major_version = 15.into();
    header.minor_version = 7601.into();
    header.directory_table_base = cr3.into();
    header.pfn_database = 0x8300_0000.into();
    header.ps_loaded_module_list = 0x8290_0000.into();
    header.ps_active_process_head = 0x8280_0000.into();
    header.machine_image_type = IMAGE_FILE_MACHINE_I386.into();
    header.number_processors = 1.into();
    header.pae_enabled = 1;
    header.kd_debugger_data_block = 0x8270_0000.into();
    header.dump_type = DUMP_TYPE_FULL.into();
    header.system_time = 132_000_000_000_000_000.into();
    header.system_up_time = 36_000_000_000.into();
    header.product_type = 3.into();
    header
}

/// A header given by the caller.
pub fn given(header: &impl HeaderBytes) -> Windows {
    Windows::new().header(HeaderSource::Given(header.bytes()))
}

pub trait HeaderBytes {
    fn bytes(&self) -> Vec<u8>;
}

impl HeaderBytes for DumpHeader64 {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl HeaderBytes for DumpHeader32 {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}
