"""The circuit breakers of this process's lanes, as they stand in the file: asked before a launch, moved by outcomes."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable

from eventbus.breaker import CLOSED, Admits, Breaker, Circuit
from eventbus.clock import Clock, iso
from eventbus.delivery import Failed, Handled, Overdue
from eventbus.store import breakers
from eventbus.store.storage import Storage
from eventbus.technical import CircuitClosed, CircuitOpened
from eventbus.worker.lane import Lane
from eventbus.worker.recording import Effect

_log = logging.getLogger("eventbus.delivery")


class Circuits:
    """What each breaker admits. Subscriptions that share one by name see it move at once, other processes soon."""

    def __init__(self, storage: Storage, clock: Clock, emit: Callable[[object], None]) -> None:
        self._storage, self._clock, self._emit = storage, clock, emit
        self._known: dict[str, Circuit] = {}

    def look(self, lanes: Iterable[Lane]) -> None:
        """Read again what another process may have changed; nothing is read where no lane has a breaker."""
        names = {_name(lane, lane.work.breaker) for lane in lanes if lane.work.breaker is not None}
        if not names:
            return
        with self._storage.reading() as connection:
            self._known = breakers.everyone(connection)
        now = self._clock.time()
        wrong = [name for name in names & self._known.keys() if self._known[name].set_right(now) != self._known[name]]
        if wrong:
            self._set_right(wrong, now)

    def _set_right(self, names: Iterable[str], now: float) -> None:
        """The clock was set back: have those that wait do so from now on, in the file, so that all agree."""
        with self._storage.writing(synced=False) as connection:
            for name in names:
                circuit = breakers.one(connection, name)
                if circuit is not None:
                    breakers.put(connection, name, circuit.set_right(now))
            known = breakers.everyone(connection)
        self._known = known

    def of(self, lane: Lane) -> Circuit | None:
        """Where a lane's breaker stands; None if it has none."""
        breaker = lane.work.breaker
        return None if breaker is None else self._known.get(_name(lane, breaker), CLOSED)

    def admits(self, lane: Lane, now: float) -> Admits:
        """What the lane may try now."""
        circuit = self.of(lane)
        return "all" if circuit is None else circuit.admits(now)

    def due(self, lane: Lane, now: float) -> float:
        """When the lane's breaker admits something, wall clock."""
        circuit = self.of(lane)
        return now if circuit is None else circuit.due(now)

    def take_probe(self, lane: Lane) -> bool:
        """True if a delivery of this lane is the one to find out; another lane, or process, may have been first."""
        breaker = lane.work.breaker
        assert breaker is not None
        name, now = _name(lane, breaker), self._clock.time()
        with self._storage.writing(synced=False) as connection:
            circuit = breakers.one(connection, name) or CLOSED
            is_ours = circuit.admits(now) == "probe"
            if is_ours:
                circuit = circuit.probing(breaker, now)
                breakers.put(connection, name, circuit)
        self._known[name] = circuit
        return is_ours

    # -- in the commit that records outcomes -------------------------------------------------------
    def after(
        self, connection: sqlite3.Connection, lane: Lane, effects: list[Effect], moved: dict[str, Circuit]
    ) -> None:
        """Move the lane's breaker by what came back, in the open transaction; `moved` is for `keep` after it."""
        breaker = lane.work.breaker
        if breaker is None or not effects:
            return
        name, now = _name(lane, breaker), self._clock.time()
        before = moved.get(name) or breakers.one(connection, name) or CLOSED
        circuit = before
        for effect in effects:
            outcome = effect.outcome
            if isinstance(outcome, Handled):
                circuit = circuit.after_success(now)
            elif isinstance(outcome, Failed | Overdue) and breaker.counts(outcome.error):
                circuit = circuit.after_failure(breaker, outcome.line(), now)
            elif isinstance(outcome, Failed):  # an answer, though not the one that was hoped for
                circuit = circuit.after_success(now)
        if circuit != before:
            breakers.put(connection, name, circuit)
        moved[name] = circuit

    def keep(self, moved: dict[str, Circuit]) -> None:
        """The commit is done."""
        for name, circuit in moved.items():
            before = self._known.get(name, CLOSED)
            self._known[name] = circuit
            if circuit.state == "open" and before.state != "open":
                until = circuit.until or 0.0
                _log.error("the breaker %r is open until %s: %r", name, iso(until), circuit.reason)
                self._emit(CircuitOpened(name, circuit.failures, circuit.reason or "", until))
            elif circuit.state == "closed" and before.state != "closed":
                _log.info("the breaker %r is closed again", name)
                self._emit(CircuitClosed(name))


def _name(lane: Lane, breaker: Breaker) -> str:
    return breaker.name or lane.name
