#!/usr/bin/env python3
"""Prints the features of the package, apart from the default ones, on one line.

cargo metadata --format-version 1 --no-deps | .ci/features.py
"""

import json
import sys

if __name__ == "__main__":
    packages = json.load(sys.stdin)["packages"]
    package = next(package for package in packages if package["name"] == "guestdump")
    print(*(feature for feature in package["features"] if feature != "default"))
