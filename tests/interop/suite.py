#!/usr/bin/env python3
"""Puts every dump format before every foreign reader, on real guests.

    tests/interop/suite.py [--keep | --booted] [--all | [demo] [ROW...]]

Without names it runs demo and the rows of runner/rows.py. Of the rows that rotate it runs the
one that is due on the day of the commit (runner/rotation.py); --all runs every row.

A guest's files are removed when its row has ended, because those of all rows together would need
26 GB. --keep leaves the files in .cache/guest, and --booted takes them from there and leaves them.

The answers of the readers go to .cache/interop/results, of which `tests/interop/table.py` makes
README's table; with CI=true README must have that table already. The last line counts the checks;
exit code 1 if one failed.
"""

import argparse
import os
import shutil
import sys
import time

from runner import demo, limits, rotation, row, rows
from runner.check import Check, Command, Result
from runner.checks import Checks
from runner.paths import CACHE, INTEROP

DEMO = "demo"


def arguments(words: list[str]) -> argparse.Namespace:
    """Parses the command line. Ends the program if a row is unknown."""
    parser = argparse.ArgumentParser(prog="suite.py", allow_abbrev=False)
    parser.add_argument("--all", action="store_true", help="also the rows that rotate")
    parser.add_argument("--keep", action="store_true", help="leave the guests in .cache/guest")
    parser.add_argument("--booted", action="store_true", help="take the guests that --keep left")
    parser.add_argument("names", nargs="*", metavar="ROW", help="demo, or a row of runner/rows.py")
    given = parser.parse_intermixed_args(words)
    known = [DEMO, *(one.name for one in rows.ROWS)]
    for name in given.names:
        if name not in known:
            sys.exit(f"suite: no row {name}; there are: {' '.join(known)}")
    if given.all and given.names:
        sys.exit("suite: --all runs every row, so it takes no names")
    return given


def names_of_run(given: argparse.Namespace) -> list[str]:
    """Returns the rows to run: those that were named, all of them, or those that are due."""
    if given.names:
        return list(given.names)
    day = None if given.all else rotation.day_of_commit()
    due = rotation.due(rows.ROWS, day)
    return [DEMO, *(one.name for one in due)]


def compare_table(known_limits: list[limits.Limit], names: list[str]) -> list[Result]:
    """Checks that README's table has what the readers did on these rows."""
    with Checks("README", known_limits) as checks:
        command: Command = (INTEROP / "table.py", "--check", *names)
        checks.run(Check("", "", "table", "in README", command))
        return checks.results


def stale_limits(
    known_limits: list[limits.Limit], results: list[Result], names: list[str]
) -> list[str]:
    """Returns a complaint about each limit that was met nowhere.

    Only a run of all rows that do not rotate can tell.
    """
    if any(not one.rotates and one.name not in names for one in rows.ROWS):
        return []
    not_run = [one.name for one in rows.ROWS if one.name not in names]
    return limits.stale(known_limits, results, not_run)


def main(words: list[str]) -> int:
    """Runs the rows and prints how many checks passed."""
    given = arguments(words)
    names = names_of_run(given)
    known = {one.name: one for one in rows.ROWS}
    known_limits = limits.load()
    for left in CACHE.glob("dumps.*"):
        shutil.rmtree(left)
    results: list[Result] = []
    started = time.monotonic()
    for name in names:
        begun = time.monotonic()
        if name == DEMO:
            results += demo.run(known_limits)
        else:
            keep = given.keep or given.booted
            results += row.run(known[name], known_limits, boot=not given.booted, keep=keep)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    if os.environ.get("CI") == "true":
        results += compare_table(known_limits, [name for name in names if name != DEMO])
    stale = stale_limits(known_limits, results, names)
    for line in stale:
        print(f"FAIL  {line}")
    failed = sum(result["verdict"] == "fail" for result in results) + len(stale)
    refused = sum(result["verdict"] == "limit" for result in results)
    seconds = time.monotonic() - started
    print(f"took {seconds:.0f} s; {refused} times a reader refused as limits.toml says")
    print(f"{len(results) - failed - refused + len(stale)} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
