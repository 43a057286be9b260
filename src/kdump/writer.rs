//! Writing a kdump-compressed dump, raw or flattened.
//!
//! What the readers ask for (docs/formats/kdump.md has the evidence): one
//! stored copy of a zero page that all zero pages share, because drgn takes
//! pages outside the second bitmap for missing; `nr_cpus` above 0 for crash;
//! a filled `utsname` for libkdumpfile.
#![forbid(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use super::bitmap::for_each_piece;
use super::format::{
    DUMP_DH_COMPRESSED_INCOMPLETE, HEADER_VERSION, HeaderLayout, MainHeader, PageDescriptor,
    SubHeader, codec_flag,
};
use super::layout::Layout;
use crate::arch::Machine;
use crate::codec::{Codec, Compressor};
use crate::encoding::{ByteOrder, Class};
use crate::error::{Error, Result};
use crate::flattened::writer::FlattenedOutput;
use crate::format::Format;
use crate::guest::HeaderFacts;
use crate::memory::{GuestMemory, MIN_PAGE_SIZE, UnreadableLog, is_zero};
use crate::notes::NoteSegment;
use crate::pipeline::{
    self, Chunk, Chunks, Encoder, FrameRun, LONGEST, Part, Selection, Written, first_pages,
};
use crate::progress::Progress;
use crate::sink::{ForwardOutput, Output, SinkAccess};

/// Everything that goes into a dump.
#[derive(Clone, Copy)]
pub(crate) struct KdumpContents<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// What of it cannot be read.
    pub(crate) unreadable: &'a UnreadableLog,
    pub(crate) selection: &'a Selection,
    pub(crate) notes: &'a NoteSegment,
    pub(crate) facts: &'a HeaderFacts,
    pub(crate) format: Format,
    pub(crate) codec: Codec,
    pub(crate) machine: Machine,
    /// After a failure the dump becomes one of what there is. Of raw dumps.
    pub(crate) keep_partial: bool,
}

/// A dump whose place in the file is laid out.
pub(crate) struct KdumpWriter<'a> {
    contents: KdumpContents<'a>,
    header: HeaderLayout,
    order: ByteOrder,
    layout: Layout,
    main: MainHeader,
    sub: SubHeader,
    /// The page frame of the bitmaps' first bit.
    first_frame: u64,
}

impl<'a> KdumpWriter<'a> {
    /// Lays the dump out.
    ///
    /// # Errors
    ///
    /// [`Error::AddressTooHigh`] if it does not fit into the headers' fields.
    pub(crate) fn new(contents: KdumpContents<'a>) -> Result<Self> {
        let KdumpContents {
            selection,
            notes,
            facts,
            codec,
            machine,
            ..
        } = contents;
        let header = machine.kdump_layout();
        let phys_base = phys_base(facts, machine, selection);
        let first_frame = match machine.frames_from_phys_base() {
            true => phys_base / selection.page_size,
            false => 0,
        };
        let max_mapnr = selection.max_mapnr() - first_frame;
        let notes_len = notes.bytes.len() as u64;
        let too_high = || Error::AddressTooHigh {
            format: contents.format,
            end: selection.max_mapnr().saturating_mul(selection.page_size),
        };
        // Cut to 32 bits it would put all pages somewhere else.
        if first_frame > 0 && header.class() == Class::Bits32 && phys_base > u32::MAX.into() {
            return Err(too_high());
        }
        let layout = Layout::new(
            header,
            selection.page_size,
            notes_len,
            max_mapnr,
            selection.pages(),
        )
        .ok_or_else(too_high)?;
        let main = MainHeader {
            header_version: HEADER_VERSION,
            utsname: facts.utsname,
            timestamp_sec: facts.timestamp.as_secs(),
            timestamp_usec: facts.timestamp.subsec_micros().into(),
            status: codec_flag(codec),
            block_size: capped(layout.block_size),
            sub_hdr_size: capped(layout.sub_hdr_blocks),
            bitmap_blocks: capped(layout.bitmap_blocks()),
            max_mapnr: capped(max_mapnr),
            total_ram_blocks: capped(selection.ram_pages()),
            device_blocks: 0,
            written_blocks: 0,
            current_cpu: 0,
            nr_cpus: capped(notes.cpus.max(1) as u64),
        };
        let place = |len: u64| if len == 0 { 0 } else { layout.notes };
        let vmcoreinfo = notes.vmcoreinfo.clone().unwrap_or_default();
        let vmcoreinfo_len = vmcoreinfo.end - vmcoreinfo.start;
        let sub = SubHeader {
            phys_base,
            offset_vmcoreinfo: place(vmcoreinfo_len) + vmcoreinfo.start,
            size_vmcoreinfo: vmcoreinfo_len,
            offset_note: place(notes_len),
            size_note: notes_len,
            max_mapnr_64: max_mapnr,
            ..SubHeader::default()
        };
        Ok(Self {
            contents,
            header,
            order: machine.encoding().order,
            layout,
            main,
            sub,
            first_frame,
        })
    }

