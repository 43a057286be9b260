"""The row of the built-in synthetic guest, which needs no kernel."""

import pathlib
import subprocess
import tempfile
from collections.abc import Sequence

from . import formats, readers
from .check import Check, Result
from .checks import Checks
from .guest import Guest, Memory, Source, dump_with_us
from .limits import Limit
from .paths import CACHE, GUESTDUMP, PYTHON, READERS


def run(limits: Sequence[Limit]) -> list[Result]:
    """Dumps the guest in every format and has every reader read. Returns all results."""
    with (
        Checks("demo", limits) as checks,
        tempfile.TemporaryDirectory(dir=CACHE, prefix="dumps.") as work,
    ):
        run_in(pathlib.Path(work), checks)
        return checks.results


def run_in(folder: pathlib.Path, checks: Checks) -> None:
    """Runs the checks, with the dumps in `folder`."""
    guest = Guest("demo", cpus=2, folder=folder, level=1)
    reference = folder / "reference"
    dump = (GUESTDUMP, "dump", "--progress", "never", "--from", "demo:64M", "--format", "elf")
    subprocess.run((*dump, "--to", reference), check=True)
    ranges = subprocess.check_output([READERS / "elf_ranges", reference], text=True).split()
    memory = Memory(reference, tuple(ranges))
    source = Source("demo:64M", ("--from", "demo:64M"), memory)
    for name in formats.ALL:
        made = dump_with_us(checks, guest, source, name)
        if made:
            checks.run(*readers.references(made))
            checks.run(*readers.others(made))
    pipe = '"$0" dump --progress never --from demo:64M --to - | cmp - "$1"'
    streamed = ("bash", "-c", pipe, GUESTDUMP, folder / "kdump-zlib")
    many = (PYTHON, READERS / "many_ranges.py", folder)
    checks.run(
        Check("demo:64M", "kdump-zlib", "guestdump", "pipe", streamed),
        Check("", "elf", "readelf, drgn", "70,000 ranges", many),
    )
