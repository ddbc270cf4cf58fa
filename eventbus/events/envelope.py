"""The event as recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeAlias, cast

import attrs
import msgspec

from eventbus.clock import from_iso
from eventbus.errors import EventBusError
from eventbus.events.event_type import Kind

_read_json = msgspec.json.Decoder().decode


@attrs.frozen
class TypeName:
    """An event type as the log knows it, with or without its class. `bases`: the event types it derives from."""

    name: str
    version: int
    kind: Kind
    bases: tuple[str, ...] = ()


class Names(Protocol):
    """What an envelope needs to spell itself out."""

    def type_named(self, type_id: int) -> TypeName: ...

    def source_named(self, source_id: int) -> str: ...

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> Any:
        """The event of a payload; UnknownEvent if its class is not loaded."""

    def verify(self, row: tuple[Any, ...]) -> None:
        """Raise LogCorrupt unless the checksums fit, of a row that has them."""


# position, id, type_id, stream, sequence, time, source_id, correlation_id, causation_id, metadata, codec, payload;
# a row that was read has two checksums after them, and is cut to these once they were compared
Row = tuple[
    int, str, int, str | None, int | None, str, int, str | None, str | None, str | None, str | None, str | bytes | None
]
_PLAIN = 12
_UNREAD: Any = object()

Readers: TypeAlias = Mapping[int, Callable[[Any], Any]]
"""What reads the JSON payloads of a type, by its id; KeyError where there is no class for it. Whatever it raises says
nothing: `Names.decode` does."""


class Envelope:
    """An event with everything the log knows about it; read-only.

    Made for every row that is read, so it keeps the row and spells out only what is asked for. `event`, `payload`
    and `metadata` raise LogCorrupt where the row is not what was stored: its checksums are compared then. Where they
    were compared before, for a whole page, it is given `readers`. The `position` 0 says that the event was emitted
    and is not in the log.
    """

    __slots__ = ("_event", "_names", "_readers", "_row")
    _event: Any

    def __init__(self, row: Row, names: Names, readers: Readers | None = None) -> None:
        self._row = row
        self._names = names
        self._readers = readers
        self._event = _UNREAD

    @classmethod
    def around(cls, event: Any, row: Row, names: Names) -> Envelope:
        """The envelope of an event that need not be decoded, for it was published here."""
        envelope = cls(row, names)
        envelope._event = event
        return envelope

    @property
    def position(self) -> int:
        return self._row[0]

    @property
    def id(self) -> str:
        return self._row[1]

    @property
    def type(self) -> str:
        return self._names.type_named(self._row[2]).name

    @property
    def version(self) -> int:
        return self._names.type_named(self._row[2]).version

    @property
    def type_id(self) -> int:
        """The number that stands for type and version in this log."""
        return self._row[2]

    @property
    def kind(self) -> Kind:
        return self._names.type_named(self._row[2]).kind

    @property
    def stream(self) -> str | None:
        return self._row[3]

    @property
    def sequence(self) -> int | None:
        return self._row[4]

    @property
    def time(self) -> datetime:
        return from_iso(self._row[5])

    @property
    def source(self) -> str:
        return self._names.source_named(self._row[6])

    @property
    def correlation_id(self) -> str:
        """The id of the event that started it all; a root's is its own id."""
        return self._row[7] or self._row[1]

    @property
    def causation_id(self) -> str | None:
        """The id of the event whose handler published this one; None on a root."""
        return self._row[8]

    @property
    def metadata(self) -> dict[str, Any]:
        text = self._verified()[9]
        return _read_json(text) if text else {}

    @property
    def codec(self) -> str | None:
        """How the payload is written; None is JSON."""
        return self._row[10]

    @property
    def payload(self) -> str | bytes | None:
        """The event as stored, JSON text as a rule; None once it was erased."""
        return self._verified()[11]

    @property
    def event(self) -> Any:
        """The event itself, decoded once. UnknownEvent if its class is not loaded, InvalidEvent if it does not fit."""
        event = self._event
        if event is _UNREAD and self._readers is not None:
            row = self._row
            try:
                event = self._event = self._readers[row[2]](row[11])
            except Exception:  # said below, as for any other
                event = _UNREAD
        if event is _UNREAD:
            event = self._event = self._decoded()
        return event

    def _decoded(self) -> Any:
        row, names = self._verified(), self._names
        if row[11] is None:
            raise EventBusError(f"The payload of event {self.id} was erased.")
        return names.decode(names.type_named(row[2]), row[10], row[11])

    def _verified(self) -> Row:
        row: tuple[Any, ...] = self._row
        if self._readers is None and len(row) > _PLAIN:
            self._names.verify(row)
            self._row = cast("Row", row[:_PLAIN])
        return self._row

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Envelope):
            return NotImplemented
        return self._row[:2] == other._row[:2]

    def __hash__(self) -> int:
        return hash(self._row[:2])

    def __repr__(self) -> str:
        where = f"position={self.position}" if self.position else "emitted"
        if self.stream is not None:
            where += f", stream={self.stream!r}, sequence={self.sequence}"
        return f"<Envelope {self.type} v{self.version} {where}, id={self.id}>"