    /// Writes the dump.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`] if it failed and is a dump of what there is.
    pub(crate) fn write<'s>(
        &self,
        access: SinkAccess<'s>,
        threads: usize,
        progress: &'s Progress,
    ) -> Result<Written> {
        let raw = self.contents.format.needs_positions();
        let target = if raw {
            Target::Raw(Output::new(access, progress))
        } else {
            Target::Flattened(FlattenedOutput::begin(ForwardOutput::new(
                access, progress,
            ))?)
        };
        let page_size = self.contents.selection.page_size;
        if let (Target::Raw(output), true) = (&target, self.contents.keep_partial) {
            output.reserve(self.layout.data + page_size)?;
        }
        let selection = self.contents.selection;
        // A raw dump says that it is incomplete until it is not. A flattened
        // one does so by the end record that is not there yet.
        self.write_main_header(&target, selection.pages(), raw)?;
        self.write_sub_header(&target)?;
        self.write_bitmap(&target, Bitmap::First, &selection.ram, Some(progress))?;
        // A stream cannot take it back.
        let bitmap_later = !raw && self.contents.unreadable.may_leave_out();
        if !bitmap_later {
            self.write_bitmap(&target, Bitmap::Second, &selection.dumped, Some(progress))?;
        }
        target.write_at(self.layout.data, &vec![0; page_size as usize])?;

        let pages = Pages {
            writer: self,
            target: &target,
            stored: Mutex::new(Stored {
                pages: 0,
                end: self.layout.data + page_size,
            }),
        };
        let mut encoded = Vec::new();
        PageDescriptor {
            offset: self.layout.data,
            size: page_size as u32,
            flags: 0,
            page_flags: 0,
        }
        .encode(self.order, &mut encoded);
        let placement = Placement {
            next_data: self.layout.data + page_size,
            zeroes: encoded.repeat(ZEROES_AT_ONCE),
            order: self.order,
            descriptors: Vec::new(),
            descriptors_at: self.layout.descriptors,
            pages: 0,
            zero_pages: 0,
        };
        let chunks = Chunks::new(
            self.contents.memory,
            &self.contents.selection.dumped,
            page_size,
        );
        let (end, result) = pipeline::run(&pages, placement, chunks, threads, progress);
        let result = result.and_then(|()| self.finish(&target, &end, bitmap_later));
        match (result, &target) {
            (Err(error), Target::Raw(output)) if self.contents.keep_partial => {
                Err(self.close_incomplete(&target, output, &end, pages.stored(), error))
            }
            (result, _) => result.map(|()| Written {
                pages: end.pages,
                zero_pages: end.zero_pages,
                file_size: end.next_data,
            }),
        }
    }

    /// Writes what is known only when all pages are.
    fn finish(&self, target: &Target<'_>, end: &Placement, bitmap_later: bool) -> Result<()> {
        target.write_at(end.descriptors_at, &end.descriptors)?;
        if bitmap_later || end.pages < self.contents.selection.pages() {
            let readable = self.contents.selection.readable(self.contents.unreadable);
            self.write_bitmap(target, Bitmap::Second, &readable, None)?;
        }
        match target {
            Target::Flattened(output) => output.end(),
            Target::Raw(output) => {
                output.set_len(end.next_data)?;
                self.write_main_header(target, end.pages, false)
            }
        }
    }

    /// After the failure `error`, makes a dump of the pages that are stored,
    /// which still says that it is incomplete. Needs no more space than the
    /// file has; if it fails all the same, the first error counts.
    fn close_incomplete(
        &self,
        target: &Target<'_>,
        output: &Output<'_>,
        end: &Placement,
        stored: Stored,
        error: Error,
    ) -> Error {
        if stored.pages == 0 {
            return error;
        }
        let readable = self.contents.selection.readable(self.contents.unreadable);
        let pages = first_pages(&readable, stored.pages);
        let close = || {
            output.set_len(stored.end)?;
            target.write_at(end.descriptors_at, &end.descriptors)?;
            self.write_bitmap(target, Bitmap::Second, &pages, None)?;
            self.write_main_header(target, stored.pages, true)
        };
        match close() {
            Ok(()) => Error::Incomplete {
                pages: stored.pages,
                of: self.contents.selection.pages(),
                cause: Box::new(error),
            },
            Err(_) => error,
        }
    }

    fn write_main_header(&self, target: &Target<'_>, pages: u64, incomplete: bool) -> Result<()> {
        let mut main = self.main;
        main.written_blocks = capped(pages);
        if incomplete {
            main.status |= DUMP_DH_COMPRESSED_INCOMPLETE;
        }
        let mut block = Vec::with_capacity(self.layout.block_size as usize);
        main.encode(self.header.class(), self.order, &mut block);
        block.resize(self.layout.block_size as usize, 0);
        target.write_at(0, &block)
    }

    fn write_sub_header(&self, target: &Target<'_>) -> Result<()> {
        let len = (self.layout.bitmaps - self.layout.sub_header) as usize;
        let mut blocks = Vec::with_capacity(len);
        self.sub.encode(self.header, self.order, &mut blocks);
        blocks.extend_from_slice(&self.contents.notes.bytes);
        blocks.resize(len, 0);
        target.write_at(self.layout.sub_header, &blocks)
    }

    /// Writes a bitmap with the bits of `runs`. Pieces that have no bit at
    /// first are left out. Readers take what no record of a flattened dump
    /// has for zeroes, as they take holes of a file.
    fn write_bitmap(
        &self,
        target: &Target<'_>,
        bitmap: Bitmap,
        runs: &[FrameRun],
        cancel: Option<&Progress>,
    ) -> Result<()> {
        let selection = self.contents.selection;
        let (offset, all) = match bitmap {
            Bitmap::First => (self.layout.bitmaps, &selection.ram),
            Bitmap::Second => (
                self.layout.bitmaps + self.layout.bitmap_size,
                &selection.dumped,
            ),
        };
        let bits = |run: &FrameRun| FrameRun {
            start: run.start - self.first_frame,
            ..*run
        };
        let (all, runs) = (all.iter().map(bits), runs.iter().map(bits));
        for_each_piece(all, runs, self.layout.bitmap_size, |start, piece| {
            if cancel.is_some_and(Progress::is_cancelled) {
                return Err(Error::Cancelled);
            }
            target.write_at(offset + start, piece)
        })
    }
}

