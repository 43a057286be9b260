//! A header of either word size, decoded, with one name for each field.
#![forbid(unsafe_code)]

use std::fmt;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::guest::windows::BugcheckData;
use crate::guest::windows::WinDmpError;
use crate::selection::FrameRun;
use crate::windmp::{
    DumpHeader32, DumpHeader64, FILLER, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_I386,
    MAX_RUNS_32, MAX_RUNS_64, Run32, Run64, SIGNATURE, VALID_DUMP_32, VALID_DUMP_64,
};

/// The header of a Windows dump.
#[derive(Clone)]
#[non_exhaustive]
pub enum Header {
    /// Of a 32-bit guest.
    Bits32(Box<DumpHeader32>),
    /// Of a 64-bit guest.
    Bits64(Box<DumpHeader64>),
}

use Header::{Bits32, Bits64};

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("bits", &self.bits())
            .field("dump_type", &self.dump_type())
            .field("number_processors", &self.number_processors())
            .field("number_of_runs", &self.number_of_runs())
            .finish_non_exhaustive()
    }
}

/// The same expression for either header.
macro_rules! either {
    ($self:expr, $h:ident => $e:expr) => {
        match $self {
            Bits32($h) => $e,
            Bits64($h) => $e,
        }
    };
}

impl Header {
    /// Decodes a header of 4096 or 8192 bytes.
    ///
    /// # Errors
    ///
    /// - [`WinDmpError::HeaderSize`] for any other length;
    /// - [`WinDmpError::Signature`] if it does not begin like a header of
    ///   this length.
    pub fn decode(bytes: &[u8]) -> Result<Self, WinDmpError> {
        let len = bytes.len();
        let header = match len {
            DumpHeader32::SIZE => DumpHeader32::read_from_bytes(bytes)
                .ok()
                .map(|header| Bits32(Box::new(header))),
            DumpHeader64::SIZE => DumpHeader64::read_from_bytes(bytes)
                .ok()
                .map(|header| Bits64(Box::new(header))),
            _ => None,
        };
        let header = header.ok_or(WinDmpError::HeaderSize { len })?;
        let (signature, valid_dump) = either!(&header, h => (h.signature, h.valid_dump));
        if (signature, valid_dump) != (SIGNATURE, header.expected_valid_dump()) {
            let mut found = [0; 8];
            found.copy_from_slice(&bytes[..8]);
            return Err(WinDmpError::Signature { len, found });
        }
        Ok(header)
    }

