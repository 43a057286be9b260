//! Writing a kdump-compressed dump, raw or flattened.
//!
//! What the readers ask for (docs/formats/kdump.md has the evidence): one
//! stored copy of a zero page that all zero pages share, because drgn takes
//! pages outside the second bitmap for missing; `nr_cpus` above 0 for crash;
//! a filled `utsname` for libkdumpfile.
#![forbid(unsafe_code)]

use crate::abi::{Abi, Class};
use crate::arch::Machine;
use crate::bitmap;
use crate::codec::Engine;
use crate::fault::Fault;
use crate::guest::linux::DumpLevel;
use crate::guest::reader::HeaderFacts;
use crate::kdump::Container;
use crate::kdump::layout::Layout;
use crate::kdump::{
    DUMP_DH_COMPRESSED_INCOMPLETE, HEADER_VERSION, MainHeader, PageDescriptor, SubHeader,
    codec_flag,
};
use crate::memory::{GuestMemory, UnreadableLog};
use crate::pipeline;
use crate::pipeline::{Chunks, LeftOut, Written};
use crate::selection::{FrameRun, FrameSet, Selection, first_pages};
use crate::sink::{ForwardOutput, Output, SinkAccess};
use crate::workers::Progress;
use crate::workers::Threads;
use crate::write::kdump::flattened::FlattenedOutput;
use crate::write::kdump::pages;
use crate::write::kdump::pages::Pages;
use crate::write::kdump::placement::Placement;
use crate::write::kdump::seen::Stored;
use crate::write::notes::NoteSegment;
use crate::write::{TooHigh, WriteError, overflow};

/// Everything that goes into a dump.
#[derive(Clone, Copy)]
pub(crate) struct KdumpContents<'a> {
    pub(crate) memory: &'a dyn GuestMemory,
    /// What of it cannot be read.
    pub(crate) unreadable: &'a UnreadableLog,
    pub(crate) selection: &'a Selection,
    pub(crate) notes: &'a NoteSegment,
    pub(crate) facts: &'a HeaderFacts,
    pub(crate) container: Container,
    pub(crate) engine: Engine,
    pub(crate) machine: Machine,
    /// By which `selection` leaves pages out.
    pub(crate) level: DumpLevel,
    /// After a failure the dump becomes one of what there is. Of raw dumps.
    pub(crate) keep_partial: bool,
}

/// A dump whose place in the file is laid out.
pub(crate) struct KdumpWriter<'a> {
    contents: KdumpContents<'a>,
    abi: Abi,
    layout: Layout,
    main: MainHeader,
    /// The sub header, encoded.
    sub: Vec<u8>,
    /// The page frame of the bitmaps' first bit.
    first_frame: u64,
}

