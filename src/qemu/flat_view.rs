//! Parses the human monitor's description of guest memory as the guest's CPUs see it.
//!
//! Source: the output of `info mtree -f` and `gpa2hva` of QEMU 7.2 and 10.0.

use crate::memory::{MIN_PAGE_SIZE, MemoryRange};
use crate::qemu::include::Include;

/// A piece of guest memory that lies in one memory region of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RamPiece {
    pub(super) range: MemoryRange,
    region: String,
    /// Offset of the piece in its region, in bytes.
    offset: u64,
    /// Guest-physical address at which the memory begins from which this piece was cut. Both are
    /// contiguous in QEMU's process.
    pub(super) from: u64,
}

/// Returns the pieces of the address space `memory` that belong in a dump, in ascending order.
/// Returns `None` if `text` contains no such address space. `backends` are the names of the guest's
/// memory backends.
///
/// RAM is memory that lies in a memory backend. On x86 it includes memory that the firmware has
/// write-protected for its own copy.
pub(super) fn pieces(text: &str, backends: &[String], include: Include) -> Option<Vec<RamPiece>> {
    let mut lines = text.lines();
    lines.find(|line| line.trim_start().starts_with("AS \"memory\","))?;
    let mut pieces: Vec<RamPiece> = Vec::new();
    for line in lines.take_while(|line| !line.trim().is_empty()) {
        let Some((kind, piece)) = parse(line) else {
            continue;
        };
        // Boards from before QEMU 5 give the backend's full path.
        let name = piece.region.rsplit('/').next().unwrap_or_default();
        let is_ram = backends.iter().any(|backend| backend == name);
        let wanted = match kind {
            "ram" | "rom" if is_ram => true,
            "ram" => include.vram,
            "rom" | "romd" => include.rom,
            // These are registers of devices, memory of host devices, and NVDIMMs, which are
            // persistent memory.
            _ => false,
        };
        if !wanted {
            continue;
        }
        let joined = pieces.last().and_then(|last| last.joined(&piece));
        match (joined, pieces.last_mut()) {
            (Some(joined), Some(last)) => last.range = joined,
            _ => pieces.push(piece),
        }
    }
    Some(pieces)
}

impl RamPiece {
    /// Returns the part of this piece that lies in `range`.
    pub(super) fn part(&self, range: MemoryRange) -> Option<Self> {
        let range = self.range.intersection(&range)?;
        Some(Self {
            range,
            region: self.region.clone(),
            offset: self.offset + (range.start() - self.range.start()),
            from: self.from,
        })
    }

    /// Returns the parts of this piece that do not lie in `range`, in ascending order.
    pub(super) fn without(&self, range: MemoryRange) -> Vec<Self> {
        let before = range.start().checked_sub(self.range.start());
        let before = before.and_then(|size| MemoryRange::new(self.range.start(), size).ok());
        let after = self.range.starting_at(range.end());
        let parts = [before, after].into_iter().flatten();
        parts.filter_map(|part| self.part(part)).collect()
    }

    /// Returns the offset of the piece in its region, in bytes.
    #[cfg(test)]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns this piece's range joined with that of `next`, if `next` continues in the same
    /// region.
    fn joined(&self, next: &Self) -> Option<MemoryRange> {
        let follows = self.region == next.region
            && self.range.end() == next.range.start()
            && self.offset.checked_add(self.range.size()) == Some(next.offset);
        let size = self.range.size().checked_add(next.range.size())?;
        follows.then(|| MemoryRange::new(self.range.start(), size).ok())?
    }
}

