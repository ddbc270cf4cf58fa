"""The front: `EventBus`, and behind each of its verbs a file that says what it does."""

from __future__ import annotations

from eventbus.bus.changing import Optimistic
from eventbus.bus.event_bus import EventBus
from eventbus.bus.judging import Undone

__all__ = ["EventBus", "Optimistic", "Undone"]
