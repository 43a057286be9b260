"""What the readers have to know of a guest, and of a dump of it."""

import os
import pathlib
from dataclasses import dataclass

import formats
from checks import CACHE, CHECKOUT, Check

READERS = CHECKOUT / "tests" / "interop" / "readers"
GUESTDUMP = os.environ.setdefault("GUESTDUMP", f"{CHECKOUT}/target/release/guestdump")
PYTHON = os.environ.setdefault("PYTHON", f"{CACHE}/venv/bin/python")  # Has drgn.


@dataclass(frozen=True)
class Guest:
    """A guest whose dumps the readers open."""

    name: str
    cpus: int
    folder: pathlib.Path  # Of the dumps, and of what must be in them.
    vmlinux: pathlib.Path | None = None  # The kernel's image with DWARF.
    facts: tuple = ()  # Arguments of drgn_kernel.py: what is known without a dump.
    gdb: str = "gdb"
    makedumpfile: tuple = ("makedumpfile",)
    level: int = 31  # How far makedumpfile can filter it.
    peeks: tuple = ()  # Guest-physical addresses that crash reads.

    def reference(self, name):
        """Arguments that compare with the first dump that a reader opened,
        or that make this dump the first."""
        file = self.folder / f"expected.{name}"
        return ("--expect" if file.exists() else "--write", file)

    def symbols(self):
        """Arguments that give drgn the kernel's DWARF."""
        return ("--vmlinux", self.vmlinux) if self.vmlinux else ()


@dataclass(frozen=True)
class Memory:
    """Where each page of a dump lies in another file."""

    file: pathlib.Path
    ranges: tuple  # "GPA:SIZE:OFFSET"

    def arguments(self):
        return (self.file, *self.ranges)


@dataclass(frozen=True)
class Source:
    """Where our dumps are made from."""

    name: str
    arguments: tuple  # Of `guestdump dump`.
    memory: Memory | None  # None if pages were left out.
    formats: list


@dataclass(frozen=True)
class Dump:
    """One dump file."""

    guest: Guest
    source: str
    format: str
    path: pathlib.Path
    memory: Memory | None

    def check(self, reader, what, *command, **more):
        return Check(self.source, self.format, reader, what, command, **more)


def dump_with_us(checks, guest, source, name, path=None):
    """Writes a dump, replacing the last source's, and has guestdump check it."""
    path = path or guest.folder / name
    dump = Dump(guest, source.name, name, path, source.memory)
    write = (GUESTDUMP, "dump", "--progress", "never", "--force", "--json", "--format", name)
    if not checks.run(dump.check("guestdump", "dump", *write, "--to", path, *source.arguments)):
        return None
    checks.run(dump.check("guestdump", "check", GUESTDUMP, "check", path))
    return dump
