//! Memory devices: which part of their memory is the guest's RAM.
//!
//! - virtio-mem: the blocks that are plugged.
//! - virtio-pmem and nvdimm: none. It is persistent memory.
//! - sgx-epc: none. It cannot be read.
//!
//! Sources: `query-memory-devices` in QEMU `qapi/machine.json`; the rules of QEMU's own dump are
//! `guest_phys_blocks_region_add` in QEMU `system/memory_mapping.c`, which omits blocks that are not
//! plugged and memory that is not volatile.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use serde_json::{Value, json};

use crate::elf::{PT_LOAD, ProgramHeader};
use crate::memory::MemoryRange;
use crate::qemu::error::QemuError;
use crate::qemu::flat_view::RamPiece;
use crate::qemu::qmp::{Qmp, answer};
use crate::read::elf::headers::{read_header, read_program_headers};
use crate::read::{Input, VmcoreError};

const COMMAND: &str = "query-memory-devices";
/// The name by which QEMU knows the file for the headers of its dump.
const HEADERS_FD: &str = "guestdump-headers";
/// Bytes of that file, at first and at most. The headers of a dump come first in it.
const FIRST: u64 = 64 << 10;
const MOST: u64 = 16 << 20;

/// The memory devices of a guest that are not RAM as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryDevices {
    /// Memory that is no RAM.
    absent: Vec<MemoryRange>,
    /// virtio-mem devices that are plugged in part.
    partial: Vec<Partial>,
}

/// A virtio-mem device, of which the guest has plugged some blocks.
#[derive(Debug, PartialEq, Eq)]
struct Partial {
    id: String,
    range: MemoryRange,
    /// Bytes in the blocks that are plugged.
    plugged: u64,
}

