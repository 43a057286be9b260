#!/usr/bin/env python3
"""Dumps a guest with more RAM ranges than e_phnum can count, and has readers open it.

many_ranges.py FOLDER

readelf must find all program headers through section header 0, and drgn must read the memory.
The files lie in FOLDER meanwhile. The environment variable GUESTDUMP names guestdump. Prints one
line; exit code 0 if both readers succeed.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import drgn

COUNT = 70_000
PAGE = 4096
# Only every 999th page has contents, because the others would take time and prove nothing more.
STEP = 999
# The kernel's note, without which drgn takes the dump for a program's.
VMCOREINFO = b"""\
OSRELEASE=6.1.0
PAGESIZE=4096
KERNELOFFSET=0
NUMBER(phys_base)=0
SYMBOL(swapper_pg_dir)=ffffffff82000000
NUMBER(pgtable_l5_enabled)=0
"""


def make_guest(ram_map: pathlib.Path, ram: pathlib.Path) -> None:
    """Writes the map and the RAM of a guest in which every other page is RAM."""
    regions = [{"gpa": i * 2 * PAGE, "size": PAGE, "offset": i * PAGE} for i in range(COUNT)]
    guest = {"machine": "x86_64", "page_size": PAGE, "regions": regions}
    ram_map.write_text(json.dumps(guest), encoding="utf-8")
    with ram.open("wb") as file:
        file.truncate(COUNT * PAGE)
        for i in range(0, COUNT, STEP):
            file.seek(i * PAGE)
            file.write(i.to_bytes(8, "little"))
        file.seek((COUNT - 1) * PAGE)
        file.write(VMCOREINFO)


def program_headers(dump: pathlib.Path) -> int:
    """Returns the number of PT_LOADs that readelf finds. Raises ValueError if readelf complains."""
    environment = os.environ | {"LC_ALL": "C"}
    command = ("readelf", "-lW", dump)
    said = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=environment,
    ).stdout
    for line in said.splitlines():
        if re.search("warning|error", line, re.IGNORECASE):
            raise ValueError(f"readelf: {line}")
    return len(re.findall("^ *LOAD ", said, re.MULTILINE))


def check_memory(dump: pathlib.Path) -> None:
    """Raises ValueError if drgn reads another value than was written."""
    program = drgn.Program()
    program.set_core_dump(dump)
    for i in range(0, COUNT, STEP):
        found = int.from_bytes(program.read(i * 2 * PAGE, 8, physical=True), "little")
        if found != i:
            raise ValueError(f"drgn: page {i} holds {found}")


def main(folder: str) -> int:
    """Makes the guest, dumps it, and has both readers open the dump."""
    ram_map, ram, dump = (pathlib.Path(folder) / f"many.{kind}" for kind in ("json", "ram", "elf"))
    make_guest(ram_map, ram)
    command = [os.environ["GUESTDUMP"], "dump", "--progress", "never", "--force"]
    command += ["--format", "elf", "--from", f"raw:{ram}", "--map", str(ram_map)]
    if subprocess.run([*command, "--to", dump], check=False).returncode:
        return 1
    try:
        found = program_headers(dump)
        if found != COUNT:
            raise ValueError(f"readelf: {found} PT_LOAD, not {COUNT}")
        check_memory(dump)
    except Exception as error:  # drgn has no common base class.
        print(error)
        return 1
    print(f"readelf: {found} PT_LOAD through PN_XNUM; drgn: memory equal")
    for file in (ram_map, ram, dump):
        file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
