#!/usr/bin/env python3
"""Writes a core file of the QEMU whose QMP socket is $QMP, by gdb's gcore.

core.py FILE

Bit 3 of coredump_filter has shared files in the core, because the guest's RAM is one.
"""

import os
import pathlib
import socket
import struct
import subprocess
import sys

PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid.


def main(path: str) -> None:
    """Finds the process behind the socket, and dumps it."""
    with socket.socket(socket.AF_UNIX) as qmp:
        qmp.connect(os.environ["QMP"])
        peer = qmp.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    pid, _, _ = PEER.unpack(peer)
    pathlib.Path(f"/proc/{pid}/coredump_filter").write_text("0x3b", encoding="ascii")
    command = ["gcore", "-o", path, str(pid)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode != 0:
        sys.exit(f"core.py: gcore: {result.stderr}")
    pathlib.Path(f"{path}.{pid}").rename(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
