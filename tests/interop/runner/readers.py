"""Which program lets which reader look at a dump. Every reader is put before
every format: what it cannot do is in limits.toml."""

import formats
from guest import PYTHON, READERS


def readelf(dump):
    return dump.check(
        "readelf", "no complaint", READERS / "readelf_clean", dump.path, dump.guest.cpus
    )


def gdb(dump):
    return dump.check(
        "gdb",
        "registers",
        *(READERS / "gdb_registers", dump.guest.gdb, dump.path, dump.guest.cpus),
        *dump.guest.reference("gdb"),
    )


def gdb_variable(dump, vmcoreinfo):
    guest = dump.guest
    return dump.check(
        "gdb",
        "variables with `--paging`",
        *(READERS / "gdb_variable", guest.gdb, dump.path, guest.vmlinux, vmcoreinfo),
    )


def gdb_virtual(dump, vmcoreinfo):
    """Needs no symbols."""
    said = dict(line.partition("=")[::2] for line in vmcoreinfo.read_text().splitlines())
    name = int(said["SYMBOL(init_uts_ns)"], 16) + int(said["OFFSET(uts_namespace.name)"])
    program = READERS / "gdb_virtual"
    return dump.check("gdb", "virtual with `--paging`", program, dump.path, hex(name), "Linux")


def libkdumpfile(dump):
    program = READERS / "kdumpfile_pages"
    return dump.check("libkdumpfile", "pages", program, dump.path, *dump.memory.arguments())


def drgn_pages(dump):
    program = READERS / "drgn_pages.py"
    return dump.check("drgn", "pages", PYTHON, program, dump.path, *dump.memory.arguments())


def drgn_kernel(dump):
    guest = dump.guest
    return dump.check(
        "drgn",
        "tasks, stacks" if guest.vmlinux else "kernel",
        *(PYTHON, READERS / "drgn_kernel.py", dump.path),
        *guest.symbols(),
        *guest.facts,
        *guest.reference("drgn"),
    )


def makedumpfile(dump):
    guest = dump.guest
    return dump.check(
        "makedumpfile",
        f"-d {guest.level}",
        *(READERS / "makedumpfile_refilter", dump.path, guest.level, *guest.makedumpfile, "--"),
        *guest.symbols(),
        *guest.reference("drgn"),
    )


def log(dump, source):
    """The kernel's log, which others must find in the dump as we do in its
    source. drgn needs the kernel's types for it."""
    guest = dump.guest
    program = READERS / "same_log"
    yield dump.check(
        "makedumpfile", "log", program, dump.path, *guest.makedumpfile, "--", *source
    )
    if guest.vmlinux:
        yield dump.check("drgn", "log", PYTHON, READERS / "drgn_log.py", dump.path, guest.vmlinux)


def rearrange(dump):
    raw = dump.path.with_name(formats.raw_form(dump.format))
    return dump.check("makedumpfile", "-R", READERS / "makedumpfile_rearrange", dump.path, raw)


def crash(dump):
    guest = dump.guest
    return dump.check(
        "crash",
        "as QEMU's ELF",
        *(READERS / "crash_opens", dump.path, guest.vmlinux),
        *guest.reference("crash"),
        *guest.peeks,
    )


def drgn_walk(dump):
    """Tasks, stacks, slab memory: what of the kernel must be in any dump."""
    guest = dump.guest
    program = (PYTHON, READERS / "drgn_walk.py", dump.path, guest.vmlinux)
    return dump.check("drgn", "walk", *program, *guest.reference("walk"))


def leechcore(dump):
    program = READERS / "leechcore_pages.py"
    return dump.check("LeechCore", "pages", PYTHON, program, dump.path, *dump.memory.arguments())


def volatility3(dump):
    program = READERS / "volatility_banners.py"
    return dump.check(
        "volatility3", "banners", PYTHON, program, dump.path, *dump.memory.arguments()
    )


def references(dump):
    """Those whose first answer is what they must answer for every dump. crash
    takes the longest, so of converted dumps it sees three formats."""
    if dump.guest.vmlinux and (dump.format in formats.FEW or not dump.source.startswith("vmcore:")):
        yield crash(dump)
    yield drgn_kernel(dump)
    yield gdb(dump)


def others(dump):
    """The slow ones come first."""
    yield volatility3(dump)
    yield makedumpfile(dump)
    yield libkdumpfile(dump)
    yield drgn_pages(dump)
    yield leechcore(dump)
    yield readelf(dump)
    if dump.format in formats.FLATTENED and dump.source != "qemu":
        yield rearrange(dump)
