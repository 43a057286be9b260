"""One row: boots the guest, dumps it in every format, has every reader read."""

import json
import pathlib
import shutil
import subprocess
import tempfile

import exclusion
import formats
import readers
from checks import CACHE, CHECKOUT, Check, Checks
from guest import READERS, Dump, Guest, Memory, Source, dump_with_us

GUEST = CHECKOUT / "tests" / "interop" / "guest"
QEMU_FORMATS = ("elf", "kdump-zlib", "kdump-raw-zlib")


def run(row, limits, boot=True, keep=False):
    """Boots the guest, or takes a kept one. Gives all results."""
    booted = CACHE / "guest" / row.name
    checks = Checks(row.name, limits)
    try:
        run_on(row, checks, booted, boot)
    finally:
        if not keep:
            shutil.rmtree(booted, ignore_errors=True)
    return checks.results


def run_on(row, checks, booted, boot):
    """The row's checks, with the guest's files in the folder `booted`."""
    take = (GUEST / "while_stopped", booted, *(["core"] if row.core else []))
    boots = (GUEST / "boot", booted, row.name, *take)
    start = Check("", "", "QEMU", "boot", boots, timeout=900)
    if boot and not checks.run(start):
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="dumps.") as work:
        guest = describe(row, booted, pathlib.Path(work))
        # First, so that what they tell is what our dumps must tell.
        for name in QEMU_FORMATS:
            if (booted / f"qemu-{name}").exists():
                of_qemu = Dump(guest, "qemu", name, booted / f"qemu-{name}", qemu_memory(booted))
                read(checks, of_qemu)
        checks.run(decoded_and_encoded(booted))
        for source in sources(row, booted):
            for name in source.formats:
                dump = dump_with_us(checks, guest, source, name)
                if dump:
                    read(checks, dump)
                    compare_with_qemu(checks, dump, booted)
                    if name in ("elf", "kdump-raw-zlib") and source.name == "raw:ram":
                        ram_map = (f"raw:{booted}/ram", "--map", booted / "map.json")
                        checks.run(*readers.log(dump, ram_map))
        live(checks, guest, booted)
        if row.core:
            out_of_core(checks, row, guest, booted)
        if row.paging:
            with_mappings(checks, guest, booted)
        exclusion.run(checks, row, guest, booted)
        left_out_of_all(checks, row, guest, booted)
        if row.name == "x86_64":
            on_a_full_disk(checks, guest, booted)
    repaired(checks)


def lines_of(*command):
    """What a program of the suite prints, without which nothing goes on."""
    return subprocess.check_output(command, text=True).splitlines()


def describe(row, booted, folder):
    """What the readers have to know of the booted guest."""
    ram_map = json.loads((booted / "map.json").read_text())
    vmlinux = None
    if row.symbols:
        (package,) = lines_of(GUEST / "kernel", "--debug", row.name)
        vmlinux = pathlib.Path(package) / "vmlinux"
    return Guest(
        row.name,
        cpus=len(ram_map["cpus"]),
        folder=folder,
        vmlinux=vmlinux,
        facts=("--platform", row.platform, row.bits, "--vmcoreinfo", booted / "vmcoreinfo.txt"),
        gdb=row.gdb,
        makedumpfile=tuple(lines_of(READERS / "makedumpfile_of", row.name)),
        peeks=tuple(peeks(booted / "ram", ram_map["regions"])),
    )


def ram_memory(booted):
    regions = json.loads((booted / "map.json").read_text())["regions"]
    return Memory(booted / "ram", tuple(f"{r['gpa']}:{r['size']}:{r['offset']}" for r in regions))


def qemu_memory(booted):
    """As readelf sees it. QEMU takes ROM for RAM."""
    elf = booted / "qemu-elf"
    return Memory(elf, tuple(lines_of(READERS / "elf_ranges", elf)))


def peeks(ram, regions):
    """Guest-physical addresses of four pages that are not zero."""
    with open(ram, "rb") as file:
        for region in regions:
            for quarter in range(4):
                start = quarter * region["size"] // 4
                for at in range(start, region["size"], 4096):
                    file.seek(region["offset"] + at)
                    if any(file.read(128)):
                        yield hex(region["gpa"] + at)
                        break


def sources(row, booted):
    """What our dumps are made from."""
    ram = ram_memory(booted)
    of_ram = ("--from", f"raw:{booted}/ram", "--map", booted / "map.json")
    yield Source("raw:ram", of_ram, ram, formats.FEW if row.few else formats.ALL)
    for name in QEMU_FORMATS:
        file = booted / f"qemu-{name}"
        if not file.exists():
            continue
        convert = ("--from", f"vmcore:{file}")
        again = [formats.raw_form(name)] if row.few else formats.FEW
        yield Source(f"vmcore:qemu-{name}", convert, qemu_memory(booted), again)
        if len(ram.ranges) < len(qemu_memory(booted).ranges):
            cut = (*convert, *only(ram))
            yield Source(f"vmcore:qemu-{name} without ROM", cut, ram, ["kdump-raw-zlib"])
    for file in sorted(booted.glob("md-*")):
        # Pages that makedumpfile left out stay out, so only the kernel is read.
        yield Source(f"vmcore:{file.name}", ("--from", f"vmcore:{file}"), None, formats.FEW)


