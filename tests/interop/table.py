#!/usr/bin/env python3
"""README's compatibility table, from what the suite last saw.

    tests/interop/table.py                   writes it into README.md
    tests/interop/table.py --check [ROW...]  exit code 1 if README says otherwise

Takes .cache/interop/results. With rows, only what README says of these.
"""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent / "runner"))

import markdown
from checks import CHECKOUT

README = CHECKOUT / "README.md"
BEGIN, END = "<!-- interop:begin -->\n", "<!-- interop:end -->\n"


def main(*arguments):
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
    if rows:
        same = markdown.lines_of(new, rows) == markdown.lines_of(old, rows)
    else:
        same = new == old
    if same:
        print(f"README's table is what the suite saw of {' '.join(rows) or 'all guests'}")
        return 0
    print("README's table is not what the suite saw; `tests/interop/table.py` writes it anew:")
    print(new)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
