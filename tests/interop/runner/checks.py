"""Runs checks, prints one line for each, and keeps the results."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from .check import Check, Command, Result, Verdict
from .limits import Limit
from .paths import RESULTS


def run_program(command: Command, timeout: int) -> tuple[int, str]:
    """Returns the exit code and everything that the program printed."""
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
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 124, process.communicate()[0] + f"\nstopped after {timeout} s\n"
        if process.returncode < 0:
            output += f"ended by {signal.Signals(-process.returncode).name}\n"
        return process.returncode, output


class Outcome(NamedTuple):
    """What a check came to."""

    check: Check
    limit: Limit | None
    verdict: Verdict
    line: str
    output: str
    seconds: float


class Checks:
    """The checks of one guest. Results go to RESULTS/<guest>.jsonl."""

    def __init__(self, guest: str, limits: Sequence[Limit]) -> None:
        """Truncates the guest's file of results."""
        self.guest = guest
        self.limits = limits
        self.results: list[Result] = []
        RESULTS.mkdir(parents=True, exist_ok=True)
        self._file = (RESULTS / f"{guest}.jsonl").open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        """Returns the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file of results."""
        self._file.close()

    def run(self, *checks: Check) -> bool:
        """Runs the checks, as many at a time as there are processors.

        Returns whether each holds or ends as its limit says.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            kept = [self._keep(done) for done in pool.map(self._run_one, checks)]
        return all(kept)

    def _run_one(self, check: Check) -> Outcome:
        limit = next((x for x in self.limits if x.covers(self.guest, check)), None)
        if limit and not limit.verified_on(check.source):
            return Outcome(check, limit, "limit", "not run here", "", 0)
        started = time.monotonic()
        code, output = run_program(check.command, check.timeout)
        seconds = time.monotonic() - started
        line = (output.strip().splitlines() or ["(printed nothing)"])[-1]
        if not limit:
            return Outcome(check, limit, "fail" if code else "ok", line, output, seconds)
        if code and limit.says in output:
            said = next(x for x in output.splitlines() if limit.says in x)
            return Outcome(check, limit, "limit", said.strip(), output, seconds)
        reason = f"limit {limit.number} of limits.toml is not what happens: {limit.says}"
        return Outcome(check, limit, "fail", line, f"{output}\n{reason}", seconds)

    def note(self, of: Result, check: str, *, good: bool, line: str) -> None:
        """Keeps a result that follows from an earlier one."""
        result = of.copy()
        result["check"] = check
        result["limit"] = None
        result["line"] = line
        result["verdict"] = "ok" if good else "fail"
        self._print(result, line)

    def _keep(self, done: Outcome) -> bool:
        result: Result = {
            "guest": self.guest,
            "source": done.check.source,
            "format": done.check.format,
            "reader": done.check.reader,
            "check": done.check.what,
            "verdict": done.verdict,
            "limit": done.limit.why if done.limit else None,
            "line": done.line,
            "seconds": round(done.seconds, 1),
        }
        return self._print(result, done.output)

    def _print(self, result: Result, output: str) -> bool:
        self.results.append(result)
        self._file.write(json.dumps(result) + "\n")
        self._file.flush()
        words = (
            result["guest"],
            result["source"],
            result["format"],
            result["reader"],
            result["check"],
        )
        name = " ".join(word for word in words if word)
        if result["verdict"] == "fail":
            print(f"FAIL  {name}")
            print("".join(f"      {x}\n" for x in output.splitlines()), end="")
        else:
            print(f"{result['verdict']:5} {name}: {result['line']}")
        sys.stdout.flush()
        return result["verdict"] != "fail"
