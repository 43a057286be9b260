#!/usr/bin/env python3
"""Takes the notes of QEMU's ELF dump apart.

notes.py OUT --machine M --ram-at ADDRESS: from OUT/qemu-elf, OUT/ram and
OUT/console.log writes OUT/vmcoreinfo.txt, the text of the VMCOREINFO note, and
OUT/map.json, the map for `guestdump dump --from raw:OUT/ram --map`: one range
from ADDRESS on and the registers of each CPU, from QEMU's notes.
"""

import argparse
import json
import os
import re
import struct

from registers import decode

PT_NOTE = 4
ELFCLASS64 = 2


def parse(data, order):
    """Gives (name, type, descriptor) of each note."""
    at = 0
    while at + 12 <= len(data):
        namesz, descsz, kind = struct.unpack_from(order + "III", data, at)
        at += 12
        name = data[at : at + namesz].rstrip(b"\0").decode()
        at += (namesz + 3) & ~3
        yield name, kind, data[at : at + descsz]
        at += (descsz + 3) & ~3


def elf_notes(path):
    """The byte order of an ELF64 file, and its notes."""
    result = []
    with open(path, "rb") as file:
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


def by_cpu(notes):
    """For each CPU a dict from (name, type) to descriptor.

    The n-th note of a kind is that of CPU n, whether QEMU writes CPU after CPU
    or kind after kind.
    """
    cpus = []
    seen = {}
    for name, kind, descriptor in notes:
        if name == "VMCOREINFO":
            continue
        index = seen.setdefault((name, kind), 0)
        seen[name, kind] += 1
        if index == len(cpus):
            cpus.append({})
        cpus[index][name, kind] = descriptor
    return cpus


def vmcoreinfo(out, ram_at, order, notes):
    """The text of the note that the guest's kernel itself points to.

    If QEMU's ELF has the note too, it must be the same.
    """
    with open(os.path.join(out, "console.log"), "rb") as file:
        found = re.search(rb"GUEST-VMCOREINFO (?:0x)?([0-9a-f]+) ([0-9a-f]+)", file.read())
    if found is None:
        raise SystemExit("notes.py: the guest's kernel has no VMCOREINFO")
    address, size = (int(word, 16) for word in found.groups())
    with open(os.path.join(out, "ram"), "rb") as file:
        file.seek(address - ram_at)
        _, _, text = next(parse(file.read(size), order))
    for name, _, descriptor in notes:
        if name == "VMCOREINFO" and descriptor.rstrip(b"\0") != text.rstrip(b"\0"):
            raise SystemExit("notes.py: VMCOREINFO is not what the guest's kernel points to")
    return text.rstrip(b"\0")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--ram-at", type=lambda text: int(text, 0), required=True)
    arguments = parser.parse_args()
    out = arguments.out

    order, notes = elf_notes(os.path.join(out, "qemu-elf"))
    text = vmcoreinfo(out, arguments.ram_at, order, notes)
    with open(os.path.join(out, "vmcoreinfo.txt"), "wb") as file:
        file.write(text)
    ram_map = {
        "machine": arguments.machine,
        "page_size": int(re.search(rb"^PAGESIZE=(\d+)$", text, re.MULTILINE)[1]),
        "regions": [
            {
                "gpa": arguments.ram_at,
                "size": os.path.getsize(os.path.join(out, "ram")),
                "offset": 0,
            }
        ],
        "cpus": [decode(arguments.machine, cpu) for cpu in by_cpu(notes)],
    }
    with open(os.path.join(out, "map.json"), "w", encoding="utf-8") as file:
        json.dump(ram_map, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
