"""What readers are known not to do: limits.toml."""

import pathlib
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase

import formats

FILE = pathlib.Path(__file__).parent.parent / "limits.toml"


@dataclass(frozen=True)
class Limit:
    """One entry of limits.toml, which says what its keys mean."""

    number: int  # In the file, from 1 on.
    reader: str
    says: str
    why: str
    check: str = "*"
    guest: tuple = ("*",)
    source: tuple = ("*",)
    format: tuple = ("*",)
    repair: bool = True

    def covers(self, guest, check):
        """Whether it is about this check on this guest."""
        return (
            self.reader == check.reader
            and fnmatchcase(check.what, self.check)
            and matches(guest, self.guest)
            and matches(check.source, self.source)
            and matches(check.format, self.format)
        )

    def verified_on(self, source):
        """Whether the reader is run there to see it refuse. What no dump of
        a reader's can change is seen once, not again on converted dumps."""
        return self.source != ("*",) or not source.startswith("vmcore:")


def matches(name, patterns):
    """Whether one of the patterns is the name, or a group that has it."""
    return any(name in formats.GROUPS.get(p, ()) or fnmatchcase(name, p) for p in patterns)


def load():
    """All limits, in the order of the file."""
    with open(FILE, "rb") as file:
        entries = tomllib.load(file)["limit"]
    return [
        Limit(number, **{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})
        for number, entry in enumerate(entries, 1)
    ]
