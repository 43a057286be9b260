#!/usr/bin/env python3
"""Searches a dump for the secrets that guest/memory.c planted:
    planted.py DUMP process|file SEED there|gone
Of the 64 bytes that follow from SEED no 16 may be in the file nor, if it is a
raw kdump in zlib, in any of its pages; with `there` all 64 must be in both. In
a file of incompressible pages they are found as they are."""

import mmap
import sys

sys.dont_write_bytecode = True

import kdump

PIECE = 16
# As in guest/memory.c: Knuth's linear congruential generator.
MULTIPLIER, INCREMENT = 6364136223846793005, 1442695040888963407
WORDS = 8


def secret(seed):
    state, words = seed, b""
    for _ in range(WORDS):
        state = (state * MULTIPLIER + INCREMENT) % (1 << 64)
        words += state.to_bytes(8, "little")
    return words


def main(dump, where, seed, expected):
    words = secret(int(seed))
    pieces = [words[at : at + PIECE] for at in range(0, len(words), PIECE)]
    wanted = [words] if expected == "there" else pieces
    with open(dump, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        in_file = any(data.find(piece) >= 0 for piece in wanted)
        compressed = data[: len(kdump.SIGNATURE)] == kdump.SIGNATURE
    frames = []
    if compressed:
        for frame, page in kdump.Kdump(dump).pages():
            if any(piece in page for piece in wanted):
                frames.append(frame)
    if expected == "there":
        good = in_file and (frames or not compressed)
    else:
        good = not in_file and not frames
    print(
        f"the secret of the {where} {'is' if in_file else 'is not'} in the file"
        + (f", and in {len(frames)} pages: {[hex(x) for x in frames[:4]]}" if compressed else "")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
