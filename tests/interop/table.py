#!/usr/bin/env python3
"""Makes README's compatibility table of what the suite saw last.

    tests/interop/table.py                   writes the table into README.md
    tests/interop/table.py --check [ROW...]  exit code 1 if README says otherwise

The results are those in .cache/interop/results. With rows, only README's lines about them are
compared.
"""

import sys

from runner import markdown
from runner.paths import README

BEGIN, END = "<!-- interop:begin -->\n", "<!-- interop:end -->\n"


def main(*arguments: str) -> int:
    """Writes the table, or compares it."""
    check = "--check" in arguments
    rows = [name for name in arguments if name != "--check"]
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    if not after:
        sys.exit(f"table: {README} has no lines {BEGIN.strip()} and {END.strip()}")
    new = markdown.render(rows or markdown.all_rows())
    if not check:
        README.write_text(before + BEGIN + new + END + after, encoding="utf-8")
        return 0
    if markdown.lines_of(new, rows) == markdown.lines_of(old, rows) if rows else new == old:
        print(f"README's table is what the suite saw of {' '.join(rows) or 'all guests'}")
        return 0
    print("README's table is not what the suite saw; `tests/interop/table.py` writes it anew:")
    print(new)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
