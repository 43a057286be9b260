#!/usr/bin/env python3
"""Compares each page of a dump, read by drgn, with a file of the same memory.

drgn_pages.py DUMP SOURCE GPA:SIZE:OFFSET...

Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE from byte OFFSET on.
The page after a range must not be in the dump, if it is in no other range. Prints one line; exit
code 0 if all is equal.
"""

import sys
from typing import BinaryIO

import drgn
import page_range
from page_range import PageRange

PIECE = 1 << 20
PAGE = 4096


def first_difference(a: bytes, b: bytes) -> int:
    """Returns the index of the first byte that differs."""
    return next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)


def compare(program: drgn.Program, source: BinaryIO, part: PageRange) -> None:
    """Raises ValueError at the first byte that differs."""
    source.seek(part.offset)
    for done in range(0, part.size, PIECE):
        length = min(PIECE, part.size - done)
        expected = source.read(length)
        if len(expected) != length:
            raise ValueError(f"source: ends before offset {part.offset + done + length:#x}")
        found = program.read(part.gpa + done, length, physical=True)
        if found != expected:
            at = part.gpa + done + first_difference(found, expected)
            raise ValueError(f"byte {at:#x} differs")


def page_beyond(program: drgn.Program, ranges: list[PageRange]) -> int | None:
    """Returns the address of a page that is in the dump and in no range."""
    starts = {part.gpa for part in ranges}
    # drgn takes addresses modulo this.
    wide = program.platform and program.platform.flags & drgn.PlatformFlags.IS_64_BIT
    last = (1 << (64 if wide else 32)) - PAGE
    for part in ranges:
        end = part.gpa + part.size
        if end in starts or end > last:
            continue
        try:
            program.read(end, PAGE, physical=True)
        except drgn.FaultError:
            continue
        return end
    return None


def main(dump: str, source_path: str, *arguments: str) -> int:
    """Compares all ranges."""
    ranges = page_range.parse(arguments)
    if not ranges:
        print("drgn_pages.py: no range to compare")
        return 2
    try:
        program = drgn.Program()
        program.set_core_dump(dump)
        with open(source_path, "rb") as source:
            for part in ranges:
                compare(program, source, part)
    except Exception as error:
        print(f"drgn: {error}")
        return 1
    beyond = page_beyond(program, ranges)
    if beyond is not None:
        print(f"drgn: the page at {beyond:#x} is in the dump, but no RAM")
        return 1
    print(f"drgn: {sum(part.size for part in ranges) // PAGE} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
