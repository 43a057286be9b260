//! Writing a Windows dump: the header, the bitmap of a bitmap dump, and the
//! pages.
//!
//! A file begins without `Signature` until all else is written: no reader
//! takes it for a dump. A stream is shorter than `RequiredDumpSpace` says.
#![forbid(unsafe_code)]

use zerocopy::IntoBytes;

use super::format::{BitmapHeader, PAGE_SIZE};
use super::overlay::Overlay;
use super::plan::WinDmpPlan;
use crate::error::{Error, Result};
use crate::kdump::bitmap::for_each_piece;
use crate::memory::{GuestMemory, WholePages};
use crate::pipeline::{self, Chunks, RawPages, Selection, Threads, Written};
use crate::progress::Progress;
use crate::sink::{Output, SinkAccess};

impl WinDmpPlan {
    /// Writes the dump.
    pub(crate) fn write<'s>(
        &self,
        memory: &dyn GuestMemory,
        selection: &Selection,
        access: SinkAccess<'s>,
        threads: Threads<'_>,
        progress: &'s Progress,
    ) -> Result<Written> {
        let output = Output::new(access, progress);
        let positioned = output.is_positioned();
        if positioned {
            output.write_at(0, &self.header.unsigned())?;
        } else {
            output.write_at(0, self.header.as_bytes())?;
        }
        if let Some((at, header)) = &self.layout.bitmap {
            write_bitmap(&output, *at, header, selection, progress)?;
        }
        let memory = Overlay {
            memory,
            patches: &self.patches,
        };
        // Gaps that the runs were joined over have zeroes.
        let memory = WholePages::new(&memory, &self.ranges);
        let pages = RawPages {
            memory: &memory,
            page_size: PAGE_SIZE,
            offset: self.layout.memory,
            output: &output,
        };
        let chunks = Chunks::new(&memory, &selection.dumped, PAGE_SIZE);
        let zero_pages = pipeline::run(&pages, 0, chunks, threads, progress)?;

        let file_size = self.layout.file_size;
        output.set_len(file_size)?;
        if positioned {
            output.write_at(0, self.header.as_bytes())?;
        }
        Ok(Written {
            zero_pages,
            file_size,
        })
    }
}

fn write_bitmap(
    output: &Output<'_>,
    at: u64,
    header: &BitmapHeader,
    selection: &Selection,
    progress: &Progress,
) -> Result<()> {
    output.write_at(at, header.as_bytes())?;
    let bitmap = at + BitmapHeader::SIZE as u64;
    let size = header.pages.get() / 8;
    for_each_piece(selection.dumped.iter().copied(), size, |start, piece| {
        if progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        output.write_at(bitmap + start, piece)
    })
}
