"""A bar for work that takes a while; on stderr, so that a pipe gets the result only."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from eventbus.cli.screen import Screen
from eventbus.cli.units import number, span

_REDRAW = 0.1  # seconds
_LONGEST_BAR = 40
_FULL, _EMPTY = "█", "░"


class Progress:
    """Draws "label ████░░░░ 62 % 310 of 500, 3 s left" on a terminal, and nothing elsewhere."""

    def __init__(self, label: str) -> None:
        self._screen = Screen.of(as_json=False, stream=sys.stderr)
        self._label = label
        self._started = time.monotonic()
        self._drawn = 0.0
        self.done = self.total = 0

    def update(self, done: int, total: int) -> None:
        """So much is done; `total` may grow on the way."""
        self.done, self.total = done, total
        now = time.monotonic()
        if now - self._drawn >= _REDRAW or done >= total:
            self._drawn = now
            self._screen.status(self._text(now - self._started))

    def _text(self, elapsed: float) -> str:
        share = min(self.done / self.total, 1.0) if self.total else 1.0
        left = f", {span(elapsed / share * (1 - share))} left" if elapsed > 1 and 0 < share < 1 else ""
        numbers = f" {int(share * 100):3} %  {number(self.done)} of {number(self.total)}{left}"
        columns = (self._screen.columns or 80) - len(self._label) - len(numbers) - 3
        size = max(min(columns, _LONGEST_BAR), 0)
        filled = round(share * size)
        return f"{self._label} {_FULL * filled}{_EMPTY * (size - filled)}{numbers}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._screen.clear_status()
