//! Reads a dump out of a `&[u8]`, and writes two by hand, with guestdump's primitives alone.
//!
//! ```text
//! primitives read DUMP
//! primitives page DUMP FRAME zlib|snappy OUT
//! primitives write-flattened OUT
//! primitives write-elf OUT
//! ```

use std::error::Error;
use std::fs;
use std::io::{self, Read};

use guestdump::abi::{Abi, Utsname};
use guestdump::codec::Codec;
use guestdump::elf::note::{CORE, NT_PRSTATUS, VMCOREINFO};
use guestdump::elf::{
    ET_CORE, FileHeader, Note, Notes, PF_RWX, PT_LOAD, PT_NOTE, ProgramHeader, program_headers,
};
use guestdump::kdump::flattened::{FlattenedWriter, Records};
use guestdump::kdump::layout::Layout;
use guestdump::kdump::{
    DUMP_DH_COMPRESSED_ZLIB, DumpHeaders, HEADER_VERSION, MainHeader, PageDescriptor, SubHeader,
    flag_codec,
};
use guestdump::{ByteOrder, Class, Encoding, bitmap};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const LE64: Encoding = Encoding {
    class: Class::Bits64,
    order: ByteOrder::Little,
};
const EM_X86_64: u16 = 62;
const PAGE: usize = 4096;
const TEXT: &[u8] = b"OSRELEASE=6.1.0-primitives\nPAGESIZE=4096\n";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["read", path] => read(&raw(fs::read(path)?)?),
        ["page", path, frame, codec, out] => {
            let page = page(&raw(fs::read(path)?)?, frame.parse()?, codec)?;
            Ok(fs::write(out, page)?)
        }
        ["write-flattened", path] => write_flattened(path),
        ["write-elf", path] => Ok(fs::write(path, elf()?)?),
        _ => Err("primitives read|page|write-flattened|write-elf …".into()),
    }
}

/// The raw form of a dump that may be flattened.
fn raw(dump: Vec<u8>) -> Result<Vec<u8>> {
    let Ok(records) = Records::new(&dump) else {
        return Ok(dump);
    };
    let mut raw = Vec::new();
    for record in records {
        let record = record?;
        let start = usize::try_from(record.offset)?;
        let end = start + record.data.len();
        raw.resize(raw.len().max(end), 0);
        raw[start..end].copy_from_slice(record.data);
    }
    Ok(raw)
}

/// The bytes of `dump` at these offsets.
fn part(dump: &[u8], offsets: std::ops::Range<u64>) -> Result<&[u8]> {
    let (start, end) = (
        usize::try_from(offsets.start)?,
        usize::try_from(offsets.end)?,
    );
    Ok(dump.get(start..end).ok_or("the dump is cut short")?)
}

/// The page frames in the dump, each with its descriptor.
fn pages(dump: &[u8], headers: &DumpHeaders) -> Result<Vec<(u64, PageDescriptor)>> {
    let [_ram, dumped] = headers.bitmaps()?;
    let frames = bitmap::runs(part(dump, dumped)?).flatten();
    let share = headers.share();
    let frames = frames.filter(|frame| share.contains(frame));
    let descriptors = part(dump, headers.descriptors()..dump.len() as u64)?;
    let descriptors = PageDescriptor::iter(headers.abi.order, descriptors);
    Ok(frames.zip(descriptors).collect())
}

