#!/usr/bin/env python3
"""Compares an ELF dump that excludes pages with a raw kdump that excludes the same.

elf_without.py DUMP KDUMP SOURCE

SOURCE is an ELF dump with all pages. The PT_LOADs must be those of SOURCE. A page that KDUMP lacks
must be zero, and all others must be as in SOURCE. Prints one line; exit code 0 if so.
"""

import sys

import elf
import kdump

AT_ONCE = 1 << 22


def main(dump: str, reference: str, source: str) -> int:
    """Compares the dumps."""
    ours, full, kept = elf.Elf(dump), elf.Elf(source), kdump.Kdump(reference)
    page = kept.block_size
    places = [(load.paddr, load.size) for load in full.loads()]
    if places != [(load.paddr, load.size) for load in ours.loads()]:
        print("other PT_LOADs than without a dump level")
        return 1
    missing = set(kdump.frames(kept.missing()))
    zeroed = 0
    for load, all_of_it in zip(ours.loads(), full.loads(), strict=True):
        for at in range(0, load.size, AT_ONCE):
            size = min(AT_ONCE, load.size - at)
            expected = bytearray(all_of_it.read_at(full, at, size))
            for offset in range(0, size, page):
                frame = (load.paddr + at + offset) // page
                if frame in missing:
                    end = min(offset + page, size)
                    expected[offset:end] = bytes(end - offset)
                    zeroed += 1
            if expected != load.read_at(ours, at, size):
                print(f"other bytes in {size} from guest-physical {load.paddr + at:#x} on")
                return 1
    print(f"{zeroed} pages are zeroes, all others are as they were")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
