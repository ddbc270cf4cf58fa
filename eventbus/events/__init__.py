"""The words everything else speaks: what an event is, how it is recorded, and what a publish returns."""

from __future__ import annotations

from eventbus.events.brief import Brief, BriefEnvelope
from eventbus.events.definition import event
from eventbus.events.envelope import Envelope, Names, Row, TypeName
from eventbus.events.event_type import EventType, Kind, event_type, is_event
from eventbus.events.receipt import Receipt
from eventbus.events.vocabulary import Vocabulary

__all__ = [
    "Brief",
    "BriefEnvelope",
    "Envelope",
    "EventType",
    "Kind",
    "Names",
    "Receipt",
    "Row",
    "TypeName",
    "Vocabulary",
    "event",
    "event_type",
    "is_event",
]
