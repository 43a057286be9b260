//! The memory that a kdump-compressed dump knows of and does not contain.
#![forbid(unsafe_code)]

use crate::kdump::{DUMP_DH_EXCLUDED_VMEMMAP, DumpHeaders};
use crate::memory::{Coverage, Lack, difference};
use crate::read::kdump::bitmaps::Bitmaps;
use crate::read::kdump::headers::{first_frame, page_size};
use crate::read::kdump::pages::Pages;
use crate::read::{Input, VmcoreError};

/// Finds out what the dump lacks, and excludes the pages from `pages` that are lost: those without a
/// page descriptor, and those whose data the file does not have.
pub(super) fn find(
    input: &Input,
    headers: &DumpHeaders,
    bitmaps: &Bitmaps,
    pages: &mut Pages,
) -> Result<Coverage, VmcoreError> {
    let mut lacks = Vec::new();
    if !headers.is_complete() {
        lacks.push(Lack::Marked);
    }
    if headers.sub.split != 0 {
        let share = headers.share();
        lacks.push(Lack::Part {
            start: share.start,
            end: share.end.min(bitmaps.max_mapnr()),
        });
    }
    let cut = match input.cut() {
        Some(cut) => Some(cut),
        None => pages.find_cut(input)?,
    };
    let is_cut = cut.is_some();
    lacks.extend(cut);
    if is_cut || !headers.is_complete() {
        pages.exclude_missing(input)?;
    }
    let (written, found) = (headers.main.written_blocks.into(), pages.count());
    // The largest number stands for that many or more.
    let differs = match headers.main.written_blocks {
        u32::MAX => found < written,
        _ => found != written,
    };
    // A writer that does not count leaves 0. A part of a split dump has the count of all.
    if written != 0 && differs && headers.sub.split == 0 && !is_cut {
        lacks.push(Lack::FewerPages { written, found });
    }
    let ram = bitmaps.ram(input, first_frame(headers), page_size(headers))?;
    let present: Vec<_> = pages.ranges().collect();
    Ok(Coverage {
        absent: difference(&ram, &present),
        dump_level: headers.sub.dump_level,
        vmemmap_excluded: headers.main.status & DUMP_DH_EXCLUDED_VMEMMAP != 0,
        lacks,
    })
}
