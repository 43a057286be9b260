//! Reading a Windows dump of type 1, 5, 6, 8, 9 or 10, whichever program wrote it.
#![forbid(unsafe_code)]

mod ranges;
mod runs;

use crate::abi::{ByteOrder, Class, Encoding};
use crate::arch::Machine;
use crate::dump::FormatOptions;
use crate::guest::GuestInfo;
use crate::guest::vmcoreinfo::VmcoreinfoSource;
use crate::guest::windows::{HeaderSource, decode_context};
use crate::memory::{Coverage, Lack, MemoryRange, difference, union};
use crate::read::dump::{Dump, Headers};
use crate::read::stored::StoredMemory;
use crate::read::windmp::ranges::runs_of_ranges;
use crate::read::windmp::runs::{runs_of_bitmap, runs_of_header};
use crate::read::{CheckReport, Input, VmcoreError};
use crate::windmp::{
    BitmapHeader, DUMP_TYPE_BITMAP_FULL, DUMP_TYPE_BITMAP_KERNEL, DUMP_TYPE_COMPLETE_MEMORY,
    DUMP_TYPE_FULL, DUMP_TYPE_KERNEL_AND_USER_MEMORY, DUMP_TYPE_KERNEL_MEMORY, Header,
    IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_MACHINE_ARM64, IMAGE_FILE_MACHINE_I386, PAGE_SIZE,
    SIGNATURE,
};
use crate::workers::Progress;

/// `DumpType` of a small memory dump. Source: Microsoft, "Small Memory Dump".
const DUMP_TYPE_TRIAGE: u32 = 4;

/// A decoded Windows dump.
#[derive(Debug)]
pub(crate) struct WinDmp {
    header: Header,
    /// The header of a bitmap dump's bitmap.
    bitmap: Option<BitmapHeader>,
    memory: StoredMemory,
    coverage: Coverage,
}

impl WinDmp {
    /// Decodes the headers and the bitmap; `None` if this is no Windows dump.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let mut begin = [0; 8];
        if !input.contains(0, begin.len() as u64) {
            return Ok(None);
        }
        input.read_at(0, &mut begin)?;
        let (signature, valid_dump) = begin.split_at(SIGNATURE.len());
        let Some(class) = Header::class_of(valid_dump) else {
            return Ok(None);
        };
        let complete = signature == SIGNATURE;
        // A dump that is not finished has zeroes instead of its signature.
        if !complete && signature != [0; 4] {
            return Ok(None);
        }
        let size = Header::size(class) as u64;
        let mut bytes = input.read_vec("the header", 0, size, size)?;
        bytes[..SIGNATURE.len()].copy_from_slice(&SIGNATURE);
        let header =
            Header::decode(&bytes).map_err(|error| VmcoreError::damaged(0, error.to_string()))?;
        if machine_of(&header).is_none() {
            if !complete {
                return Ok(None);
            }
            let found = header.machine_image_type();
            return Err(VmcoreError::Unsupported(format!(
                "it is a Windows dump of machine type {found:#x}"
            )));
        }
        let (memory, bitmap) = match header.dump_type() {
            DUMP_TYPE_FULL => (runs_of_header(&header)?, None),
            DUMP_TYPE_BITMAP_FULL | DUMP_TYPE_BITMAP_KERNEL => {
                let (memory, bitmap) = runs_of_bitmap(input, size)?;
                (memory, Some(bitmap))
            }
            DUMP_TYPE_KERNEL_MEMORY
            | DUMP_TYPE_KERNEL_AND_USER_MEMORY
            | DUMP_TYPE_COMPLETE_MEMORY
                if class == Class::Bits64 =>
            {
                (runs_of_ranges(input, size, header.dump_type())?, None)
            }
            DUMP_TYPE_TRIAGE => {
                return Err(VmcoreError::Unsupported(
                    "it is a small memory dump of Windows (type 4), which has no memory of the guest \
                     but a few stacks; look for MEMORY.DMP"
                        .into(),
                ));
            }
            other => {
                return Err(VmcoreError::Unsupported(format!(
                    "it is a {}-bit Windows dump of type {other}; types 1, 5 and 6 are read, and of 64 bits 8, 9 and 10",
                    header.bits()
                )));
            }
        };
        let (memory, cut) = memory.cut_at(input)?;
        let mut lacks = Vec::new();
        if !complete {
            lacks.push(Lack::Marked);
        }
        lacks.extend(input.cut());
        let absent = not_in_dump(&header, &memory, input);
        if let (None, Some(what)) = (&absent, header.excludes()) {
            lacks.push(Lack::Excludes { what });
        }
        let mut absent = absent.unwrap_or_default();
        if let Some(cut) = cut {
            lacks.push(cut.lack);
            absent = union([absent, cut.lost].concat());
        }
        Ok(Some(Self {
            header,
            bitmap,
            memory,
            coverage: Coverage {
                absent,
                lacks,
                ..Coverage::complete()
            },
        }))
    }
}

