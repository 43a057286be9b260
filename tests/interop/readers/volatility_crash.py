#!/usr/bin/env python3
"""Compares each page of a Windows dump, read through volatility3's crash
layers, with a file of the same memory.

volatility_crash.py DUMP SOURCE GPA:SIZE:OFFSET...

Arguments as of leechcore_pages.py. The segments of the layer, which is
WindowsCrashDump32Layer or WindowsCrashDump64Layer by the dump's header, must
be just these ranges. Prints one line; exit code 0 if all is equal.
"""

import pathlib
import sys

from volatility3.framework import constants, contexts
from volatility3.framework.layers import crash, physical

PIECE = 1 << 20
PAGE = 4096


def crash_layer(dump):
    """The layer that volatility3's own stacker picks for the dump."""
    constants.OFFLINE = True
    context = contexts.Context()
    context.config["file.location"] = pathlib.Path(dump).absolute().as_uri()
    context.add_layer(physical.FileLayer(context, "file", "file"))
    layer = crash.WindowsCrashDumpStacker.stack(context, "file")
    if layer is None:
        raise ValueError("not a crash dump")
    context.add_layer(layer)
    return layer


def joined(ranges):
    """Ranges of (start, size) in order, those that touch as one."""
    result = []
    for start, size in sorted(ranges):
        if result and sum(result[-1]) == start:
            result[-1] = (result[-1][0], result[-1][1] + size)
        else:
            result.append((start, size))
    return result


def compare(layer, source, gpa, size, offset):
    """Raises ValueError at the first piece that differs."""
    source.seek(offset)
    for done in range(0, size, PIECE):
        length = min(PIECE, size - done)
        expected = source.read(length)
        if len(expected) != length:
            raise ValueError(f"source: ends before offset {offset + done + length:#x}")
        if layer.read(gpa + done, length) != expected:
            raise ValueError(f"bytes from {gpa + done:#x} on differ")


def main(dump, source_path, *arguments):
    ranges = [tuple(int(n, 0) for n in r.split(":")) for r in arguments]
    if not ranges:
        print("volatility_crash.py: no range to compare")
        return 2
    try:
        layer = crash_layer(dump)
        found = joined((start, size) for start, _, size, _ in layer._segments)
        if found != joined((gpa, size) for gpa, size, _ in ranges):
            text = " ".join(f"{gpa:#x}:{size:#x}" for gpa, size in found)
            raise ValueError(f"the segments are {text}")
        with open(source_path, "rb") as source:
            for gpa, size, offset in ranges:
                compare(layer, source, gpa, size, offset)
    except Exception as error:  # volatility3's have no common base class.
        print(f"volatility3: {type(error).__name__} {error}")
        return 1
    pages = sum(size for _, size, _ in ranges) // PAGE
    print(f"volatility3: {type(layer).__name__}, {pages} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
