"""Ranges of guest memory in a file, as the page readers take them on the command line."""

from collections.abc import Iterable
from typing import NamedTuple, Self


class PageRange(NamedTuple):
    """SIZE bytes from guest-physical address GPA on, in a file from byte OFFSET on."""

    gpa: int
    size: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads GPA:SIZE:OFFSET."""
        gpa, size, offset = (int(number, 0) for number in text.split(":"))
        return cls(gpa, size, offset)


def parse(arguments: Iterable[str]) -> list[PageRange]:
    """Reads all ranges of a command line."""
    return [PageRange.parse(text) for text in arguments]
