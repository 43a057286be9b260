//! Windows dump headers with nothing behind their addresses.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use guestdump::guest::windows::{HeaderSource, WindowsOptions};
use guestdump::windmp::{
    DUMP_TYPE_FULL, DumpHeader32, DumpHeader64, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_I386,
    SIGNATURE, VALID_DUMP_32, VALID_DUMP_64,
};
use zerocopy::{FromZeros, IntoBytes};

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
pub fn given(header: &impl HeaderBytes) -> WindowsOptions {
    WindowsOptions::new().header(HeaderSource::Given(header.bytes()))
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
