#!/usr/bin/env python3
"""Compares the PT_LOADs of two ELF dumps of one guest.

same_memory.py [--part] DUMP REFERENCE

They must be at the same guest-physical addresses, with the same bytes. With --part DUMP may have
less than REFERENCE. Prints one line; exit code 0 if so.
"""

import sys

import elf

PIECE = 1 << 20


def main(*arguments: str) -> int:
    """Compares the dumps."""
    part = arguments[0] == "--part"
    ours, theirs = (elf.Elf(path) for path in arguments[-2:])
    loads, reference = ours.loads(), theirs.loads()
    places = [(load.paddr, load.size) for load in loads]
    expected = [(load.paddr, load.size) for load in reference]
    if not part and places != expected:
        print(f"PT_LOADs are {places}, not {expected} (address, size)")
        return 1
    total = 0
    for load in loads:
        for done in range(0, load.size, PIECE):
            at, length = load.paddr + done, min(PIECE, load.size - done)
            inside = (x for x in reference if x.paddr <= at and at + length <= x.paddr + x.size)
            other = next(inside, None)
            if not other:
                print(f"{at:#x} is in no PT_LOAD of {arguments[-1]}")
                return 1
            theirs_at = other.offset + at - other.paddr
            if ours.read(load.offset + done, length) != theirs.read(theirs_at, length):
                print(f"memory between {at:#x} and {at + length:#x} differs")
                return 1
            total += length
    print(f"{len(loads)} PT_LOADs, {total // 4096} pages equal to QEMU's")
    return 0 if total else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
