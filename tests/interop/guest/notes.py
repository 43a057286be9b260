#!/usr/bin/env python3
"""Takes the notes of QEMU's ELF dump apart.

notes.py ELF OUT: writes OUT/vmcoreinfo.txt, the text of the VMCOREINFO note,
and OUT/map.json, the map for `guestdump dump --from raw:OUT/ram --map`: one
range from 0 and the registers of each CPU, from QEMU's CPU state notes.
"""

import json
import os
import struct
import sys

PT_NOTE = 4
GENERAL = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
SEGMENTS = "cs ds es fs gs ss ldt tr gdt idt".split()
TABLES = ("gdt", "idt")  # Base and limit only.


def notes(path):
    """Gives (name, type, descriptor) of each note of a little-endian ELF64 file."""
    with open(path, "rb") as file:
        header = file.read(64)
        (phoff,) = struct.unpack_from("<Q", header, 32)
        (phentsize, phnum) = struct.unpack_from("<HH", header, 54)
        for i in range(phnum):
            file.seek(phoff + i * phentsize)
            kind, _, offset, _, _, size, _, _ = struct.unpack("<IIQQQQQQ", file.read(56))
            if kind != PT_NOTE:
                continue
            file.seek(offset)
            data = file.read(size)
            at = 0
            while at + 12 <= len(data):
                namesz, descsz, kind = struct.unpack_from("<III", data, at)
                at += 12
                name = data[at : at + namesz].rstrip(b"\0").decode()
                at += (namesz + 3) & ~3
                yield name, kind, data[at : at + descsz]
                at += (descsz + 3) & ~3


def registers(state):
    """QEMUCPUState, version 1, as named registers."""
    version, size = struct.unpack_from("<II", state)
    if version != 1:
        raise SystemExit(f"notes.py: QEMU CPU state version {version}")
    values = struct.unpack_from("<18Q", state, 8)
    result = {name: hex(value) for name, value in zip(GENERAL, values)}
    for i, name in enumerate(SEGMENTS):
        selector, limit, flags, _, base = struct.unpack_from("<IIIIQ", state, 152 + 24 * i)
        result[name] = {"base": hex(base), "limit": limit}
        if name not in TABLES:
            result[name] |= {"selector": selector, "flags": hex(flags)}
    for i, value in enumerate(struct.unpack_from("<5Q", state, 392)):
        if i != 1:  # There is no cr1; QEMU keeps a slot for it.
            result[f"cr{i}"] = hex(value)
    if size >= 440:
        result["kernel_gs_base"] = hex(struct.unpack_from("<Q", state, 432)[0])
    return result


def main(elf, out):
    cpus = []
    vmcoreinfo = None
    for name, _, data in notes(elf):
        if name == "QEMU":
            cpus.append(registers(data))
        elif name == "VMCOREINFO":
            vmcoreinfo = data.rstrip(b"\0")
    if vmcoreinfo is None:
        raise SystemExit(f"notes.py: {elf} has no VMCOREINFO note: did the guest load qemu_fw_cfg?")
    with open(os.path.join(out, "vmcoreinfo.txt"), "wb") as file:
        file.write(vmcoreinfo)
    size = os.path.getsize(os.path.join(out, "ram"))
    ram_map = {
        "machine": "x86_64",
        "page_size": 4096,
        "regions": [{"gpa": 0, "size": size, "offset": 0}],
        "cpus": cpus,
    }
    with open(os.path.join(out, "map.json"), "w", encoding="utf-8") as file:
        json.dump(ram_map, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
