#!/usr/bin/env python3
"""Searches a dump for a secret that guest/memory.c planted.

planted.py DUMP process|file SEED there|gone

64 bytes follow from SEED. With `gone` no 16 of them may be in the file nor, if it is a raw kdump
in zlib, in any of its pages. With `there` all 64 must be in both: a file of incompressible pages
has them as they are. Prints one line; exit code 0 if so.
"""

import mmap
import sys

import kdump

PIECE = 16
# As in guest/memory.c: Knuth's linear congruential generator.
MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
WORDS = 8
# So many page frames are shown.
SHOWN = 4


def secret(seed: int) -> bytes:
    """Returns the bytes that follow from a seed."""
    state, words = seed, b""
    for _ in range(WORDS):
        state = (state * MULTIPLIER + INCREMENT) % (1 << 64)
        words += state.to_bytes(8, "little")
    return words


def main(dump: str, where: str, seed: str, expected: str) -> int:
    """Searches the file and its pages."""
    words = secret(int(seed))
    pieces = [words[at : at + PIECE] for at in range(0, len(words), PIECE)]
    wanted = [words] if expected == "there" else pieces
    with (
        open(dump, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        in_file = any(data.find(piece) >= 0 for piece in wanted)
        compressed = data[: len(kdump.SIGNATURE)] == kdump.SIGNATURE
    pages = kdump.Kdump(dump).pages() if compressed else iter(())
    frames = [frame for frame, page in pages if any(piece in page for piece in wanted)]
    if expected == "there":
        good = in_file and (bool(frames) or not compressed)
    else:
        good = not in_file and not frames
    shown = [hex(frame) for frame in frames[:SHOWN]]
    print(
        f"the secret of the {where} {'is' if in_file else 'is not'} in the file"
        + (f", and in {len(frames)} pages: {shown}" if compressed else "")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
