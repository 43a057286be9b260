"""Rotation: rows that run on some days' commits only.

Rows that are marked `rotates=True` take turns by the day of the commit, one row a day. So each
of N such rows runs on the commits of every N-th day. `--all` runs every row.
"""

import subprocess
from collections.abc import Sequence

from .paths import CHECKOUT
from .row import Row

SECONDS_A_DAY = 24 * 60 * 60


def day_of_commit() -> int | None:
    """Returns the number of days from 1970 to the date of the checked-out commit, in UTC.

    Returns None outside a git repository.
    """
    command = ("git", "-C", CHECKOUT, "log", "-1", "--format=%ct")
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return int(said) // SECONDS_A_DAY


def due(rows: Sequence[Row], day: int | None) -> list[Row]:
    """Returns the rows of a run without names: those that do not rotate, and the one of `day`.

    Without a day every row is due.
    """
    rotating = [row for row in rows if row.rotates]
    if day is None or not rotating:
        return list(rows)
    chosen = rotating[day % len(rotating)]
    return [row for row in rows if not row.rotates or row is chosen]
