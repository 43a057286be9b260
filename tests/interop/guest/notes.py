#!/usr/bin/env python3
"""Decodes the notes of QEMU's ELF dump.

notes.py OUT --machine M --ram-at ADDRESS

From OUT/qemu-elf, OUT/ram and OUT/console.log it writes OUT/vmcoreinfo.txt, the text of the
VMCOREINFO note, and OUT/map.json, the map for `guestdump dump --from raw:OUT/ram --map`. The map
has one range from ADDRESS on and the registers of each CPU, from QEMU's notes.
"""

import argparse
import json
import pathlib
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from registers import CpuNotes, decode

PT_NOTE = 4
ELFCLASS64 = 2


class Note(NamedTuple):
    """A note."""

    name: str
    kind: int
    descriptor: bytes


def parse(data: bytes, order: str) -> Iterator[Note]:
    """Yields the notes in a segment."""
    at = 0
    while at + 12 <= len(data):
        namesz, descsz, kind = struct.unpack_from(order + "III", data, at)
        at += 12
        name = data[at : at + namesz].rstrip(b"\0").decode()
        at += (namesz + 3) & ~3
        yield Note(name, kind, data[at : at + descsz])
        at += (descsz + 3) & ~3


def elf_notes(path: pathlib.Path) -> tuple[str, list[Note]]:
    """Returns the byte order of an ELF64 file, and its notes."""
    result: list[Note] = []
    with path.open("rb") as file:
        header = file.read(64)
        if header[4] != ELFCLASS64:
            raise SystemExit(f"notes.py: {path} is not ELF64")
        order = "<" if header[5] == 1 else ">"
        (phoff,) = struct.unpack_from(order + "Q", header, 32)
        (phentsize, phnum) = struct.unpack_from(order + "HH", header, 54)
        for i in range(phnum):
            file.seek(phoff + i * phentsize)
            kind, _, offset, _, _, size, _, _ = struct.unpack(order + "IIQQQQQQ", file.read(56))
            if kind == PT_NOTE:
                file.seek(offset)
                result.extend(parse(file.read(size), order))
    return order, result


def by_cpu(notes: list[Note]) -> list[CpuNotes]:
    """Returns the notes of each CPU.

    The n-th note of a kind is that of CPU n, whether QEMU writes CPU after CPU
    or kind after kind.
    """
    cpus: list[CpuNotes] = []
    seen: dict[tuple[str, int], int] = {}
    for name, kind, descriptor in notes:
        if name == "VMCOREINFO":
            continue
        index = seen.setdefault((name, kind), 0)
        seen[name, kind] += 1
        if index == len(cpus):
            cpus.append({})
        cpus[index][name, kind] = descriptor
    return cpus


def vmcoreinfo(out: pathlib.Path, ram_at: int, order: str, notes: list[Note]) -> bytes:
    """Returns the text of the note to which the guest's kernel itself points.

    If QEMU's ELF has the note too, it must be the same.
    """
    console = (out / "console.log").read_bytes()
    found = re.search(rb"GUEST-VMCOREINFO (?:0x)?([0-9a-f]+) ([0-9a-f]+)", console)
    if found is None:
        raise SystemExit("notes.py: the guest's kernel has no VMCOREINFO")
    address, size = (int(word, 16) for word in found.groups())
    with (out / "ram").open("rb") as file:
        file.seek(address - ram_at)
        text = next(parse(file.read(size), order)).descriptor
    for note in notes:
        if note.name == "VMCOREINFO" and note.descriptor.rstrip(b"\0") != text.rstrip(b"\0"):
            raise SystemExit("notes.py: VMCOREINFO is not what the guest's kernel points to")
    return text.rstrip(b"\0")


def page_size(text: bytes) -> int:
    """Returns the page size that VMCOREINFO states."""
    found = re.search(rb"^PAGESIZE=(\d+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit("notes.py: VMCOREINFO has no PAGESIZE")
    return int(found[1])


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--machine", required=True)
    parser.add_argument("--ram-at", type=lambda text: int(text, 0), required=True)
    arguments = parser.parse_args()
    out: pathlib.Path = arguments.out

    order, notes = elf_notes(out / "qemu-elf")
    text = vmcoreinfo(out, arguments.ram_at, order, notes)
    (out / "vmcoreinfo.txt").write_bytes(text)
    region = {"gpa": arguments.ram_at, "size": (out / "ram").stat().st_size, "offset": 0}
    ram_map = {
        "machine": arguments.machine,
        "page_size": page_size(text),
        "regions": [region],
        "cpus": [decode(arguments.machine, cpu) for cpu in by_cpu(notes)],
    }
    (out / "map.json").write_text(json.dumps(ram_map, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
