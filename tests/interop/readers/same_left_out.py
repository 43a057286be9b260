#!/usr/bin/env python3
"""Compares two dumps of one guest with the same dump level:
    same_left_out.py DUMP OTHER
Both are raw kdumps in zlib. Of the RAM that both know they must have the same
page frames, with the same contents."""

import sys

sys.dont_write_bytecode = True

import kdump


def main(dump, other):
    ours, theirs = kdump.Kdump(dump), kdump.Kdump(other)
    ram = ours.ram & theirs.ram
    different = (ours.there ^ theirs.there) & ram
    if different or not ours.missing() & ram:
        first = [hex(frame) for frame, _ in zip(kdump.frames(different), range(12))]
        print(f"levels: {different.bit_count()} page frames in one dump only: {first}")
        return 1
    contents = dict(theirs.pages())
    for frame, page in ours.pages():
        if ram >> frame & 1 and contents[frame] != page:
            print(f"levels: page frame {frame:#x} differs")
            return 1
    left_out = (ours.missing() & ram).bit_count()
    print(f"levels: the same {left_out} of {ram.bit_count()} page frames left out")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
