#!/usr/bin/env python3
"""A small QMP client.

qmp.py SOCKET COMMAND
"""

import json
import socket
import sys
from typing import Any


class QmpError(Exception):
    """QEMU refused a command or went away."""


class Qmp:
    """One connection to QEMU's control socket. It skips events."""

    def __init__(self, path: str, timeout: float) -> None:
        """Connects. `timeout` is in seconds, for each message."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._file = self._socket.makefile("r", encoding="utf-8")
        self._message()  # The greeting.
        self.command("qmp_capabilities")

    def _message(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise QmpError("QEMU closed the connection")
        message: dict[str, Any] = json.loads(line)
        return message

    def command(self, name: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON.
        """Runs one command and returns its result."""
        request = json.dumps({"execute": name, "arguments": arguments})
        self._socket.sendall(request.encode())
        while True:
            message = self._message()
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise QmpError(f"{name}: {message['error']['desc']}")


if __name__ == "__main__":
    print(Qmp(sys.argv[1], 60).command(sys.argv[2]))