/// The two bitmaps: what is RAM, and what of it is in the dump.
#[derive(Clone, Copy)]
enum Bitmap {
    First,
    Second,
}

/// A number for a field of 32 bits.
fn capped(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Where page frame numbers count from it, RAM cannot begin below it; without
/// one that fits, it is where RAM begins, as makedumpfile takes it.
fn phys_base(facts: &HeaderFacts, machine: Machine, selection: &Selection) -> u64 {
    let known = facts.phys_base;
    if !machine.frames_from_phys_base() {
        return known.unwrap_or(0);
    }
    let ram = selection.ram.first();
    let start = ram.map_or(0, |run| run.range(selection.page_size).start());
    known.filter(|base| *base <= start).unwrap_or(start)
}

/// Where the parts of the raw file go.
enum Target<'a> {
    Raw(Output<'a>),
    Flattened(FlattenedOutput<'a>),
}

impl Target<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Raw(output) => output.write_at(offset, bytes),
            Self::Flattened(output) => output.write_at(offset, bytes),
        }
    }
}

/// The encoder of pages and their descriptors.
struct Pages<'a, 't> {
    writer: &'a KdumpWriter<'a>,
    target: &'a Target<'t>,
    stored: Mutex<Stored>,
}

/// What is in the file for good.
#[derive(Clone, Copy)]
struct Stored {
    /// Pages, from the first one on.
    pages: u64,
    /// Offset behind their data.
    end: u64,
}

