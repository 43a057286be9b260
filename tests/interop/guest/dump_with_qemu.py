#!/usr/bin/env python3
"""Stops the guest behind a QMP socket and has QEMU dump it.

dump_with_qemu.py SOCKET OUT DUMP...: writes OUT/qemu-DUMP for each DUMP that
this QEMU knows, then quits QEMU. DUMP is a format of QEMU, or elf-paging, the
ELF dump of virtual memory. The guest does not run in between, so all dumps and
the RAM file show the same moment.
"""

import os
import sys

from qmp import Qmp

TIMEOUT = 300  # Seconds for one command.


def main(path, out, *dumps):
    qmp = Qmp(path, TIMEOUT)
    qmp.command("stop")
    known = qmp.command("query-dump-guest-memory-capability")["formats"]
    for name in dumps:
        file_format = name.removesuffix("-paging")
        if file_format not in known:
            print(f"qemu-{name}: this QEMU does not know it")
            continue
        target = os.path.join(os.path.abspath(out), f"qemu-{name}")
        qmp.command(
            "dump-guest-memory",
            paging=name != file_format,
            protocol=f"file:{target}",
            format=file_format,
        )
        os.chmod(target, 0o644)  # New versions of QEMU make it read-only.
        print(f"qemu-{name}: {os.path.getsize(target)} bytes")
    qmp.command("quit")


if __name__ == "__main__":
    main(*sys.argv[1:])
