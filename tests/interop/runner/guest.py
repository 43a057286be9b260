"""What the readers must know about a guest, and about a dump of it."""

import pathlib
from dataclasses import dataclass

from .check import Check, Command
from .checks import Checks
from .paths import GUESTDUMP


@dataclass(frozen=True)
class Guest:
    """A guest whose dumps the readers open."""

    name: str
    cpus: int
    folder: pathlib.Path  # Has the dumps, and the readers' first answers.
    vmlinux: pathlib.Path | None = None  # The kernel's image with DWARF.
    facts: Command = ()  # Arguments of drgn_kernel.py: what is known without a dump.
    gdb: str = "gdb"
    makedumpfile: tuple[str, ...] = ("makedumpfile",)
    level: int = 31  # The highest dump level at which makedumpfile can filter the guest.
    peeks: tuple[str, ...] = ()  # Guest-physical addresses that crash reads.

    def reference(self, name: str) -> Command:
        """Returns the arguments that compare a dump with the first one that a reader opened.

        For the first dump itself they have the reader write its answer.
        """
        file = self.folder / f"expected.{name}"
        return ("--expect" if file.exists() else "--write", file)

    def symbols(self) -> Command:
        """Returns the arguments that give drgn the kernel's DWARF."""
        return ("--vmlinux", self.vmlinux) if self.vmlinux else ()


@dataclass(frozen=True)
class Memory:
    """Where each page of a dump lies in another file."""

    file: pathlib.Path
    ranges: tuple[str, ...]  # "GPA:SIZE:OFFSET"

    def arguments(self) -> Command:
        """Returns the arguments of the programs that compare pages."""
        return (self.file, *self.ranges)


@dataclass(frozen=True)
class Source:
    """What guestdump makes dumps from."""

    name: str
    arguments: Command  # Of `guestdump dump`.
    memory: Memory | None  # None if the dump excludes pages.


@dataclass(frozen=True)
class Dump:
    """One dump file."""

    guest: Guest
    source: str
    format: str
    path: pathlib.Path
    memory: Memory | None

    def check(self, reader: str, what: str, command: Command, timeout: int = 300) -> Check:
        """Makes a check of this dump."""
        return Check(self.source, self.format, reader, what, command, timeout)

    def pages(self) -> Command:
        """Returns the file and the ranges with which its pages are compared."""
        if self.memory is None:
            raise ValueError(f"no file has all pages of {self.path}")
        return self.memory.arguments()


def dump_with_us(
    checks: Checks, guest: Guest, source: Source, name: str, path: pathlib.Path | None = None
) -> Dump | None:
    """Has guestdump write a dump in the format `name`, and check it.

    The dump replaces the one that an earlier source left at `path`. Returns None if guestdump
    failed.
    """
    path = path or guest.folder / name
    dump = Dump(guest, source.name, name, path, source.memory)
    write = (GUESTDUMP, "dump", "--progress", "never", "--force", "--json", "--format", name)
    if not checks.run(dump.check("guestdump", "dump", (*write, "--to", path, *source.arguments))):
        return None
    checks.run(dump.check("guestdump", "check", (GUESTDUMP, "check", path)))
    return dump
