"""Events that are read for handlers: of each only what it takes to call one, as long as nobody asks for more."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

from eventbus.errors import EventBusError
from eventbus.events.envelope import Envelope, Names, Row

# position, type_id, stream, codec, payload, id, correlation_id; in a wide one
# sequence, time, source_id, causation_id and metadata come after these
Brief: TypeAlias = tuple[Any, ...]
_BRIEF = 7


class Rows(Protocol):
    """Where the rest of a brief row is read."""

    def row(self, position: int) -> Row:
        """The whole row."""
        ...


def row_of(wide: Brief) -> Row:
    """The whole row, of a wide one."""
    position, type_id, stream, codec, payload, id_, correlation, sequence, time, source_id, causation, metadata = wide
    return (
        position, id_, type_id, stream, sequence, time, source_id, correlation, causation, metadata, codec, payload,
    )  # fmt: skip


class BriefEnvelope(Envelope):
    """An envelope that reads the rest of its row once it is asked for that."""

    __slots__ = ("_brief", "_rows")

    def __init__(self, brief: Brief, names: Names, rows: Rows) -> None:
        self._brief = brief
        self._names = names
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        if name != "_row":
            raise AttributeError(name)
        brief = self._brief
        row = self._row = row_of(brief) if len(brief) > _BRIEF else self._rows.row(brief[0])
        return row

    def complete(self) -> Row:
        """Read the rest now."""
        return self._row

    @property
    def position(self) -> int:
        return int(self._brief[0])

    @property
    def id(self) -> str:
        return str(self._brief[5])

    @property
    def correlation_id(self) -> str:
        """The id of the event that started it all; a root's is its own id."""
        return str(self._brief[6] or self._brief[5])

    @property
    def type(self) -> str:
        return self._names.type_named(self._brief[1]).name

    @property
    def version(self) -> int:
        return self._names.type_named(self._brief[1]).version

    @property
    def type_id(self) -> int:
        """The number that stands for type and version in this log."""
        return int(self._brief[1])

    @property
    def stream(self) -> str | None:
        return self._brief[2]  # type: ignore[no-any-return]

    @property
    def codec(self) -> str | None:
        """How the payload is written; None is JSON."""
        return self._brief[3]  # type: ignore[no-any-return]

    @property
    def payload(self) -> str | bytes | None:
        """The event as stored, JSON text as a rule; None once it was erased."""
        return self._brief[4]  # type: ignore[no-any-return]

    @property
    def event(self) -> Any:
        """The event itself, decoded once. UnknownEvent if its class is not loaded, InvalidEvent if it does not fit."""
        try:
            return self._event
        except AttributeError:
            pass
        type_id, codec, payload = self._brief[1], self._brief[3], self._brief[4]
        if payload is None:
            raise EventBusError(f"The payload of event {self.id} was erased.")
        self._event = self._names.decode(self._names.type_named(type_id), codec, payload)
        return self._event
