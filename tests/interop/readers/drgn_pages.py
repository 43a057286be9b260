#!/usr/bin/env python3
"""Compares each page of a dump, read by drgn, with a file of the same memory.

drgn_pages.py DUMP SOURCE GPA:SIZE:OFFSET...

Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE
from byte OFFSET on. What lies behind a range and in no other one must not be
in the dump. Prints one line; exit code 0 if all is equal.
"""

import sys

import drgn

PIECE = 1 << 20
PAGE = 4096


def first_difference(a, b):
    return next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)


def compare(program, source, gpa, size, offset):
    """Raises ValueError at the first byte that differs."""
    source.seek(offset)
    for done in range(0, size, PIECE):
        length = min(PIECE, size - done)
        expected = source.read(length)
        if len(expected) != length:
            raise ValueError(f"source: ends before offset {offset + done + length:#x}")
        found = program.read(gpa + done, length, physical=True)
        if found != expected:
            at = gpa + done + first_difference(found, expected)
            raise ValueError(f"byte {at:#x} differs")


def main(dump, source_path, *arguments):
    ranges = [tuple(int(n, 0) for n in r.split(":")) for r in arguments]
    if not ranges:
        print("drgn_pages.py: no range to compare")
        return 2
    try:
        program = drgn.Program()
        program.set_core_dump(dump)
        with open(source_path, "rb") as source:
            for gpa, size, offset in ranges:
                compare(program, source, gpa, size, offset)
    except Exception as error:  # drgn has no common base class.
        print(f"drgn: {error}")
        return 1
    starts = {gpa for gpa, _, _ in ranges}
    # drgn takes addresses modulo this.
    bits = 64 if program.platform.flags & drgn.PlatformFlags.IS_64_BIT else 32
    last = (1 << bits) - PAGE
    for gpa, size, _ in ranges:
        if gpa + size in starts or gpa + size > last:
            continue
        try:
            program.read(gpa + size, PAGE, physical=True)
        except drgn.FaultError:
            continue
        print(f"drgn: the page at {gpa + size:#x} is in the dump, but no RAM")
        return 1
    print(f"drgn: {sum(size for _, size, _ in ranges) // PAGE} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
