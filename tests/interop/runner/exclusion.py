"""Dump levels: that the right pages are left out, that readers find all the
rest, and that a process's memory is not in the dump."""

import subprocess
from dataclasses import dataclass, field, replace

import readers
from checks import CHECKOUT, Check, Checks
from guest import PYTHON, READERS, Guest, Source, dump_with_us

HAS_MEMORY = CHECKOUT / "tests" / "interop" / "guest" / "has_memory.py"
KDUMP = "kdump-raw-zlib"
LEVELS = (1, 2, 4, 8, 16, 17, 31)
# As people say it.
NAMES = {8: ("--exclude", "user"), 14: ("--exclude", "cache,user")}
# Arguments of guest/memory.c, by guest/init.
SECRETS = {"process": "20261121", "file": "91173"}
# Where secrets are left.
LEFT = {0: ("process", "file"), 6: ("process",), 8: ("file",), 14: (), 31: ()}


@dataclass
class Dumps:
    """Our dumps of one guest's RAM, with levels."""

    checks: Checks
    guest: Guest
    ram: tuple  # Arguments of guestdump, behind `--from`.
    made: dict = field(default_factory=dict)

    def of(self, level, name):
        """The dump with this level in this format. None if there is none."""
        if (level, name) not in self.made:
            options = NAMES.get(level, ("--dump-level", str(level)))
            if level == 0:
                options = ()
            source = Source(
                " ".join(("raw:ram", *options)), (*options, "--from", *self.ram), None, [name]
            )
            path = self.guest.folder / f"{name}-{level}"
            self.made[level, name] = dump_with_us(self.checks, self.guest, source, name, path)
        return self.made[level, name]


def run(checks, row, guest, booted):
    """All of it, on one guest."""
    checks.run(Check("", "", "QEMU", "memory", (HAS_MEMORY, booted / "console.log", *row.memory)))
    # What readers say of the guest's other dumps is not expected here: crash
    # peeks at pages that are left out.
    folder = guest.folder / "levels"
    folder.mkdir()
    guest = replace(guest, folder=folder, peeks=())
    dumps = Dumps(checks, guest, (f"raw:{booted}/ram", "--map", booted / "map.json"))
    full = dumps.of(0, "elf")
    if full and all(dumps.of(level, KDUMP) for level in LEVELS):
        checks.run(*kernel(full, dumps.ram))
        checks.run(*(frames(dumps.of(level, KDUMP), level, full) for level in LEVELS))
        if row.drgn_frames:
            checks.run(drgn_frames(dumps, full))
        least(dumps, full)
        if row.planted:
            planted(dumps)


def frames(dump, level, full):
    """The page frames that makedumpfile leaves out, and no others."""
    program = (READERS / "same_frames.py", dump.path, level, full.path, *dump.guest.makedumpfile)
    return dump.check("makedumpfile", "frames", *program, timeout=600)


def drgn_frames(dumps, full):
    """The same by what drgn sees of each struct page."""
    left_out = full.guest.folder / "frames"
    names = (f"{level}:{dumps.of(level, KDUMP).path}" for level in LEVELS)
    with open(left_out, "w", encoding="ascii") as file:
        subprocess.run((READERS / "runs_left_out.py", *names), stdout=file, check=True)
    # Beside RAM nothing is left out.
    ranges = subprocess.check_output((READERS / "elf_ranges", full.path), text=True).split()
    options = (*full.guest.symbols(), *(f"--ram={one}" for one in ranges), "--expect", left_out)
    program = (PYTHON, READERS / "drgn_exclusion.py", full.path, *LEVELS, *options)
    return replace(full, source="raw:ram --dump-level").check("drgn", "frames", *program)


def kernel(dump, ram):
    """What needs no page that a level may leave out."""
    yield readers.drgn_kernel(dump)
    yield from readers.log(dump, ram)
    if dump.guest.vmlinux:
        yield readers.drgn_walk(dump)
        yield readers.crash(dump)


def least(dumps, full):
    """At level 31 readers see what they see in a full dump. In an ELF dump what
    is left out are zeroes."""
    kdump, elf = dumps.of(31, KDUMP), dumps.of(31, "elf")
    dumps.checks.run(*kernel(kdump, dumps.ram))
    if elf:
        zeroes = (READERS / "elf_without.py", elf.path, kdump.path, full.path)
        dumps.checks.run(
            *kernel(elf, dumps.ram),
            readers.readelf(elf),
            elf.check("guestdump", "zeroes", *zeroes),
        )


def planted(dumps):
    """Where the secrets are that the guest planted, and where not."""
    for level, there in LEFT.items():
        for dump in filter(None, (dumps.of(level, name) for name in (KDUMP, "elf"))):
            dumps.checks.run(*(secret(dump, where, where in there) for where in SECRETS))


def secret(dump, where, there):
    words = (where, SECRETS[where], "there" if there else "gone")
    return dump.check("guestdump", f"secret of a {where}", READERS / "planted.py", dump.path, *words)
