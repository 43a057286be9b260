"""The steps of the rows, apart from those of exclusion.py.

A step is a function of a Run. Functions whose name begins with a verb and whose result is a
Step make one out of their arguments.
"""

from collections.abc import Iterator
from typing import NamedTuple

from . import formats, readers
from .check import Check, Command
from .guest import Dump, Memory, Source, dump_with_us
from .paths import READERS
from .row import Run, Step

QEMU_FORMATS = ("elf", "kdump-zlib", "kdump-raw-zlib")
# Where x86 machines have video memory instead of RAM: begin and end.
VIDEO_MEMORY = (0xA0000, 0xC0000)


def read_qemus_dumps(run: Run) -> None:
    """Puts QEMU's own dumps before the readers. What they tell is what our dumps must tell."""
    for name in QEMU_FORMATS:
        file = run.booted / f"qemu-{name}"
        if file.exists():
            read(run, Dump(run.guest, "qemu", name, file, run.qemus))


def encode_notes_again(run: Run) -> None:
    """Decodes QEMU's CPU notes into our registers, and encodes the same notes again."""
    elf = f"GUESTDUMP_QEMU_ELF={run.booted}/qemu-elf"
    test = ("cargo", "test", "--quiet", "--all-features", "--test", "notes", "--", "--ignored")
    run.checks.run(
        Check("qemu", "elf", "guestdump", "notes again", ("env", elf, *test), timeout=900)
    )


def dump_ram(names: tuple[str, ...]) -> Step:
    """Makes a step that dumps the guest's RAM in these formats."""

    def step(run: Run) -> None:
        given = of_ram(run)
        source = Source(given.name, ("--from", *given.arguments), run.ram)
        for dump in dumps(run, source, names):
            if dump.format in ("elf", "kdump-raw-zlib"):
                run.checks.run(*readers.log(dump, given.arguments))

    return step


def convert_qemus_dumps(names: tuple[str, ...] | None = None) -> Step:
    """Makes a step that converts QEMU's dumps into these formats.

    Without formats, each dump is converted only into the raw form of its own one.
    """

    def step(run: Run) -> None:
        for name in QEMU_FORMATS:
            file = run.booted / f"qemu-{name}"
            if not file.exists():
                continue
            convert = ("--from", f"vmcore:{file}")
            source = Source(f"vmcore:qemu-{name}", convert, run.qemus)
            convert_into(run, source, names or (formats.raw_form(name),))
            if len(run.ram.ranges) < len(run.qemus.ranges):
                cut = (*convert, *only(run.ram))
                source = Source(f"vmcore:qemu-{name} without ROM", cut, run.ram)
                convert_into(run, source, ("kdump-raw-zlib",))

    return step


def convert_makedumpfiles_dumps(run: Run) -> None:
    """Converts the dumps that makedumpfile made of QEMU's ELF.

    Pages that makedumpfile excluded stay excluded, so only the kernel is read.
    """
    for file in sorted(run.booted.glob("md-*")):
        source = Source(f"vmcore:{file.name}", ("--from", f"vmcore:{file}"), None)
        convert_into(run, source, formats.FEW)


def convert_into(run: Run, source: Source, names: tuple[str, ...]) -> None:
    """Converts a dump into these formats, and has the readers read the results."""
    for _ in dumps(run, source, names):
        pass


def dumps(run: Run, source: Source, names: tuple[str, ...]) -> Iterator[Dump]:
    """Dumps a source in these formats. Yields each dump after the readers have read it."""
    for name in names:
        dump = dump_with_us(run.checks, run.guest, source, name)
        if dump:
            read(run, dump)
            compare_with_qemu(run, dump)
            yield dump


def read(run: Run, dump: Dump) -> None:
    """Puts a dump before all readers, those first that say what others must see."""
    if not dump.memory:
        run.checks.run(readers.drgn_kernel(dump))
        return
    run.checks.run(*readers.references(dump))
    run.checks.run(*readers.others(dump))


def compare_with_qemu(run: Run, dump: Dump) -> None:
    """Compares notes and memory of an ELF dump with those of QEMU's ELF."""
    if dump.format != "elf" or not dump.memory:
        return
    theirs = run.booted / "qemu-elf"
    whole = () if dump.source.startswith("vmcore:") else ("--part",)
    notes = (READERS / "same_notes.py", dump.path, theirs)
    memory = (READERS / "same_memory.py", *whole, dump.path, theirs)
    run.checks.run(
        dump.check("QEMU's ELF", "notes", notes), dump.check("QEMU's ELF", "memory", memory)
    )


def read_live_dump(run: Run) -> None:
    """Reads our dump over QMP, which was made while the guest was paused for QEMU's dumps."""
    dump = Dump(run.guest, "qmp", "elf", run.booted / "live-elf", run.ram)
    run.checks.run(readers.readelf(dump), readers.gdb(dump), readers.drgn_pages(dump))
    compare_with_qemu(run, dump)


