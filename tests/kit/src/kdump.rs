//! A builder of kdump-compressed files in every layout, also those that this crate does
//! not write.

use guestdump::abi::{Abi, Utsname};
use guestdump::bitmap;
use guestdump::codec::Codec;
use guestdump::kdump::flattened::FlattenedWriter;
use guestdump::kdump::layout::Layout;
use guestdump::kdump::{MainHeader, PageDescriptor, SubHeader, codec_flag};

use crate::parts::{TEXT, notes};

/// Cuts raw bytes into records, the second half first.
pub fn flatten(raw: &[u8]) -> Vec<u8> {
    let mut writer = FlattenedWriter::begin(Vec::new()).unwrap();
    let (low, high) = raw.split_at(raw.len() / 2);
    for (start, half) in [(low.len(), high), (0, low)] {
        for (at, part) in (start..).step_by(1000).zip(half.chunks(1000)) {
            writer.write_at(at as u64, part).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// A kdump-compressed file.
pub struct Kdump {
    pub abi: Abi,
    pub version: u32,
    pub page_size: u64,
    pub codec: Option<Codec>,
    pub status: u32,
    pub machine: &'static str,
    pub max_mapnr: u64,
    /// Page frame numbers and contents, ascending; `None` for a page that is
    /// missing.
    pub pages: Vec<(u64, Option<Vec<u8>>)>,
    /// Only descriptors for these page frames.
    pub split: Option<(u64, u64)>,
}

impl Kdump {
    pub fn new(abi: Abi, pages: &[(u64, Vec<u8>)]) -> Self {
        Self {
            abi,
            version: 6,
            page_size: 4096,
            codec: Some(Codec::Zlib),
            status: 1,
            machine: "x86_64",
            max_mapnr: pages.iter().map(|(pfn, _)| pfn + 1).max().unwrap_or(0) + 5,
            pages: pages
                .iter()
                .map(|(pfn, page)| (*pfn, Some(page.clone())))
                .collect(),
            split: None,
        }
    }

    pub fn places(&self) -> Layout {
        let in_file = self.pages.iter().filter(|(pfn, _)| self.has(*pfn)).count();
        let notes_len = notes(self.abi.order, 2).len() as u64;
        Layout::new(
            self.abi,
            self.page_size,
            notes_len,
            self.max_mapnr,
            in_file as u64,
        )
        .unwrap()
    }

    fn has(&self, pfn: u64) -> bool {
        self.split
            .is_none_or(|(from, to)| (from..to).contains(&pfn))
    }

    pub fn build(&self) -> Vec<u8> {
        let places = self.places();
        let notes = notes(self.abi.order, 2);
        let text = notes.windows(TEXT.len()).position(|w| w == TEXT).unwrap() as u64;
        let mut out = Vec::new();
        let name = Utsname::field;
        MainHeader {
            header_version: self.version,
            utsname: Utsname {
                sysname: name("Linux"),
                release: name("6.1.0"),
                version: name("#1"),
                machine: name(self.machine),
                ..Utsname::default()
            },
            timestamp_sec: 1_700_000_000,
            timestamp_usec: 4096,
            status: self.status,
            block_size: self.page_size as u32,
            sub_hdr_size: places.sub_hdr_blocks as u32,
            bitmap_blocks: places.bitmap_blocks() as u32,
            max_mapnr: self.max_mapnr as u32,
            total_ram_blocks: 0,
            device_blocks: 0,
            written_blocks: 0,
            current_cpu: 0,
            nr_cpus: 2,
        }
        .encode(self.abi.encoding(), &mut out)
        .unwrap();
        out.resize(places.sub_header as usize, 0);
        let (start_pfn, end_pfn) = self.split.unwrap_or_default();
        SubHeader {
            phys_base: 0x1234,
            dump_level: 0,
            split: self.split.is_some().into(),
            start_pfn,
            end_pfn,
            offset_vmcoreinfo: places.notes + text,
            size_vmcoreinfo: TEXT.len() as u64,
            offset_note: places.notes,
            size_note: notes.len() as u64,
            start_pfn_64: start_pfn,
            end_pfn_64: end_pfn,
            max_mapnr_64: self.max_mapnr,
            ..SubHeader::default()
        }
        .encode(self.abi, &mut out)
        .unwrap();
        out.extend_from_slice(&notes);
        out.resize(places.bitmaps as usize, 0);
        let mut frames = vec![0; places.bitmap_size as usize];
        for (pfn, _) in &self.pages {
            bitmap::set(&mut frames, *pfn..pfn + 1);
        }
        out.extend_from_slice(&frames);
        out.extend_from_slice(&frames);
        let mut data = Vec::new();
        let zero = self.store(&vec![0; self.page_size as usize], places.data, &mut data);
        for (pfn, page) in &self.pages {
            if !self.has(*pfn) {
                continue;
            }
            let descriptor = match page {
                None => PageDescriptor::default(),
                Some(page) if page.iter().all(|b| *b == 0) => zero,
                Some(page) => self.store(page, places.data + data.len() as u64, &mut data),
            };
            descriptor.encode(self.abi.order, &mut out);
        }
        assert_eq!(out.len() as u64, places.data);
        out.extend_from_slice(&data);
        out
    }

    fn store(&self, page: &[u8], offset: u64, data: &mut Vec<u8>) -> PageDescriptor {
        let before = data.len();
        let compressor = self.codec.and_then(|codec| codec.compressor().ok());
        let flags = match compressor.map(|mut c| c.compress(page, data).unwrap()) {
            Some(true) => codec_flag(self.codec.unwrap()),
            _ => {
                data.extend_from_slice(page);
                0
            }
        };
        PageDescriptor {
            offset,
            size: (data.len() - before) as u32,
            flags,
            page_flags: 0,
        }
    }
}
