"""The outboxes that one bus has read: known before its file is open, and given to its engine then."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from eventbus.bus.settings import check_path, source_of
from eventbus.clock import Clock
from eventbus.engine import Engine
from eventbus.errors import EventBusError
from eventbus.handlers import Registration
from eventbus.outbox import OtherFile, Outboxes
from eventbus.outbox.doors import EVERY
from eventbus.store.drafter import trouble_with_name
from eventbus.store.location import Location
from eventbus.store.outbox import Elsewhere

SHORTEST = 0.001  # seconds between two looks


class OutboxesRead:
    """Those of one bus; the engine's are shared with other buses on the file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._engine: Outboxes | None = None
        self._ring: Callable[[], None] = lambda: None  # a pump that waits already knows nothing of a shorter poll
        self._others: list[OtherFile] = []
        self._polls: list[float] = []

    def read(self, path: str | os.PathLike[str] | None, *, poll: float | None, name: str | None) -> Registration:
        """Have one read from now on; None is that of the own file."""
        seconds = _checked_poll(poll)
        if path is None:
            if name is not None:
                raise EventBusError(
                    "The source of the own file's outbox is that of the bus.", hint="Set source= there."
                )
            return self._hasten(seconds)
        trouble = None if name is None else trouble_with_name(name)
        if trouble is not None:
            raise EventBusError(f"The name of an outbox {trouble}.")
        check_path(path)
        location = Location.of(path)
        if location.path is None:
            raise EventBusError("A database in memory is nobody else's.", hint="Give the path of a file.")
        elsewhere = Elsewhere(location, self._clock)
        elsewhere.make()
        other = OtherFile(elsewhere, name or source_of(location.path), seconds)
        self._others.append(other)
        if self._engine is not None:
            self._engine.add(other)
            self._ring()
        return Registration(lambda: self._remove(other))

    def _hasten(self, poll: float) -> Registration:
        self._polls.append(poll)
        if self._engine is not None:
            self._engine.hasten(poll)
            self._ring()
        return Registration(lambda: self._slow_down(poll))

    def _slow_down(self, poll: float) -> None:
        self._polls.remove(poll)
        if self._engine is not None:
            self._engine.slow_down(poll)

    def _remove(self, other: OtherFile) -> None:
        self._others.remove(other)
        if self._engine is not None:
            self._engine.remove(other)

    # -- the engine --------------------------------------------------------------------------------
    def give_to(self, engine: Engine, source: str) -> None:
        """Have them read by this engine, whose own file's rows are `source`'s if this bus is its first."""

        def make(engine: Engine) -> Outboxes:
            made = Outboxes(
                engine.storage,
                source=source,
                max_payload=engine.settings.max_payload,
                announce=engine.announce,
                deliver=engine.definitions.add,
                is_delivered=lambda row_id: engine.definitions.owner(row_id) is not None,
            )
            engine.between.append(made.look)
            engine.pump.tick = lambda: made.tick
            return made

        self._engine, self._ring = engine.outboxes(make), engine.pump.bell.ring
        for other in self._others:
            self._engine.add(other)
        for poll in self._polls:
            self._engine.hasten(poll)

    def leave(self) -> None:
        """Have none of them read any more; the engine goes on for other buses."""
        if self._engine is not None:
            for other in self._others:
                self._engine.remove(other)
            for poll in self._polls:
                self._engine.slow_down(poll)

    def look_now(self) -> None:
        """Have the next round look everywhere."""
        if self._engine is not None:
            self._engine.look_now()


def same_file(one: str | os.PathLike[str] | None, other: str | os.PathLike[str] | None) -> bool:
    """True if both are paths of one file, whatever they look like."""
    if one is None or other is None:
        return one is other
    return Location.of(one) == Location.of(other)


def _checked_poll(poll: object) -> float:
    if poll is None:
        return EVERY
    if isinstance(poll, bool) or not isinstance(poll, int | float) or not SHORTEST <= poll < math.inf:
        raise EventBusError(f"poll= is a number of seconds, at least {SHORTEST:g}, not {poll!r}.")
    return float(poll)
