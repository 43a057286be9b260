//! Writes a Windows dump: the header, the bitmap of a bitmap dump, and the
//! pages.
//!
//! A file has no `Signature` until everything else is written, so no reader
//! takes an incomplete file for a dump. An incomplete stream is shorter than
//! `RequiredDumpSpace` says.
#![forbid(unsafe_code)]

use crate::bitmap;
use crate::fault::Fault;
use crate::memory::{GuestMemory, Overlay, UnreadableLog, WholePages};
use crate::pipeline;
use crate::pipeline::{Chunks, LeftOut, Written};
use crate::selection::{FrameRun, Selection};
use crate::sink::{Output, SinkAccess};
use crate::windmp::{BitmapHeader, PAGE_SIZE};
use crate::workers::Progress;
use crate::workers::Threads;
use crate::write::raw::{RawLayout, RawPages};
use crate::write::windmp::plan::WinDmpPlan;

impl WinDmpPlan {
    /// Writes the dump.
    pub(crate) fn write<'s>(
        &self,
        memory: &dyn GuestMemory,
        unreadable: &UnreadableLog,
        selection: &Selection,
        access: SinkAccess<'s>,
        threads: Threads<'_>,
        progress: &'s Progress,
    ) -> Result<Written, Fault> {
        let output = Output::new(access, progress);
        let positioned = output.is_positioned();
        if positioned {
            output.write_at(0, &self.header.unsigned())?;
        } else {
            output.write_at(0, self.header.as_bytes())?;
        }
        if let Some((at, header)) = &self.layout.bitmap {
            write_bitmap(
                &output,
                *at,
                header,
                selection,
                selection.dumped(),
                progress,
            )?;
        }
        let memory = Overlay {
            memory,
            patches: &self.patches,
        };
        // Joined runs contain gaps between RAM, which read as zeroes.
        let memory = WholePages::new(&memory, &self.ranges);
        let pages = RawPages {
            memory: &memory,
            page_size: PAGE_SIZE,
            offset: self.layout.memory,
            unreadable: Some(unreadable),
            output: &output,
        };
        let chunks = Chunks::new(&memory, selection, LeftOut::Missing);
        let (end, result) = pipeline::run(&pages, RawLayout::default(), chunks, threads, progress);
        result?;

        let mut header = self.header.clone();
        let mut file_size = self.layout.file_size;
        if let (Some((at, mut bitmap)), 1..) = (self.layout.bitmap, end.left_out) {
            file_size -= end.left_out * PAGE_SIZE;
            header.set_required_dump_space(file_size);
            let present = selection.pages() - end.left_out;
            bitmap.total_present_pages = present;
            let missing = selection.unreadable(unreadable);
            let readable = selection.dumped_without(&missing);
            write_bitmap(&output, at, &bitmap, selection, readable, progress)?;
        }
        output.set_len(file_size)?;
        if positioned {
            output.write_at(0, header.as_bytes())?;
        }
        Ok(Written {
            pages: selection.pages() - end.left_out,
            zero_pages: end.zero_pages,
            file_size,
        })
    }
}

fn write_bitmap(
    output: &Output<'_>,
    at: u64,
    header: &BitmapHeader,
    selection: &Selection,
    present: impl Iterator<Item = FrameRun>,
    progress: &Progress,
) -> Result<(), Fault> {
    let mut bytes = Vec::with_capacity(BitmapHeader::SIZE);
    header.encode(&mut bytes);
    output.write_at(at, &bytes)?;
    let bits_at = at + BitmapHeader::SIZE as u64;
    let size = header.pages / 8;
    let frames = |run: FrameRun| run.start..run.end();
    let all = selection.wanted.iter().copied().map(frames);
    bitmap::encode(all, present.map(frames), size, |start, piece| {
        if progress.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        output.write_at(bits_at + start, piece)
    })
}
