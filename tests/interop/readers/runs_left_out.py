#!/usr/bin/env python3
"""Prints which page frames of RAM dumps lack, in the form of drgn_exclusion.py.

runs_left_out.py LEVEL:DUMP...

DUMP is a raw kdump. Each has a line "level LEVEL", and below it lines "FIRST COUNT".
"""

import sys

import kdump


def main(*words: str) -> None:
    """Prints the runs of each dump."""
    for word in words:
        level, _, path = word.partition(":")
        print(f"level {level}")
        for first, count in kdump.runs(kdump.Kdump(path).missing()):
            print(first, count)


if __name__ == "__main__":
    main(*sys.argv[1:])