def dump_core(hole: tuple[int, int] | None = None) -> Step:
    """Makes a step that dumps the guest out of a core file of QEMU, without a map.

    The core has no CPUs. `hole` is the range of the first region in which it has no RAM.
    """

    def step(run: Run) -> None:
        ram = run.ram
        if hole:
            low, high = hole
            _, size, offset = map(int, ram.ranges[0].split(":"))
            parts = (f"0:{low}:{offset}", f"{high}:{size - high}:{offset + high}")
            ram = Memory(ram.file, parts + ram.ranges[1:])
        given = of_core(run)
        source = Source(given.name, ("--from", *given.arguments), ram)
        dump = dump_with_us(run.checks, run.guest, source, "elf")
        if dump:
            run.checks.run(readers.drgn_pages(dump))

    return step


def dump_with_mappings(run: Run) -> None:
    """Makes ELF dumps with guest-virtual addresses.

    They must be the addresses of QEMU's dump. gdb must read the kernel's variables by them, and
    readers that walk page tables must read the dump as before.
    """
    qemus = run.booted / "qemu-elf-paging"
    vmcoreinfo = run.booted / "vmcoreinfo.txt"
    for given in (of_ram(run), of_qemus_elf(run)):
        arguments = ("--paging", "--from", *given.arguments)
        source = Source(f"{given.name} --paging", arguments, run.ram)
        dump = dump_with_us(run.checks, run.guest, source, "elf")
        if not dump:
            continue
        run.checks.run(readers.drgn_kernel(dump), readers.makedumpfile(dump))
        run.checks.run(readers.gdb_virtual(dump, vmcoreinfo))
        if run.guest.vmlinux:
            run.checks.run(readers.gdb_variable(dump, run.guest.vmlinux, vmcoreinfo))
        if qemus.exists() and source.name.startswith("raw:"):
            program = (READERS / "same_mappings.py", dump.path, qemus)
            run.checks.run(dump.check("QEMU's ELF", "mappings", program))


def compare_what_is_excluded(*, core: bool = False) -> Step:
    """Makes a step that compares what a dump level excludes from different sources.

    A level must exclude the same pages from RAM, over QMP, from QEMU's ELF, and with `core` from
    a core file of QEMU.
    """

    def step(run: Run) -> None:
        name = "kdump-raw-zlib"
        level = ("--dump-level", "31")
        sources = [of_ram(run), of_qemus_elf(run)]
        if core:
            sources.append(of_core(run))
        made = []
        for number, given in enumerate(sources):
            arguments = (*level, "--from", *given.arguments)
            source = Source(f"{given.name} --dump-level 31", arguments, None)
            path = run.guest.folder / f"left-out-{number}"
            made.append(dump_with_us(run.checks, run.guest, source, name, path))
        ram, *others = made
        if not ram:
            return
        live = Dump(run.guest, "qmp --dump-level 31", name, run.booted / "live-31", None)
        for dump in filter(None, (live, *others)):
            program = (READERS / "same_left_out.py", dump.path, ram.path)
            run.checks.run(dump.check("guestdump", "left out", program))

    return step


def fill_a_disk(run: Run) -> None:
    """Has readers open what is kept of a dump that does not fit on a disk."""
    command = (READERS / "partial_opens", run.booted, run.guest.vmlinux or "")
    run.checks.run(Check("raw:ram", "kdump-raw-snappy", "drgn, crash", "incomplete", command))


def compare_repaired_dumps(run: Run) -> None:
    """Checks that `guestdump dump --from vmcore:` repairs QEMU's mistakes.

    What a reader refused because of such a mistake, the reader must open after the conversion.
    """
    checks = run.checks
    mistakes = {x.why for x in checks.limits if x.source == ("qemu",) and x.repair}
    for refused in [r for r in checks.results if r["source"] == "qemu" and r["limit"] in mistakes]:
        good = [
            r
            for r in checks.results
            if r["verdict"] == "ok"
            and r["source"].startswith(f"vmcore:qemu-{refused['format']}")
            and r["format"] in (refused["format"], formats.raw_form(refused["format"]))
            and (r["reader"], r["check"]) == (refused["reader"], refused["check"])
        ]
        line = f"{refused['line']} -> {good[0]['line']}" if good else "still refused"
        checks.note(refused, f"{refused['check']} after repair", good=bool(good), line=line)


class Given(NamedTuple):
    """A source of dumps: its name, and guestdump's arguments after `--from`."""

    name: str
    arguments: Command


def of_ram(run: Run) -> Given:
    """The guest's RAM, with its map."""
    return Given("raw:ram", (f"raw:{run.booted}/ram", "--map", run.booted / "map.json"))


def of_qemus_elf(run: Run) -> Given:
    """QEMU's ELF, without the ROM that QEMU takes for RAM."""
    return Given("vmcore:qemu-elf without ROM", (f"vmcore:{run.booted}/qemu-elf", *only(run.ram)))


def of_core(run: Run) -> Given:
    """A core file of QEMU."""
    return Given("process-core", (f"process-core:{run.booted}/core",))


def only(ram: Memory) -> Command:
    """Returns the arguments that omit what is not RAM."""
    first, last = ram.ranges[0].split(":"), ram.ranges[-1].split(":")
    return ("--begin", first[0], "--length", int(last[0]) + int(last[1]) - int(first[0]))
