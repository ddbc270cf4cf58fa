"""A limit to the work that SQLite does for one question, where nobody knows what is in the file.

A view that never ends, or a tree whose branches lead back into it, would keep a question busy for ever. What a
question may cost follows from the size of the file, so that no honest log is too long. It is counted in SQLite's
own operations, not in seconds: a slow disk is waited for.
"""

from __future__ import annotations

import sqlite3

_TICK = 10_000  # operations between two looks; about a tenth of a millisecond
_AT_LEAST = 3_000  # ticks that any question may take: well below a second
_TICKS_PER_MEGABYTE = 400  # four operations for each byte; a check of all indexes takes less than one


class Patience:
    """What is left of a question's operations; SQLite asks it, and interrupts the question when it says so."""

    def __init__(self) -> None:
        self._left = _AT_LEAST
        self.is_over = False

    def guard(self, connection: sqlite3.Connection) -> None:
        """Have the questions of a connection interrupted (SQLITE_INTERRUPT)."""
        connection.set_progress_handler(self._goes_on, _TICK)

    def renew(self, size: int) -> None:
        """Another question begins, to a file of `size` bytes."""
        self._left = _AT_LEAST + _TICKS_PER_MEGABYTE * (size >> 20)
        self.is_over = False

    def _goes_on(self) -> int:
        self._left -= 1
        self.is_over = self._left < 0
        return self.is_over
