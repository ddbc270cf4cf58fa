"""What somebody asks for, checked at the door: SQLite and the clock would say less of what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

from eventbus.errors import EventBusError

__all__ = ["LARGEST", "can_be_there", "check_seconds", "check_text", "check_whole"]

LARGEST = (1 << 63) - 1
"""SQLite's largest integer."""


def can_be_there(key: object) -> bool:
    """Whether a position or a name could be in a log: SQLite does not even look for what it cannot hold."""
    if isinstance(key, int):
        return -LARGEST <= key <= LARGEST
    return isinstance(key, str) and _is_utf8(key)


def check_whole(name: str, value: object) -> None:
    """EventBusError unless it is a whole number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise EventBusError(f"{name}= is a whole number of at least 0, not {value!r}.")
    if value > LARGEST:
        raise EventBusError(f"{name}= is at most {LARGEST}, not {value!r}.")


def check_text(name: str, value: object) -> None:
    """EventBusError unless it is a text that can be stored, or None."""
    if value is not None and (not isinstance(value, str) or not _is_utf8(value)):
        raise EventBusError(f"{name}= is a text, not {value!r}.")


def check_seconds(timeout: Any) -> None:
    """EventBusError unless it is a number of seconds, or None for no end."""
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise EventBusError(f"timeout= is a number of seconds, or None for no end, not {timeout!r}.")
    if math.isnan(timeout) or timeout < 0:
        raise EventBusError(f"timeout= is at least 0 seconds, not {timeout!r}.")


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text)
