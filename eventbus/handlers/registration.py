"""The way back out of whatever was registered."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self


class Registration:
    """Takes a handler out again: call `close()`, or use it as a context manager."""

    __slots__ = ("__weakref__", "_close")

    def __init__(self, close: Callable[[], None]) -> None:
        self._close: Callable[[], None] | None = close

    @property
    def closed(self) -> bool:
        return self._close is None

    def close(self) -> None:
        """Take it out; closing again does nothing."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Registration, {'closed' if self.closed else 'open'}>"
