"""One life of a simulated process: an engine of its own on the shared file, and the loop of its pump, turn by turn."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from simulated.clock import SimulatedClock
from simulated.faults import Died, Faults, cut_off
from simulated.kinds import Kind, subscribe

from eventbus import EventBus
from eventbus.bus import engines
from eventbus.errors import EventBusError
from eventbus.worker import pump as pumping

if TYPE_CHECKING:
    from pathlib import Path

    from simulated.world import World


class Threads:
    """In the place of `threads.Pool`: what it is given runs when the scheduler says so."""

    def __init__(self, elsewhere: deque[Callable[[], None]]) -> None:
        self._elsewhere = elsewhere

    def allow(self, most: int) -> None:
        """There are always enough."""

    def run(self, task: Callable[[], None]) -> None:
        """Have it run some time."""
        self._elsewhere.append(task)

    def look(self, now: float) -> None:
        """None of them is ever missing."""


class Process:
    """Dies once; the world then begins the next one in its place."""

    def __init__(self, world: World, number: int, path: Path) -> None:
        self.world, self.number = world, number
        self.faults, self.connections = Faults(), list[sqlite3.Connection]()
        self.elsewhere: deque[Callable[[], None]] = deque()  # what its other threads are to run
        self.wakes_at = 0.0  # when its pump looks again if nobody rings
        self.running = 0  # how many of its threads are on the stack
        self.is_stepping = self.in_transaction = False
        self._rested = False
        clock = SimulatedClock(
            world.time,
            number,
            sleep=lambda seconds: world.sleep(self, seconds),
            run=lambda callback: world.within(self, callback) if self.alive else None,
        )
        self.bus = EventBus(path, clock=clock, delivery="manual", durability="process", source="simulated")

    @property
    def alive(self) -> bool:
        """False once it was killed or has closed."""
        return not self.faults.dead

    def open(self, kinds: list[Kind]) -> None:
        """Join the others, as a process of its own would: with an engine that shares nothing with theirs."""
        for kind in kinds:
            subscribe(self.bus, kind, self.world.stage(self), self.elsewhere.append)
        registered = dict(engines._engines)
        engines._engines.clear()
        try:
            self.bus.start()
        except EventBusError as error:  # somebody has kept the log locked for too long
            self.met(f"could not open: {type(error).__name__}")
            self.die()
            raise Died from error
        finally:
            engines._engines.clear()
            engines._engines.update(registered)
        self.engine = self.bus._attachment.engine()
        self.pump = self.engine.pump
        self.pump._runners._pool = Threads(self.elsewhere)  # type: ignore[assignment]
        wake = self.pump.neighbours.wake = lambda: self.world.wake(self)  # type: ignore[method-assign]
        self.pump.roster.given_up = wake
        self.wakes_at = self.world.time.now

    def is_awake(self) -> bool:
        """True if its pump has something to do, or looks for it."""
        if self.pump.bell.wait(0):
            self.wakes_at = self.world.time.now
        return self.wakes_at <= self.world.time.now

    def turn(self) -> str:
        """One turn of the pump's loop, as `Pump._run` does it; returns what came of it."""
        time = self.world.time
        self.is_stepping = True
        try:
            if self.pump.step(here=True):
                self._rested = False
                return "moved"
            due = self.pump.next_due()
            if not self._rested:
                self.pump._rest()
            self._rested = True
        except EventBusError as error:
            self._survived()
            self.wakes_at = time.now + pumping.REST_AFTER_TROUBLE
            return type(error).__name__
        finally:
            self.is_stepping = False
        self._survived()
        tick = pumping.TICK if due is None else min(pumping.TICK, max(0.0, due - time.wall))
        self.wakes_at = time.now + tick
        return f"rests {tick:.3f}"

    def _survived(self) -> None:
        """Some of the bus's code takes any error for a handler's; the dead do not go on."""
        if not self.alive:
            raise Died

    def die(self) -> None:
        """As SIGKILL: what was not committed is gone, its locks are free, and no code of it runs any more."""
        self.faults.dead = True
        for connection in self.connections:
            cut_off(connection)
        self.elsewhere.clear()
        attachment = self.bus._attachment
        attachment.closed = True
        if attachment.attached is not None:
            attachment.attached.storage.closed = attachment.attached.closed = True
            attachment.attached.pump.roster._leases.close()
            for connection in attachment.attached.storage.custody.readers.close():  # opened when nobody's turn it was
                cut_off(connection)
        self.world.died(self)

    def close(self) -> None:
        """Leave in order."""
        self.bus.close(0)
        self._survived()
        self.faults.dead = True
        self.world.died(self)

    # -- what its connections tell -----------------------------------------------------------------
    def begins(self) -> None:
        """It is about to begin a transaction."""
        self.world.before_writing(self)

    def writes(self) -> None:
        """It is about to write, in a transaction of the bus's own."""
        self.world.while_writing(self)

    def met(self, fault: str) -> None:
        """Something has gone wrong."""
        self.world.met(self, fault)

    def breaks(self, what: str) -> None:
        """Something happened to it that never may."""
        self.world.breaks(f"{self.number}: {what}")
