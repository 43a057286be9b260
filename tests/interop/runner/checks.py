"""Runs checks, prints one line for each, and keeps the results."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache"
RESULTS = CACHE / "interop" / "results"


@dataclass(frozen=True)
class Check:
    """One program that says by its exit code whether something holds."""

    source: str  # What the dump was made from, or what it is: "raw:ram".
    format: str
    reader: str
    what: str  # What the reader does: "pages".
    command: tuple
    timeout: int = 300  # Seconds.


def run_program(command, timeout):
    """Exit code and all that the program printed."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output = process.communicate(timeout=timeout)[0]
            if process.returncode < 0:
                output += f"ended by {signal.Signals(-process.returncode).name}\n"
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 124, process.communicate()[0] + f"\nstopped after {timeout} s\n"


class Checks:
    """The checks of one guest. Results go to RESULTS/<guest>.jsonl."""

    def __init__(self, guest, limits):
        self.guest = guest
        self.limits = limits
        self.results = []
        RESULTS.mkdir(parents=True, exist_ok=True)
        self._file = open(RESULTS / f"{guest}.jsonl", "w", encoding="utf-8")

    def run(self, *checks):
        """Runs them, as many at a time as there are processors. Says whether
        all hold or end as their limit says."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return all([self._keep(*done) for done in pool.map(self._run_one, checks)])

    def _run_one(self, check):
        limit = next((x for x in self.limits if x.covers(self.guest, check)), None)
        if limit and not limit.verified_on(check.source):
            return check, limit, "limit", "not run here", "", 0
        started = time.monotonic()
        code, output = run_program(check.command, check.timeout)
        seconds = time.monotonic() - started
        line = (output.strip().splitlines() or ["(printed nothing)"])[-1]
        if not limit:
            return check, limit, "fail" if code else "ok", line, output, seconds
        if code and limit.says in output:
            said = next(x for x in output.splitlines() if limit.says in x)
            return check, limit, "limit", said.strip(), output, seconds
        reason = f"limit {limit.number} of limits.toml is not what happens: {limit.says}"
        return check, limit, "fail", line, f"{output}\n{reason}", seconds

    def note(self, of, check, good, line):
        """Keeps what follows from an earlier result."""
        result = {**of, "check": check, "limit": None, "line": line}
        self._print(result | {"verdict": "ok" if good else "fail"}, line)

    def _keep(self, check, limit, verdict, line, output, seconds):
        result = {
            "guest": self.guest,
            "source": check.source,
            "format": check.format,
            "reader": check.reader,
            "check": check.what,
            "verdict": verdict,
            "limit": limit.why if limit else None,
            "line": line,
            "seconds": round(seconds, 1),
        }
        return self._print(result, output)

    def _print(self, result, output):
        self.results.append(result)
        self._file.write(json.dumps(result) + "\n")
        self._file.flush()
        words = (result[x] for x in ("guest", "source", "format", "reader", "check"))
        name = " ".join(word for word in words if word)
        if result["verdict"] == "fail":
            print(f"FAIL  {name}")
            print("".join(f"      {x}\n" for x in output.splitlines()), end="")
        else:
            print(f"{result['verdict']:5} {name}: {result['line']}")
        sys.stdout.flush()
        return result["verdict"] != "fail"