    /// The header's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        either!(self, h => h.as_bytes())
    }

    /// Word size of the guest: 32 or 64.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        match self {
            Bits32(_) => 32,
            Bits64(_) => 64,
        }
    }

    /// Size of the header in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        match self {
            Bits32(_) => DumpHeader32::SIZE,
            Bits64(_) => DumpHeader64::SIZE,
        }
    }

    /// Runs of memory that there is room for.
    #[must_use]
    pub const fn max_runs(&self) -> usize {
        match self {
            Bits32(_) => MAX_RUNS_32,
            Bits64(_) => MAX_RUNS_64,
        }
    }

    const fn expected_valid_dump(&self) -> [u8; 4] {
        match self {
            Bits32(_) => VALID_DUMP_32,
            Bits64(_) => VALID_DUMP_64,
        }
    }

    pub(crate) const fn expected_machine(&self) -> u32 {
        match self {
            Bits32(_) => IMAGE_FILE_MACHINE_I386,
            Bits64(_) => IMAGE_FILE_MACHINE_AMD64,
        }
    }

    /// `MachineImageType`.
    #[must_use]
    pub fn machine_image_type(&self) -> u32 {
        either!(self, h => h.machine_image_type.get())
    }

    /// `DirectoryTableBase`: CR3 of the system process.
    #[must_use]
    pub fn directory_table_base(&self) -> u64 {
        match self {
            Bits32(h) => h.directory_table_base.get().into(),
            Bits64(h) => h.directory_table_base.get(),
        }
    }

    /// `NumberProcessors`.
    #[must_use]
    pub fn number_processors(&self) -> u32 {
        either!(self, h => h.number_processors.get())
    }

    /// `KdDebuggerDataBlock`: guest-virtual address of KDBG.
    #[must_use]
    pub fn kd_debugger_data_block(&self) -> u64 {
        match self {
            Bits32(h) => h.kd_debugger_data_block.get().into(),
            Bits64(h) => h.kd_debugger_data_block.get(),
        }
    }

    /// `PfnDatabase`: guest-virtual address.
    #[must_use]
    pub fn pfn_database(&self) -> u64 {
        match self {
            Bits32(h) => h.pfn_database.get().into(),
            Bits64(h) => h.pfn_database.get(),
        }
    }

    /// `PsLoadedModuleList`: guest-virtual address.
    #[must_use]
    pub fn ps_loaded_module_list(&self) -> u64 {
        match self {
            Bits32(h) => h.ps_loaded_module_list.get().into(),
            Bits64(h) => h.ps_loaded_module_list.get(),
        }
    }

    /// `PsActiveProcessHead`: guest-virtual address.
    #[must_use]
    pub fn ps_active_process_head(&self) -> u64 {
        match self {
            Bits32(h) => h.ps_active_process_head.get().into(),
            Bits64(h) => h.ps_active_process_head.get(),
        }
    }

    /// `PaeEnabled`; `None` in a 64-bit header, which has no such field.
    #[must_use]
    pub fn pae_enabled(&self) -> Option<u8> {
        match self {
            Bits32(h) => Some(h.pae_enabled),
            Bits64(_) => None,
        }
    }

    /// `MajorVersion` and `MinorVersion`; the minor one is Windows's build.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        either!(self, h => (h.major_version.get(), h.minor_version.get()))
    }

    /// `DumpType`.
    #[must_use]
    pub fn dump_type(&self) -> u32 {
        either!(self, h => h.dump_type.get())
    }

    /// `RequiredDumpSpace`: size of the dump in bytes.
    #[must_use]
    pub fn required_dump_space(&self) -> u64 {
        either!(self, h => h.required_dump_space.get())
    }

    /// `SystemTime`: units of 100 ns since 1601.
    #[must_use]
    pub fn system_time(&self) -> u64 {
        either!(self, h => h.system_time.get())
    }

    /// `SystemUpTime`: units of 100 ns.
    #[must_use]
    pub fn system_up_time(&self) -> u64 {
        either!(self, h => h.system_up_time.get())
    }

    /// `ProductType`: 1 for a workstation, 2 for a domain controller, 3 for a
    /// server.
    #[must_use]
    pub fn product_type(&self) -> u32 {
        either!(self, h => h.product_type.get())
    }

    /// `BugCheckCode` and its parameters.
    #[must_use]
    pub fn bugcheck(&self) -> BugcheckData {
        match self {
            Bits32(h) => BugcheckData {
                code: h.bug_check_code.get(),
                parameters: h.bug_check_parameters.map(|p| p.get().into()),
            },
            Bits64(h) => BugcheckData {
                code: h.bug_check_code.get(),
                parameters: h.bug_check_parameters.map(U64::get),
            },
        }
    }

    /// `NumberOfRuns` of `PhysicalMemoryBlock`.
    #[must_use]
    pub fn number_of_runs(&self) -> u32 {
        either!(self, h => h.physical_memory_block.number_of_runs.get())
    }

    /// The runs of `PhysicalMemoryBlock`, those that there is room for: the
    /// first page frame number and the count of pages of each.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let wide: Vec<(u64, u64)> = match self {
            Bits32(h) => {
                let one = |r: &Run32| (r.base_page.get().into(), r.page_count.get().into());
                h.physical_memory_block.runs.iter().map(one).collect()
            }
            Bits64(h) => {
                let one = |r: &Run64| (r.base_page.get(), r.page_count.get());
                h.physical_memory_block.runs.iter().map(one).collect()
            }
        };
        wide.into_iter().take(self.number_of_runs() as usize)
    }

    /// Whether there is a list of runs: not a zero, and not Windows's filler.
    pub(crate) fn has_runs(&self) -> bool {
        !matches!(self.number_of_runs(), 0 | FILLER)
    }

    pub(crate) fn set_dump(&mut self, dump_type: u32, required_space: u64) {
        either!(self, h => {
            h.dump_type = dump_type.into();
            h.required_dump_space = required_space.into();
        });
        if let Bits64(h) = self {
            h.padding3 = U32::ZERO;
        }
    }

    /// Sets `PhysicalMemoryBlock`: all runs if there is room for them, else
    /// none. In 32-bit headers the numbers are known to fit.
    pub(crate) fn set_runs(&mut self, runs: &[FrameRun], pages: u64) {
        let fitting = if runs.len() <= self.max_runs() {
            runs
        } else {
            &[]
        };
        match self {
            Bits32(h) => {
                let block = &mut h.physical_memory_block;
                block.number_of_runs = (fitting.len() as u32).into();
                block.number_of_pages = (pages as u32).into();
                block.runs = [Run32::default(); MAX_RUNS_32];
                for (to, run) in block.runs.iter_mut().zip(fitting) {
                    to.base_page = (run.start as u32).into();
                    to.page_count = (run.count as u32).into();
                }
                h.padding = [0; 4];
            }
            Bits64(h) => {
                let block = &mut h.physical_memory_block;
                block.number_of_runs = (fitting.len() as u32).into();
                block.padding = U32::ZERO;
                block.number_of_pages = pages.into();
                block.runs = [Run64::default(); MAX_RUNS_64];
                for (to, run) in block.runs.iter_mut().zip(fitting) {
                    to.base_page = run.start.into();
                    to.page_count = run.count.into();
                }
                h.padding2 = [0; 16];
            }
        }
    }

    pub(crate) fn set_bugcheck(&mut self, data: BugcheckData) {
        match self {
            Bits32(h) => {
                h.bug_check_code = data.code.into();
                h.bug_check_parameters = data.parameters.map(|p| (p as u32).into());
            }
            Bits64(h) => {
                h.bug_check_code = data.code.into();
                h.padding1 = U32::ZERO;
                h.bug_check_parameters = data.parameters.map(Into::into);
            }
        }
    }

    pub(crate) fn set_system_time(&mut self, time: u64) {
        either!(self, h => h.system_time = time.into());
    }

    pub(crate) fn set_system_up_time(&mut self, time: u64) {
        either!(self, h => h.system_up_time = time.into());
    }

    pub(crate) fn set_version(&mut self, (major, minor): (u32, u32)) {
        either!(self, h => {
            h.major_version = major.into();
            h.minor_version = minor.into();
        });
    }

    /// Sets `ProductType` and `SuiteMask`.
    pub(crate) fn set_product(&mut self, product_type: u32, suite_mask: u32) {
        either!(self, h => {
            h.product_type = product_type.into();
            h.suite_mask = suite_mask.into();
        });
    }

    /// Sets `KdDebuggerDataBlock` and `PfnDatabase`. Those of a 32-bit guest
    /// are known to fit.
    pub(crate) fn set_kdbg(&mut self, block: u64, pfn_database: u64) {
        match self {
            Bits32(h) => {
                h.kd_debugger_data_block = (block as u32).into();
                h.pfn_database = (pfn_database as u32).into();
            }
            Bits64(h) => {
                h.kd_debugger_data_block = block.into();
                h.pfn_database = pfn_database.into();
            }
        }
    }

    /// Sets `ContextRecord`; what is left of its room becomes zeroes.
    pub(crate) fn set_context(&mut self, context: &[u8]) {
        either!(self, h => {
            h.context_record.fill(0);
            h.context_record[..context.len()].copy_from_slice(context);
        });
    }

    /// The bytes of `ContextRecord`.
    #[must_use]
    pub fn context_record(&self) -> &[u8] {
        either!(self, h => &h.context_record)
    }

    /// The header's bytes without `Signature`: what an unfinished dump begins
    /// with, which no reader opens.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        let mut bytes = self.as_bytes().to_vec();
        bytes[..SIGNATURE.len()].fill(0);
        bytes
    }
}
