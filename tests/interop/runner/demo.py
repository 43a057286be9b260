"""The built-in synthetic guest: what needs no kernel."""

import pathlib
import subprocess
import tempfile

import formats
import readers
from checks import CACHE, Check, Checks
from guest import GUESTDUMP, PYTHON, READERS, Guest, Memory, Source, dump_with_us


def run(limits):
    """Gives the results of all checks."""
    checks = Checks("demo", limits)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="dumps.") as work:
        folder = pathlib.Path(work)
        guest = Guest("demo", cpus=2, folder=folder, level=1)
        reference = folder / "reference"
        subprocess.run(
            [GUESTDUMP, "dump", "--progress", "never", "--from", "demo:64M"]
            + ["--format", "elf", "--to", reference],
            check=True,
        )
        ranges = subprocess.check_output([READERS / "elf_ranges", reference], text=True).split()
        memory = Memory(reference, tuple(ranges))
        source = Source("demo:64M", ("--from", "demo:64M"), memory, formats.ALL)
        for name in source.formats:
            dump = dump_with_us(checks, guest, source, name)
            if dump:
                checks.run(*readers.references(dump))
                checks.run(*readers.others(dump))
        pipe = '"$0" dump --progress never --from demo:64M --to - | cmp - "$1"'
        streamed = ("bash", "-c", pipe, GUESTDUMP, folder / "kdump-zlib")
        checks.run(
            Check("demo:64M", "kdump-zlib", "guestdump", "pipe", streamed),
            Check("", "elf", "readelf, drgn", "70,000 ranges", (PYTHON, READERS / "many_ranges.py", folder)),
        )
    return checks.results