/// Parses a line such as `0000000000100000-0000000003ffffff (prio 0, ram): pc.ram
/// @0000000000100000`. Returns its type, and its piece cut to whole pages.
fn parse(line: &str) -> Option<(&str, RamPiece)> {
    let (addresses, rest) = line.trim().split_once(" (prio ")?;
    let (first, last) = addresses.split_once('-')?;
    let (first, last) = (hex(first)?, hex(last)?);
    let (kind, name) = rest.split_once("): ")?;
    let (_, kind) = kind.split_once(", ")?;
    let name = name.strip_suffix(" KVM").unwrap_or(name);
    let (region, offset) = match name.rsplit_once(" @") {
        Some((region, offset)) => (region, hex(offset)?),
        None => (name, 0),
    };
    let start = first.checked_next_multiple_of(MIN_PAGE_SIZE)?;
    let size = last.checked_add(1)?.checked_sub(start)?;
    let piece = RamPiece {
        range: MemoryRange::new(start, size - size % MIN_PAGE_SIZE).ok()?,
        region: region.to_owned(),
        offset: offset.checked_add(start - first)?,
        from: start,
    };
    Some((kind, piece))
}

/// Parses the address in `Host virtual address for 0x1000 (pc.ram) is 0x7f08a0000000`.
pub(super) fn host_address(text: &str) -> Option<u64> {
    let (_, address) = text.trim().rsplit_once(" is 0x")?;
    hex(address)
}

fn hex(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n  \
        0000000000000000-0000000000000fff (prio 0, ram): pc.ram\n\nFlatView #1\n \
        AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n \
        Root memory region: system\n  \
        0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM\n  \
        00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n  \
        00000000000c0000-00000000000c9fff (prio 0, rom): pc.ram @00000000000c0000\n  \
        00000000000ca000-00000000bfffffff (prio 0, ram): pc.ram @00000000000ca000 KVM\n  \
        00000000fd000000-00000000fdfffdff (prio 1, ram): vga.vram\n  \
        00000000febf0000-00000000febf017f (prio 0, i/o): edid\n  \
        00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n  \
        0000000100000000-000000013fffffff (prio 0, ram): pc.ram @00000000c0000000\n  \
        0000000140000000-000000014fffffff (prio 0, nv-ram): nv0\n  \
        0000000150000000-000000015fffffff (prio 0, ramd): 0000:00:05.0 mmaps[0]\n\n\
        FlatView #2\n AS \"VGA\", root: x\n  \
        0000000200000000-000000020000ffff (prio 0, ram): pc.ram\n";

    fn ranges(include: Include) -> Vec<(u64, u64)> {
        let backends = ["pc.ram".to_owned()];
        let pieces = pieces(TEXT, &backends, include).unwrap();
        let ends = |p: &RamPiece| (p.range.start(), p.range.end());
        pieces.iter().map(ends).collect()
    }

    #[test]
    fn ram_is_what_lies_in_a_backend() {
        let ram = [
            (0, 0xa_0000),
            (0xc_0000, 0xc000_0000),
            (0x1_0000_0000, 0x1_4000_0000),
        ];
        assert_eq!(ranges(Include::default()), ram);
        let rom = (0xfffc_0000, 0x1_0000_0000);
        let vram = (0xfd00_0000, 0xfdff_f000);
        let all = Include {
            rom: true,
            vram: true,
        };
        assert_eq!(ranges(all), [ram[0], ram[1], vram, rom, ram[2]]);
    }

    #[test]
    fn nonsense_is_not_believed() {
        let parse = |text: &str| pieces(text, &["r".to_owned()], Include::default());
        assert_eq!(parse(""), None);
        assert_eq!(parse("AS \"I/O\", root: io"), None);
        let head = " AS \"memory\", root: system\n";
        for line in [
            "0-ffffffffffffffff (prio 0, ram): r",
            "1-2 (prio 0, ram): r",
            "2000-1000 (prio 0, ram): r",
            "+1000-1fff (prio 0, ram): r",
            "1000-1fff (prio 0, ram): r @x",
            "1000-1fff (prio 0, ram",
        ] {
            assert_eq!(
                parse(&format!("{head}{line}\n")),
                Some(Vec::new()),
                "{line}"
            );
        }
        let text = "Host virtual address for 0x1000 (ram) is 0x7f08a00ff000\r\n";
        assert_eq!(host_address(text), Some(0x7f08_a00f_f000));
        assert_eq!(
            host_address("Memory at address 0xa0000 is not RAM\r\n"),
            None
        );
    }
}
