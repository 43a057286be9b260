"""The steps about dump levels.

A level must exclude the right pages, readers must find all the rest, and a process's memory must
not be in the dump.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from . import readers
from .check import Check, Command
from .checks import Checks
from .guest import Dump, Guest, Source, dump_with_us
from .paths import GUEST, PYTHON, READERS
from .row import Run, Step
from .steps import of_ram

KDUMP = "kdump-raw-zlib"
LEVELS = (1, 2, 4, 8, 16, 17, 31)
# Levels that are not given as a number.
NAMES: dict[int, tuple[str, ...]] = {
    0: (),
    8: ("--exclude", "user"),
    14: ("--exclude", "cache,user"),
}
# Arguments of guest/memory.c, which guest/init gives.
SECRETS = {"process": "20261121", "file": "91173"}
# The secrets that a level does not exclude.
LEFT = {0: ("process", "file"), 6: ("process",), 8: ("file",), 14: (), 31: ()}


def has_memory(*names: str) -> Step:
    """Makes a step that checks that the guest had memory of each kind when it was dumped.

    A name is a line of /proc/meminfo, or another one that guest/has_memory.py knows.
    """

    def step(run: Run) -> None:
        program: Command = (GUEST / "has_memory.py", run.booted / "console.log", *names)
        run.checks.run(Check("", "", "QEMU", "memory", program))

    return step


@dataclass
class Dumps:
    """Our dumps of one guest's RAM, at dump levels."""

    checks: Checks
    guest: Guest
    ram: Command  # Arguments of guestdump after `--from`.
    made: dict[tuple[int, str], Dump | None] = field(default_factory=dict)

    def of(self, level: int, name: str) -> Dump | None:
        """Returns the dump at this level in this format, or None if guestdump failed."""
        if (level, name) not in self.made:
            options = NAMES.get(level, ("--dump-level", str(level)))
            title = " ".join(("raw:ram", *options))
            source = Source(title, (*options, "--from", *self.ram), None)
            path = self.guest.folder / f"{name}-{level}"
            self.made[level, name] = dump_with_us(self.checks, self.guest, source, name, path)
        return self.made[level, name]

    def kdumps(self) -> dict[int, Dump]:
        """Returns the kdump at each of LEVELS, without those where guestdump failed."""
        made = {}
        for level in LEVELS:
            dump = self.of(level, KDUMP)
            if not dump:
                break
            made[level] = dump
        return made


# What is looked at in the dumps: the dumps, and the ELF dump with all pages.
Part = Callable[[Dumps, Dump], None]


def dump_at_levels(*parts: Part) -> Step:
    """Makes a step that dumps the guest's RAM at each level and looks at these parts."""

    def step(run: Run) -> None:
        # Readers' answers about the guest's other dumps are not expected here, because crash
        # peeks at pages that are excluded.
        folder = run.guest.folder / "levels"
        folder.mkdir()
        guest = replace(run.guest, folder=folder, peeks=())
        dumps = Dumps(run.checks, guest, of_ram(run).arguments)
        full = dumps.of(0, "elf")
        if full and len(dumps.kdumps()) == len(LEVELS):
            run.checks.run(*kernel(full, dumps.ram))
            for part in parts:
                part(dumps, full)

    return step


def as_makedumpfile(dumps: Dumps, full: Dump) -> None:
    """Compares the excluded page frames with those that makedumpfile excludes."""
    dumps.checks.run(*(frames(dump, level, full) for level, dump in dumps.kdumps().items()))


def frames(dump: Dump, level: int, full: Dump) -> Check:
    """Has makedumpfile exclude pages at one level."""
    makedumpfile = dump.guest.makedumpfile
    program: Command = (READERS / "same_frames.py", dump.path, level, full.path, *makedumpfile)
    return dump.check("makedumpfile", "frames", program, timeout=600)


def as_drgn(dumps: Dumps, full: Dump) -> None:
    """Compares the excluded page frames with what drgn sees in each struct page."""
    left_out = full.guest.folder / "frames"
    names = (f"{level}:{dump.path}" for level, dump in dumps.kdumps().items())
    with left_out.open("w", encoding="ascii") as file:
        subprocess.run((READERS / "runs_left_out.py", *names), stdout=file, check=True)
    # Only RAM counts, because nothing else is excluded.
    ranges = subprocess.check_output((READERS / "elf_ranges", full.path), text=True).split()
    ram = (f"--ram={one}" for one in ranges)
    options: Command = (*LEVELS, *full.guest.symbols(), *ram, "--expect", left_out)
    program = (PYTHON, READERS / "drgn_exclusion.py", full.path, *options)
    dumps.checks.run(replace(full, source="raw:ram --dump-level").check("drgn", "frames", program))


def kernel(dump: Dump, ram: Command) -> Iterator[Check]:
    """Yields the readers that need no page that a level may exclude."""
    yield readers.drgn_kernel(dump)
    yield from readers.log(dump, ram)
    vmlinux = dump.guest.vmlinux
    if vmlinux:
        yield readers.drgn_walk(dump, vmlinux)
        yield readers.crash(dump, vmlinux)


def the_kernel_at_31(dumps: Dumps, full: Dump) -> None:
    """Checks that readers see at level 31 what they see in a full dump.

    Excluded pages are zeroes in an ELF dump.
    """
    kdump, elf = dumps.of(31, KDUMP), dumps.of(31, "elf")
    if not kdump:
        return
    dumps.checks.run(*kernel(kdump, dumps.ram))
    if elf:
        zeroes = (READERS / "elf_without.py", elf.path, kdump.path, full.path)
        dumps.checks.run(
            *kernel(elf, dumps.ram),
            readers.readelf(elf),
            elf.check("guestdump", "zeroes", zeroes),
        )


def secrets(dumps: Dumps, _full: Dump) -> None:
    """Searches dumps for the secrets that guest/memory.c planted in the guest."""
    for level, there in LEFT.items():
        for dump in filter(None, (dumps.of(level, name) for name in (KDUMP, "elf"))):
            dumps.checks.run(*(secret(dump, where, there=where in there) for where in SECRETS))


def secret(dump: Dump, where: str, *, there: bool) -> Check:
    """Searches one dump for one secret."""
    words = (where, SECRETS[where], "there" if there else "gone")
    program: Command = (READERS / "planted.py", dump.path, *words)
    return dump.check("guestdump", f"secret of a {where}", program)
