#!/usr/bin/env python3
"""Prints the features of the package, apart from the default ones, on one line.

cargo metadata --format-version 1 --no-deps | .ci/features.py
"""

import json
import sys

if __name__ == "__main__":
    package = json.load(sys.stdin)["packages"][0]
    print(*(feature for feature in package["features"] if feature != "default"))