impl<'a> KdumpWriter<'a> {
    /// Lays the dump out.
    ///
    /// # Errors
    ///
    /// [`TooHigh`] if it does not fit into the headers' fields.
    pub(crate) fn new(contents: KdumpContents<'a>) -> Result<Self, TooHigh> {
        let KdumpContents {
            selection,
            notes,
            facts,
            engine,
            machine,
            ..
        } = contents;
        let abi = machine.abi();
        let phys_base = phys_base(facts, machine, selection);
        let first_frame = match machine.frames_from_phys_base() {
            true => phys_base / selection.page_size,
            false => 0,
        };
        let max_mapnr = selection.max_mapnr() - first_frame;
        let notes_len = notes.bytes.len() as u64;
        let too_high = || TooHigh {
            end: selection.max_mapnr().saturating_mul(selection.page_size),
        };
        let layout = Layout::new(
            abi,
            selection.page_size,
            notes_len,
            max_mapnr,
            selection.pages(),
        )
        .ok_or_else(too_high)?;
        let main = MainHeader {
            header_version: HEADER_VERSION,
            utsname: facts.utsname,
            timestamp_sec: match abi.class {
                Class::Bits32 => capped(facts.timestamp.as_secs()).into(),
                Class::Bits64 => facts.timestamp.as_secs(),
            },
            timestamp_usec: facts.timestamp.subsec_micros().into(),
            status: codec_flag(engine.codec()),
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
        let header = SubHeader {
            phys_base,
            dump_level: contents.level.number().into(),
            offset_vmcoreinfo: place(vmcoreinfo_len) + vmcoreinfo.start,
            size_vmcoreinfo: vmcoreinfo_len,
            offset_note: place(notes_len),
            size_note: notes_len,
            max_mapnr_64: max_mapnr,
            ..SubHeader::default()
        };
        let mut sub = Vec::with_capacity(SubHeader::size(abi));
        header.encode(abi, &mut sub).map_err(|_| too_high())?;
        Ok(Self {
            contents,
            abi,
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
    /// [`WriteError::Incomplete`] if it failed and is a dump of what there is.
    pub(crate) fn write<'s>(
        &self,
        access: SinkAccess<'s>,
        threads: Threads<'_>,
        progress: &'s Progress,
    ) -> Result<Written, WriteError> {
        let raw = self.contents.container == Container::Raw;
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
        let ram = selection.ram.iter().copied();
        self.write_bitmap(&target, Bitmap::First, ram, Some(progress))?;
        // A stream cannot take it back.
        let bitmap_later = !raw && self.contents.unreadable.may_leave_out();
        if !bitmap_later {
            self.write_bitmap(&target, Bitmap::Second, selection.dumped(), Some(progress))?;
        }
        target.write_at(self.layout.data, &vec![0; page_size as usize])?;

        let zero_page = Stored {
            offset: self.layout.data,
            size: page_size as u32,
            flags: 0,
        };
        let data = self.layout.data + page_size;
        let pages = Pages::new(&self.contents, &target, data, self.layout.descriptors);
        let placement = Placement::new(zero_page, self.layout.descriptors, self.abi.order);
        let layout = pages.layout(placement)?;
        let chunks = Chunks::new(self.contents.memory, selection, LeftOut::Missing);
        let (end, result) = pipeline::run(&pages, layout, chunks, threads, progress);
        let end = end.placement;
        let missing = selection.unreadable(self.contents.unreadable);
        let result = result.and_then(|()| self.finish(&target, &end, &missing, bitmap_later));
        match (result, &target) {
            (Err(error), Target::Raw(output)) if self.contents.keep_partial => {
                Err(self.close_incomplete(&target, output, &end, pages.written(), &missing, error))
            }
            (result, _) => Ok(result.map(|()| Written {
                pages: end.pages,
                zero_pages: end.zero_pages,
                file_size: end.next_data,
            })?),
        }
    }

    /// Writes what is known only when all pages are: `missing` are those that
    /// turned out not to be in the dump.
    fn finish(
        &self,
        target: &Target<'_>,
        end: &Placement,
        missing: &FrameSet,
        bitmap_later: bool,
    ) -> Result<(), Fault> {
        target.write_at(end.descriptors.offset, &end.descriptors.bytes)?;
        if bitmap_later || end.pages < self.contents.selection.pages() {
            let dumped = self.contents.selection.dumped_without(missing);
            self.write_bitmap(target, Bitmap::Second, dumped, None)?;
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
        written: pages::Written,
        missing: &FrameSet,
        error: Fault,
    ) -> WriteError {
        // Descriptors that were due and not written are nowhere, and so are
        // the pages behind them.
        let described =
            (written.descriptors_end - self.layout.descriptors) / PageDescriptor::SIZE as u64;
        let is_gap = written.descriptors_end < end.descriptors.offset;
        let stored = match is_gap {
            true => written.pages.min(described),
            false => written.pages,
        };
        if stored == 0 {
            return error.into();
        }
        let dumped = self.contents.selection.dumped_without(missing);
        let pages = first_pages(dumped, stored);
        let close = || {
            output.set_len(written.end)?;
            target.write_at(end.descriptors.offset, &end.descriptors.bytes)?;
            self.write_bitmap(target, Bitmap::Second, pages, None)?;
            self.write_main_header(target, stored, true)
        };
        match close() {
            Ok(()) => WriteError::Incomplete {
                pages: stored,
                of: self.contents.selection.pages(),
                cause: error,
            },
            Err(_) => error.into(),
        }
    }

    fn write_main_header(
        &self,
        target: &Target<'_>,
        pages: u64,
        incomplete: bool,
    ) -> Result<(), Fault> {
        let mut main = self.main;
        main.written_blocks = capped(pages);
        if incomplete {
            main.status |= DUMP_DH_COMPRESSED_INCOMPLETE;
        }
        let mut block = Vec::with_capacity(self.layout.block_size as usize);
        let encoded = main.encode(self.abi.encoding(), &mut block);
        encoded.map_err(overflow)?;
        block.resize(self.layout.block_size as usize, 0);
        target.write_at(0, &block)
    }

    fn write_sub_header(&self, target: &Target<'_>) -> Result<(), Fault> {
        let len = (self.layout.bitmaps - self.layout.sub_header) as usize;
        let mut blocks = Vec::with_capacity(len);
        blocks.extend_from_slice(&self.sub);
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
        which: Bitmap,
        runs: impl Iterator<Item = FrameRun>,
        cancel: Option<&Progress>,
    ) -> Result<(), Fault> {
        let selection = self.contents.selection;
        let (offset, all) = match which {
            Bitmap::First => (self.layout.bitmaps, &selection.ram),
            Bitmap::Second => (
                self.layout.bitmaps + self.layout.bitmap_size,
                &selection.wanted,
            ),
        };
        let bits = |run: FrameRun| run.start - self.first_frame..run.end() - self.first_frame;
        let (all, runs) = (all.iter().copied().map(bits), runs.map(bits));
        bitmap::encode(all, runs, self.layout.bitmap_size, |start, piece| {
            if cancel.is_some_and(Progress::is_cancelled) {
                return Err(Fault::Cancelled);
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

/// `phys_base` for the sub header.
///
/// Where page frame numbers count from it, RAM cannot begin below it. Without one that fits, it is the
/// beginning of RAM, as in makedumpfile. Elsewhere one that a 32-bit header cannot hold is unknown: 0.
fn phys_base(facts: &HeaderFacts, machine: Machine, selection: &Selection) -> u64 {
    let known = facts.phys_base;
    if !machine.frames_from_phys_base() {
        let fits = |base: &u64| machine.abi().class == Class::Bits64 || *base <= u32::MAX.into();
        return known.filter(fits).unwrap_or(0);
    }
    let ram = selection.ram.first();
    let start = ram.map_or(0, |run| run.range(selection.page_size).start());
    known.filter(|base| *base <= start).unwrap_or(start)
}

/// Where the parts of the raw file go.
pub(crate) enum Target<'a> {
    Raw(Output<'a>),
    Flattened(FlattenedOutput<'a>),
}

impl Target<'_> {
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Raw(output) => output.write_at(offset, bytes),
            Self::Flattened(output) => output.write_at(offset, bytes),
        }
    }
}
