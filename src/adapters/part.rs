//! A part of guest memory that is mapped into this process, and which of its
//! pages were ever touched.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::adapters::proc_self::{Mapping, Pagemap};
use crate::memory::{MemoryRange, file_data};

/// A part of the guest's memory, all of one kind.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) range: MemoryRange,
    /// Host-virtual address of the first byte, if it has one.
    pub(super) host: Option<u64>,
    /// The file behind it, and where in the file.
    pub(super) file: Option<(Arc<File>, u64)>,
    pub(super) extents: Extents,
}

/// What says which pages of a part were ever touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extents {
    /// Nothing does.
    All,
    File,
    Pagemap,
    /// A private mapping: what the file has, and what was written since.
    FileAndPagemap,
}

impl Part {
    pub(super) fn new(
        range: MemoryRange,
        host: Option<u64>,
        file: Option<(Arc<File>, u64)>,
    ) -> Self {
        Self {
            range,
            host,
            file,
            extents: Extents::All,
        }
    }

    /// What of it lies in `range`.
    pub(super) fn within(&self, range: &MemoryRange) -> Option<Self> {
        let range = self.range.intersection(range)?;
        let skipped = range.start() - self.range.start();
        Some(Self {
            range,
            host: self.host.map(|host| host + skipped),
            file: self.file_at(range.start()),
            extents: self.extents,
        })
    }

    fn file_at(&self, gpa: u64) -> Option<(Arc<File>, u64)> {
        let (file, offset) = self.file.as_ref()?;
        Some((Arc::clone(file), offset + (gpa - self.range.start())))
    }

    pub(super) fn addresses(&self) -> Option<Range<u64>> {
        let host = self.host?;
        Some(host..host.checked_add(self.range.size())?)
    }

    /// Splits it where mappings end, and says of each piece what is known.
    pub(super) fn classify(&self, mappings: &[Mapping], out: &mut Vec<Self>) {
        let mut rest = Some(self.range);
        while let Some(left) = rest {
            let Some(mut piece) = self.within(&left) else {
                break;
            };
            let mapping = piece.addresses().and_then(|addresses| {
                let behind = mappings.partition_point(|m| m.addresses.end <= addresses.start);
                mappings
                    .get(behind)
                    .filter(|m| m.addresses.contains(&addresses.start))
            });
            let Some(mapping) = mapping else {
                out.push(piece);
                break;
            };
            let host = piece.host.unwrap_or_default();
            let (range, behind) = left.split_at(mapping.addresses.end - host);
            piece.range = range;
            piece.extents = piece.extents_in(mapping, host);
            rest = behind;
            match out.last_mut() {
                Some(last) if last.continues_in(&piece) => last.range = last.range.joined(&range),
                _ => out.push(piece),
            }
        }
    }

    fn continues_in(&self, next: &Self) -> bool {
        let file = |part: &Self| part.file.as_ref().map(|(file, _)| Arc::as_ptr(file));
        self.range.end() == next.range.start()
            && self.extents == next.extents
            && self.addresses().map(|a| a.end) == next.host
            && file(self) == file(next)
            && self.file_at(self.range.end()).map(|f| f.1) == next.file.as_ref().map(|f| f.1)
    }

    fn extents_in(&self, mapping: &Mapping, host: u64) -> Extents {
        let offset = mapping.offset + (host - mapping.addresses.start);
        let files_own = self.file.as_ref().is_some_and(|(file, at)| {
            *at == offset
                && file
                    .metadata()
                    .is_ok_and(|meta| meta.ino() == mapping.inode)
        });
        match (mapping.served, mapping.shared) {
            (false, true) if files_own => Extents::File,
            (false, false) if files_own => Extents::FileAndPagemap,
            (false, false) if mapping.inode == 0 && self.file.is_none() => Extents::Pagemap,
            // Memory that is shared without a file may be in use elsewhere or
            // in swap, and pagemap does not have it.
            _ => Extents::All,
        }
    }

    /// The first populated extent in `range`, which lies in this part.
    pub(super) fn next_populated(
        &self,
        range: MemoryRange,
        pagemap: Option<&Pagemap>,
    ) -> io::Result<Option<MemoryRange>> {
        let file = self.file_at(range.start());
        let pages = |range: MemoryRange| self.next_page(range, pagemap);
        match (self.extents, file) {
            (Extents::File, Some((file, offset))) => file_data::next_extent(&file, offset, range),
            (Extents::Pagemap, _) => pages(range),
            (Extents::FileAndPagemap, Some((file, offset))) => {
                let Some(data) = file_data::next_start(&file, offset, range)? else {
                    return pages(range);
                };
                let behind = data - range.start();
                if behind == 0 {
                    return file_data::next_extent(&file, offset, range);
                }
                let (hole, _) = range.split_at(behind);
                match pages(hole)? {
                    Some(found) => Ok(Some(found)),
                    None => {
                        let rest = range.starting_at(data);
                        rest.map_or(Ok(None), |rest| {
                            file_data::next_extent(&file, offset + behind, rest)
                        })
                    }
                }
            }
            _ => Ok(Some(range)),
        }
    }

    /// The first pages of this process in `range`. If the system does not
    /// tell, all of them.
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

    fn range(start: u64, size: u64) -> MemoryRange {
        MemoryRange::new(start, size).unwrap()
    }

    fn mapping(addresses: Range<u64>, shared: bool, served: bool) -> Mapping {
        Mapping {
            addresses,
            shared,
            offset: 0,
            inode: 0,
            served,
        }
    }

    /// What is known of the parts of guest memory from 0 on that lies at the
    /// host-virtual address 0x10000.
    fn classified(size: u64, mappings: &[Mapping]) -> Vec<(MemoryRange, Extents)> {
        let mut out = Vec::new();
        Part::new(range(0, size), Some(0x10000), None).classify(mappings, &mut out);
        out.iter().map(|part| (part.range, part.extents)).collect()
    }

    #[test]
    fn parts_are_split_where_mappings_of_another_kind_begin() {
        let mappings = [
            mapping(0x8000..0x12000, false, false),
            mapping(0x12000..0x14000, false, false),
            mapping(0x14000..0x15000, true, false),
            mapping(0x15000..0x20000, false, false),
        ];
        assert_eq!(
            classified(0x8000, &mappings),
            [
                (range(0, 0x4000), Extents::Pagemap),
                (range(0x4000, 0x1000), Extents::All),
                (range(0x5000, 0x3000), Extents::Pagemap),
            ]
        );
    }

    /// Its pages are nowhere until somebody reads them.
    #[test]
    fn memory_that_a_userfaultfd_serves_is_all_populated() {
        let served = [mapping(0x10000..0x20000, false, true)];
        assert_eq!(
            classified(0x8000, &served),
            [(range(0, 0x8000), Extents::All)]
        );
    }

    #[test]
    fn memory_of_which_nothing_is_known_is_all_populated() {
        let elsewhere = [mapping(0x1000..0x2000, false, false)];
        let behind = [mapping(0x14000..0x20000, false, false)];
        for mappings in [&[][..], &elsewhere, &behind] {
            assert_eq!(
                classified(0x8000, mappings),
                [(range(0, 0x8000), Extents::All)]
            );
        }
        let part = Part {
            extents: Extents::Pagemap,
            ..Part::new(range(0, 0x8000), Some(0x10000), None)
        };
        let all = part.next_populated(range(0, 0x8000), None).unwrap();
        assert_eq!(all, Some(range(0, 0x8000)));
    }
}
