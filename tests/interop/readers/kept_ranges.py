#!/usr/bin/env python3
"""Prints where the pages of a dump lie in the guest's RAM file.

kept_ranges.py INFO MAP

INFO is what `guestdump info --json` prints of the dump. MAP is the map from which the dump was
made. Prints the ranges on one line, each as GPA:SIZE:OFFSET, the form in which the page readers
take them.
"""

import json
import pathlib
import sys


def main(info_path: str, map_path: str) -> None:
    """Prints what INFO and MAP have in common."""
    info, ram = (json.loads(pathlib.Path(path).read_text()) for path in (info_path, map_path))
    kept = []
    for one in info["ranges"]:
        for region in ram["regions"]:
            start = max(one["gpa"], region["gpa"])
            end = min(one["gpa"] + one["size"], region["gpa"] + region["size"])
            if start < end:
                kept.append(f"{start}:{end - start}:{region['offset'] + start - region['gpa']}")
    print(*kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
