#!/usr/bin/env python3
"""Time and size of a dump at each dump level, for docs/filter.md:

    tests/interop/levels.py [--booted FOLDER] [RUNS]

Boots the guest x86_64-peers, or takes FOLDER, which guest/boot filled, and
dumps it RUNS times at each level: guestdump from the guest's RAM, makedumpfile
from an ELF dump that is there already. Prints a table with the median of
seconds and of processor seconds. GUESTDUMP names guestdump, TMPDIR where the dumps
go. Nothing is asserted.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
GUESTDUMP = os.environ.get("GUESTDUMP", HERE.parent.parent / "target/release/guestdump")
LEVELS = (0, 1, 2, 4, 8, 16, 17, 24, 31)
MB = 1e6


def timed(command, runs, out):
    """Medians of seconds and processor seconds; the file's size; what the last
    run printed."""
    wall, processor = [], []
    for _ in range(runs):
        out.unlink(missing_ok=True)
        before, started = used(), time.monotonic()
        done = subprocess.run([str(x) for x in command], check=True, capture_output=True)
        wall.append(time.monotonic() - started)
        processor.append(used() - before)
    size = out.stat().st_blocks * 512
    out.unlink()
    return statistics.median(wall), statistics.median(processor), size, done.stdout


def used():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main(booted, runs):
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        if not booted:
            booted = folder / "guest"
            subprocess.run([HERE / "guest/boot", booted, "x86_64-peers"], check=True)
        ready, out, told = folder / "elf", folder / "out", folder / "map.json"
        dump = [GUESTDUMP, "dump", "--json", "--progress", "never", "--force"]
        dump += ["--from", f"raw:{booted}/ram", "--map", told]
        # As a VMM with the vmcoreinfo device, it is told where the note is.
        where = (booted / "console.log").read_text(errors="replace")
        where = where.split("GUEST-VMCOREINFO ")[1].split()[0]
        guest = json.loads((booted / "map.json").read_text())
        guest["vmcoreinfo"] = {"gpa": int(where, 0), "size": 4096}
        told.write_text(json.dumps(guest))
        subprocess.run([*dump, "--format", "elf", "--to", ready], check=True, capture_output=True)
        print("| level | pages left out | kdump-raw-snappy | elf | `makedumpfile -l` |")
        print("|---|---|---|---|---|")
        for level in LEVELS:
            cells = []
            for name in ("kdump-raw-snappy", "elf"):
                options = ["--dump-level", level, "--format", name, "--to", out]
                *cell, said = timed([*dump, *options], runs, out)
                cells.append(cell)
            pages = json.loads(said).get("excluded", {}).get("pages", 0)
            theirs = ["makedumpfile", "-l", "-d", level, ready, out]
            cells.append(timed(theirs, runs, out)[:3])
            shown = (f"{wall:.2f} s ({cpu:.2f}), {size / MB:.0f} MB" for wall, cpu, size in cells)
            print(f"| {level} | {pages} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = pathlib.Path(words.pop(words.index("--booted") + 1)) if "--booted" in words else None
    numbers = [word for word in words if word != "--booted"]
    main(folder, int(numbers[0]) if numbers else 5)
