//! A part of guest memory that is mapped into this process, with the source that tells
//! which of its pages were ever touched.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::host::holes;
use crate::host::pagemap::Pagemap;
use crate::host::proc::Mapping;
use crate::memory::{MemoryRange, search_file};

/// A part of a region of guest memory.
#[derive(Debug, Clone)]
pub(super) struct RegionPart {
    pub(super) range: MemoryRange,
    /// Address of the first byte in this process, if it is mapped here.
    pub(super) host: Option<u64>,
    /// The file that contains the part, and the offset of the first byte in it.
    pub(super) file: Option<(Arc<File>, u64)>,
    pub(super) populated_by: PopulatedBy,
}

/// The source that tells which pages of a part were ever touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PopulatedBy {
    /// No source: all pages count as touched.
    Nothing,
    /// Data of the file.
    File,
    /// Pages of this process.
    Pagemap,
    /// Both: data of a file that is mapped privately, and pages that were written since.
    FileAndPagemap,
}

impl RegionPart {
    pub(super) fn new(
        range: MemoryRange,
        host: Option<u64>,
        file: Option<(Arc<File>, u64)>,
    ) -> Self {
        Self {
            range,
            host,
            file,
            populated_by: PopulatedBy::Nothing,
        }
    }

    /// Returns the piece of the part that lies in `range`.
    pub(super) fn within(&self, range: &MemoryRange) -> Option<Self> {
        let range = self.range.intersection(range)?;
        let skipped = range.start() - self.range.start();
        Some(Self {
            range,
            host: self.host.map(|host| host + skipped),
            file: self.file_at(range.start()),
            populated_by: self.populated_by,
        })
    }

    /// The file, and the offset of the byte at `gpa` in it.
    fn file_at(&self, gpa: u64) -> Option<(Arc<File>, u64)> {
        let (file, offset) = self.file.as_ref()?;
        Some((Arc::clone(file), offset + (gpa - self.range.start())))
    }

    /// The addresses of the part in this process.
    pub(super) fn addresses(&self) -> Option<Range<u64>> {
        let host = self.host?;
        Some(host..host.checked_add(self.range.size())?)
    }

    /// Splits the part where mappings end, sets the source of each piece, and appends the
    /// pieces to `out`.
    pub(super) fn classify(&self, mappings: &[Mapping], out: &mut Vec<Self>) {
        let mut rest = Some(self.range);
        while let Some(left) = rest {
            let Some(mut piece) = self.within(&left) else {
                break;
            };
            let mapping = piece.addresses().and_then(|addresses| {
                let first = mappings.partition_point(|m| m.addresses.end <= addresses.start);
                mappings
                    .get(first)
                    .filter(|m| m.addresses.contains(&addresses.start))
            });
            let Some(mapping) = mapping else {
                out.push(piece);
                break;
            };
            let host = piece.host.unwrap_or_default();
            let (range, after) = left.split_at(mapping.addresses.end - host);
            piece.range = range;
            piece.populated_by = piece.source_in(mapping, host);
            rest = after;
            match out.last_mut() {
                Some(last) if last.continues_in(&piece) => last.range = last.range.joined(&range),
                _ => out.push(piece),
            }
        }
    }

    /// Whether `next` continues this part with the same source, addresses and file.
    fn continues_in(&self, next: &Self) -> bool {
        let file = |part: &Self| part.file.as_ref().map(|(file, _)| Arc::as_ptr(file));
        self.range.end() == next.range.start()
            && self.populated_by == next.populated_by
            && self.addresses().map(|a| a.end) == next.host
            && file(self) == file(next)
            && self.file_at(self.range.end()).map(|f| f.1) == next.file.as_ref().map(|f| f.1)
    }

    /// The source for a part that begins at `host` in `mapping`.
    fn source_in(&self, mapping: &Mapping, host: u64) -> PopulatedBy {
        let offset = mapping.offset + (host - mapping.addresses.start);
        let files_own = self.file.as_ref().is_some_and(|(file, at)| {
            *at == offset
                && file
                    .metadata()
                    .is_ok_and(|meta| meta.ino() == mapping.inode)
        });
        match (mapping.served, mapping.shared) {
            (false, true) if files_own => PopulatedBy::File,
            (false, false) if files_own => PopulatedBy::FileAndPagemap,
            (false, false) if mapping.inode == 0 && self.file.is_none() => PopulatedBy::Pagemap,
            // Memory that is shared without a file may be in swap, or in use by another
            // process, and the pagemap does not tell.
            _ => PopulatedBy::Nothing,
        }
    }

