#!/usr/bin/env python3
"""Has drgn read the kernel's log out of a dump, which must be the log that guestdump prints.

drgn_log.py DUMP VMLINUX

VMLINUX is the kernel's image with DWARF. The environment variable GUESTDUMP names guestdump.
Prints one line; exit code 0 if the logs are the same.
"""

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import TypedDict

import drgn
from drgn.helpers.linux.printk import get_dmesg

# A shorter log would prove little.
FEWEST_LINES = 100


class Record(TypedDict):
    """A record of the log, as guestdump prints it."""

    nanoseconds: int
    text: str


def lines(records: list[Record]) -> Iterator[str]:
    """Yields the lines as drgn prints them: further lines of a record are not indented."""
    for record in records:
        microseconds = record["nanoseconds"] // 1000
        stamp = f"[{microseconds // 10**6:5d}.{microseconds % 10**6:06d}]"
        yield from f"{stamp} {record['text']}".split("\n")


def main(dump: str, vmlinux: str) -> int:
    """Compares the logs."""
    try:
        program = drgn.Program()
        program.set_core_dump(dump)
        program.load_debug_info([vmlinux])
        theirs = get_dmesg(program).decode(errors="replace").rstrip("\n").split("\n")
    except Exception as error:
        print(f"drgn: {error}")
        return 1
    command = [os.environ["GUESTDUMP"], "dmesg", "--json", f"vmcore:{dump}"]
    ours = list(lines(json.loads(subprocess.check_output(command))["records"]))
    if theirs != ours:
        print("drgn: another log")
        print(*list(difflib.unified_diff(theirs, ours, lineterm=""))[:40], sep="\n")
        return 1
    if len(ours) < FEWEST_LINES:
        print(f"drgn: {len(ours)} lines only")
        return 1
    print(f"drgn: the same {len(ours)} lines of the log")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
