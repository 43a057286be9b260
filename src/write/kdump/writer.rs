//! Writing a kdump-compressed dump, raw or flattened.
//!
//! The readers ask for these (docs/formats/kdump.md has the evidence): one
//! stored copy of a zero page that all zero pages share, because drgn takes
//! pages outside the second bitmap for missing; `nr_cpus` above 0 for crash;
//! a filled `utsname` for libkdumpfile.
#![forbid(unsafe_code)]

use super::contents::KdumpContents;
use super::pages::{self, Pages};
use super::placement::{Due, Placement};
use super::seen::Stored;
use super::target::Target;
use crate::abi::{Abi, Class};
use crate::arch::Machine;
use crate::bitmap;
use crate::fault::Fault;
use crate::guest::reader::HeaderFacts;
use crate::kdump::layout::Layout;
use crate::kdump::{
    DUMP_DH_COMPRESSED_INCOMPLETE, DUMP_DH_EXCLUDED_VMEMMAP, HEADER_VERSION, MainHeader,
    PageDescriptor, SubHeader, codec_flag,
};
use crate::pipeline;
use crate::pipeline::{Chunks, LeftOut, Written};
use crate::selection::{FrameRun, FrameSet, Selection, first_pages};
use crate::sink::SinkAccess;
use crate::workers::Progress;
use crate::workers::Threads;
use crate::write::{TooHigh, WriteError, overflow};

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
        let first_frame = if machine.frames_from_phys_base() {
            phys_base / selection.page_size
        } else {
            0
        };
        let max_mapnr = selection.max_mapnr() - first_frame;
        let notes_len = notes.bytes.len() as u64;
        let erase_len = contents.erase_info.len() as u64;
        let too_high = || TooHigh {
            end: selection.max_mapnr().saturating_mul(selection.page_size),
        };
        let layout = Layout::new(
            abi,
            selection.page_size,
            notes_len + erase_len,
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
            status: codec_flag(engine.codec())
                | if contents.vmemmap_excluded {
                    DUMP_DH_EXCLUDED_VMEMMAP
                } else {
                    0
                },
            block_size: capped(layout.block_size),
            sub_hdr_size: capped(layout.sub_hdr_blocks),
            bitmap_blocks: capped(layout.bitmap_blocks()),
            max_mapnr: capped(max_mapnr),
            total_ram_blocks: capped(selection.ram_pages()),
            device_blocks: 0,
            written_blocks: 0,
            current_cpu: facts.current_cpu,
            nr_cpus: capped(notes.cpus.max(1) as u64).max(facts.nr_cpus),
        };
        let place = |len: u64| if len == 0 { 0 } else { layout.notes };
        let vmcoreinfo = notes.vmcoreinfo.clone().unwrap_or_default();
        let vmcoreinfo_len = vmcoreinfo.end - vmcoreinfo.start;
        let header = SubHeader {
            phys_base,
            dump_level: contents.level,
            offset_vmcoreinfo: place(vmcoreinfo_len) + vmcoreinfo.start,
            size_vmcoreinfo: vmcoreinfo_len,
            offset_note: place(notes_len),
            size_note: notes_len,
            offset_eraseinfo: if erase_len == 0 {
                0
            } else {
                layout.notes + notes_len
            },
            size_eraseinfo: erase_len,
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
        let completion = self.contents.completion;
        let target = Target::open(completion, access, progress)?;
        let data = self.layout.data + self.contents.selection.page_size;
        if completion.is_kept() {
            target.reserve(data)?;
        }
        let zero_page = self.write_beginning(&target, progress)?;

        let descriptors = self.layout.descriptors;
        let pages = Pages::new(&self.contents, &target, data, descriptors);
        let placement = Placement::new(zero_page, descriptors, self.abi.order);
        let layout = pages.layout(placement)?;
        let KdumpContents {
            memory,
            selection,
            unreadable,
            ..
        } = self.contents;
        let chunks = Chunks::new(memory, selection, LeftOut::Missing);
        let (end, result) = pipeline::run(&pages, layout, chunks, threads, progress);
        let placed = Placed {
            target: &target,
            end: end.placement,
            missing: selection.unreadable(unreadable),
        };
        match result.and_then(|()| self.finish(&placed)) {
            Ok(()) => Ok(Written {
                pages: placed.end.pages,
                zero_pages: placed.end.zero_pages,
                file_size: placed.end.next_data,
            }),
            Err(error) if completion.is_kept() => Err(self.keep(&placed, pages.written(), error)),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all that precedes the pages: headers, notes, bitmaps and the zero
    /// page. Returns the place of the zero page.
    fn write_beginning(&self, target: &Target<'_>, progress: &Progress) -> Result<Stored, Fault> {
        let completion = self.contents.completion;
        let selection = self.contents.selection;
        let incomplete = completion.marks_header() || self.contents.incomplete;
        // A stream cannot take the number back, so one that may be wrong is not given.
        let pages = if completion.has_early_bitmap() {
            selection.pages()
        } else {
            0
        };
        self.write_main_header(target, pages, incomplete)?;
        self.write_sub_header(target)?;
        let ram = selection.ram.iter().copied();
        self.write_bitmap(target, Bitmap::First, ram, Some(progress))?;
        if completion.has_early_bitmap() {
            self.write_bitmap(target, Bitmap::Second, selection.dumped(), Some(progress))?;
        }
        let size = selection.page_size;
        target.write_at(self.layout.data, &vec![0; size as usize])?;
        Ok(Stored {
            offset: self.layout.data,
            size: size as u32,
            flags: 0,
        })
    }

    /// Writes what is known only when all pages are placed.
    fn finish(&self, placed: &Placed<'_, '_>) -> Result<(), Fault> {
        let Placed { target, end, .. } = placed;
        let completion = self.contents.completion;
        let selection = self.contents.selection;
        placed.write_descriptors()?;
        if !completion.has_early_bitmap() || end.pages < selection.pages() {
            let dumped = selection.dumped_without(&placed.missing);
            self.write_bitmap(target, Bitmap::Second, dumped, None)?;
        }
        target.end(end.next_data)?;
        if completion.marks_header() {
            self.write_main_header(target, end.pages, self.contents.incomplete)?;
        }
        Ok(())
    }

    /// Makes a dump of the pages that are stored, after the failure `cause`. If
    /// there are none, or if this fails too, the first failure is returned.
    fn keep(&self, placed: &Placed<'_, '_>, written: pages::Written, cause: Fault) -> WriteError {
        let stored = self.stored_pages(placed, written);
        if stored == 0 || self.close_incomplete(placed, written.end, stored).is_err() {
            return cause.into();
        }
        WriteError::Incomplete {
            pages: stored,
            of: self.contents.selection.pages(),
            cause,
        }
    }

    /// How many pages are stored and have a descriptor, from the first page on.
    fn stored_pages(&self, placed: &Placed<'_, '_>, written: pages::Written) -> u64 {
        // Descriptors that were due and not written are lost, and so are the
        // pages after them.
        if written.descriptors_end < placed.end.descriptors.offset {
            let bytes = written.descriptors_end - self.layout.descriptors;
            written.pages.min(bytes / PageDescriptor::SIZE as u64)
        } else {
            written.pages
        }
    }

    /// Ends the file after its first `stored` pages, whose data ends at `end`. The
    /// dump still says that it is incomplete. This needs no more space than the
    /// file has.
    fn close_incomplete(
        &self,
        placed: &Placed<'_, '_>,
        end: u64,
        stored: u64,
    ) -> Result<(), Fault> {
        let Placed { target, .. } = placed;
        let dumped = self.contents.selection.dumped_without(&placed.missing);
        let pages = first_pages(dumped, stored);
        target.end(end)?;
        placed.write_descriptors()?;
        self.write_bitmap(target, Bitmap::Second, pages, None)?;
        self.write_main_header(target, stored, true)
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
        blocks.extend_from_slice(self.contents.erase_info);
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

/// A dump whose blocks have their places: all of them, or those before a failure.
struct Placed<'t, 's> {
    target: &'t Target<'s>,
    end: Placement,
    /// Pages that turned out to be unreadable, so that the dump excludes them.
    missing: FrameSet,
}

impl Placed<'_, '_> {
    /// Writes the last descriptors, which no block took along.
    fn write_descriptors(&self) -> Result<(), Fault> {
        let Due { bytes, offset } = &self.end.descriptors;
        self.target.write_at(*offset, bytes)
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
