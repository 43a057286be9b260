#!/usr/bin/env python3
"""Prints what page frames of RAM dumps lack, as drgn_exclusion.py does:
    runs_left_out.py LEVEL:DUMP...
DUMP is a raw kdump. A line "level LEVEL" for each, below it "FIRST COUNT"."""

import sys

sys.dont_write_bytecode = True

import kdump


def main(*words):
    for word in words:
        level, _, path = word.partition(":")
        print(f"level {level}")
        for first, count in kdump.runs(kdump.Kdump(path).missing()):
            print(first, count)


if __name__ == "__main__":
    main(*sys.argv[1:])
