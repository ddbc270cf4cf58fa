"""Virtual time: all processes of a simulation share it, and it passes only where the scheduler lets it."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

from eventbus.clock import Bell, format_uuid7
from eventbus.testing import START

# What takes the place of the module `time` in eventbus.clock: no bound of real seconds ends anything here.
NO_MACHINE = SimpleNamespace(monotonic=lambda: 0.0, time=lambda: START)


class Time:
    """Seconds since the simulation began, and what the wall clock says, which may be set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.set_by = 0.0
        self._followers: list[Callable[[], None]] = []

    @property
    def wall(self) -> float:
        """Seconds since 1970."""
        return START + self.now + self.set_by

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and tell those who follow it."""
        self.now += seconds
        for follower in list(self._followers):
            follower()

    def follow(self, follower: Callable[[], None]) -> Callable[[], None]:
        """Have it called whenever time has passed; returns what ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower) if follower in self._followers else None


class SimulatedClock:
    """The clock of one life of one process; ids and jitter repeat, too."""

    def __init__(
        self, time: Time, seed: int, sleep: Callable[[float], None], run: Callable[[Callable[[], None]], object]
    ) -> None:
        self._time, self._seed, self._sleep, self._run = time, seed, sleep, run
        self._chance = random.Random(seed)
        self._ids = 0

    def time(self) -> float:
        return self._time.wall

    def monotonic(self) -> float:
        return self._time.now

    def new_id(self) -> str:
        self._ids += 1
        return format_uuid7(int(self._time.wall * 1000), 0, self._seed << 32 | self._ids)

    def jitter(self, upper: float) -> float:
        return self._chance.uniform(0, upper)

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        """Whoever waits lets the others go on; without a bound nobody would ever wake it."""
        assert timeout is not None, "a simulated process waits for ever"
        if bell.wait(0):
            return True
        self._sleep(timeout)
        return bell.wait(0)

    def on_advance(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self._time.follow(lambda: self._run(callback) and None)
