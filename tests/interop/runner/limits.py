"""The limits of the readers, as limits.toml lists them."""

import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from . import formats
from .check import Check, Result
from .paths import LIMITS


@dataclass(frozen=True)
class Limit:
    """One entry of limits.toml. The head of that file explains the keys."""

    number: int  # In the file, from 1 on.
    reader: str
    says: str
    why: str
    check: str = "*"
    guest: tuple[str, ...] = ("*",)
    source: tuple[str, ...] = ("*",)
    format: tuple[str, ...] = ("*",)
    repair: bool = True

    def covers(self, guest: str, check: Check) -> bool:
        """Returns whether the limit is about this check on this guest."""
        return (
            self.reader == check.reader
            and fnmatchcase(check.what, self.check)
            and self.is_of(guest)
            and matches(check.source, self.source)
            and matches(check.format, self.format)
        )

    def is_of(self, guest: str) -> bool:
        """Returns whether checks of this guest can meet the limit."""
        return matches(guest, self.guest)

    def verified_on(self, source: str) -> bool:
        """Returns whether the reader is run on dumps of `source` to see it refuse.

        A limit that holds for any source is verified once, not again on converted dumps.
        """
        return self.source != ("*",) or not source.startswith("vmcore:")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Returns whether one of the patterns is the name, or a group that contains it."""
    return any(name in formats.GROUPS.get(p, ()) or fnmatchcase(name, p) for p in patterns)


def load() -> list[Limit]:
    """Reads all limits, in the order of the file."""
    with LIMITS.open("rb") as file:
        entries = tomllib.load(file)["limit"]
    return [one(number, entry) for number, entry in enumerate(entries, 1)]


def one(number: int, entry: dict[str, Any]) -> Limit:
    """Makes a limit of an entry. Raises TypeError if a key is unknown."""
    values: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in entry.items()
    }
    return Limit(number, **values)


def stale(
    limits: Iterable[Limit], results: Iterable[Result], not_run: Collection[str]
) -> list[str]:
    """Returns a complaint about each limit that no check of a run met.

    A limit that a guest of `not_run` could have met is not stale.
    """
    met = {(result["reader"], result["limit"]) for result in results}
    return [
        f"limit {x.number} of limits.toml was met nowhere: {x.why}"
        for x in limits
        if (x.reader, x.why) not in met and not any(x.is_of(guest) for guest in not_run)
    ]