    /// Finds the first populated extent in `range`, which lies in this part.
    pub(super) fn next_populated(
        &self,
        range: MemoryRange,
        pagemap: Option<&Pagemap>,
    ) -> io::Result<Option<MemoryRange>> {
        match (self.populated_by, self.file_at(range.start())) {
            (PopulatedBy::File, Some((file, offset))) => {
                search_file(range, offset, |offsets| holes::next_extent(&file, offsets))
            }
            (PopulatedBy::Pagemap, _) => self.next_page(range, pagemap),
            (PopulatedBy::FileAndPagemap, Some((file, offset))) => {
                let data = search_file(range, offset, |offsets| {
                    let start = holes::next_data(&file, offsets)?;
                    Ok(start.map(|start| start..offsets.end))
                })?;
                let Some(data) = data else {
                    return self.next_page(range, pagemap);
                };
                let hole = data.start() - range.start();
                if hole > 0
                    && let Some(found) = self.next_page(range.split_at(hole).0, pagemap)?
                {
                    return Ok(Some(found));
                }
                search_file(data, offset + hole, |offsets| {
                    holes::next_extent(&file, offsets)
                })
            }
            _ => Ok(Some(range)),
        }
    }

    /// Finds the first pages of `range` that this process has. All of `range` counts if the
    /// system does not tell.
    fn next_page(
        &self,
        range: MemoryRange,
        pagemap: Option<&Pagemap>,
    ) -> io::Result<Option<MemoryRange>> {
        let (Some(pagemap), Some(host)) = (pagemap, self.host) else {
            return Ok(Some(range));
        };
        let start = host + (range.start() - self.range.start());
        match pagemap.next_populated(&(start..start + range.size())) {
            Err(_) => Ok(Some(range)),
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                let gpa = range.start() + (found.start - start);
                let found = MemoryRange::new(gpa, found.end - found.start);
                Ok(Some(found.map_err(io::Error::other)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::range;

    fn mapping(addresses: Range<u64>, shared: bool, served: bool) -> Mapping {
        Mapping {
            addresses,
            shared,
            offset: 0,
            device: 0,
            inode: 0,
            served,
        }
    }

    /// Classifies guest memory from 0 on that is mapped at the address 0x10000.
    fn classified(size: u64, mappings: &[Mapping]) -> Vec<(MemoryRange, PopulatedBy)> {
        let mut out = Vec::new();
        RegionPart::new(range(0, size), Some(0x10000), None).classify(mappings, &mut out);
        out.iter()
            .map(|part| (part.range, part.populated_by))
            .collect()
    }

    #[test]
    fn parts_are_split_where_the_source_changes() {
        let mappings = [
            mapping(0x8000..0x12000, false, false),
            mapping(0x12000..0x14000, false, false),
            mapping(0x14000..0x15000, true, false),
            mapping(0x15000..0x20000, false, false),
        ];
        assert_eq!(
            classified(0x8000, &mappings),
            [
                (range(0, 0x4000), PopulatedBy::Pagemap),
                (range(0x4000, 0x1000), PopulatedBy::Nothing),
                (range(0x5000, 0x3000), PopulatedBy::Pagemap),
            ]
        );
    }

    /// Pages that are served do not exist before they are read.
    #[test]
    fn memory_that_a_userfaultfd_serves_is_all_populated() {
        let served = [mapping(0x10000..0x20000, false, true)];
        assert_eq!(
            classified(0x8000, &served),
            [(range(0, 0x8000), PopulatedBy::Nothing)]
        );
    }

    #[test]
    fn memory_without_a_known_mapping_is_all_populated() {
        let elsewhere = [mapping(0x1000..0x2000, false, false)];
        let later = [mapping(0x14000..0x20000, false, false)];
        for mappings in [&[][..], &elsewhere, &later] {
            assert_eq!(
                classified(0x8000, mappings),
                [(range(0, 0x8000), PopulatedBy::Nothing)]
            );
        }
        let part = RegionPart {
            populated_by: PopulatedBy::Pagemap,
            ..RegionPart::new(range(0, 0x8000), Some(0x10000), None)
        };
        let all = part.next_populated(range(0, 0x8000), None).unwrap();
        assert_eq!(all, Some(range(0, 0x8000)));
    }
}
