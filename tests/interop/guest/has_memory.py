#!/usr/bin/env python3
"""Says what memory a guest had when it was stopped, by what it printed:
    has_memory.py CONSOLE NAME...
Each NAME, a line of its /proc/meminfo or HugePages_Used, must not be 0."""

import sys


def main(console, *names):
    has = {}
    with open(console, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["GUEST-MEMORY"] and len(words) > 2:
                has[words[1].rstrip(":")] = int(words[2])
    has["HugePages_Used"] = has.get("HugePages_Total", 0) - has.get("HugePages_Free", 0)
    print("the guest has " + ", ".join(f"{name} {has.get(name, 0)}" for name in names))
    return 0 if all(has.get(name) for name in names) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
