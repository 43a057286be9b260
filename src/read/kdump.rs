//! Reading a kdump-compressed dump, whoever wrote it.
#![forbid(unsafe_code)]

use crate::abi::Utsname;
use crate::arch::Machine;
use crate::codec::Codec;
use crate::kdump::{
    DumpHeaders, HeaderError, MainHeader, PageDescriptor, SIGNATURE, SubHeader, flag_codec,
};
use crate::memory::MemoryRange;
use crate::read::{Input, VmcoreError};
use crate::selection::FrameRun;
use crate::vmcoreinfo;
use crate::write::notes::MAX_NOTES;

/// A decoded kdump-compressed dump.
#[derive(Debug)]
pub(crate) struct KdumpDump {
    pub(crate) headers: DumpHeaders,
    pub(crate) notes: Vec<u8>,
    /// VMCOREINFO's text by the sub header's offset.
    pub(crate) vmcoreinfo: Vec<u8>,
    /// Page frames that the bitmaps cover.
    pub(crate) max_mapnr: u64,
    /// The page frame of the bitmaps' first bit.
    first_frame: u64,
    /// Offsets of the bitmaps; equal if there is only one.
    pub(crate) bitmaps: (u64, u64),
    /// Length of one bitmap in bytes.
    pub(crate) bitmap_size: u64,
    /// Offset of the page descriptors.
    pub(crate) descriptors: u64,
    /// The pages in the dump.
    runs: Vec<Run>,
    /// How many they are.
    pub(crate) pages: u64,
    /// Page descriptors; more than pages where some are missing.
    descriptor_count: u64,
}

/// Pages in a row whose descriptors are in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    frames: FrameRun,
    /// Number of the first page's descriptor.
    first_page: u64,
}

/// Descriptors that are read at once.
const DESCRIPTORS_AT_ONCE: u64 = 4096;

impl KdumpDump {
    /// Decodes the headers and the second bitmap; `None` if this is no
    /// kdump.
    pub(crate) fn open(input: &Input) -> Result<Option<Self>, VmcoreError> {
        let mut head = [0; 512];
        let n = input.len().min(head.len() as u64) as usize;
        input.read_at(0, &mut head[..n])?;
        if !head[..n].starts_with(&SIGNATURE) {
            return Ok(None);
        }
        let headers = read_headers(input, &head[..n])?;
        let DumpHeaders { main, sub, .. } = headers;
        let block = u64::from(main.block_size);
        let notes = input.read_vec("the notes", sub.offset_note, sub.size_note, MAX_NOTES)?;
        let vmcoreinfo = input.read_vec(
            "VMCOREINFO",
            sub.offset_vmcoreinfo,
            sub.size_vmcoreinfo,
            vmcoreinfo::MAX_SIZE as u64,
        )?;
        let max_mapnr = headers.max_mapnr();
        let first_frame = first_frame(&main, &sub);
        let frames_end = max_mapnr.checked_add(first_frame);
        if frames_end.and_then(|end| end.checked_mul(block)).is_none() {
            return Err(VmcoreError::damaged(
                block,
                format!("max_mapnr is {max_mapnr}, past the end of the address space"),
            ));
        }
        let descriptors = headers.descriptors();
        let all_bitmaps = u64::from(main.bitmap_blocks) * block;
        let bitmaps = descriptors - all_bitmaps;
        input.require("the page bitmaps", bitmaps, all_bitmaps)?;
        let [first, second] = headers
            .bitmaps()
            .map_err(|error| VmcoreError::damaged(bitmaps, error.to_string()))?;
        let mut dump = Self {
            headers,
            notes,
            vmcoreinfo,
            max_mapnr,
            first_frame,
            bitmaps: (first.start, second.start),
            bitmap_size: second.end - second.start,
            descriptors,
            runs: Vec::new(),
            pages: 0,
            descriptor_count: 0,
        };
        dump.read_runs(input)?;
        if !dump.is_complete() {
            dump.leave_missing_pages_out(input)?;
        }
        Ok(Some(dump))
    }

    fn read_runs(&mut self, input: &Input) -> Result<(), VmcoreError> {
        // Each page has a descriptor in the file, so a bitmap cannot claim
        // more pages than the file has room for.
        let room = input
            .stored()
            .min(input.len().saturating_sub(self.descriptors))
            / PageDescriptor::SIZE as u64;
        let mut runs: Vec<Run> = Vec::new();
        let mut pages = 0;
        let end = self.descriptors;
        // A file of a split dump has the pages of its share only.
        let share = self.headers.share();
        let (max_mapnr, first_frame) = (self.max_mapnr, self.first_frame);
        let bitmap = self.bitmaps.1;
        for_each_run(input, bitmap, self.bitmap_size, |bits| {
            let Some(bits) = bits.clipped(&share) else {
                return Ok(());
            };
            if bits.end() > max_mapnr {
                return Err(VmcoreError::damaged(
                    bitmap + bits.end() / 8,
                    format!("the second bitmap has pages past max_mapnr {max_mapnr}"),
                ));
            }
            let frames = FrameRun {
                start: bits.start + first_frame,
                ..bits
            };
            match runs.last_mut() {
                Some(last) if last.frames.end() == frames.start => {
                    last.frames.count += frames.count;
                }
                _ => runs.push(Run {
                    frames,
                    first_page: pages,
                }),
            }
            pages += frames.count;
            if pages > room {
                return Err(VmcoreError::Truncated {
                    what: "the page descriptors",
                    offset: end,
                    end: input.len(),
                });
            }
            Ok(())
        })?;
        self.runs = runs;
        self.pages = pages;
        self.descriptor_count = pages;
        Ok(())
    }

