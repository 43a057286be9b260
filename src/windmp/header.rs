//! The header of a dump of either word size, with one name for each field.
//!
//! Its layouts: [`DUMP_HEADER32`](super::header32) and [`DUMP_HEADER64`](super::header64).
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::abi::{Class, FieldOverflow, Narrow};
use crate::windmp::header32::{DumpHeader32, MAX_RUNS_32, Run32};
use crate::windmp::header64::{DumpHeader64, MAX_RUNS_64, Run64};
use crate::windmp::{
    BugcheckData, FILLER, HeaderError, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_I386, Run,
    SIGNATURE, VALID_DUMP_32, VALID_DUMP_64,
};

/// The header of a Windows dump. Addresses are guest-virtual where their field does not say otherwise.
#[derive(Clone)]
pub struct Header(Raw);

#[derive(Clone)]
enum Raw {
    Bits32(Box<DumpHeader32>),
    Bits64(Box<DumpHeader64>),
}

use Raw::{Bits32, Bits64};

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

/// Evaluates the same expression for either header.
macro_rules! either {
    ($self:expr, $h:ident => $e:expr) => {
        match $self {
            Bits32($h) => $e,
            Bits64($h) => $e,
        }
    };
}

/// Sets a field that has the guest's word size.
macro_rules! set_word {
    ($self:expr, $field:ident, $name:literal, $value:expr) => {
        match &mut $self.0 {
            Bits32(h) => h.$field = NARROW.u32($name, $value)?.into(),
            Bits64(h) => h.$field = $value.into(),
        }
    };
}

const NARROW: Narrow = Narrow("DUMP_HEADER32");

impl Header {
    /// The length of the longest header, that of 64-bit dumps, in bytes.
    pub const MAX_SIZE: usize = DumpHeader64::SIZE;

    /// A header of zeroes, with `Signature`, `ValidDump` and `MachineImageType` of this word size.
    #[must_use]
    pub fn new(class: Class) -> Self {
        Self(match class {
            Class::Bits32 => {
                let mut h = DumpHeader32::new_zeroed();
                (h.signature, h.valid_dump) = (SIGNATURE, VALID_DUMP_32);
                h.machine_image_type = IMAGE_FILE_MACHINE_I386.into();
                Bits32(Box::new(h))
            }
            Class::Bits64 => {
                let mut h = DumpHeader64::new_zeroed();
                (h.signature, h.valid_dump) = (SIGNATURE, VALID_DUMP_64);
                h.machine_image_type = IMAGE_FILE_MACHINE_AMD64.into();
                Bits64(Box::new(h))
            }
        })
    }

    /// The length of a header in bytes: 4096 or 8192.
    #[must_use]
    pub const fn size(class: Class) -> usize {
        match class {
            Class::Bits32 => DumpHeader32::SIZE,
            Class::Bits64 => DumpHeader64::SIZE,
        }
    }

    /// The word size of the guest whose dump has this `ValidDump`, its bytes 4 to 7.
    #[must_use]
    pub fn class_of(valid_dump: &[u8]) -> Option<Class> {
        if valid_dump == VALID_DUMP_32 {
            Some(Class::Bits32)
        } else if valid_dump == VALID_DUMP_64 {
            Some(Class::Bits64)
        } else {
            None
        }
    }

