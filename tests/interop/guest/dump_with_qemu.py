#!/usr/bin/env python3
"""Stops the guest behind a QMP socket and has QEMU dump it.

dump_with_qemu.py SOCKET OUT: writes OUT/qemu-<format> for each format of
guestdump that this QEMU knows, then quits QEMU. The guest does not run in
between, so all dumps and the RAM file show the same moment.
"""

import os
import sys

from qmp import Qmp

TIMEOUT = 300  # Seconds for one command.
WANTED = ("elf", "kdump-zlib", "kdump-raw-zlib")


def main(path, out):
    qmp = Qmp(path, TIMEOUT)
    qmp.command("stop")
    known = qmp.command("query-dump-guest-memory-capability")["formats"]
    for name in WANTED:
        if name not in known:
            continue
        target = os.path.join(os.path.abspath(out), f"qemu-{name}")
        qmp.command(
            "dump-guest-memory",
            paging=False,
            protocol=f"file:{target}",
            format=name,
        )
        print(f"qemu-{name}: {os.path.getsize(target)} bytes")
    qmp.command("quit")


if __name__ == "__main__":
    main(*sys.argv[1:])