    /// Pages that were lost when an incomplete dump was written have a
    /// descriptor of zeroes.
    fn leave_missing_pages_out(&mut self, input: &Input) -> Result<(), VmcoreError> {
        let page_size = self.page_size();
        let mut runs: Vec<Run> = Vec::new();
        let mut pages = 0;
        self.for_each_page(input, |number, gpa, descriptor| {
            if descriptor.offset == 0 {
                return Ok(());
            }
            pages += 1;
            let frame = gpa / page_size;
            match runs.last_mut() {
                Some(last)
                    if last.frames.end() == frame
                        && last.first_page + last.frames.count == number =>
                {
                    last.frames.count += 1;
                }
                _ => runs.push(Run {
                    frames: FrameRun {
                        start: frame,
                        count: 1,
                    },
                    first_page: number,
                }),
            }
            Ok(())
        })?;
        self.runs = runs;
        self.pages = pages;
        Ok(())
    }

    /// Offset behind the last page descriptor.
    pub(crate) fn descriptors_end(&self) -> u64 {
        self.descriptor_offset(self.descriptor_count)
    }

    pub(crate) fn page_size(&self) -> u64 {
        self.headers.main.block_size.into()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.headers.is_complete()
    }

    /// The header's strings, unless they are missing or made up.
    pub(crate) fn utsname(&self) -> Option<Utsname> {
        let uts = self.headers.main.utsname;
        let text = |field| Utsname::text(field).into_owned();
        let known = !text(&uts.release).is_empty() && text(&uts.sysname) == "Linux";
        known.then_some(uts)
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = MemoryRange> {
        self.runs
            .iter()
            .map(|run| run.frames.range(self.page_size()))
    }

    /// Fills `buf` from `gpa` on. `None` in place of a result means that not
    /// all of it is in the dump.
    pub(crate) fn read(
        &self,
        input: &Input,
        gpa: u64,
        buf: &mut [u8],
    ) -> Option<Result<(), VmcoreError>> {
        let page_size = self.page_size();
        gpa.checked_add(buf.len() as u64)?;
        let mut done = 0;
        let mut whole_page = Vec::new();
        while done < buf.len() {
            let frame = (gpa + done as u64) / page_size;
            let last = (gpa + (buf.len() as u64 - 1)) / page_size;
            let run = self.find(frame)?;
            let count = (last - frame + 1)
                .min(run.frames.end() - frame)
                .min(DESCRIPTORS_AT_ONCE);
            let first_page = run.first_page + (frame - run.frames.start);
            let descriptors = match self.read_descriptors(input, first_page, count) {
                Ok(descriptors) => descriptors,
                Err(error) => return Some(Err(error)),
            };
            for (frame, descriptor) in (frame..).zip(descriptors) {
                let gpa_of_page = frame * page_size;
                let from = (gpa + done as u64 - gpa_of_page) as usize;
                let n = (page_size as usize - from).min(buf.len() - done);
                let part = &mut buf[done..done + n];
                let result = if n == page_size as usize {
                    self.read_page(input, gpa_of_page, &descriptor, part)
                } else {
                    whole_page.resize(page_size as usize, 0);
                    let result = self.read_page(input, gpa_of_page, &descriptor, &mut whole_page);
                    part.copy_from_slice(&whole_page[from..from + n]);
                    result
                };
                if let Err(error) = result {
                    return Some(Err(error));
                }
                done += n;
            }
        }
        Some(Ok(()))
    }

    fn find(&self, frame: u64) -> Option<&Run> {
        let behind = self.runs.partition_point(|run| run.frames.start <= frame);
        let run = &self.runs[behind.checked_sub(1)?];
        (frame < run.frames.end()).then_some(run)
    }

    /// File offset of a page's descriptor.
    pub(crate) fn descriptor_offset(&self, page: u64) -> u64 {
        self.descriptors + page * PageDescriptor::SIZE as u64
    }

    fn read_descriptors(
        &self,
        input: &Input,
        first_page: u64,
        count: u64,
    ) -> Result<Vec<PageDescriptor>, VmcoreError> {
        let len = count * PageDescriptor::SIZE as u64;
        let offset = self.descriptor_offset(first_page);
        let bytes = input.read_vec("page descriptors", offset, len, len)?;
        Ok(PageDescriptor::iter(self.headers.abi.order, &bytes).collect())
    }

    /// Calls `each` with page number, guest-physical address and descriptor
    /// of every page in the dump.
    pub(crate) fn for_each_page(
        &self,
        input: &Input,
        mut each: impl FnMut(u64, u64, &PageDescriptor) -> Result<(), VmcoreError>,
    ) -> Result<(), VmcoreError> {
        for run in &self.runs {
            let mut done = 0;
            while done < run.frames.count {
                let count = (run.frames.count - done).min(DESCRIPTORS_AT_ONCE);
                let first_page = run.first_page + done;
                let descriptors = self.read_descriptors(input, first_page, count)?;
                for (page, descriptor) in (first_page..).zip(&descriptors) {
                    let frame = run.frames.start + (page - run.first_page);
                    each(page, frame * self.page_size(), descriptor)?;
                }
                done += count;
            }
        }
        Ok(())
    }

    /// Reads and decompresses one page into `page`, which has its size.
    pub(crate) fn read_page(
        &self,
        input: &Input,
        gpa: u64,
        descriptor: &PageDescriptor,
        page: &mut [u8],
    ) -> Result<(), VmcoreError> {
        let &PageDescriptor {
            offset,
            size,
            flags,
            ..
        } = descriptor;
        if offset == 0 {
            return Err(VmcoreError::PageMissing { gpa });
        }
        let codec = page_codec(descriptor)?;
        let fits = match codec {
            None => u64::from(size) == self.page_size(),
            Some(_) => size > 0 && u64::from(size) <= self.page_size(),
        };
        if !fits {
            return Err(VmcoreError::damaged(
                offset,
                format!(
                    "the page at guest-physical address {gpa:#x} has {size} bytes with flags {flags:#x}"
                ),
            ));
        }
        input.require("a page", offset, size.into())?;
        let Some(codec) = codec else {
            return input.read_at(offset, page);
        };
        let mut data = vec![0; size as usize];
        input.read_at(offset, &mut data)?;
        codec
            .decompress(&data, page)
            .map_err(|source| VmcoreError::Decompress {
                gpa,
                offset,
                codec,
                source,
            })
    }
}

/// How a page is compressed; `None` if it is stored as it is.
pub(crate) fn page_codec(descriptor: &PageDescriptor) -> Result<Option<Codec>, VmcoreError> {
    flag_codec(descriptor.flags).map_err(|flags| {
        VmcoreError::damaged(
            descriptor.offset,
            format!("page flags {flags:#x} are not those of a codec"),
        )
    })
}

/// Decodes the headers of the dump that begins with `head`.
fn read_headers(input: &Input, head: &[u8]) -> Result<DumpHeaders, VmcoreError> {
    let (encoding, main) = MainHeader::find(head)
        .ok_or_else(|| VmcoreError::damaged(0, HeaderError::Implausible.to_string()))?;
    let block = u64::from(main.block_size);
    let mut bytes = [0; SubHeader::MAX_SIZE];
    let len = (bytes.len() as u64).min(input.len().saturating_sub(block)) as usize;
    input.read_at(block, &mut bytes[..len])?;
    let (abi, sub) = SubHeader::find(encoding, &main, &bytes)
        .ok_or_else(|| VmcoreError::damaged(block, HeaderError::CutShort.to_string()))?;
    Ok(DumpHeaders { abi, main, sub })
}

/// The page frame of the bitmaps' first bit. QEMU counts from 0 for every
/// architecture, and does not say which it is.
fn first_frame(main: &MainHeader, sub: &SubHeader) -> u64 {
    let machine = Utsname::text(&main.utsname.machine).parse();
    if machine.is_ok_and(Machine::frames_from_phys_base) {
        sub.phys_base / u64::from(main.block_size)
    } else {
        0
    }
}

/// Calls `each` for the runs of set bits of the bitmap at `offset`, in
/// order; a run may come in two pieces.
pub(crate) fn for_each_run(
    input: &Input,
    offset: u64,
    size: u64,
    mut each: impl FnMut(FrameRun) -> Result<(), VmcoreError>,
) -> Result<(), VmcoreError> {
    const PIECE: u64 = 64 << 10;
    let mut piece = vec![0; PIECE.min(size) as usize];
    let mut at = 0;
    while at < size {
        at = at.max(input.next_data(offset + at).saturating_sub(offset));
        if at >= size {
            break;
        }
        let piece = &mut piece[..(size - at).min(PIECE) as usize];
        input.read_at(offset + at, piece)?;
        let mut run: Option<FrameRun> = None;
        for (frame, &byte) in (at * 8..).step_by(8).zip(piece.iter()) {
            if byte == 0xff
                && let Some(run) = &mut run
            {
                run.count += 8;
                continue;
            }
            for bit in 0..8 {
                let set = byte >> bit & 1 == 1;
                match &mut run {
                    Some(run) if set => run.count += 1,
                    None if set => {
                        run = Some(FrameRun {
                            start: frame + bit,
                            count: 1,
                        });
                    }
                    Some(ended) => {
                        each(*ended)?;
                        run = None;
                    }
                    None => {
                        if byte >> bit == 0 {
                            break;
                        }
                    }
                }
            }
        }
        if let Some(run) = run {
            each(run)?;
        }
        at += piece.len() as u64;
    }
    Ok(())
}
