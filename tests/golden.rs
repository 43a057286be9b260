//! Whole small dumps against literal bytes, field by field as the documents
//! have them.
#![allow(missing_docs, clippy::unwrap_used)]

use guestdump::arch::x86_64::Registers;
use guestdump::guest::vmcoreinfo::VmcoreinfoSource;
use guestdump::memory::SliceMemory;
use guestdump::sink::BufferSink;
use guestdump::{DumpOptions, Format, GuestInfo, Machine, dump};
use testkit::Random;

const INFO: &[u8] = b"OSRELEASE=6.1.0\nPAGESIZE=4096\nNUMBER(phys_base)=-4096\nCRASHTIME=5\n";

/// Page 1 is zero, page 2 is random, page 4 is text.
fn pages() -> [Vec<u8>; 3] {
    let random = Random::new(7).bytes(4096);
    let text = b"lorem ipsum ".iter().copied().cycle().take(4096).collect();
    [vec![0; 4096], random, text]
}

fn written(format: Format) -> Vec<u8> {
    let [zero, random, text] = pages();
    let low = [zero, random].concat();
    let memory = SliceMemory::new([(0x1000, &low[..]), (0x4000, &text[..])]).unwrap();
    let rip = 0xffff_ffff_8123_4567;
    let options = DumpOptions::new(
        GuestInfo::new(Machine::X86_64)
            .cpus([Registers {
                rip,
                ..Registers::default()
            }])
            .vmcoreinfo(VmcoreinfoSource::Bytes(INFO.to_vec())),
        format,
    );
    let mut sink = BufferSink::new();
    dump(&memory, &mut sink, &options).unwrap();
    sink.into_bytes()
}

/// Bytes put together value by value.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }
    fn u16s(self, values: &[u16]) -> Self {
        values.iter().fold(self, |b, v| b.raw(v.to_le_bytes()))
    }
    fn u32s(self, values: &[u32]) -> Self {
        values.iter().fold(self, |b, v| b.raw(v.to_le_bytes()))
    }
    fn u64s(self, values: &[u64]) -> Self {
        values.iter().fold(self, |b, v| b.raw(v.to_le_bytes()))
    }
    fn up_to(mut self, len: usize) -> Self {
        assert!(self.0.len() <= len, "{} > {len}", self.0.len());
        self.0.resize(len, 0);
        self
    }
}

/// 356 + 460 + 92 bytes.
fn notes() -> Vec<u8> {
    let prstatus = Bytes::default()
        .up_to(32)
        .u32s(&[1])
        .up_to(112 + 16 * 8)
        .u64s(&[0xffff_ffff_8123_4567])
        .up_to(336);
    let state = Bytes::default()
        .u32s(&[1, 440])
        .up_to(136)
        .u64s(&[0xffff_ffff_8123_4567])
        .up_to(440);
    assert_eq!(INFO.len(), 66);
    Bytes::default()
        .u32s(&[5, 336, 1])
        .raw(b"CORE\0\0\0\0")
        .raw(prstatus.0)
        .u32s(&[5, 440, 0])
        .raw(b"QEMU\0\0\0\0")
        .raw(state.0)
        .u32s(&[11, 66, 0])
        .raw(b"VMCOREINFO\0\0")
        .raw(INFO)
        .raw([0, 0])
        .0
}

