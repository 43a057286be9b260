#!/usr/bin/env python3
"""Has volatility3 look for the kernel's banners in a dump.

volatility_banners.py DUMP SOURCE GPA:SIZE:OFFSET...

Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE from byte OFFSET on.
volatility3 must find the banners that SOURCE has, at their guest-physical addresses, and no
others. Prints one line; exit code 0 if that is so.
"""

import json
import mmap
import pathlib
import re
import subprocess
import sys
import tempfile

import page_range
from page_range import PageRange

# What volatility3's plugin takes for a banner: this, up to a NUL within 4095
# bytes, of these characters only, less the white space around it.
BANNER = re.compile(rb"Linux version [0-9]+\.[0-9]+\.[0-9]+")
LENGTH = 0xFFF
PLAIN = re.compile(rb"[ #()+,;/\-.0-9:@A-Z_a-z~]*")

# A guest-physical address and the text there.
Banner = tuple[int, str]


def expected(source_path: str, ranges: list[PageRange]) -> set[Banner]:
    """Returns the banners in SOURCE."""
    banners = set()
    with (
        open(source_path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source,
    ):
        for gpa, size, offset in ranges:
            end = offset + size
            for match in BANNER.finditer(source, offset, end):
                at = match.start()
                text, nul, _ = source[at : min(at + LENGTH, end)].partition(b"\0")
                if nul and PLAIN.fullmatch(text.strip()):
                    banners.add((gpa + at - offset, text.strip().decode()))
    return banners


def found(dump: str) -> set[Banner]:
    """Returns the banners that volatility3 sees."""
    program = pathlib.Path(sys.executable).with_name("vol")
    with tempfile.TemporaryDirectory() as cache:
        options = ("-q", "--offline", "--cache-path", cache, "-r", "json", "-f", dump)
        out = subprocess.run(
            [program, *options, "banners.Banners"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    return {(row["Offset"], row["Banner"]) for row in json.loads(out)}


def main(dump: str, source: str, *arguments: str) -> int:
    """Compares the banners."""
    ours = expected(source, page_range.parse(arguments))
    if not ours:
        print("volatility_banners.py: no banner in the source")
        return 2
    try:
        theirs = found(dump)
    except (subprocess.CalledProcessError, ValueError) as error:
        print(f"volatility3: {error}")
        return 1
    if theirs != ours:
        print("volatility3: finds other banners than the source has")
        for name, banners in (("missing", ours - theirs), ("not in the source", theirs - ours)):
            for gpa, text in sorted(banners):
                print(f"{name}: {gpa:#x} {text}")
        return 1
    gpa, text = max(ours)
    print(f"volatility3: banners: {len(ours)}, last {' '.join(text.split()[:3])} at {gpa:#x}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
