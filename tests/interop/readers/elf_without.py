#!/usr/bin/env python3
"""Compares an ELF dump that leaves pages out with a raw kdump that does:
    elf_without.py DUMP KDUMP SOURCE
SOURCE is an ELF dump with all pages. The PT_LOADs must be those of SOURCE, a
page that KDUMP lacks must be zero, all others must be as in SOURCE."""

import sys

sys.dont_write_bytecode = True

import elf
import kdump

AT_ONCE = 1 << 22


def main(dump, reference, source):
    ours, full, kept = elf.Elf(dump), elf.Elf(source), kdump.Kdump(reference)
    page = kept.block_size
    places = [(load.paddr, load.size) for load in full.loads()]
    if places != [(load.paddr, load.size) for load in ours.loads()]:
        print("other PT_LOADs than without a dump level")
        return 1
    missing = set(kdump.frames(kept.missing()))
    zeroed = 0
    for load, all_of_it in zip(ours.loads(), full.loads()):
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
