"""The front: `EventBus`, and behind each of its verbs a file that says what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.bus.event_bus import EventBus
from eventbus.later import names_from

if TYPE_CHECKING:
    from eventbus.bus.changing import Optimistic
    from eventbus.bus.judging import Undone
else:
    __getattr__ = names_from(__name__, {"eventbus.bus.changing": ("Optimistic",), "eventbus.bus.judging": ("Undone",)})

__all__ = ["EventBus", "Optimistic", "Undone"]
