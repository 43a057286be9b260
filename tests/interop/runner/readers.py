"""The program with which each reader looks at a dump.

Every reader is put before every format: limits.toml lists what a reader cannot do.
"""

import pathlib
from collections.abc import Iterator

from . import formats
from .check import Check, Command, Word
from .guest import Dump
from .paths import PYTHON, READERS


def readelf(dump: Dump) -> Check:
    """Has readelf list headers and notes."""
    program = READERS / "readelf_clean"
    return dump.check("readelf", "no complaint", (program, dump.path, dump.guest.cpus))


def gdb(dump: Dump) -> Check:
    """Has gdb show the registers of each CPU."""
    guest = dump.guest
    program = (READERS / "gdb_registers", guest.gdb, dump.path, guest.cpus)
    return dump.check("gdb", "registers", (*program, *guest.reference("gdb")))


def gdb_variable(dump: Dump, vmlinux: Word, vmcoreinfo: pathlib.Path) -> Check:
    """Has gdb read kernel variables by their guest-virtual addresses."""
    program = (READERS / "gdb_variable", dump.guest.gdb, dump.path, vmlinux, vmcoreinfo)
    return dump.check("gdb", "variables with `--paging`", program)


def gdb_virtual(dump: Dump, vmcoreinfo: pathlib.Path) -> Check:
    """Has gdb read the kernel's name by its guest-virtual address, without symbols."""
    said = dict(line.partition("=")[::2] for line in vmcoreinfo.read_text().splitlines())
    name = int(said["SYMBOL(init_uts_ns)"], 16) + int(said["OFFSET(uts_namespace.name)"])
    program = (READERS / "gdb_virtual", dump.path, hex(name), "Linux")
    return dump.check("gdb", "virtual with `--paging`", program)


def libkdumpfile(dump: Dump) -> Check:
    """Has libkdumpfile read each page."""
    program = READERS / "kdumpfile_pages"
    return dump.check("libkdumpfile", "pages", (program, dump.path, *dump.pages()))


def drgn_pages(dump: Dump) -> Check:
    """Has drgn read each page."""
    program = (PYTHON, READERS / "drgn_pages.py")
    return dump.check("drgn", "pages", (*program, dump.path, *dump.pages()))


def drgn_kernel(dump: Dump) -> Check:
    """Has drgn tell which kernel it sees, and with symbols its tasks and stacks."""
    guest = dump.guest
    program = (PYTHON, READERS / "drgn_kernel.py", dump.path)
    options = (*guest.symbols(), *guest.facts, *guest.reference("drgn"))
    return dump.check("drgn", "tasks, stacks" if guest.vmlinux else "kernel", (*program, *options))


def makedumpfile(dump: Dump) -> Check:
    """Has makedumpfile filter the dump again, and drgn open the result."""
    guest = dump.guest
    program: Command = (
        READERS / "makedumpfile_refilter",
        dump.path,
        guest.level,
        *guest.makedumpfile,
    )
    options = ("--", *guest.symbols(), *guest.reference("drgn"))
    return dump.check("makedumpfile", f"-d {guest.level}", (*program, *options))


def log(dump: Dump, source: Command) -> Iterator[Check]:
    """Has readers find the kernel's log, which must be the one that guestdump finds in `source`.

    drgn needs the kernel's types for it.
    """
    guest = dump.guest
    program: Command = (READERS / "same_log", dump.path, *guest.makedumpfile, "--", *source)
    yield dump.check("makedumpfile", "log", program)
    if guest.vmlinux:
        program = (PYTHON, READERS / "drgn_log.py", dump.path, guest.vmlinux)
        yield dump.check("drgn", "log", program)


def rearrange(dump: Dump) -> Check:
    """Has makedumpfile bring a flattened dump into its raw form."""
    raw = dump.path.with_name(formats.raw_form(dump.format))
    return dump.check("makedumpfile", "-R", (READERS / "makedumpfile_rearrange", dump.path, raw))


def crash(dump: Dump, vmlinux: Word) -> Check:
    """Has crash show the system, tasks, log, stacks and some memory."""
    guest = dump.guest
    program = (READERS / "crash_opens", dump.path, vmlinux)
    return dump.check("crash", "as QEMU's ELF", (*program, *guest.reference("crash"), *guest.peeks))


def drgn_walk(dump: Dump, vmlinux: Word) -> Check:
    """Has drgn walk tasks, stacks and slab memory, which no dump level excludes."""
    program = (PYTHON, READERS / "drgn_walk.py", dump.path, vmlinux)
    return dump.check("drgn", "walk", (*program, *dump.guest.reference("walk")))


def leechcore(dump: Dump) -> Check:
    """Has LeechCore read each page."""
    program = (PYTHON, READERS / "leechcore_pages.py")
    return dump.check("LeechCore", "pages", (*program, dump.path, *dump.pages()))


def volatility3(dump: Dump) -> Check:
    """Has volatility3 find the kernel's banners."""
    program = (PYTHON, READERS / "volatility_banners.py")
    return dump.check("volatility3", "banners", (*program, dump.path, *dump.pages()))


def references(dump: Dump) -> Iterator[Check]:
    """Yields the readers whose first answer must be their answer for every dump.

    crash takes the longest, so it sees only three formats of converted dumps.
    """
    vmlinux = dump.guest.vmlinux
    if vmlinux and (dump.format in formats.FEW or not dump.source.startswith("vmcore:")):
        yield crash(dump, vmlinux)
    yield drgn_kernel(dump)
    yield gdb(dump)


def others(dump: Dump) -> Iterator[Check]:
    """Yields the other readers, the slow ones first."""
    yield volatility3(dump)
    yield makedumpfile(dump)
    yield libkdumpfile(dump)
    yield drgn_pages(dump)
    yield leechcore(dump)
    yield readelf(dump)
    if dump.format in formats.FLATTENED and dump.source != "qemu":
        yield rearrange(dump)
