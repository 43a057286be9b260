"""One row: boots the guest, dumps it in every format, has every reader read."""

import json
import pathlib
import subprocess
import tempfile

import formats
import readers
from checks import CACHE, CHECKOUT, Check, Checks
from guest import READERS, Dump, Guest, Memory, Source, dump_with_us

GUEST = CHECKOUT / "tests" / "interop" / "guest"
QEMU_FORMATS = ("elf", "kdump-zlib", "kdump-raw-zlib")


def run(row, limits, boot=True):
    """Boots the guest, or takes it from the last run. Gives all results."""
    booted = CACHE / "guest" / row.name
    checks = Checks(row.name, limits)
    start = Check("", "", "QEMU", "boot", (GUEST / "boot", booted, row.name), timeout=900)
    if boot and not checks.run(start):
        return checks.results
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
        with_mappings(checks, guest, booted)
    repaired(checks)
    return checks.results


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
    yield Source("raw:ram", ("--from", f"raw:{booted}/ram", "--map", booted / "map.json"), ram, formats.ALL)
    some = formats.ALL if row.every else formats.FEW
    for name in QEMU_FORMATS:
        file = booted / f"qemu-{name}"
        if not file.exists():
            continue
        convert = ("--from", f"vmcore:{file}")
        yield Source(f"vmcore:qemu-{name}", convert, qemu_memory(booted), some)
        if len(ram.ranges) < len(qemu_memory(booted).ranges):
            first, last = ram.ranges[0].split(":"), ram.ranges[-1].split(":")
            length = int(last[0]) + int(last[1]) - int(first[0])
            cut = (*convert, "--begin", first[0], "--length", length)
            yield Source(f"vmcore:qemu-{name} without ROM", cut, ram, ["kdump-raw-zlib"])
    for file in sorted(booted.glob("md-*")):
        # Pages that makedumpfile left out stay out, so only the kernel is read.
        yield Source(f"vmcore:{file.name}", ("--from", f"vmcore:{file}"), None, formats.FEW)


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
        dump.check("QEMU's ELF", "notes", READERS / "same_notes", dump.path, theirs),
        dump.check("QEMU's ELF", "memory", READERS / "same_memory", *whole, dump.path, theirs),
    )


def with_mappings(checks, guest, booted):
    """An ELF dump with guest-virtual addresses: QEMU's ones, gdb reads the
    kernel's variables by them, and who walks page tables is not disturbed."""
    qemus = booted / "qemu-elf-paging"
    if not (guest.vmlinux or qemus.exists()):
        return
    ram, elf = booted / "ram", booted / "qemu-elf"
    for name, memory, *arguments in (
        ("raw:ram", ram_memory(booted), f"raw:{ram}", "--map", booted / "map.json"),
        ("vmcore:qemu-elf", qemu_memory(booted), f"vmcore:{elf}"),
    ):
        source = Source(f"{name} --paging", ("--paging", "--from", *arguments), memory, ["elf"])
        dump = dump_with_us(checks, guest, source, "elf")
        if not dump:
            continue
        checks.run(readers.drgn_kernel(dump), readers.makedumpfile(dump))
        if guest.vmlinux:
            checks.run(readers.gdb_variable(dump, booted / "vmcoreinfo.txt"))
        if qemus.exists() and source.name.startswith("raw:"):
            program = READERS / "same_mappings"
            checks.run(dump.check("QEMU's ELF", "mappings", program, dump.path, qemus))


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
