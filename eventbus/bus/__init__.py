"""The front: `EventBus`, and behind each of its verbs a file that says what it does."""

from __future__ import annotations

from eventbus.bus.event_bus import EventBus
from eventbus.bus.judging import Undone
from eventbus.bus.optimistic import Optimistic

__all__ = ["EventBus", "Optimistic", "Undone"]
