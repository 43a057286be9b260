#!/usr/bin/env python3
"""Has makedumpfile exclude pages, which must be those that a dump lacks.

same_frames.py DUMP LEVEL SOURCE PROGRAM...

DUMP is a raw kdump with dump level LEVEL of a guest. SOURCE is an ELF dump with all pages of that
guest. PROGRAM is makedumpfile, or what runs that of another architecture. The bitmaps of both
dumps are compared, frame by frame. Prints one line; exit code 0 if they are equal.
"""

import pathlib
import subprocess
import sys
import tempfile

import kdump

SHOWN = 12  # So many page frames of a difference.


def main(dump: str, level: str, source: str, *program: str) -> int:
    """Runs makedumpfile and compares."""
    with tempfile.TemporaryDirectory(dir=pathlib.Path(dump).parent) as work:
        out = f"{work}/out"
        said = subprocess.run(
            (*program, "-d", level, "-l", source, out),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if said.returncode:
            print(f"makedumpfile -d {level}: failed\n{said.stdout[-4000:]}{said.stderr[-4000:]}")
            return 1
        theirs, ours = kdump.Kdump(out), kdump.Kdump(dump)
    if theirs.ram != ours.ram:
        print(f"makedumpfile -d {level}: another first bitmap: other RAM")
        return 1
    good = True
    for name, bits in (
        ("only guestdump leaves out", ours.missing() & ~theirs.missing()),
        ("only makedumpfile leaves out", theirs.missing() & ~ours.missing()),
    ):
        if bits:
            first = [hex(frame) for frame, _ in zip(kdump.frames(bits), range(SHOWN), strict=False)]
            print(f"makedumpfile -d {level}: {name} {bits.bit_count()} page frames: {first}")
            good = False
    if ours.dump_level != int(level):
        print(f"makedumpfile -d {level}: the header's level is {ours.dump_level}")
        good = False
    if good:
        count, of = ours.missing().bit_count(), ours.ram.bit_count()
        print(f"makedumpfile -d {level}: leaves out the same {count} of {of} page frames")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
