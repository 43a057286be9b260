#!/usr/bin/env python3
"""Measures time and size of a dump at each dump level, for docs/filter.md.

    tests/interop/levels.py [--booted FOLDER] [RUNS]

Boots the guest x86_64-peers, or takes FOLDER, which guest/boot filled. Dumps the guest RUNS times
at each level: guestdump from the guest's RAM, makedumpfile from an ELF dump. Prints a table with
the median of seconds and of processor seconds. The environment variable GUESTDUMP names guestdump,
TMPDIR the folder of the dumps. Nothing is asserted.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
GUESTDUMP = os.environ.get("GUESTDUMP", f"{HERE.parent.parent}/target/release/guestdump")
LEVELS = (0, 1, 2, 4, 8, 16, 17, 24, 31)
MB = 1e6


class Cell(NamedTuple):
    """Medians of one command."""

    seconds: float
    processor: float  # Seconds.
    size: int  # Bytes that the dump takes on disk.
    said: bytes  # What the last run printed.


Command = list[str | int | pathlib.Path]


def timed(command: Command, runs: int, out: pathlib.Path) -> Cell:
    """Runs a command that writes `out`."""
    if runs < 1:
        raise ValueError("no run, no figures")
    wall, processor, said = [], [], b""
    for _ in range(runs):
        out.unlink(missing_ok=True)
        before, started = used(), time.monotonic()
        done = subprocess.run([str(x) for x in command], check=True, capture_output=True)
        wall.append(time.monotonic() - started)
        processor.append(used() - before)
        said = done.stdout
    size = out.stat().st_blocks * 512
    out.unlink()
    return Cell(statistics.median(wall), statistics.median(processor), size, said)


def used() -> float:
    """Returns the processor seconds of all commands so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def map_with_note(booted: pathlib.Path) -> str:
    """Returns the guest's map, with the place of VMCOREINFO.

    A VMM with the vmcoreinfo device is told where the note is.
    """
    console = (booted / "console.log").read_text(errors="replace")
    where = console.split("GUEST-VMCOREINFO ")[1].split()[0]
    guest = json.loads((booted / "map.json").read_text())
    guest["vmcoreinfo"] = {"gpa": int(where, 0), "size": 4096}
    return json.dumps(guest)


def measure(booted: pathlib.Path, work: pathlib.Path, runs: int) -> None:
    """Prints the table of a booted guest, with the dumps in the folder `work`."""
    ready, out, told = work / "elf", work / "out", work / "map.json"
    told.write_text(map_with_note(booted))
    dump: Command = [GUESTDUMP, "dump", "--json", "--progress", "never", "--force"]
    dump += ["--from", f"raw:{booted}/ram", "--map", told]
    elf = [str(word) for word in (*dump, "--format", "elf", "--to", ready)]
    subprocess.run(elf, check=True, capture_output=True)
    print("| level | pages left out | kdump-raw-snappy | elf | `makedumpfile -l` |")
    print("|---|---|---|---|---|")
    for level in LEVELS:
        cells = []
        for name in ("kdump-raw-snappy", "elf"):
            options: Command = ["--dump-level", level, "--format", name, "--to", out]
            cells.append(timed([*dump, *options], runs, out))
        pages = json.loads(cells[-1].said).get("excluded", {}).get("pages", 0)
        cells.append(timed(["makedumpfile", "-l", "-d", level, ready, out], runs, out))
        shown = (f"{x.seconds:.2f} s ({x.processor:.2f}), {x.size / MB:.0f} MB" for x in cells)
        print(f"| {level} | {pages} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    """Boots the guest if need be, and prints the table."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--booted", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("runs", type=int, nargs="?", default=5, metavar="RUNS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        booted = arguments.booted or work / "guest"
        if not arguments.booted:
            subprocess.run([HERE / "guest/boot", booted, "x86_64-peers"], check=True)
        measure(booted, work, arguments.runs)


if __name__ == "__main__":
    main()