fn read(dump: &[u8]) -> Result<()> {
    let headers = DumpHeaders::decode(dump)?;
    let DumpHeaders { abi, main, sub } = headers;
    println!("abi {:?} {:?} {:?}", abi.class, abi.order, abi.u64_align);
    println!(
        "header version {} status {:#x} block_size {} max_mapnr {:#x} complete {}",
        main.header_version,
        main.status,
        main.block_size,
        headers.max_mapnr(),
        headers.is_complete()
    );
    println!(
        "utsname {} {} {}",
        Utsname::text(&main.utsname.sysname),
        Utsname::text(&main.utsname.release),
        Utsname::text(&main.utsname.machine)
    );
    println!(
        "dump_level {} phys_base {:#x}",
        sub.dump_level, sub.phys_base
    );
    let notes = part(dump, headers.notes().ok_or("notes")?)?;
    for note in Notes::new(notes, abi.order) {
        let (_offset, note) = note?;
        let name = note.name.escape_ascii();
        println!("note {name} type {} bytes {}", note.kind, note.desc.len());
    }
    let [ram, dumped] = headers.bitmaps()?;
    for (name, offsets) in [("ram", ram), ("dumped", dumped)] {
        for run in bitmap::runs(part(dump, offsets)?) {
            println!("{name} {:#x}..{:#x}", run.start, run.end);
        }
    }
    let pages = pages(dump, &headers)?;
    println!("pages {}", pages.len());
    for (frame, descriptor) in pages {
        let PageDescriptor {
            offset,
            size,
            flags,
            ..
        } = descriptor;
        println!("page {frame:#x} offset {offset} size {size} flags {flags:#x}");
    }
    Ok(())
}

/// One page, decompressed by the program's own codec.
fn page(dump: &[u8], frame: u64, codec: &str) -> Result<Vec<u8>> {
    let headers = DumpHeaders::decode(dump)?;
    let pages = pages(dump, &headers)?;
    let found = pages.iter().find(|(number, _)| *number == frame);
    let (_, descriptor) = found.ok_or("the page is not in the dump")?;
    let end = descriptor.offset + u64::from(descriptor.size);
    let data = part(dump, descriptor.offset..end)?;
    let page = match (flag_codec(descriptor.flags), codec) {
        (Ok(None), _) => data.to_vec(),
        (Ok(Some(Codec::Zlib)), "zlib") => {
            let mut page = Vec::new();
            flate2::read::ZlibDecoder::new(data).read_to_end(&mut page)?;
            page
        }
        (Ok(Some(Codec::Snappy)), "snappy") => snap::raw::Decoder::new().decompress_vec(data)?,
        (flags, codec) => return Err(format!("{flags:?} is not {codec}").into()),
    };
    assert_eq!(page.len(), headers.main.block_size as usize);
    Ok(page)
}

/// The guest of both dumps: page frames and their contents.
fn guest() -> Vec<(u64, Vec<u8>)> {
    let text: Vec<u8> = b"a page of text that repeats itself; "
        .iter()
        .copied()
        .cycle()
        .take(PAGE)
        .collect();
    let bytes: Vec<u8> = (0..PAGE).map(|i| (i * 7 + i / 256) as u8).collect();
    vec![
        (2, vec![0; PAGE]),
        (3, text),
        (4, bytes.clone()),
        (0x100, bytes),
    ]
}

/// The notes of one CPU, and VMCOREINFO.
fn notes(order: ByteOrder) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, kind, desc) in [(CORE, NT_PRSTATUS, &[0; 336][..]), (VMCOREINFO, 0, TEXT)] {
        Note { name, kind, desc }.encode(order, &mut bytes)?;
    }
    Ok(bytes)
}

