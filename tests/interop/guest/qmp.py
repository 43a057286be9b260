"""A QMP client, as small as will do. As a program: qmp.py SOCKET COMMAND."""

import json
import socket
import sys


class QmpError(Exception):
    """QEMU refused a command or went away."""


class Qmp:
    """One connection to QEMU's control socket. Events are skipped."""

    def __init__(self, path, timeout):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._file = self._socket.makefile("r", encoding="utf-8")
        self._message()  # The greeting.
        self.command("qmp_capabilities")

    def _message(self):
        line = self._file.readline()
        if not line:
            raise QmpError("QEMU closed the connection")
        return json.loads(line)

    def command(self, name, **arguments):
        """Runs one command and gives its result."""
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
