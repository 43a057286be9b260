#!/usr/bin/env python3
"""Prints the path of a program that cargo built.

cargo build --message-format=json ... | benches/executable.py NAME
"""

import json
import sys

if __name__ == "__main__":
    for line in sys.stdin:
        built = json.loads(line)
        if built.get("target", {}).get("name") == sys.argv[1]:
            print(built["executable"])