impl MemoryDevices {
    /// Asks QEMU for the guest's memory devices.
    pub(super) fn ask(qmp: &mut Qmp) -> Result<Self, QemuError> {
        match qmp.execute(COMMAND, json!({})) {
            Ok(devices) => Self::of_answer(&devices),
            // A QEMU from before 2.1, which has no such devices.
            Err(QemuError::Refused { class, .. }) if class == "CommandNotFound" => {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    fn of_answer(devices: &Value) -> Result<Self, QemuError> {
        let mut found = Self::default();
        for device in devices.as_array().into_iter().flatten() {
            found
                .add(device)
                .ok_or_else(|| answer(COMMAND, &device.to_string()))?;
        }
        Ok(found)
    }

    /// Adds a device; `None` if its description is not understood.
    fn add(&mut self, device: &Value) -> Option<()> {
        let data = |name: &str| device.get("data")?.get(name)?.as_u64();
        let range = |size: &str| MemoryRange::new(data("memaddr")?, data(size)?).ok();
        match device.get("type")?.as_str()? {
            // The processor encrypts the memory of SGX, and does not let others read it.
            "virtio-pmem" | "sgx-epc" => self.absent.push(range("size")?),
            // Old versions of QEMU show it as RAM.
            "nvdimm" => {
                let range = MemoryRange::new(data("addr")?, data("size")?);
                self.absent.push(range.ok()?);
            }
            "virtio-mem" => {
                let (range, plugged) = (range("max-size")?, data("size")?);
                if plugged == 0 {
                    self.absent.push(range);
                } else if plugged < range.size() {
                    let id = device.pointer("/data/id").and_then(Value::as_str);
                    self.partial.push(Partial {
                        id: id.unwrap_or_default().to_owned(),
                        range,
                        plugged,
                    });
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Removes from `pieces` what is known to be no RAM while the guest runs. Devices that are
    /// plugged in part stay whole.
    pub(super) fn cut(&self, pieces: Vec<RamPiece>) -> Vec<RamPiece> {
        self.absent.iter().fold(pieces, |pieces, absent| {
            let parts = |piece: RamPiece| piece.without(*absent);
            pieces.into_iter().flat_map(parts).collect()
        })
    }

    /// Removes from `pieces` all that is no RAM. The guest must be stopped.
    pub(super) fn cut_exactly(
        &self,
        qmp: &mut Qmp,
        pieces: Vec<RamPiece>,
    ) -> Result<Vec<RamPiece>, QemuError> {
        let pieces = self.cut(pieces);
        if self.partial.is_empty() {
            return Ok(pieces);
        }
        self.keep_plugged(&dumped_ranges(qmp)?, pieces)
    }

    /// Keeps of each device that is plugged in part what is in `dumped`, which ascends.
    fn keep_plugged(
        &self,
        dumped: &[MemoryRange],
        mut pieces: Vec<RamPiece>,
    ) -> Result<Vec<RamPiece>, QemuError> {
        for Partial { id, range, plugged } in &self.partial {
            let here = overlapping(dumped, range);
            let here = here.filter_map(|dumped| dumped.intersection(range));
            let here: Vec<_> = here.collect();
            let listed = here.iter().map(MemoryRange::size).sum();
            if listed != *plugged {
                return Err(QemuError::Plugged {
                    id: id.clone(),
                    plugged: *plugged,
                    listed,
                });
            }
            let parts = |piece: RamPiece| {
                if piece.range.intersection(range).is_none() {
                    return vec![piece];
                }
                let inside = overlapping(&here, &piece.range);
                let inside = inside.filter_map(|part| piece.part(*part));
                let mut parts: Vec<_> = inside.collect();
                parts.extend(piece.without(*range));
                parts.sort_by_key(|part| part.range.start());
                parts
            };
            pieces = pieces.into_iter().flat_map(parts).collect();
        }
        Ok(pieces)
    }
}

/// Returns those of `all`, which ascend and do not overlap, that overlap `range`.
fn overlapping<'a>(
    all: &'a [MemoryRange],
    range: &MemoryRange,
) -> impl Iterator<Item = &'a MemoryRange> {
    let (start, end) = (range.start(), range.end());
    let first = all.partition_point(|one| one.end() <= start);
    all[first..].iter().take_while(move |one| one.start() < end)
}

/// Returns the memory that a dump by QEMU would contain, in ascending order.
///
/// QEMU has no command that lists it. So QEMU begins a dump into a file that cannot grow. The
/// headers come first, and the dump then fails.
fn dumped_ranges(qmp: &mut Qmp) -> Result<Vec<MemoryRange>, QemuError> {
    let mut size = FIRST;
    loop {
        let file = file_of(size).map_err(QemuError::NotesFile)?;
        qmp.give_fd(HEADERS_FD, file.as_fd())?;
        let arguments = json!({
            "paging": false,
            "protocol": format!("fd:{HEADERS_FD}"),
            "format": "elf",
        });
        let refused = match qmp.execute("dump-guest-memory", arguments) {
            Ok(_) => None,
            Err(error @ QemuError::Refused { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        match (ranges_in(file), refused) {
            (Ok(Some(ranges)), _) => return Ok(ranges),
            // QEMU did not begin.
            (Ok(None), Some(refused)) => return Err(refused),
            (Ok(None), None) => return Err(VmcoreError::NotADump(None).into()),
            (Err(VmcoreError::Truncated { .. }), _) if size < MOST => size = MOST.min(size * 16),
            (Err(error), _) => return Err(error.into()),
        }
    }
}

/// Makes a file in memory that has `size` bytes and cannot grow.
fn file_of(size: u64) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create(HEADERS_FD, flags)?);
    file.set_len(size)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

/// Returns the memory of all PT_LOADs in the headers of `file`, in ascending order. `None` if it has no
/// ELF header. Memory that is no whole page is rounded down.
///
/// The memory itself is not in the file, and may be far more than a dump of this length may state.
fn ranges_in(file: File) -> Result<Option<Vec<MemoryRange>>, VmcoreError> {
    let input = Input::open(Arc::new(file))?;
    let Some(header) = read_header(&input)? else {
        return Ok(None);
    };
    let headers = read_program_headers(&input, &header)?;
    let range = |header: &ProgramHeader| MemoryRange::new(header.paddr, header.memsz).ok();
    let loads = headers.iter().filter(|h| h.kind == PT_LOAD);
    let mut ranges: Vec<_> = loads.filter_map(range).collect();
    ranges.sort_by_key(MemoryRange::start);
    Ok(Some(ranges))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{BufRead, BufReader, IoSliceMut, Write};
    use std::mem::MaybeUninit;
    use std::os::unix::net::UnixListener;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::abi::{ByteOrder, Class, Encoding};
    use crate::elf::{ET_CORE, FileHeader};
    use crate::qemu::flat_view::pieces;
    use crate::qemu::include::Include;
    use crate::workers::Progress;

    const MIB: u64 = 1 << 20;

    fn range(start: u64, size: u64) -> MemoryRange {
        MemoryRange::new(start, size).unwrap()
    }

    fn virtio_mem(plugged: u64) -> Value {
        json!({ "type": "virtio-mem", "data": {
            "id": "vm0", "memdev": "/objects/m0", "memaddr": 0x1_0000_0000u64,
            "block-size": 2 * MIB, "size": plugged, "max-size": 16 * MIB,
            "requested-size": 8 * MIB, "node": 0,
        }})
    }

    fn devices(list: &[Value]) -> MemoryDevices {
        MemoryDevices::of_answer(&Value::from(list)).unwrap()
    }

    /// 64 MiB of RAM, a virtio-mem device, and memory after it.
    fn ram() -> Vec<RamPiece> {
        let text = " AS \"memory\", root: system\n  \
            0000000000000000-0000000003ffffff (prio 0, ram): pc.ram\n  \
            0000000100000000-0000000100ffffff (prio 0, ram): m0 @0000000000001000\n  \
            0000000101000000-0000000101ffffff (prio 0, ram): m1\n";
        let backends = ["pc.ram", "m0", "m1"].map(str::to_owned);
        pieces(text, &backends, Include::default()).unwrap()
    }

    fn list(pieces: &[RamPiece]) -> Vec<(u64, u64)> {
        let of = |piece: &RamPiece| (piece.range.start(), piece.range.size() / MIB);
        pieces.iter().map(of).collect()
    }

    #[test]
    fn nothing_plugged_and_persistent_memory_are_no_ram() {
        let pmem = json!({ "type": "virtio-pmem", "data": {
            "id": "nv1", "memdev": "/objects/m1", "memaddr": 0x1_0100_0000u64, "size": 16 * MIB,
        }});
        let dimm = json!({ "type": "dimm", "data": { "addr": 0x1_0000_0000u64 } });
        let (low, device, last) = ((0, 64), (1 << 32, 16), (0x1_0100_0000, 16));
        let cut = |list_of: &[Value]| list(&devices(list_of).cut(ram()));
        assert_eq!(cut(&[]), [low, device, last]);
        assert_eq!(cut(&[dimm]), [low, device, last]);
        assert_eq!(cut(&[virtio_mem(0)]), [low, last]);
        assert_eq!(cut(&[virtio_mem(16 * MIB)]), [low, device, last]);
        assert_eq!(cut(&[virtio_mem(0), pmem]), [low]);
        let nvdimm = json!({ "type": "nvdimm", "data": {
            "id": "n", "addr": 0x1_0100_0000u64, "size": 16 * MIB, "slot": 0, "node": 0,
            "memdev": "/objects/m1", "hotpluggable": true, "hotplugged": false,
        }});
        assert_eq!(cut(&[nvdimm]), [low, device]);
        let epc = json!({ "type": "sgx-epc", "data": {
            "memaddr": 0x1_0000_0000u64, "size": 16 * MIB, "node": 0, "memdev": "/objects/m0",
        }});
        assert_eq!(cut(&[epc]), [low, last]);
        // Until the guest is stopped.
        assert_eq!(cut(&[virtio_mem(2 * MIB)]), [low, device, last]);
    }

    #[test]
    fn plugged_blocks_are_those_that_qemu_would_dump() {
        let devices = devices(&[virtio_mem(6 * MIB)]);
        // QEMU joins what continues.
        let dumped = [
            range(0, 64 * MIB),
            range((1 << 32) + 2 * MIB, 4 * MIB),
            range((1 << 32) + 14 * MIB, 8 * MIB),
        ];
        let kept = devices.keep_plugged(&dumped, ram()).unwrap();
        assert_eq!(
            list(&kept),
            [
                (0, 64),
                ((1 << 32) + 2 * MIB, 4),
                ((1 << 32) + 14 * MIB, 2),
                ((1 << 32) + 16 * MIB, 16),
            ]
        );
        assert!(kept[1].offset() == 0x1000 + 2 * MIB && kept[2].offset() == 0x1000 + 14 * MIB);
        // A QEMU whose dump does not know of plugged blocks.
        let all = devices.keep_plugged(&[range(0, 8 << 30)], ram());
        assert!(matches!(
            all,
            Err(QemuError::Plugged { plugged, listed, .. })
                if plugged == 6 * MIB && listed == 16 * MIB
        ));
    }

    #[test]
    fn descriptions_that_are_not_understood_are_an_error() {
        for device in [
            json!({}),
            json!({ "type": "virtio-mem" }),
            json!({ "type": "nvdimm", "data": { "memaddr": 4096, "size": 4096 } }),
            json!({ "type": "sgx-epc" }),
            json!({ "type": "virtio-pmem", "data": { "memaddr": 1, "size": 4096 } }),
            json!({ "type": "virtio-mem", "data": { "memaddr": 0, "max-size": 0, "size": 0 } }),
        ] {
            let found = MemoryDevices::of_answer(&json!([device]));
            assert!(matches!(found, Err(QemuError::Answer { .. })), "{device}");
        }
    }

    /// Asks a QEMU that refuses with an error of this class.
    fn refused(class: &'static str) -> Result<MemoryDevices, QemuError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                let request: Value = serde_json::from_str(&line).unwrap();
                let mut answer = json!({ "return": {}, "id": request["id"] });
                if request["execute"] == COMMAND {
                    let error = json!({ "class": class, "desc": "no" });
                    answer = json!({ "error": error, "id": request["id"] });
                }
                stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        });
        let mut qmp = Qmp::connect(&path, Progress::new()).unwrap();
        let result = MemoryDevices::ask(&mut qmp);
        drop(qmp);
        server.join().unwrap();
        result
    }

    #[test]
    fn only_a_qemu_without_the_command_has_no_devices() {
        assert_eq!(
            refused("CommandNotFound").unwrap(),
            MemoryDevices::default()
        );
        let error = refused("GenericError").unwrap_err();
        assert!(matches!(error, QemuError::Refused { class, .. } if class == "GenericError"));
    }

    #[test]
    fn many_plugged_blocks_take_little_time() {
        // 128 GiB in blocks of 2 MiB, of which every other one is plugged, in as many pieces.
        let blocks = 1 << 16;
        let at = |n: u64| (1u64 << 32) + n * 2 * MIB;
        let mut text = String::from(" AS \"memory\", root: system\n");
        for n in 0..blocks {
            let (start, last, offset) = (at(n), at(n + 1) - 1, (blocks - n) * 2 * MIB);
            text += &format!("  {start:016x}-{last:016x} (prio 0, ram): m0 @{offset:016x}\n");
        }
        let pieces = pieces(&text, &["m0".to_owned()], Include::default()).unwrap();
        assert_eq!(pieces.len() as u64, blocks);
        let dumped: Vec<_> = (0..blocks / 2).map(|n| range(at(2 * n), 2 * MIB)).collect();
        let devices = devices(&[json!({ "type": "virtio-mem", "data": {
            "id": "vm0", "memaddr": 1u64 << 32, "size": blocks * MIB, "max-size": blocks * 2 * MIB,
        }})]);
        let start = std::time::Instant::now();
        let kept = devices.keep_plugged(&dumped, pieces).unwrap();
        assert_eq!(kept.len(), dumped.len());
        // Each piece with each block took minutes.
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }

    /// Plays QEMU: writes `dump` until the file is full. Returns how often it was asked for a dump.
    fn serve(listener: &UnixListener, dump: &[u8]) -> usize {
        let (mut stream, _) = listener.accept().unwrap();
        let mut fd: Option<File> = None;
        let mut dumps = 0;
        stream.write_all(b"{\"QMP\": {}}\n").unwrap();
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut buf = [0; 4096];
            let mut parts = [IoSliceMut::new(&mut buf)];
            let received = recvmsg(&stream, &mut parts, &mut control, RecvFlags::empty());
            let len = received.map_or(0, |received| received.bytes);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    fd = fds.map(File::from).last();
                }
            }
            if len == 0 {
                return dumps;
            }
            let request: Value = serde_json::from_slice(&buf[..len]).unwrap();
            let mut answer = json!({ "return": {}, "id": request["id"] });
            if request["execute"] == "dump-guest-memory" {
                dumps += 1;
                let written = fd.take().unwrap().write_all(dump);
                assert!(written.is_err());
                let error =
                    json!({ "class": "GenericError", "desc": "dump: failed to save memory" });
                answer = json!({ "error": error, "id": request["id"] });
            }
            stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
    }

    /// The headers of QEMU's dump of every other block of `block_size` from 4 GiB on, and 1 MiB of
    /// memory.
    fn dump_of(blocks: u64, block_size: u64) -> Vec<u8> {
        let encoding = Encoding {
            class: Class::Bits64,
            order: ByteOrder::Little,
        };
        let size = ProgramHeader::size(encoding.class) as u64;
        let mut header = FileHeader::new(encoding, ET_CORE, 62);
        header.phoff = header.ehsize.into();
        header.phnum = blocks as u16;
        let mut bytes = Vec::new();
        header.encode(&mut bytes).unwrap();
        let memory_at = header.phoff + blocks * size;
        for block in 0..blocks {
            let load = ProgramHeader {
                kind: PT_LOAD,
                offset: memory_at + block * block_size,
                paddr: (1 << 32) + block * 2 * block_size,
                filesz: block_size,
                memsz: block_size,
                ..ProgramHeader::default()
            };
            load.encode(encoding, &mut bytes).unwrap();
        }
        bytes.resize(bytes.len() + MIB as usize, 7);
        bytes
    }

    /// Asks for the ranges that `dump_of` has. Returns how many dumps that took.
    fn asked(blocks: u64, block_size: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let dump = dump_of(blocks, block_size);
        let server = std::thread::spawn(move || serve(&listener, &dump));
        let mut qmp = Qmp::connect(&path, Progress::new()).unwrap();
        let found = dumped_ranges(&mut qmp).unwrap();
        drop(qmp);
        let expected = (0..blocks).map(|n| range((1 << 32) + n * 2 * block_size, block_size));
        assert_eq!(found, expected.collect::<Vec<_>>());
        server.join().unwrap()
    }

    #[test]
    fn the_list_comes_from_the_headers_of_a_dump_that_cannot_be_written() {
        assert_eq!(asked(3, 2 * MIB), 1);
        // The headers of 5000 blocks are longer than the file at first.
        assert_eq!(asked(5000, 2 * MIB), 2);
    }

    #[test]
    fn the_list_may_have_far_more_memory_than_the_file_has_bytes() {
        assert_eq!(asked(2, 100 << 30), 1);
    }
}