/// Writes a flattened dump, its data before its headers.
fn write_flattened(path: &str) -> Result<()> {
    let abi = Abi::aligned(LE64);
    let guest = guest();
    let notes = notes(abi.order)?;
    let max_mapnr = guest.last().map_or(0, |(frame, _)| frame + 1);
    let layout = Layout::new(
        abi,
        PAGE as u64,
        notes.len() as u64,
        max_mapnr,
        guest.len() as u64,
    )
    .ok_or("the dump is too large")?;
    let file = io::BufWriter::new(fs::File::create(path)?);
    let mut writer = FlattenedWriter::begin(file)?;

    let mut descriptors = Vec::new();
    let mut frames = vec![0; usize::try_from(layout.bitmap_size)?];
    let mut offset = layout.data;
    for (frame, page) in &guest {
        let mut data = Vec::new();
        flate2::read::ZlibEncoder::new(&page[..], flate2::Compression::best())
            .read_to_end(&mut data)?;
        let shrunk = data.len() < PAGE;
        let data = if shrunk { &data } else { page };
        writer.write_at(offset, data)?;
        PageDescriptor {
            offset,
            size: u32::try_from(data.len())?,
            flags: if shrunk { DUMP_DH_COMPRESSED_ZLIB } else { 0 },
            page_flags: 0,
        }
        .encode(abi.order, &mut descriptors);
        offset += data.len() as u64;
        bitmap::set(&mut frames, *frame..*frame + 1);
    }
    writer.write_at(layout.descriptors, &descriptors)?;
    writer.write_at(layout.bitmaps, &frames)?;
    writer.write_at(layout.bitmaps + layout.bitmap_size, &frames)?;

    let text_at = notes.windows(TEXT.len()).position(|bytes| bytes == TEXT);
    let mut sub = Vec::new();
    SubHeader {
        offset_vmcoreinfo: layout.notes + text_at.ok_or("VMCOREINFO")? as u64,
        size_vmcoreinfo: TEXT.len() as u64,
        offset_note: layout.notes,
        size_note: notes.len() as u64,
        max_mapnr_64: max_mapnr,
        ..SubHeader::default()
    }
    .encode(abi, &mut sub)?;
    writer.write_at(layout.sub_header, &sub)?;
    writer.write_at(layout.notes, &notes)?;

    let mut main = Vec::new();
    MainHeader {
        header_version: HEADER_VERSION,
        utsname: Utsname {
            sysname: Utsname::field("Linux"),
            release: Utsname::field("6.1.0-primitives"),
            machine: Utsname::field("x86_64"),
            ..Utsname::default()
        },
        timestamp_sec: 1_700_000_000,
        timestamp_usec: 0,
        status: DUMP_DH_COMPRESSED_ZLIB,
        block_size: PAGE as u32,
        sub_hdr_size: u32::try_from(layout.sub_hdr_blocks)?,
        bitmap_blocks: u32::try_from(layout.bitmap_blocks())?,
        max_mapnr: u32::try_from(max_mapnr)?,
        total_ram_blocks: guest.len() as u32,
        device_blocks: 0,
        written_blocks: guest.len() as u32,
        current_cpu: 0,
        nr_cpus: 1,
    }
    .encode(abi.encoding(), &mut main)?;
    writer.write_at(0, &main)?;
    writer.finish()?.into_inner().map_err(|e| e.into_error())?;
    Ok(())
}

/// An ELF core: PT_NOTE, and a PT_LOAD for each run of pages.
fn elf() -> Result<Vec<u8>> {
    let notes = notes(LE64.order)?;
    let guest = guest();
    let mut loads: Vec<(u64, Vec<u8>)> = Vec::new();
    for (frame, page) in guest {
        let address = frame * PAGE as u64;
        match loads.last_mut() {
            Some((start, bytes)) if *start + bytes.len() as u64 == address => bytes.extend(page),
            _ => loads.push((address, page)),
        }
    }
    let mut header = FileHeader::new(LE64, ET_CORE, EM_X86_64);
    header.phoff = header.ehsize.into();
    header.phnum = u16::try_from(1 + loads.len())?;
    let notes_at = header.phoff + u64::from(header.phnum) * u64::from(header.phentsize);
    let mut offset = (notes_at + notes.len() as u64).next_multiple_of(PAGE as u64);
    let mut core = Vec::new();
    header.encode(&mut core)?;
    ProgramHeader {
        kind: PT_NOTE,
        offset: notes_at,
        filesz: notes.len() as u64,
        memsz: notes.len() as u64,
        align: 4,
        ..ProgramHeader::default()
    }
    .encode(LE64, &mut core)?;
    for (address, bytes) in &loads {
        ProgramHeader {
            kind: PT_LOAD,
            flags: PF_RWX,
            offset,
            vaddr: *address,
            paddr: *address,
            filesz: bytes.len() as u64,
            memsz: bytes.len() as u64,
            align: 0,
        }
        .encode(LE64, &mut core)?;
        offset += bytes.len() as u64;
    }
    core.extend(&notes);
    core.resize(core.len().next_multiple_of(PAGE), 0);
    core.extend(loads.into_iter().flat_map(|(_, bytes)| bytes));
    for header in program_headers(&core)? {
        assert!(part(&core, header.offset..header.offset + header.filesz).is_ok());
    }
    Ok(core)
}
