"""The words everything else speaks: what an event is, how it is recorded, and what a publish returns."""

from __future__ import annotations

from eventbus.events.definition import event
from eventbus.events.envelope import Envelope, Names, Readers, Row, TypeName
from eventbus.events.event_type import EventType, Kind, event_type, is_event
from eventbus.events.receipt import Receipt
from eventbus.events.vocabulary import Vocabulary

__all__ = [
    "Envelope",
    "EventType",
    "Kind",
    "Names",
    "Readers",
    "Receipt",
    "Row",
    "TypeName",
    "Vocabulary",
    "event",
    "event_type",
    "is_event",
]
