"""The envelope of an event that was emitted, not stored: position 0, no stream, gone with its handlers."""

from __future__ import annotations

import attrs

from eventbus.clock import Clock, iso
from eventbus.events import Envelope, TypeName, event_type


def emitted(event: object, clock: Clock, source: str = "eventbus") -> Envelope:
    """The envelope a handler of an emitted event sees if it asks for a context."""
    row = (0, clock.new_id(), 0, None, None, iso(clock.time()), 0, None, None, None, None, None)
    kind = event_type(type(event))
    return Envelope.around(event, row, _Unstored(TypeName(kind.name, kind.version, kind.kind, kind.bases), source))


@attrs.frozen
class _Unstored:
    """The names of one event; implements `events.Names`."""

    type: TypeName
    source: str

    def type_named(self, type_id: int) -> TypeName:
        return self.type

    def source_named(self, source_id: int) -> str:
        return self.source

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> object:
        raise AssertionError("an emitted event is never decoded")  # Envelope.around holds the event itself

    def verify(self, row: object) -> None:
        """It was not read."""
