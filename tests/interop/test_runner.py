#!/usr/bin/env python3
"""Tests of the runner that need no guest and no reader."""

import unittest
from dataclasses import replace

from runner import limits, rotation, rows
from runner.check import Check, Result
from runner.limits import Limit
from runner.paths import GUEST
from runner.row import Row
from runner.steps import compare_repaired_dumps, read_qemus_dumps

LIMIT = Limit(1, "gdb", "is not a core dump", "kdump is not ELF", guest=("arm64",))
RESULT: Result = {
    "guest": "arm64",
    "source": "raw:ram",
    "format": "kdump-zlib",
    "reader": "gdb",
    "check": "registers",
    "verdict": "limit",
    "limit": "kdump is not ELF",
    "line": "",
    "seconds": 1.0,
}


class Rows(unittest.TestCase):
    """The rows fit together."""

    def test_each_row_has_a_machine(self) -> None:
        """guest/boot needs a file of the row's name."""
        for row in rows.ROWS:
            with self.subTest(row.name):
                self.assertTrue((GUEST / "machines" / row.name).is_file())

    def test_qemus_dumps_come_first_and_repairs_last(self) -> None:
        """A repair compares results, and QEMU's dumps are the reference of all others."""
        for row in rows.ROWS:
            with self.subTest(row.name):
                self.assertIs(row.steps[0], read_qemus_dumps)
                self.assertIs(row.steps[-1], compare_repaired_dumps)

    def test_only_rows_with_a_core_file_dump_from_it(self) -> None:
        """guest/while_stopped takes the core that the step dump_core reads."""
        for row in rows.ROWS:
            with self.subTest(row.name):
                names = [getattr(step, "__qualname__", "") for step in row.steps]
                reads = any(name.startswith("dump_core.") for name in names)
                self.assertEqual(reads, "core" in row.stopped)


class Rotation(unittest.TestCase):
    """Rows that rotate take turns."""

    def setUp(self) -> None:
        """Makes rows of which two rotate."""
        steady = Row("steady", "X86_64", 64, ())
        self.rows = [
            steady,
            replace(steady, name="first", rotates=True),
            replace(steady, name="second", rotates=True),
        ]

    def names(self, day: int | None) -> list[str]:
        """Returns the rows that are due."""
        return [row.name for row in rotation.due(self.rows, day)]

    def test_each_day_has_one_of_them(self) -> None:
        """The next day has the next one."""
        self.assertEqual(self.names(20_000), ["steady", "first"])
        self.assertEqual(self.names(20_001), ["steady", "second"])
        self.assertEqual(self.names(20_002), ["steady", "first"])

    def test_without_a_day_all_rows_are_due(self) -> None:
        """That is `--all`, and a checkout without git."""
        self.assertEqual(self.names(None), ["steady", "first", "second"])

    def test_without_rotating_rows_all_rows_are_due(self) -> None:
        """No row is lost."""
        self.assertEqual(len(rotation.due(self.rows[:1], 20_000)), 1)


class Limits(unittest.TestCase):
    """Limits cover checks, and are stale when no check meets them."""

    def test_groups_and_patterns_match(self) -> None:
        """A format is given by pattern or by group."""
        check = Check("raw:ram", "kdump-zlib", "gdb", "registers", ())
        for patterns in (("kdump-*",), ("flattened",), ("elf", "kdump-zlib")):
            limit = replace(LIMIT, format=patterns)
            self.assertTrue(limit.covers("arm64", check))
            self.assertFalse(limit.covers("s390x", check))
        self.assertFalse(replace(LIMIT, format=("raw kdump",)).covers("arm64", check))

    def test_a_limit_that_was_met_is_not_stale(self) -> None:
        """Reader and reason decide."""
        self.assertEqual(limits.stale([LIMIT], [RESULT], []), [])

    def test_a_limit_that_was_not_met_is_stale(self) -> None:
        """The complaint has its number."""
        (complaint,) = limits.stale([LIMIT], [], ["s390x"])
        self.assertIn("limit 1 ", complaint)

    def test_a_guest_that_did_not_run_could_have_met_the_limit(self) -> None:
        """A run without a row that rotates says nothing about its limits."""
        self.assertEqual(limits.stale([LIMIT], [], ["arm64"]), [])

    def test_the_file_can_be_read(self) -> None:
        """An unknown key would raise TypeError."""
        self.assertGreater(len(limits.load()), 1)


if __name__ == "__main__":
    unittest.main()