#[test]
fn elf_dump_has_the_documented_bytes() {
    let [zero, random, text] = pages();
    let notes = notes();
    let expected = Bytes::default()
        .raw(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")
        .u16s(&[4, 62])
        .u32s(&[1])
        .u64s(&[0, 64, 0])
        .u32s(&[0])
        .u16s(&[64, 56, 3, 0, 0, 0])
        // PT_NOTE, then a PT_LOAD for each run.
        .u32s(&[4, 0])
        .u64s(&[232, 0, 0, notes.len() as u64, notes.len() as u64, 4])
        .u32s(&[1, 7])
        .u64s(&[0x1000, 0x1000, 0x1000, 0x2000, 0x2000, 0])
        .u32s(&[1, 7])
        .u64s(&[0x3000, 0x4000, 0x4000, 0x1000, 0x1000, 0])
        .raw(&notes)
        .up_to(0x1000)
        .raw(&zero)
        .raw(&random)
        .raw(&text);
    assert!(written(Format::Elf) == expected.0);
}

/// The raw kdump file up to and including the stored zero page, given the
/// codec's flag and the compressed size of the text page.
fn kdump_head(flag: u32, text_size: u32) -> Vec<u8> {
    let notes = notes();
    let string = |text: &str| Bytes::default().raw(text).up_to(65).0;
    let descriptors = 0x4000u64;
    let zero_at = descriptors + 3 * 24;
    let random_at = zero_at + 4096;
    let text_at = random_at + 4096;
    Bytes::default()
        .raw(b"KDUMP   ")
        .u32s(&[6])
        .raw(string("Linux"))
        .raw(string("(none)"))
        .raw(string("6.1.0"))
        .raw(string("unknown"))
        .raw(string("x86_64"))
        .raw(string("(none)"))
        .up_to(408)
        .u64s(&[5, 0])
        // status, block_size, sub_hdr_size, bitmap_blocks, max_mapnr,
        // total_ram_blocks, device_blocks, written_blocks, current_cpu,
        // nr_cpus
        .u32s(&[flag, 4096, 1, 2, 5, 3, 0, 3, 0, 1])
        .up_to(0x1000)
        .u64s(&[(-4096i64) as u64])
        .u32s(&[0, 0])
        .u64s(&[0, 0])
        .u64s(&[4200 + notes.len() as u64 - 68, 66])
        .u64s(&[4200, notes.len() as u64])
        .u64s(&[0, 0, 0, 0, 5])
        .raw(&notes)
        .up_to(0x2000)
        .raw([0b1_0110])
        .up_to(0x3000)
        .raw([0b1_0110])
        .up_to(0x4000)
        .u64s(&[zero_at])
        .u32s(&[4096, 0])
        .u64s(&[0, random_at])
        .u32s(&[4096, 0])
        .u64s(&[0, text_at])
        .u32s(&[text_size, flag])
        .u64s(&[0])
        .up_to(zero_at as usize + 4096)
        .0
}

#[test]
fn raw_kdump_has_the_documented_bytes() {
    let [_, random, text] = pages();
    for (format, flag) in [
        (Format::KDUMP_RAW_ZLIB, 1),
        (Format::KDUMP_RAW_LZO, 2),
        (Format::KDUMP_RAW_SNAPPY, 4),
        (Format::KDUMP_RAW_ZSTD, 0x20),
    ] {
        if !format.is_available() {
            continue;
        }
        let mut compressor = format.codec().unwrap().compressor().unwrap();
        let mut compressed = Vec::new();
        assert!(compressor.compress(&text, &mut compressed).unwrap());
        let expected = Bytes::default()
            .raw(kdump_head(flag, compressed.len() as u32))
            .raw(&random)
            .raw(&compressed);
        assert!(written(format) == expected.0, "{format}");
    }
}

#[test]
fn a_flattened_kdump_has_the_raw_ones_bytes() {
    for raw in Format::available().filter(|f| f.needs_positions()) {
        let expected = written(raw);
        let flattened = written(raw.streamable());
        assert_eq!(&flattened[..16], b"makedumpfile\0\0\0\0");
        let mut rearranged = Vec::new();
        let mut rest = &flattened[4096..];
        loop {
            let (header, data) = rest.split_at(16);
            let [offset, len] = [0, 8].map(|at| {
                let bytes: [u8; 8] = header[at..at + 8].try_into().unwrap();
                i64::from_be_bytes(bytes)
            });
            if offset == -1 {
                assert_eq!(len, -1);
                assert!(data.is_empty());
                break;
            }
            let (offset, len) = (offset as usize, len as usize);
            assert!(len > 0);
            if rearranged.len() < offset + len {
                rearranged.resize(offset + len, 0);
            }
            rearranged[offset..offset + len].copy_from_slice(&data[..len]);
            rest = &data[len..];
        }
        assert!(rearranged == expected, "{raw}");
    }
}