struct Worker {
    compressor: Compressor,
    read: Vec<u8>,
}

/// Bytes of guest memory that are read at once: they should still be in a
/// core's cache when they are compressed.
const READ_AT_ONCE: u64 = 256 << 10;

/// The pages of one chunk.
#[derive(Default)]
struct Block {
    /// The pages' data, one behind the other.
    data: Vec<u8>,
    pages: Vec<Page>,
    /// File offset of `data`.
    data_at: u64,
    /// Descriptors that are due, and their file offset.
    descriptors: Vec<u8>,
    descriptors_at: u64,
}

impl Block {
    fn push_zeroes(&mut self, count: u64) {
        match self.pages.last_mut() {
            Some(Page::Zeroes(before)) => *before += count,
            _ => self.pages.push(Page::Zeroes(count)),
        }
    }

    fn page_count(&self) -> u64 {
        let pages = self.pages.iter();
        pages
            .map(|page| match page {
                Page::Zeroes(count) => *count,
                Page::Stored { .. } => 1,
            })
            .sum()
    }
}

#[derive(Clone, Copy)]
enum Page {
    /// So many pages of zeroes in a row.
    Zeroes(u64),
    /// The page's data has this length and these flags.
    Stored { size: u32, flags: u32 },
}

/// Where the next block's data and descriptors go.
struct Placement {
    next_data: u64,
    /// Descriptors of zero pages, all the same: they share one stored page.
    zeroes: Vec<u8>,
    order: ByteOrder,
    /// Descriptors that are not written yet, and where they go.
    descriptors: Vec<u8>,
    descriptors_at: u64,
    pages: u64,
    zero_pages: u64,
}

/// Page descriptors that are written at once, 1.5 MiB. Some readers look
/// through all records of a flattened dump for every page, so the records
/// should not be small.
const DESCRIPTORS_AT_ONCE: usize = 1 << 16;

// A block never makes more than one write due.
const _: () = assert!(LONGEST / MIN_PAGE_SIZE <= DESCRIPTORS_AT_ONCE as u64);

/// Descriptors of zero pages that are made in advance.
const ZEROES_AT_ONCE: usize = 4096;

impl Placement {
    fn place(&mut self, block: &mut Block) {
        block.data_at = self.next_data;
        self.pages += block.page_count();
        for at in 0..block.pages.len() {
            match block.pages[at] {
                Page::Zeroes(count) => self.place_zeroes(count, block),
                Page::Stored { size, flags } => {
                    let offset = self.next_data;
                    self.next_data += u64::from(size);
                    PageDescriptor {
                        offset,
                        size,
                        flags,
                        page_flags: 0,
                    }
                    .encode(self.order, &mut self.descriptors);
                    self.flush_if_full(block);
                }
            }
        }
    }

