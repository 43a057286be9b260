#!/usr/bin/env python3
"""Checks that a guest had some kinds of memory when it was stopped, by what it printed.

has_memory.py CONSOLE NAME...

Each NAME, a line of its /proc/meminfo or HugePages_Used, must not be 0. Prints one line; exit code
0 if so.
"""

import sys


def main(console: str, *names: str) -> int:
    """Reads the console and compares."""
    has: dict[str, int] = {}
    with open(console, encoding="utf-8", errors="replace") as file:
        for line in file:
            match line.split():
                case ["GUEST-MEMORY", name, number, *_]:
                    has[name.rstrip(":")] = int(number)
    has["HugePages_Used"] = has.get("HugePages_Total", 0) - has.get("HugePages_Free", 0)
    print("the guest has " + ", ".join(f"{name} {has.get(name, 0)}" for name in names))
    return 0 if all(has.get(name) for name in names) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
