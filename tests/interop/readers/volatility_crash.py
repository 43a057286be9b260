#!/usr/bin/env python3
"""Compares each page of a Windows dump, read by volatility3, with a file of the same memory.

volatility_crash.py DUMP SOURCE GPA:SIZE:OFFSET...

Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE from byte OFFSET on.
The dump's header decides whether the layer is WindowsCrashDump32Layer or WindowsCrashDump64Layer.
The segments of that layer must be just these ranges. Prints one line; exit code 0 if all is equal.
"""

import pathlib
import sys
from typing import BinaryIO

import page_range
from page_range import PageRange
from volatility3.framework import constants, contexts
from volatility3.framework.layers import crash, physical

PIECE = 1 << 20
PAGE = 4096


def crash_layer(dump: str) -> crash.WindowsCrashDump32Layer:
    """Returns the layer that volatility3's own stacker picks for the dump."""
    constants.OFFLINE = True
    context = contexts.Context()
    context.config["file.location"] = pathlib.Path(dump).absolute().as_uri()
    context.add_layer(physical.FileLayer(context, "file", "file"))
    layer = crash.WindowsCrashDumpStacker.stack(context, "file")
    # The layer for 64 bits is a subclass.
    if not isinstance(layer, crash.WindowsCrashDump32Layer):
        raise ValueError("not a crash dump")
    context.add_layer(layer)
    return layer


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns ranges of (start, size) in order, those that touch joined."""
    result: list[tuple[int, int]] = []
    for start, size in sorted(ranges):
        if result and sum(result[-1]) == start:
            result[-1] = (result[-1][0], result[-1][1] + size)
        else:
            result.append((start, size))
    return result


def compare(layer: crash.WindowsCrashDump32Layer, source: BinaryIO, part: PageRange) -> None:
    """Raises ValueError at the first piece that differs."""
    source.seek(part.offset)
    for done in range(0, part.size, PIECE):
        length = min(PIECE, part.size - done)
        expected = source.read(length)
        if len(expected) != length:
            raise ValueError(f"source: ends before offset {part.offset + done + length:#x}")
        if layer.read(part.gpa + done, length) != expected:
            raise ValueError(f"bytes from {part.gpa + done:#x} on differ")


def main(dump: str, source_path: str, *arguments: str) -> int:
    """Compares the segments and all ranges."""
    ranges = page_range.parse(arguments)
    if not ranges:
        print("volatility_crash.py: no range to compare")
        return 2
    try:
        layer = crash_layer(dump)
        found = joined([(start, size) for start, _, size, _ in layer._segments])  # noqa: SLF001 - No public name.
        if found != joined([(part.gpa, part.size) for part in ranges]):
            text = " ".join(f"{gpa:#x}:{size:#x}" for gpa, size in found)
            raise ValueError(f"the segments are {text}")
        with open(source_path, "rb") as source:
            for part in ranges:
                compare(layer, source, part)
    except Exception as error:
        print(f"volatility3: {type(error).__name__} {error}")
        return 1
    pages = sum(part.size for part in ranges) // PAGE
    print(f"volatility3: {type(layer).__name__}, {pages} pages equal")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
