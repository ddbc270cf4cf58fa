"""What is being handled here: calls that would wait for the handler that makes them look here first."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Protocol

from eventbus.events import Envelope, Row
from eventbus.store.names import NameBook


class Awaited(Protocol):
    """Something of the app's that delivery waits for: an event with its handler, or a schedule's factory."""

    @property
    def running(self) -> bool: ...
    @property
    def subscription(self) -> str: ...


class Underway:
    """Events of one subscription that are handled in a row: which one now."""

    def __init__(self, subscription: str, names: NameBook) -> None:
        self.subscription, self.names = subscription, names
        self.readers = names.readers()
        self.current: Current | None = None

    @property
    def position(self) -> int | None:
        """The position that is being handled."""
        return None if self.current is None else self.current.position

    @property
    def running(self) -> bool:
        """True while one of them is handled."""
        return self.current is not None

    def envelope(self, row: Row) -> Envelope:
        """That of one of them, to be looked at by itself."""
        return Envelope(row, self.names)


class Current(Envelope):
    """The envelope of one of them, as long as it is `running`; one object for all that has to know of it."""

    __slots__ = ("_under_way",)

    def __init__(self, row: Row, under_way: Underway, event: object) -> None:
        self._row = row
        self._names = under_way.names
        self._readers = under_way.readers  # its checksums were compared
        self._event = event
        self._under_way = under_way

    @property
    def running(self) -> bool:
        """True until its handler has returned."""
        return self._under_way.current is self

    @property
    def subscription(self) -> str:
        """Whose handler it is."""
        return self._under_way.subscription


delivering: ContextVar[Awaited | None] = ContextVar("delivering", default=None)
"""What is handled while a durable handler runs; a task that it leaves behind keeps it."""


if hasattr(os, "register_at_fork"):  # the child of a handler handles nothing: its parent does
    os.register_at_fork(after_in_child=lambda: delivering.set(None))


def handled_here() -> Awaited | None:
    """What the durable handler that runs here handles; None elsewhere, and in a task that has outlived it."""
    item = delivering.get()
    return item if item is not None and item.running else None
