#!/usr/bin/env python3
"""Compares the notes of two ELF dumps of one guest.

same_notes.py DUMP REFERENCE

Name, type and every byte of each descriptor must be equal, in order. VMCOREINFO may be missing in
REFERENCE. Prints one line; exit code 0 if all are equal.
"""

import sys

import elf


def main(dump: str, reference: str) -> int:
    """Compares the dumps."""
    ours, theirs = elf.Elf(dump).notes(), elf.Elf(reference).notes()
    if not any(note.name == "VMCOREINFO" for note in theirs):
        ours = [note for note in ours if note.name != "VMCOREINFO"]
    shape = [(note.name, note.kind, len(note.descriptor)) for note in ours]
    expected = [(note.name, note.kind, len(note.descriptor)) for note in theirs]
    if shape != expected:
        print(f"notes are {shape}, not {expected}")
        return 1
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            pairs = enumerate(zip(a.descriptor, b.descriptor, strict=True))
            at = next(i for i, (x, y) in pairs if x != y)
            print(f"note {index} ({a.name}, type {a.kind}): byte {at} of the descriptor differs")
            return 1
    print(f"{len(ours)} notes equal to QEMU's, byte for byte")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