def only(ram):
    """Arguments that leave out what is not RAM."""
    first, last = ram.ranges[0].split(":"), ram.ranges[-1].split(":")
    return "--begin", first[0], "--length", int(last[0]) + int(last[1]) - int(first[0])


def read(checks, dump):
    """All readers, those first that say what others must see."""
    if not dump.memory:
        checks.run(readers.drgn_kernel(dump))
        return
    checks.run(*readers.references(dump))
    checks.run(*readers.others(dump))


def decoded_and_encoded(booted):
    """Our register structs between QEMU's notes and the same notes again."""
    elf = f"GUESTDUMP_QEMU_ELF={booted}/qemu-elf"
    test = ("cargo", "test", "--quiet", "--all-features", "--test", "notes", "--", "--ignored")
    return Check("qemu", "elf", "guestdump", "notes again", ("env", elf, *test), timeout=900)


def compare_with_qemu(checks, dump, booted):
    """Notes and memory of an ELF dump, with QEMU's."""
    if dump.format != "elf" or not dump.memory:
        return
    theirs = booted / "qemu-elf"
    whole = () if dump.source.startswith("vmcore:") else ("--part",)
    checks.run(
        dump.check("QEMU's ELF", "notes", READERS / "same_notes.py", dump.path, theirs),
        dump.check("QEMU's ELF", "memory", READERS / "same_memory.py", *whole, dump.path, theirs),
    )


def live(checks, guest, booted):
    """Our dump of the guest over QMP, when it stood still for QEMU's."""
    dump = Dump(guest, "qmp", "elf", booted / "live-elf", ram_memory(booted))
    checks.run(readers.readelf(dump), readers.gdb(dump), readers.drgn_pages(dump))
    compare_with_qemu(checks, dump, booted)


def out_of_core(checks, row, guest, booted):
    """The guest out of a core file of QEMU, without a map. CPUs are not in
    there, nor is the window of video memory on x86."""
    ram = ram_memory(booted)
    if row.platform in ("X86_64", "I386"):
        _, size, offset = map(int, ram.ranges[0].split(":"))
        low, high = 0xA0000, 0xC0000
        parts = f"0:{low}:{offset}", f"{high}:{size - high}:{offset + high}"
        ram = Memory(ram.file, parts + ram.ranges[1:])
    arguments = ("--from", f"process-core:{booted}/core")
    dump = dump_with_us(checks, guest, Source("process-core", arguments, ram, ["elf"]), "elf")
    if dump:
        checks.run(readers.drgn_pages(dump))


def left_out_of_all(checks, row, guest, booted):
    """Whatever a dump is made from, a level leaves out the same pages."""
    name = "kdump-raw-zlib"
    level = ("--dump-level", "31")
    ram = ram_memory(booted)
    sources = {
        "raw:ram": (f"raw:{ram.file}", "--map", booted / "map.json"),
        "vmcore:qemu-elf without ROM": (f"vmcore:{booted}/qemu-elf", *only(ram)),
    }
    if row.core:
        sources["process-core"] = (f"process-core:{booted}/core",)
    dumps = [Dump(guest, "qmp --dump-level 31", name, booted / "live-31", None)]
    for number, (source, arguments) in enumerate(sources.items()):
        given = Source(f"{source} --dump-level 31", (*level, "--from", *arguments), None, [name])
        path = guest.folder / f"left-out-{number}"
        dumps.append(dump_with_us(checks, guest, given, name, path))
    of_ram = dumps.pop(1)
    for dump in filter(None, dumps):
        checks.run(dump.check("guestdump", "left out", READERS / "same_left_out.py", dump.path, of_ram.path))


def with_mappings(checks, guest, booted):
    """An ELF dump with guest-virtual addresses: QEMU's ones, gdb reads the
    kernel's variables by them, and who walks page tables is not disturbed."""
    qemus = booted / "qemu-elf-paging"
    vmcoreinfo = booted / "vmcoreinfo.txt"
    ram = ram_memory(booted)
    for name, *arguments in (
        ("raw:ram", f"raw:{ram.file}", "--map", booted / "map.json"),
        ("vmcore:qemu-elf without ROM", f"vmcore:{booted}/qemu-elf", *only(ram)),
    ):
        source = Source(f"{name} --paging", ("--paging", "--from", *arguments), ram, ["elf"])
        dump = dump_with_us(checks, guest, source, "elf")
        if not dump:
            continue
        checks.run(readers.drgn_kernel(dump), readers.makedumpfile(dump))
        checks.run(readers.gdb_virtual(dump, vmcoreinfo))
        if guest.vmlinux:
            checks.run(readers.gdb_variable(dump, vmcoreinfo))
        if qemus.exists() and source.name.startswith("raw:"):
            program = READERS / "same_mappings.py"
            checks.run(dump.check("QEMU's ELF", "mappings", program, dump.path, qemus))


def on_a_full_disk(checks, guest, booted):
    """What is kept of a dump that does not fit."""
    program = READERS / "partial_opens"
    command = (program, booted, guest.vmlinux)
    checks.run(Check("raw:ram", "kdump-raw-snappy", "drgn, crash", "incomplete", command))


def repaired(checks):
    """What a reader refused because of a mistake of QEMU's, it must open
    after `guestdump dump --from vmcore:`."""
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
        checks.note(refused, f"{refused['check']} after repair", bool(good), line)