    /// Appends the header's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    /// Decodes a header of exactly 4096 or 8192 bytes.
    ///
    /// # Errors
    ///
    /// - [`HeaderError::Size`] for any other length;
    /// - [`HeaderError::Signature`] if it does not begin like a header of this length.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let len = bytes.len();
        let raw = match len {
            DumpHeader32::SIZE => DumpHeader32::read_from_bytes(bytes)
                .ok()
                .map(|header| Bits32(Box::new(header))),
            DumpHeader64::SIZE => DumpHeader64::read_from_bytes(bytes)
                .ok()
                .map(|header| Bits64(Box::new(header))),
            _ => None,
        };
        let header = Self(raw.ok_or(HeaderError::Size { len })?);
        let (signature, valid_dump) = either!(&header.0, h => (h.signature, h.valid_dump));
        if signature != SIGNATURE || Self::class_of(&valid_dump) != Some(header.class()) {
            let mut found = [0; 8];
            found.copy_from_slice(&bytes[..8]);
            return Err(HeaderError::Signature { len, found });
        }
        Ok(header)
    }

    /// The header's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        either!(&self.0, h => h.as_bytes())
    }

    /// The header's bytes without `Signature`: the beginning of an unfinished dump, which no reader opens.
    #[must_use]
    pub fn unsigned(&self) -> Vec<u8> {
        let mut bytes = self.as_bytes().to_vec();
        bytes[..SIGNATURE.len()].fill(0);
        bytes
    }

    /// Word size of the guest.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self.0 {
            Bits32(_) => Class::Bits32,
            Bits64(_) => Class::Bits64,
        }
    }

    /// Word size of the guest in bits: 32 or 64.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        match self.0 {
            Bits32(_) => 32,
            Bits64(_) => 64,
        }
    }

    /// The number of runs of memory that the header has room for.
    #[must_use]
    pub const fn max_runs(&self) -> usize {
        match self.0 {
            Bits32(_) => MAX_RUNS_32,
            Bits64(_) => MAX_RUNS_64,
        }
    }

    /// The `MachineImageType` of this word size.
    #[must_use]
    pub const fn expected_machine(&self) -> u32 {
        match self.0 {
            Bits32(_) => IMAGE_FILE_MACHINE_I386,
            Bits64(_) => IMAGE_FILE_MACHINE_AMD64,
        }
    }

    /// `MachineImageType`.
    #[must_use]
    pub fn machine_image_type(&self) -> u32 {
        either!(&self.0, h => h.machine_image_type.get())
    }

    /// `DirectoryTableBase`: CR3 of the system process.
    #[must_use]
    pub fn directory_table_base(&self) -> u64 {
        match &self.0 {
            Bits32(h) => h.directory_table_base.get().into(),
            Bits64(h) => h.directory_table_base.get(),
        }
    }

    /// `NumberProcessors`.
    #[must_use]
    pub fn number_processors(&self) -> u32 {
        either!(&self.0, h => h.number_processors.get())
    }

    /// `KdDebuggerDataBlock`: guest-virtual address of KDBG.
    #[must_use]
    pub fn kd_debugger_data_block(&self) -> u64 {
        match &self.0 {
            Bits32(h) => h.kd_debugger_data_block.get().into(),
            Bits64(h) => h.kd_debugger_data_block.get(),
        }
    }

    /// `PfnDatabase`: guest-virtual address.
    #[must_use]
    pub fn pfn_database(&self) -> u64 {
        match &self.0 {
            Bits32(h) => h.pfn_database.get().into(),
            Bits64(h) => h.pfn_database.get(),
        }
    }

    /// `PsLoadedModuleList`: guest-virtual address.
    #[must_use]
    pub fn ps_loaded_module_list(&self) -> u64 {
        match &self.0 {
            Bits32(h) => h.ps_loaded_module_list.get().into(),
            Bits64(h) => h.ps_loaded_module_list.get(),
        }
    }

    /// `PsActiveProcessHead`: guest-virtual address.
    #[must_use]
    pub fn ps_active_process_head(&self) -> u64 {
        match &self.0 {
            Bits32(h) => h.ps_active_process_head.get().into(),
            Bits64(h) => h.ps_active_process_head.get(),
        }
    }

    /// `PaeEnabled`; `None` in a 64-bit header, which has no such field.
    #[must_use]
    pub fn pae_enabled(&self) -> Option<u8> {
        match &self.0 {
            Bits32(h) => Some(h.pae_enabled),
            Bits64(_) => None,
        }
    }

    /// `MajorVersion` and `MinorVersion`; the minor one is Windows's build.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        either!(&self.0, h => (h.major_version.get(), h.minor_version.get()))
    }

    /// `DumpType`.
    #[must_use]
    pub fn dump_type(&self) -> u32 {
        either!(&self.0, h => h.dump_type.get())
    }

    /// `RequiredDumpSpace`: size of the dump in bytes.
    #[must_use]
    pub fn required_dump_space(&self) -> u64 {
        either!(&self.0, h => h.required_dump_space.get())
    }

    /// `SystemTime`: units of 100 ns since 1601.
    #[must_use]
    pub fn system_time(&self) -> u64 {
        either!(&self.0, h => h.system_time.get())
    }

    /// `SystemUpTime`: units of 100 ns.
    #[must_use]
    pub fn system_up_time(&self) -> u64 {
        either!(&self.0, h => h.system_up_time.get())
    }

    /// `ProductType`: 1 for a workstation, 2 for a domain controller, 3 for a
    /// server.
    #[must_use]
    pub fn product_type(&self) -> u32 {
        either!(&self.0, h => h.product_type.get())
    }

    /// `BugCheckCode` and its parameters.
    #[must_use]
    pub fn bugcheck(&self) -> BugcheckData {
        match &self.0 {
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
        either!(&self.0, h => h.physical_memory_block.number_of_runs.get())
    }

    /// The runs of `PhysicalMemoryBlock`, up to as many as there is room for.
    pub fn runs(&self) -> impl Iterator<Item = Run> + use<> {
        let runs: Vec<Run> = match &self.0 {
            Bits32(h) => {
                let one = |r: &Run32| Run {
                    base_page: r.base_page.get().into(),
                    page_count: r.page_count.get().into(),
                };
                h.physical_memory_block.runs.iter().map(one).collect()
            }
            Bits64(h) => {
                let one = |r: &Run64| Run {
                    base_page: r.base_page.get(),
                    page_count: r.page_count.get(),
                };
                h.physical_memory_block.runs.iter().map(one).collect()
            }
        };
        runs.into_iter().take(self.number_of_runs() as usize)
    }

    /// Whether there is a list of runs: their number is neither 0 nor Windows's filler.
    #[must_use]
    pub fn has_runs(&self) -> bool {
        !matches!(self.number_of_runs(), 0 | FILLER)
    }

    /// The bytes of `ContextRecord`.
    #[must_use]
    pub fn context_record(&self) -> &[u8] {
        either!(&self.0, h => &h.context_record)
    }

    /// Sets `MachineImageType`.
    pub fn set_machine_image_type(&mut self, machine: u32) {
        either!(&mut self.0, h => h.machine_image_type = machine.into());
    }

    /// Sets `DirectoryTableBase`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold the value.
    pub fn set_directory_table_base(&mut self, cr3: u64) -> Result<(), FieldOverflow> {
        set_word!(self, directory_table_base, "DirectoryTableBase", cr3);
        Ok(())
    }

    /// Sets `NumberProcessors`.
    pub fn set_number_processors(&mut self, count: u32) {
        either!(&mut self.0, h => h.number_processors = count.into());
    }

    /// Sets `KdDebuggerDataBlock`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold the value.
    pub fn set_kd_debugger_data_block(&mut self, vaddr: u64) -> Result<(), FieldOverflow> {
        set_word!(self, kd_debugger_data_block, "KdDebuggerDataBlock", vaddr);
        Ok(())
    }

    /// Sets `PfnDatabase`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold the value.
    pub fn set_pfn_database(&mut self, vaddr: u64) -> Result<(), FieldOverflow> {
        set_word!(self, pfn_database, "PfnDatabase", vaddr);
        Ok(())
    }

    /// Sets `PsLoadedModuleList`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold the value.
    pub fn set_ps_loaded_module_list(&mut self, vaddr: u64) -> Result<(), FieldOverflow> {
        set_word!(self, ps_loaded_module_list, "PsLoadedModuleList", vaddr);
        Ok(())
    }

    /// Sets `PsActiveProcessHead`.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold the value.
    pub fn set_ps_active_process_head(&mut self, vaddr: u64) -> Result<(), FieldOverflow> {
        set_word!(self, ps_active_process_head, "PsActiveProcessHead", vaddr);
        Ok(())
    }

    /// Sets `PaeEnabled`. A 64-bit header has no such field and stays as it is.
    pub fn set_pae_enabled(&mut self, enabled: u8) {
        if let Bits32(h) = &mut self.0 {
            h.pae_enabled = enabled;
        }
    }

    /// Sets `MajorVersion` and `MinorVersion`.
    pub fn set_version(&mut self, (major, minor): (u32, u32)) {
        either!(&mut self.0, h => {
            h.major_version = major.into();
            h.minor_version = minor.into();
        });
    }

    /// Sets `DumpType`.
    pub fn set_dump_type(&mut self, dump_type: u32) {
        either!(&mut self.0, h => h.dump_type = dump_type.into());
        if let Bits64(h) = &mut self.0 {
            h.padding3 = U32::ZERO;
        }
    }

    /// Sets `RequiredDumpSpace`: the length of the dump in bytes.
    pub fn set_required_dump_space(&mut self, len: u64) {
        either!(&mut self.0, h => h.required_dump_space = len.into());
    }

    /// Sets `SystemTime`: units of 100 ns since 1601.
    pub fn set_system_time(&mut self, time: u64) {
        either!(&mut self.0, h => h.system_time = time.into());
    }

    /// Sets `SystemUpTime`: units of 100 ns.
    pub fn set_system_up_time(&mut self, time: u64) {
        either!(&mut self.0, h => h.system_up_time = time.into());
    }

    /// Sets `ProductType` and `SuiteMask`.
    pub fn set_product(&mut self, product_type: u32, suite_mask: u32) {
        either!(&mut self.0, h => {
            h.product_type = product_type.into();
            h.suite_mask = suite_mask.into();
        });
    }

    /// Sets `BugCheckCode` and its parameters.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold a parameter; the header stays as it is.
    pub fn set_bugcheck(&mut self, data: BugcheckData) -> Result<(), FieldOverflow> {
        match &mut self.0 {
            Bits32(h) => {
                let mut parameters = [U32::ZERO; 4];
                for (to, from) in parameters.iter_mut().zip(data.parameters) {
                    *to = NARROW.u32("BugCheckParameter", from)?.into();
                }
                h.bug_check_parameters = parameters;
                h.bug_check_code = data.code.into();
            }
            Bits64(h) => {
                h.bug_check_code = data.code.into();
                h.padding1 = U32::ZERO;
                h.bug_check_parameters = data.parameters.map(Into::into);
            }
        }
        Ok(())
    }

    /// Sets `PhysicalMemoryBlock` to `pages` pages in the page frames of `runs`. It has no runs if there
    /// is no room for all, as in bitmap dumps, whose readers need none.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if a 32-bit header cannot hold a number; the header stays as it is.
    pub fn set_runs(&mut self, runs: &[Range<u64>], pages: u64) -> Result<(), FieldOverflow> {
        let fitting = if runs.len() <= self.max_runs() {
            runs
        } else {
            &[]
        };
        let count = NARROW.u32("NumberOfRuns", fitting.len() as u64)?;
        let page_count = |run: &Range<u64>| run.end.saturating_sub(run.start);
        match &mut self.0 {
            Bits32(h) => {
                let number_of_pages = NARROW.u32("NumberOfPages", pages)?;
                let mut all = [Run32::default(); MAX_RUNS_32];
                for (to, run) in all.iter_mut().zip(fitting) {
                    to.base_page = NARROW.u32("BasePage", run.start)?.into();
                    to.page_count = NARROW.u32("PageCount", page_count(run))?.into();
                }
                let block = &mut h.physical_memory_block;
                block.number_of_runs = count.into();
                block.number_of_pages = number_of_pages.into();
                block.runs = all;
                h.padding = [0; 4];
            }
            Bits64(h) => {
                let block = &mut h.physical_memory_block;
                block.number_of_runs = count.into();
                block.padding = U32::ZERO;
                block.number_of_pages = pages.into();
                block.runs = [Run64::default(); MAX_RUNS_64];
                for (to, run) in block.runs.iter_mut().zip(fitting) {
                    to.base_page = run.start.into();
                    to.page_count = page_count(run).into();
                }
                h.padding2 = [0; 16];
            }
        }
        Ok(())
    }

    /// Sets `ContextRecord`; zeroes follow the context.
    ///
    /// # Errors
    ///
    /// [`FieldOverflow`] if the context is longer than its room, 1200 or 3000 bytes.
    pub fn set_context_record(&mut self, context: &[u8]) -> Result<(), FieldOverflow> {
        either!(&mut self.0, h => {
            let room = h.context_record.len();
            let Some(to) = h.context_record.get_mut(..context.len()) else {
                return Err(FieldOverflow {
                    header: "DUMP_HEADER",
                    field: "the length of ContextRecord",
                    value: context.len() as u64,
                    max: room as u64,
                });
            };
            to.copy_from_slice(context);
            h.context_record[context.len()..].fill(0);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::single_range_in_vec_init, clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn classes() -> impl Strategy<Value = Class> {
        prop_oneof![Just(Class::Bits32), Just(Class::Bits64)]
    }

    fn encoded(header: &Header) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        bytes
    }

    #[test]
    fn fields_of_either_header_are_at_their_offsets() {
        for (class, begin, places) in [
            (Class::Bits64, b"PAGEDU64", [0x30, 0x34, 0x38, 0x88, 0xf98]),
            (Class::Bits32, b"PAGEDUMP", [0x20, 0x24, 0x28, 0x64, 0xf88]),
        ] {
            let mut header = Header::new(class);
            header.set_number_processors(3);
            let parameters = [1, 2, 3, 4];
            let bugcheck = BugcheckData {
                code: 0xe2,
                parameters,
            };
            header.set_bugcheck(bugcheck).unwrap();
            header.set_runs(&[0..5, 9..10], 6).unwrap();
            header.set_dump_type(1);
            let bytes = encoded(&header);
            assert!(bytes.starts_with(begin));
            let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let [machine, ..] = places;
            assert_eq!(number(machine), header.expected_machine());
            assert_eq!(places.map(number)[1..], [3, 0xe2, 2, 1]);
            assert_eq!(header.bugcheck(), bugcheck);
            let runs = [(0, 5), (9, 1)].map(|(base_page, page_count)| Run {
                base_page,
                page_count,
            });
            assert_eq!(header.runs().collect::<Vec<_>>(), runs);
        }
    }

    #[test]
    fn value_past_32_bits_is_refused_by_a_32_bit_header_and_changes_nothing() {
        let mut header = Header::new(Class::Bits32);
        header.set_runs(&[1..2], 1).unwrap();
        let before = encoded(&header);
        let high = 1 << 32;
        let refused = [
            header.set_directory_table_base(high),
            header.set_kd_debugger_data_block(high),
            header.set_pfn_database(high),
            header.set_ps_loaded_module_list(high),
            header.set_ps_active_process_head(high),
            header.set_bugcheck(BugcheckData {
                code: 1,
                parameters: [0, 0, 0, high],
            }),
            header.set_runs(&[0..high], 1),
            header.set_runs(&[high..high + 1], 1),
            header.set_runs(&[], high),
            header.set_context_record(&[0; 1201]),
        ];
        assert!(refused.iter().all(Result::is_err));
        assert_eq!(encoded(&header), before);
        let mut header = Header::new(Class::Bits64);
        header.set_directory_table_base(high).unwrap();
        header.set_runs(&[high..high + 1], high).unwrap();
        assert!(header.set_context_record(&[0; 3001]).is_err());
    }

    #[test]
    fn more_runs_than_there_is_room_for_are_none() {
        for (class, max) in [(Class::Bits32, 86), (Class::Bits64, 42)] {
            let mut header = Header::new(class);
            let runs: Vec<_> = (0..max + 1).map(|n| 2 * n..2 * n + 1).collect();
            header.set_runs(&runs[1..], max).unwrap();
            assert_eq!(header.number_of_runs(), max as u32);
            assert!(header.has_runs());
            header.set_runs(&runs, max + 1).unwrap();
            assert!(!header.has_runs());
        }
    }

    #[test]
    fn other_lengths_and_signatures_are_refused() {
        let bytes = encoded(&Header::new(Class::Bits64));
        let error = Header::decode(&bytes[1..]).unwrap_err();
        assert_eq!(error, HeaderError::Size { len: 8191 });
        let error = Header::decode(&bytes[..4096]).unwrap_err();
        let found = *b"PAGEDU64";
        assert_eq!(error, HeaderError::Signature { len: 4096, found });
        let unsigned = Header::new(Class::Bits64).unsigned();
        assert!(Header::decode(&unsigned).is_err());
    }

    proptest! {
        #[test]
        fn encoding_what_was_decoded_gives_the_bytes(
            class in classes(),
            seed in prop::collection::vec(any::<u8>(), 1..500),
        ) {
            let mut bytes: Vec<u8> = seed.into_iter().cycle().take(Header::size(class)).collect();
            bytes[..8].copy_from_slice(&encoded(&Header::new(class))[..8]);
            let header = Header::decode(&bytes).unwrap();
            prop_assert_eq!(header.class(), class);
            prop_assert_eq!(encoded(&header), bytes);
            // No getter panics.
            let _ = (header.runs().count(), header.bugcheck(), header.has_runs());
        }

        #[test]
        fn fields_that_were_set_are_there_after_encoding_and_decoding(
            class in classes(),
            words in any::<[u32; 9]>(),
            times in any::<[u64; 3]>(),
        ) {
            let mut header = Header::new(class);
            let word = |n: usize| u64::from(words[n]);
            header.set_directory_table_base(word(0)).unwrap();
            header.set_kd_debugger_data_block(word(1)).unwrap();
            header.set_pfn_database(word(2)).unwrap();
            header.set_ps_loaded_module_list(word(3)).unwrap();
            header.set_ps_active_process_head(word(4)).unwrap();
            header.set_number_processors(words[5]);
            header.set_version((words[6], words[7]));
            header.set_product(words[8], 0);
            header.set_required_dump_space(times[0]);
            header.set_system_time(times[1]);
            header.set_system_up_time(times[2]);
            header.set_context_record(&[7; 100]).unwrap();
            let header = Header::decode(&encoded(&header)).unwrap();
            prop_assert_eq!(header.directory_table_base(), word(0));
            prop_assert_eq!(header.kd_debugger_data_block(), word(1));
            prop_assert_eq!(header.pfn_database(), word(2));
            prop_assert_eq!(header.ps_loaded_module_list(), word(3));
            prop_assert_eq!(header.ps_active_process_head(), word(4));
            prop_assert_eq!(header.number_processors(), words[5]);
            prop_assert_eq!(header.version(), (words[6], words[7]));
            prop_assert_eq!(header.product_type(), words[8]);
            let spaces = [
                header.required_dump_space(),
                header.system_time(),
                header.system_up_time(),
            ];
            prop_assert_eq!(spaces, times);
            prop_assert!(header.context_record()[..100].iter().all(|byte| *byte == 7));
        }
    }
}
