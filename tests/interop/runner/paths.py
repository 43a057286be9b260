"""Places in the checkout, and the programs that the environment names."""

import os
import pathlib

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache"
RESULTS = CACHE / "interop" / "results"
README = CHECKOUT / "README.md"
INTEROP = CHECKOUT / "tests" / "interop"
GUEST = INTEROP / "guest"
READERS = INTEROP / "readers"
LIMITS = INTEROP / "limits.toml"

# The readers' programs take both from the environment too.
GUESTDUMP = os.environ.setdefault("GUESTDUMP", f"{CHECKOUT}/target/release/guestdump")
PYTHON = os.environ.setdefault("PYTHON", f"{CACHE}/venv/bin/python")  # Has drgn.
