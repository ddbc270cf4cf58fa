"""How far it is, on a terminal."""

from __future__ import annotations

import sys


class Progress:
    """One line on stderr that is written over; nothing where that is no terminal."""

    def __init__(self, total: int) -> None:
        self._total, self._number, self._name = total, 0, ""
        self._shows = sys.stderr.isatty()

    def begin(self, name: str) -> None:
        """The next of them begins."""
        self._number, self._name = self._number + 1, name
        self.tell("")

    def tell(self, what: str) -> None:
        """What it is at."""
        if self._shows:
            sys.stderr.write(f"\r\x1b[K[{self._number}/{self._total}] {self._name} {what}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Nothing is left of the line."""
        if self._shows:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
