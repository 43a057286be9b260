#!/usr/bin/env python3
"""Compares the notes of two ELF dumps of one guest.

same_notes.py DUMP REFERENCE

Name, type and every byte of each descriptor, in order. VMCOREINFO may be
missing in REFERENCE. Prints one line; exit code 0 if all are equal.
"""

import sys

sys.dont_write_bytecode = True  # No __pycache__ in the checkout.
import elf


def main(dump, reference):
    ours, theirs = elf.Elf(dump).notes(), elf.Elf(reference).notes()
    if not any(name == "VMCOREINFO" for name, _, _ in theirs):
        ours = [note for note in ours if note[0] != "VMCOREINFO"]
    shape = [(name, kind, len(desc)) for name, kind, desc in ours]
    expected = [(name, kind, len(desc)) for name, kind, desc in theirs]
    if shape != expected:
        print(f"notes are {shape}, not {expected}")
        return 1
    for index, (a, b) in enumerate(zip(ours, theirs)):
        if a != b:
            at = next(i for i, (x, y) in enumerate(zip(a[2], b[2])) if x != y)
            print(f"note {index} ({a[0]}, type {a[1]}): byte {at} of the descriptor differs")
            return 1
    print(f"{len(ours)} notes equal to QEMU's, byte for byte")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
