"""What the tests of the inbox share: an event with a number, and short ways to send it and to look at what came."""

from __future__ import annotations

from typing import Any

from eventbus import EventBus, event
from eventbus.inbox import Ingested

SOURCE = "warehouse"


@event(name="inbox.Moved", stream="shelf-{shelf}")
class Moved:
    shelf: str
    number: int


@event(name="inbox.Noted")
class Noted:
    text: str


def send(bus: EventBus, number: int, *, shelf: str = "a", **how: Any) -> Ingested:
    """An event with its number, and an id that says both."""
    how = {"source": SOURCE, "id": f"{shelf}{number}", "sequence": number, **how}
    return bus.ingest(Moved(shelf, number), **how)


def stored(bus: EventBus, shelf: str = "a") -> list[int]:
    """The numbers that are in the log, in its order; its own sequence has no holes."""
    envelopes = list(bus.log.read(stream=f"shelf-{shelf}"))
    assert [envelope.sequence for envelope in envelopes] == list(range(1, len(envelopes) + 1))
    return [envelope.metadata["sender"]["sequence"] for envelope in envelopes]


def skips(bus: EventBus) -> list[tuple[int, int, str]]:
    """What was given up, and why."""
    found = [envelope.event for envelope in bus.log.read(types="eventbus.SequenceSkipped")]
    return [(each.first, each.last, each.reason) for each in found]