/// Returns the RAM by the header's runs that a dump with a bitmap or a list of ranges does not contain.
/// `None` if the header's runs cannot be used.
fn not_in_dump(header: &Header, memory: &StoredMemory, input: &Input) -> Option<Vec<MemoryRange>> {
    if header.dump_type() == DUMP_TYPE_FULL {
        return Some(Vec::new());
    }
    let ram = runs_of_header(header).ok()?;
    if ram.size() == 0 || ram.size() > input.largest_claim() {
        return None;
    }
    let ram: Vec<_> = ram.ranges().collect();
    let present: Vec<_> = memory.ranges().collect();
    Some(difference(&ram, &present))
}

/// Returns the machine that the header names, if a header of its size can.
fn machine_of(header: &Header) -> Option<Machine> {
    match (header.machine_image_type(), header.class()) {
        (IMAGE_FILE_MACHINE_I386, Class::Bits32) => Some(Machine::I386),
        (IMAGE_FILE_MACHINE_AMD64, Class::Bits64) => Some(Machine::X86_64),
        (IMAGE_FILE_MACHINE_ARM64, Class::Bits64) => Some(Machine::Aarch64),
        _ => None,
    }
}

impl Dump for WinDmp {
    fn headers(&self) -> Headers<'_> {
        Headers::WinDmp {
            header: &self.header,
            bitmap: self.bitmap.as_ref(),
        }
    }

    fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            class: self.header.class(),
            order: ByteOrder::Little,
        }
    }

    fn machine(&self) -> Option<Machine> {
        machine_of(&self.header)
    }

    fn page_size(&self) -> Option<u64> {
        Some(PAGE_SIZE)
    }

    fn pages(&self) -> u64 {
        self.memory.size() / PAGE_SIZE
    }

    fn add_to(&self, _: &Input, guest: GuestInfo, format: &mut FormatOptions) -> GuestInfo {
        let guest = guest.vmcoreinfo(VmcoreinfoSource::None);
        if let FormatOptions::Windows(options) = format {
            // A Windows dump keeps the header's context as it is.
            let mut header = self.header.clone();
            // The header lists all memory of the guest, of which this dump may have a part. A new dump
            // makes the list of this memory and of what is absent.
            let is_whole = self.coverage.absent.is_empty();
            if !(is_whole && matches!(header.dump_type(), DUMP_TYPE_FULL | DUMP_TYPE_BITMAP_FULL)) {
                let _ = header.set_runs(&[], 0);
            }
            let header = HeaderSource::Given(header.as_bytes().to_vec());
            *options = options.clone().header(header);
            guest
        } else {
            guest.cpus(decode_context(&self.header))
        }
    }

    fn stored(&self) -> Option<&StoredMemory> {
        Some(&self.memory)
    }

    fn check(
        &self,
        input: &Input,
        report: &mut CheckReport,
        progress: &Progress,
    ) -> Result<(), VmcoreError> {
        self.memory.check(input, PAGE_SIZE, report, progress)
    }
}