    fn place_zeroes(&mut self, count: u64, block: &mut Block) {
        self.zero_pages += count;
        let mut left = count;
        while left > 0 {
            let room = DESCRIPTORS_AT_ONCE - self.descriptors.len() / PageDescriptor::SIZE;
            let n = left.min(room.min(ZEROES_AT_ONCE) as u64);
            let bytes = &self.zeroes[..n as usize * PageDescriptor::SIZE];
            self.descriptors.extend_from_slice(bytes);
            self.flush_if_full(block);
            left -= n;
        }
    }

    fn flush_if_full(&mut self, block: &mut Block) {
        if self.descriptors.len() == DESCRIPTORS_AT_ONCE * PageDescriptor::SIZE {
            // The block's own buffer is empty, but may have been in use.
            std::mem::swap(&mut self.descriptors, &mut block.descriptors);
            block.descriptors_at = self.descriptors_at;
            self.descriptors_at += block.descriptors.len() as u64;
        }
    }
}

impl Pages<'_, '_> {
    fn stored(&self) -> Stored {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes the pages of a populated part, whose bytes these are.
    fn encode_part(
        &self,
        compressor: &mut Compressor,
        part: &Part,
        bytes: &[u8],
        block: &mut Block,
    ) -> Result<()> {
        let page_size = self.writer.contents.selection.page_size;
        let pages = bytes.chunks_exact(page_size as usize);
        for (gpa, page) in (part.range.start()..)
            .step_by(page_size as usize)
            .zip(pages)
        {
            if self.writer.contents.unreadable.leaves_out(gpa) {
                continue;
            }
            if is_zero(page) {
                block.push_zeroes(1);
                continue;
            }
            let before = block.data.len();
            let shrunk = compressor
                .compress(page, &mut block.data)
                .map_err(|source| Error::Compress { gpa, source })?;
            let flags = if shrunk {
                codec_flag(self.writer.contents.codec)
            } else {
                block.data.extend_from_slice(page);
                0
            };
            block.pages.push(Page::Stored {
                size: (block.data.len() - before) as u32,
                flags,
            });
        }
        Ok(())
    }
}

impl Encoder for Pages<'_, '_> {
    type Worker = Worker;
    type Block = Block;
    type Layout = Placement;

    fn worker(&self) -> Result<Worker> {
        let compressor = self
            .writer
            .contents
            .codec
            .compressor()
            .and_then(|c| c.ok_or_else(|| std::io::ErrorKind::Unsupported.into()))
            .map_err(|source| Error::Compress { gpa: 0, source })?;
        Ok(Worker {
            compressor,
            read: vec![0; READ_AT_ONCE as usize],
        })
    }

    fn encode(&self, worker: &mut Worker, chunk: &Chunk, block: &mut Block) -> Result<()> {
        let memory = self.writer.contents.memory;
        let page_size = self.writer.contents.selection.page_size;
        block.data.clear();
        block.pages.clear();
        block.descriptors.clear();
        for part in &chunk.parts {
            if !part.populated {
                block.push_zeroes(part.range.size() / page_size);
                continue;
            }
            if let Some(bytes) = part.in_place(memory) {
                self.encode_part(&mut worker.compressor, part, bytes, block)?;
                continue;
            }
            for piece in part.pieces(READ_AT_ONCE) {
                let bytes = &mut worker.read[..piece.range.size() as usize];
                piece.read(memory, bytes)?;
                self.encode_part(&mut worker.compressor, &piece, bytes, block)?;
            }
        }
        Ok(())
    }

    fn place(&self, placement: &mut Placement, block: &mut Block) {
        placement.place(block);
    }

    fn write(&self, block: &Block) -> Result<()> {
        // The descriptors are also those of earlier blocks, which count even
        // if this one's data cannot be written.
        if !block.descriptors.is_empty() {
            self.target
                .write_at(block.descriptors_at, &block.descriptors)?;
        }
        if !block.data.is_empty() {
            self.target.write_at(block.data_at, &block.data)?;
        }
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.pages += block.page_count();
        stored.end = block.data_at + block.data.len() as u64;
        Ok(())
    }
}
