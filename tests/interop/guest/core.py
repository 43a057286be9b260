#!/usr/bin/env python3
"""Writes a core file of the QEMU whose QMP socket is $QMP, by gdb's gcore:
    core.py FILE
Shared files are in it, as the guest's RAM is one: bit 3 of coredump_filter."""
import os
import socket
import struct
import subprocess
import sys

with socket.socket(socket.AF_UNIX) as qmp:
    qmp.connect(os.environ["QMP"])
    peer = qmp.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
pid = struct.unpack("3i", peer)[0]
with open(f"/proc/{pid}/coredump_filter", "w", encoding="ascii") as settings:
    settings.write("0x3b")
result = subprocess.run(
    ["gcore", "-o", sys.argv[1], str(pid)], capture_output=True, text=True, timeout=300
)
if result.returncode != 0:
    sys.exit(f"core.py: gcore: {result.stderr}")
os.rename(f"{sys.argv[1]}.{pid}", sys.argv[1])
