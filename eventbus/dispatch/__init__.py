"""Live handlers: who is called in this process when an event is published, and how."""

from __future__ import annotations

from eventbus.dispatch.failure import LiveFailure, is_exit, raisable
from eventbus.dispatch.live import Live
from eventbus.dispatch.nesting import MOST_NESTED, loops, nesting, running
from eventbus.dispatch.place import Place, caller
from eventbus.dispatch.routes import Snapshot
from eventbus.dispatch.signals import LiveSignal
from eventbus.dispatch.telling import Telling, scheduled

__all__ = [
    "MOST_NESTED",
    "Live",
    "LiveFailure",
    "LiveSignal",
    "Place",
    "Snapshot",
    "Telling",
    "caller",
    "is_exit",
    "loops",
    "nesting",
    "raisable",
    "running",
    "scheduled",
]
