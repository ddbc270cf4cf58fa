"""What is logged while a command runs, made safe for a terminal."""

from __future__ import annotations

import logging
import sys

from eventbus.cli.plain import plain
from eventbus.cli.screen import CLEAR_LINE


class _SafeLines(logging.Formatter):
    """Lines that an exception's text can neither colour nor break, clear of a passing line of progress."""

    def format(self, record: logging.LogRecord) -> str:
        text = "\n".join(plain(line) for line in super().format(record).split("\n"))
        return CLEAR_LINE + text if sys.stderr.isatty() else text


def log_safely() -> None:
    """Where an app has set up no logging of its own, its warnings go to stderr: as text, and nothing else."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_SafeLines())
