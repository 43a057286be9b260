"""One check, and its result."""

import os
from dataclasses import dataclass
from typing import Literal, TypedDict

Word = str | int | os.PathLike[str]
Command = tuple[Word, ...]
Verdict = Literal["ok", "limit", "fail"]


@dataclass(frozen=True)
class Check:
    """One program whose exit code says whether something holds."""

    source: str  # What the dump was made from, or what it is: "raw:ram".
    format: str
    reader: str
    what: str  # What the reader does: "pages".
    command: Command
    timeout: int = 300  # Seconds.


class Result(TypedDict):
    """What is kept of a check: one line of RESULTS/<guest>.jsonl."""

    guest: str
    source: str
    format: str
    reader: str
    check: str
    verdict: Verdict
    limit: str | None  # The limit's `why`.
    line: str
    seconds: float
