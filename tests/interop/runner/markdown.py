"""The results of the suite as Markdown tables."""

import json

import formats
import limits
import rows
from checks import RESULTS

# Checks that are a matter of the kernel, not of a dump's format.
OF_KERNEL = ("log", "frames", "walk")
READERS = "drgn libkdumpfile makedumpfile crash gdb readelf LeechCore volatility3".split()


def all_rows():
    return [row.name for row in rows.ROWS]


def render(names):
    """Our dumps, QEMU's dumps, and the footnotes of both."""
    known = footnotes()
    results = [result for name in names for result in load(name)]
    for result in results:
        if result["limit"] and note_of(result) not in known:
            raise SystemExit(
                f"table: run {result['guest']} again, limits.toml has changed: {result}"
            )
    ours = [r for r in results if r["source"] != "qemu"]
    theirs = [r for r in results if r["source"] == "qemu"]
    used = {known[note_of(r)]: note_of(r) for r in results if r["limit"]}
    notes = [f"{number}. {reader}: {why}\n" for number, (reader, why) in sorted(used.items())]
    return (
        "What each reader does with guestdump's dumps. Small numbers: what it cannot do, below.\n\n"
        + table(ours, names, known)
        + "\nThe same readers before QEMU's own dumps of the same stopped guests:\n\n"
        + table(theirs, names, known)
        + "\nFootnotes:\n\n"
        + "".join(notes)
    )


def footnotes():
    """Reader and reason of each limit, with a number that does not depend on
    which rows were run."""
    of_formats = [limit for limit in limits.load() if limit.check not in OF_KERNEL]
    notes = dict.fromkeys((limit.reader, limit.why) for limit in of_formats)
    return {note: number for number, note in enumerate(notes, 1)}


def note_of(result):
    return result["reader"], result["limit"]


def load(name):
    file = RESULTS / f"{name}.jsonl"
    if not file.exists():
        raise SystemExit(f"table: no results of {name}: run tests/interop/suite.py {name}")
    results = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    failed = sum(result["verdict"] == "fail" for result in results)
    if failed:
        raise SystemExit(f"table: {failed} checks of {name} failed")
    return [result for result in results if result["check"] not in OF_KERNEL]


def table(results, names, known):
    """A line for each group of formats that all readers treat alike, of each
    group of guests where it is so."""
    guests = {}  # Block of lines: the guests that have it.
    for name in names:
        of_guest = [r for r in results if r["guest"] == name]
        groups = {}  # Cells: formats.
        for one in formats.ALL:
            of_format = [r for r in of_guest if r["format"] == one]
            if of_format:
                cells = tuple(cell(of_format, reader, known) for reader in READERS)
                groups.setdefault(cells, []).append(one)
        block = tuple(
            (", ".join(f"`{x}`" for x in group), cells) for cells, group in groups.items()
        )
        guests.setdefault(block, []).append(name)
    lines = [("guest", "format", *READERS), ("---",) * (2 + len(READERS))]
    for block, sharing in guests.items():
        lines += [(", ".join(sharing), group, *cells) for group, cells in block]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(results, reader, known):
    """What this reader does, and the numbers of its limits."""
    of_reader = [r for r in results if r["reader"] == reader]
    does = dict.fromkeys(r["check"] for r in of_reader if r["verdict"] == "ok")
    numbers = sorted({known[note_of(r)] for r in of_reader if r["limit"]})
    notes = f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else ""
    return (", ".join(does) or "–") + notes


def lines_of(text, names):
    """What a text of `render` says of some guests: a set of table lines."""
    lines = set()
    for line in text.splitlines():
        if line.startswith("| "):
            guests, _, rest = line[2:].partition(" | ")
            lines |= {(name, rest) for name in guests.split(", ") if name in names}
    return lines
