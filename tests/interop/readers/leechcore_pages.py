#!/usr/bin/env python3
"""Compares each page of a dump, read by LeechCore, with a file of the same memory.

leechcore_pages.py DUMP SOURCE GPA:SIZE:OFFSET...

Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE from byte OFFSET on.
LeechCore's memory map must be just these ranges. Prints one line; exit code 0 if all is equal.
"""

import sys
from typing import BinaryIO

import leechcorepyc
import page_range
from page_range import PageRange

PIECE = 1 << 20
PAGE = 4096


class Memory:
    """A dump that LeechCore opened."""

    def __init__(self, dump: str) -> None:
        """Opens the dump."""
        self.device = leechcorepyc.LeechCore(f"file://{dump}")

    def ranges(self) -> list[tuple[int, int]]:
        """Returns LeechCore's memory map, in order: address and size."""
        return sorted((part["base"], part["size"]) for part in self.device.memmap)

    def read(self, address: int, size: int) -> bytes:
        """Reads memory. LeechCore raises an exception if a page is missing."""
        data: bytes = self.device.read(address, size)
        return data


def compare(memory: Memory, source: BinaryIO, part: PageRange) -> None:
    """Raises ValueError at the first byte that differs."""
    source.seek(part.offset)
    for done in range(0, part.size, PIECE):
        length = min(PIECE, part.size - done)
        expected = source.read(length)
        if len(expected) != length:
            raise ValueError(f"source: ends before offset {part.offset + done + length:#x}")
        found = memory.read(part.gpa + done, length)
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False))
            at = next((i for i, (x, y) in pairs if x != y), min(len(found), length))
            raise ValueError(f"byte {part.gpa + done + at:#x} differs")


def main(dump: str, source_path: str, *arguments: str) -> int:
    """Compares the memory map and all ranges."""
    ranges = page_range.parse(arguments)
    if not ranges:
        print("leechcore_pages.py: no range to compare")
        return 2
    try:
        memory = Memory(dump)
        # A file that LeechCore does not know is raw memory to it.
        if memory.ranges() != sorted((part.gpa, part.size) for part in ranges):
            found = " ".join(f"{gpa:#x}:{size:#x}" for gpa, size in memory.ranges())
            raise ValueError(f"the memory map is {found}")
        with open(source_path, "rb") as source:
            for part in ranges:
                compare(memory, source, part)
    except Exception as error:
        print(f"LeechCore: {error}")
        return 1
    print(f"LeechCore: {sum(part.size for part in ranges) // PAGE} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
