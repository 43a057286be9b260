#!/usr/bin/env python3
"""Every dump format before every foreign reader, on real guests.

    tests/interop/suite.py [--keep | --booted] [demo] [ROW...]

Without names: demo and all rows of runner/rows.py. Each guest goes when its row
has ended, for the ten need 26 GB; --keep leaves them in .cache/guest, and
--booted takes them from there and leaves them. What each reader said goes to
.cache/interop/results, of which `tests/interop/table.py` makes README's table;
with CI=true that must be in README already.
The last line counts the checks; exit code 1 if one failed.
"""

import os
import pathlib
import shutil
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent / "runner"))

import demo
import limits
import row
import rows
from checks import CACHE, CHECKOUT, Check, Checks


def whole_run(known_limits, results):
    """What only a run of all rows can say: each limit was met."""
    met = {(result["reader"], result["limit"]) for result in results}
    return [
        f"limit {x.number} of limits.toml was met nowhere: {x.why}"
        for x in known_limits
        if (x.reader, x.why) not in met
    ]


def main(*arguments):
    booted = "--booted" in arguments
    keep = booted or "--keep" in arguments
    known = {one.name: one for one in rows.ROWS}
    options = ("--booted", "--keep")
    names = [name for name in arguments if name not in options] or ["demo", *known]
    for name in names:
        if name != "demo" and name not in known:
            sys.exit(f"suite: no row {name}; there are: demo {' '.join(known)}")
    known_limits = limits.load()
    for left in CACHE.glob("dumps.*"):
        shutil.rmtree(left)
    results = []
    started = time.monotonic()
    for name in names:
        begun = time.monotonic()
        if name == "demo":
            results += demo.run(known_limits)
        else:
            results += row.run(known[name], known_limits, boot=not booted, keep=keep)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    if os.environ.get("CI") == "true":
        end = Checks("README", known_limits)
        rows_run = [name for name in names if name != "demo"]
        program = CHECKOUT / "tests" / "interop" / "table"
        end.run(Check("", "", "table", "in README", (program, "--check", *rows_run)))
        results += end.results
    stale = whole_run(known_limits, results) if set(names) >= set(known) else []
    for line in stale:
        print(f"FAIL  {line}")
    failed = sum(result["verdict"] == "fail" for result in results) + len(stale)
    refused = sum(result["verdict"] == "limit" for result in results)
    print(
        f"took {time.monotonic() - started:.0f} s; {refused} times a reader refused as limits.toml says"
    )
    print(f"{len(results) - failed - refused + len(stale)} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
