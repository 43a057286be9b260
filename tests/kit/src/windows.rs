//! Headers of Windows dumps, whose addresses lead nowhere, and options of such dumps.

use guestdump::guest::windows::{
    BugcheckData, ContextPlace, ExtraState, HeaderSource, WindowsInfo,
};
use guestdump::windmp::{DUMP_TYPE_FULL, FILLER, Header, SIGNATURE};
use guestdump::{Class, DumpOptions, Format, FormatOptions, GuestInfo, WinDmpOptions};

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

    /// Returns options of a dump of `guest` in any format.
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

    /// Replaces the Windows options of `options` by these.
    pub fn instead(self, mut options: DumpOptions) -> DumpOptions {
        let format = options.format.format();
        let with = self.options(options.guest, format);
        (options.guest, options.format) = (with.guest, with.format);
        options
    }
}

/// Replaces the header in the options of a Windows dump.
pub fn with_header(mut options: DumpOptions, header: HeaderSource) -> DumpOptions {
    let FormatOptions::Windows(windows) = options.format else {
        panic!("{:?}", options.format);
    };
    options.format = windows.header(header).into();
    options
}

/// Returns the header of a 64-bit guest with two CPUs, whose page tables begin at `cr3`.
/// Fields that Windows does not set contain its filler.
pub fn header_64(cr3: u64) -> Box<Header> {
    let mut header = filled(Class::Bits64);
    header.set_version((15, 19041));
    header.set_directory_table_base(cr3).unwrap();
    header.set_pfn_database(0xffff_8000_0000_0000).unwrap();
    let modules = 0xffff_f800_0001_0000;
    header.set_ps_loaded_module_list(modules).unwrap();
    let processes = 0xffff_f800_0002_0000;
    header.set_ps_active_process_head(processes).unwrap();
    let kdbg = 0xffff_f800_0003_0000;
    header.set_kd_debugger_data_block(kdbg).unwrap();
    header.set_number_processors(2);
    header.set_product(1, FILLER);
    header
}

/// Returns the header of a 32-bit guest with PAE and one CPU.
pub fn header_32(cr3: u32) -> Box<Header> {
    let mut header = filled(Class::Bits32);
    header.set_version((15, 7601));
    header.set_directory_table_base(cr3.into()).unwrap();
    header.set_pfn_database(0x8300_0000).unwrap();
    header.set_ps_loaded_module_list(0x8290_0000).unwrap();
    header.set_ps_active_process_head(0x8280_0000).unwrap();
    header.set_kd_debugger_data_block(0x8270_0000).unwrap();
    header.set_number_processors(1);
    header.set_pae_enabled(1);
    header.set_product(3, FILLER);
    header
}

/// Returns a header of filler with the fields that both word sizes share.
fn filled(class: Class) -> Box<Header> {
    let mut bytes = SIGNATURE.repeat(Header::size(class) / SIGNATURE.len());
    bytes[..8].copy_from_slice(&Header::new(class).as_bytes()[..8]);
    let mut header = Header::decode(&bytes).unwrap();
    header.set_machine_image_type(header.expected_machine());
    header.set_dump_type(DUMP_TYPE_FULL);
    header.set_system_time(132_000_000_000_000_000);
    header.set_system_up_time(36_000_000_000);
    Box::new(header)
}

/// Returns options of a dump with a header that the caller gives.
pub fn given(header: &impl HeaderBytes) -> Windows {
    Windows::new().header(HeaderSource::Given(header.bytes()))
}

pub trait HeaderBytes {
    fn bytes(&self) -> Vec<u8>;
}

impl HeaderBytes for Header {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}
