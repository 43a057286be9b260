"""The results of the suite as Markdown tables."""

import json
from collections.abc import Collection, Iterable, Sequence

from . import formats, limits, rows
from .check import Result
from .paths import RESULTS

# Checks whose result depends on the kernel, not on a dump's format.
OF_KERNEL = ("log", "frames", "walk")
READERS = (
    *("drgn", "libkdumpfile", "makedumpfile", "crash"),
    *("gdb", "readelf", "LeechCore", "volatility3"),
)

# A reader and the `why` of its limit.
Note = tuple[str, str]


def all_rows() -> list[str]:
    """Returns the names of all rows."""
    return [row.name for row in rows.ROWS]


def render(names: Sequence[str]) -> str:
    """Returns the tables of our dumps and of QEMU's dumps, and the footnotes of both."""
    known = footnotes()
    results = [result for name in names for result in load(name)]
    used: dict[int, Note] = {}
    for result in results:
        note = note_of(result)
        if note is None:
            continue
        if note not in known:
            raise SystemExit(
                f"table: run {result['guest']} again, limits.toml has changed: {result}"
            )
        used[known[note]] = note
    ours = [r for r in results if r["source"] != "qemu"]
    theirs = [r for r in results if r["source"] == "qemu"]
    notes = [f"{number}. {reader}: {why}\n" for number, (reader, why) in sorted(used.items())]
    return (
        "What each reader does with guestdump's dumps. Small numbers: what it cannot do, below.\n\n"
        + table(ours, names, known)
        + "\nThe same readers before QEMU's own dumps of the same stopped guests:\n\n"
        + table(theirs, names, known)
        + "\nFootnotes:\n\n"
        + "".join(notes)
    )


def footnotes() -> dict[Note, int]:
    """Numbers the reader and reason of each limit. The number does not depend on the rows."""
    of_formats = [limit for limit in limits.load() if limit.check not in OF_KERNEL]
    notes = dict.fromkeys((limit.reader, limit.why) for limit in of_formats)
    return {note: number for number, note in enumerate(notes, 1)}


def note_of(result: Result) -> Note | None:
    """Returns the footnote of a result that has a limit."""
    return (result["reader"], result["limit"]) if result["limit"] else None


def load(name: str) -> list[Result]:
    """Reads the results of a row. Ends the program if there are none, or if a check failed."""
    file = RESULTS / f"{name}.jsonl"
    if not file.exists():
        raise SystemExit(f"table: no results of {name}: run tests/interop/suite.py {name}")
    lines = file.read_text(encoding="utf-8").splitlines()
    results: list[Result] = [json.loads(line) for line in lines]
    failed = sum(result["verdict"] == "fail" for result in results)
    if failed:
        raise SystemExit(f"table: {failed} checks of {name} failed")
    return [result for result in results if result["check"] not in OF_KERNEL]


def table(results: Sequence[Result], names: Sequence[str], known: dict[Note, int]) -> str:
    """Returns one table.

    Formats that all readers treat alike share a line. Guests with the same lines share them.
    """
    guests: dict[tuple[tuple[str, tuple[str, ...]], ...], list[str]] = {}  # By block of lines.
    for name in names:
        of_guest = [r for r in results if r["guest"] == name]
        groups: dict[tuple[str, ...], list[str]] = {}  # Formats by cells.
        for one in formats.ALL:
            of_format = [r for r in of_guest if r["format"] == one]
            if of_format:
                cells = tuple(cell(of_format, reader, known) for reader in READERS)
                groups.setdefault(cells, []).append(one)
        block = tuple(
            (", ".join(f"`{x}`" for x in group), cells) for cells, group in groups.items()
        )
        guests.setdefault(block, []).append(name)
    lines: list[tuple[str, ...]] = [("guest", "format", *READERS), ("---",) * (2 + len(READERS))]
    for block, sharing in guests.items():
        lines += [(", ".join(sharing), group, *cells) for group, cells in block]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(results: Iterable[Result], reader: str, known: dict[Note, int]) -> str:
    """Returns what this reader does, and the numbers of its limits."""
    of_reader = [r for r in results if r["reader"] == reader]
    does = dict.fromkeys(r["check"] for r in of_reader if r["verdict"] == "ok")
    numbers = sorted({known[note] for r in of_reader if (note := note_of(r))})
    notes = f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else ""
    return (", ".join(does) or "–") + notes


def lines_of(text: str, names: Collection[str]) -> set[tuple[str, str]]:
    """Returns the table lines in a text of `render` that are about these guests."""
    lines = set()
    for line in text.splitlines():
        if line.startswith("| "):
            guests, _, rest = line[2:].partition(" | ")
            lines |= {(name, rest) for name in guests.split(", ") if name in names}
    return lines
