"""A reader's report, which is kept or compared with one that was kept."""

import difflib
import pathlib
import sys


def write(path: str, report: str) -> None:
    """Keeps a report."""
    pathlib.Path(path).write_text(report, encoding="utf-8")


def is_same(path: str, report: str, complaint: str) -> bool:
    """Returns whether the report is the one at `path`. Prints the differences if it is not."""
    expected = pathlib.Path(path).read_text(encoding="utf-8")
    if report == expected:
        return True
    print(complaint)
    before, after = expected.splitlines(keepends=True), report.splitlines(keepends=True)
    sys.stdout.writelines(difflib.unified_diff(before, after, "expected", "found"))
    return False
