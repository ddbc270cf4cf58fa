"""What is being handled here: calls that would wait for the handler that makes them look here first."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from eventbus.errors import EventBusError
from eventbus.events import Brief, BriefEnvelope, Row
from eventbus.handlers import handling
from eventbus.store.names import NameBook


class Awaited(Protocol):
    """Something of the app's that delivery waits for: an event with its handler, or a schedule's factory."""

    @property
    def running(self) -> bool: ...
    @property
    def subscription(self) -> str: ...


class Underway:
    """Events of one subscription that are handled in a row: which one now; and the rest of their rows."""

    def __init__(self, subscription: str, rows: Sequence[Brief], names: NameBook) -> None:
        self.subscription, self.rows, self.names = subscription, rows, names
        self.current: Current | None = None
        self.is_asked = False  # it was asked for the rest
        self._whole: dict[int, Row] = {}

    @property
    def position(self) -> int | None:
        """The position that is being handled."""
        return None if self.current is None else self.current.position

    def row(self, position: int) -> Row:
        """The whole row of one of them. Whoever asks for one asks for others, too: all are read at once."""
        if not self.is_asked:
            self._whole = {row[0]: row for row in self.names.rows([brief[0] for brief in self.rows])}
            self.is_asked = True
        found = self._whole.get(position)
        if found is None:
            raise EventBusError(f"The event at position {position} is not in the log any more.")
        return found

    def envelope(self, brief: Brief) -> BriefEnvelope:
        """That of one of them."""
        return BriefEnvelope(brief, self.names, self)


class Current(BriefEnvelope):
    """The envelope of one of them, as long as it is `running`; one object for all that has to know of it."""

    __slots__ = ()
    _rows: Underway

    def __init__(self, brief: Brief, under_way: Underway, event: object) -> None:
        self._brief = brief
        self._names = under_way.names
        self._rows = under_way
        self._event = event

    @property
    def running(self) -> bool:
        """True until its handler has returned."""
        return self._rows.current is self

    @property
    def subscription(self) -> str:
        """Whose handler it is."""
        return self._rows.subscription


delivering: ContextVar[Awaited | None] = ContextVar("delivering", default=None)
"""What is handled while a durable handler runs; a task that it leaves behind keeps it."""


def _complete() -> None:
    """The child of a handler may say by what its own events were caused, and cannot read its parent's log."""
    envelope = handling.get()
    if isinstance(envelope, BriefEnvelope):
        envelope.complete()


if hasattr(os, "register_at_fork"):  # the child of a handler handles nothing: its parent does
    os.register_at_fork(before=_complete, after_in_child=lambda: delivering.set(None))


def handled_here() -> Awaited | None:
    """What the durable handler that runs here handles; None elsewhere, and in a task that has outlived it."""
    item = delivering.get()
    return item if item is not None and item.running else None
