#!/usr/bin/env python3
"""Moves the program headers of QEMU's ELF dump to where makedumpfile looks for them.

repair_elf.py ELF

makedumpfile ignores e_phoff, so the program headers go directly after the ELF header, over QEMU's
section headers, in place.
"""

import pathlib
import struct
import sys

EHSIZE = 64


def main(path: str) -> None:
    """Rewrites the headers."""
    with pathlib.Path(path).open("r+b") as file:
        header = bytearray(file.read(EHSIZE))
        (phoff,) = struct.unpack_from("<Q", header, 32)
        (phentsize, phnum) = struct.unpack_from("<HH", header, 54)
        file.seek(phoff)
        program_headers = file.read(phentsize * phnum)
        struct.pack_into("<Q", header, 32, EHSIZE)
        struct.pack_into("<Q", header, 40, 0)  # e_shoff
        struct.pack_into("<H", header, 52, EHSIZE)  # e_ehsize
        struct.pack_into("<HHH", header, 58, 0, 0, 0)  # No section headers.
        gap = phoff - EHSIZE
        file.seek(0)
        file.write(header + program_headers + bytes(gap))


if __name__ == "__main__":
    main(sys.argv[1])
