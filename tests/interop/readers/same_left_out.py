#!/usr/bin/env python3
"""Compares two dumps of one guest with the same dump level.

same_left_out.py DUMP OTHER

Both are raw kdumps in zlib. They must have the same page frames of the RAM that both know, with
the same contents. Prints one line; exit code 0 if so.
"""

import sys

import kdump

SHOWN = 12  # So many page frames of a difference.


def main(dump: str, other: str) -> int:
    """Compares the dumps."""
    ours, theirs = kdump.Kdump(dump), kdump.Kdump(other)
    ram = ours.ram & theirs.ram
    different = (ours.there ^ theirs.there) & ram
    if different or not ours.missing() & ram:
        frames = zip(kdump.frames(different), range(SHOWN), strict=False)
        first = [hex(frame) for frame, _ in frames]
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
