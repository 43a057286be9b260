"""One row of the suite: boots the guest, then runs the row's steps on it."""

import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from .check import Check, Command, Result
from .checks import Checks
from .guest import Guest, Memory
from .limits import Limit
from .paths import CACHE, GUEST, READERS


@dataclass(frozen=True)
class Row:
    """A guest of the suite, and what is done with it.

    `guest/machines/NAME` says how the guest is booted.
    """

    name: str
    platform: str  # drgn's name of the architecture.
    bits: int  # Of an address.
    steps: tuple["Step", ...]  # In the order in which they run.
    symbols: bool = False  # With the kernel's DWARF, some hundred MB to download.
    gdb: str = "gdb-multiarch"
    stopped: tuple[str, ...] = ()  # What guest/while_stopped takes besides dumps: "core".
    rotates: bool = False  # Runs on some days' commits only: see rotation.py.


@dataclass
class Run:
    """A row that runs: its guest's files, and the checks so far."""

    row: Row
    checks: Checks
    guest: Guest
    booted: pathlib.Path  # The folder that guest/boot filled.

    @cached_property
    def ram(self) -> Memory:
        """The guest's RAM, as the map says where it lies."""
        regions = ram_map(self.booted)["regions"]
        ranges = (f"{r['gpa']}:{r['size']}:{r['offset']}" for r in regions)
        return Memory(self.booted / "ram", tuple(ranges))

    @cached_property
    def qemus(self) -> Memory:
        """The memory in QEMU's ELF, as readelf sees it. QEMU takes ROM for RAM."""
        elf = self.booted / "qemu-elf"
        return Memory(elf, tuple(lines_of(READERS / "elf_ranges", elf)))


Step = Callable[[Run], None]


class Region(TypedDict):
    """A range of RAM in the map."""

    gpa: int
    size: int
    offset: int


class RamMap(TypedDict):
    """What the runner reads of the map that guest/boot wrote."""

    regions: list[Region]
    cpus: list[object]


def run(
    row: Row, limits: Sequence[Limit], *, boot: bool = True, keep: bool = False
) -> list[Result]:
    """Boots the guest, or takes one that was kept, and runs the row. Returns all results."""
    booted = CACHE / "guest" / row.name
    with Checks(row.name, limits) as checks:
        try:
            run_on(row, checks, booted, boot=boot)
        finally:
            if not keep:
                shutil.rmtree(booted, ignore_errors=True)
        return checks.results


def run_on(row: Row, checks: Checks, booted: pathlib.Path, *, boot: bool) -> None:
    """Runs the row's steps, with the guest's files in the folder `booted`."""
    take: Command = (GUEST / "while_stopped", booted, *row.stopped)
    boots: Command = (GUEST / "boot", booted, row.name, *take)
    if boot and not checks.run(Check("", "", "QEMU", "boot", boots, timeout=900)):
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="dumps.") as work:
        one = Run(row, checks, describe(row, booted, pathlib.Path(work)), booted)
        for step in row.steps:
            step(one)


def lines_of(*command: str | pathlib.Path) -> list[str]:
    """Returns what a program of the suite prints. Raises an exception if the program fails."""
    return subprocess.check_output(command, text=True).splitlines()


def ram_map(booted: pathlib.Path) -> RamMap:
    """Reads the map of a booted guest."""
    result: RamMap = json.loads((booted / "map.json").read_text())
    return result


def describe(row: Row, booted: pathlib.Path, folder: pathlib.Path) -> Guest:
    """Returns what the readers must know about the booted guest."""
    known = ram_map(booted)
    vmlinux = None
    if row.symbols:
        (package,) = lines_of(GUEST / "kernel", "--debug", row.name)
        vmlinux = pathlib.Path(package) / "vmlinux"
    return Guest(
        row.name,
        cpus=len(known["cpus"]),
        folder=folder,
        vmlinux=vmlinux,
        facts=("--platform", row.platform, row.bits, "--vmcoreinfo", booted / "vmcoreinfo.txt"),
        gdb=row.gdb,
        makedumpfile=tuple(lines_of(READERS / "makedumpfile_of", row.name)),
        peeks=tuple(peeks(booted / "ram", known["regions"])),
    )


def peeks(ram: pathlib.Path, regions: list[Region]) -> Iterator[str]:
    """Yields the guest-physical addresses of four pages of each region that are not zero."""
    with ram.open("rb") as file:
        for region in regions:
            for quarter in range(4):
                start = quarter * region["size"] // 4
                for at in range(start, region["size"], 4096):
                    file.seek(region["offset"] + at)
                    if any(file.read(128)):
                        yield hex(region["gpa"] + at)
                        break
