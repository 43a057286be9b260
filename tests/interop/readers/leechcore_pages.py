#!/usr/bin/env python3
"""Compares each page of an ELF dump, read by LeechCore, with a file of the
same memory.

leechcore_pages.py DUMP SOURCE GPA:SIZE:OFFSET...

Arguments as of drgn_pages.py. LeechCore's memory map must be just these
ranges. Prints one line; exit code 0 if all is equal.
"""

import sys

import leechcorepyc

sys.dont_write_bytecode = True  # No __pycache__ in the checkout.
import drgn_pages


class Memory:
    """A dump that LeechCore opened, with the `read` that drgn's programs have."""

    def __init__(self, dump):
        self.device = leechcorepyc.LeechCore(f"file://{dump}")

    def ranges(self):
        return sorted((part["base"], part["size"]) for part in self.device.memmap)

    def read(self, address, size, physical):
        assert physical
        # Raises if a page is missing, unless told to pad with zeros.
        return self.device.read(address, size)


def main(dump, source_path, *arguments):
    ranges = [tuple(int(n, 0) for n in r.split(":")) for r in arguments]
    if not ranges:
        print("leechcore_pages.py: no range to compare")
        return 2
    try:
        memory = Memory(dump)
        # A file that LeechCore does not know is raw memory to it.
        if memory.ranges() != sorted((gpa, size) for gpa, size, _ in ranges):
            found = " ".join(f"{gpa:#x}:{size:#x}" for gpa, size in memory.ranges())
            raise ValueError(f"the memory map is {found}")
        with open(source_path, "rb") as source:
            for gpa, size, offset in ranges:
                drgn_pages.compare(memory, source, gpa, size, offset)
    except Exception as error:  # LeechCore has no common base class.
        print(f"LeechCore: {error}")
        return 1
    pages = sum(size for _, size, _ in ranges) // drgn_pages.PAGE
    print(f"LeechCore: {pages} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
