#!/usr/bin/env python3
"""Stops the guest behind a QMP socket and has QEMU dump it.

dump_with_qemu.py SOCKET OUT DUMP...

Writes OUT/qemu-DUMP for each DUMP that this QEMU knows, then quits QEMU. DUMP is a format of QEMU,
or elf-paging, the ELF dump of virtual memory. The guest is paused all the time, so all dumps and
the RAM file show the same moment.
"""

import pathlib
import sys

from qmp import Qmp

TIMEOUT = 300  # Seconds for one command.


def main(socket: str, out: str, *dumps: str) -> None:
    """Makes the dumps."""
    qmp = Qmp(socket, TIMEOUT)
    qmp.command("stop")
    known = qmp.command("query-dump-guest-memory-capability")["formats"]
    for name in dumps:
        file_format = name.removesuffix("-paging")
        if file_format not in known:
            print(f"qemu-{name}: this QEMU does not know it")
            continue
        target = pathlib.Path(out).absolute() / f"qemu-{name}"
        qmp.command(
            "dump-guest-memory",
            paging=name != file_format,
            protocol=f"file:{target}",
            format=file_format,
        )
        target.chmod(0o644)  # New versions of QEMU make it read-only.
        print(f"qemu-{name}: {target.stat().st_size} bytes")
    qmp.command("quit")


if __name__ == "__main__":
    main(*sys.argv[1:])
