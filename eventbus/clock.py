"""Time, waiting, ids and jitter, behind one object, so that a simulation can repeat them."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Protocol

from eventbus.errors import LogCorrupt

STEADY_SECONDS = 2.0  # a wall clock that moved by less, against those that only count, was not set

# The kernels' names differ: what Linux calls monotonic stands still while the machine sleeps.
_COUNTS_SLEEP = "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME"


class Ear(Protocol):
    """Something from outside the process that a bell can be heard through as well."""

    def listen(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds for anything to come in; True if it did."""
        ...

    def poke(self) -> None:
        """End the wait of this process; never waits."""
        ...


class Bell:
    """Something a thread can wait for: ringing is remembered until it is heard.

    With an `ear` a thread that waits is woken by what comes in there too. Ringing pokes the ear only while a
    thread waits: a busy bus rings thousands of times a second, mostly for nobody.
    """

    def __init__(self) -> None:
        # Not an Event: Ctrl-C inside its set() leaves a lock behind, and every publish rings.
        self._rings: SimpleQueue[None] = SimpleQueue()
        self.ear: Ear | None = None
        self._listening: Ear | None = None

    def ring(self) -> None:
        if self._rings.empty():
            self._rings.put(None)
        ear = self._listening
        if ear is not None:
            ear.poke()

    def wait(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds; True if it rang. Hearing it clears it."""
        heard = self._rings_within(timeout) if self.ear is None else self._listen(self.ear, timeout)
        if heard:
            with suppress(Empty):  # two that rang at once
                while True:
                    self._rings.get_nowait()
        return heard

    def _rings_within(self, timeout: float | None) -> bool:
        try:
            self._rings.get(timeout=None if timeout is None else max(timeout, 0.0))
        except Empty:
            return False
        return True

    def _listen(self, ear: Ear, timeout: float | None) -> bool:
        self._listening = ear  # first, and only then a look at the bell: `ring` does it the other way round
        try:
            return not self._rings.empty() or ear.listen(timeout)
        finally:
            self._listening = None


class Clock(Protocol):
    """What the bus asks of time; `SystemClock` is the real one, `testing.FakeClock` stands still."""

    def time(self) -> float:
        """Wall clock, seconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some point, never going back."""
        ...

    def new_id(self) -> str:
        """A new event id: UUID version 7, increasing within a process."""
        ...

    def jitter(self, upper: float) -> float:
        """A random number of seconds between 0 and `upper`."""
        ...

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        """Wait for `bell` at most `timeout` seconds of this clock; True if it rang."""
        ...


def elapsed(clock: Clock) -> float:
    """Seconds since some point, those included in which the machine slept, as far as the clock tells."""
    tell: Callable[[], float] = getattr(clock, "elapsed", clock.monotonic)
    return tell()


class ClockWatch:
    """Notices that the wall clock was set; a machine that slept has not had its clock set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._difference = self._read()

    def moved(self) -> float:
        """Seconds by which it was put forward, or back (below 0), since this was last asked; 0.0 if it was not."""
        before, self._difference = self._difference, self._read()
        moved = self._difference - before
        return moved if abs(moved) >= STEADY_SECONDS else 0.0

    def _read(self) -> float:
        return self._clock.time() - elapsed(self._clock)


_LONGEST = threading.TIMEOUT_MAX / 2  # seconds: no thread can be waited for longer


class Deadline:
    """When a wait ends: after so many seconds of the clock or of the machine, whichever are over first; None: never.

    What is waited for, a handler that hangs or the lock of another process, does not stand still with a test's clock.
    """

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        seconds = _LONGEST if seconds is None else min(seconds, _LONGEST)
        self.seconds = seconds
        self._clock = clock
        self._until = clock.monotonic() + seconds
        self._until_by_machine = time.monotonic() + seconds

    def left(self, most: float = math.inf) -> float:
        """Seconds until then, but at most `most`; 0.0 when it is over."""
        left = min(self._until - self._clock.monotonic(), self._until_by_machine - time.monotonic())
        return max(0.0, min(most, left))


_wall, _steady = time.time, time.monotonic


class SystemClock:
    """The machine's own time."""

    time = staticmethod(_wall)  # without a frame of Python's around them: each publish asks several times
    monotonic = staticmethod(_steady)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._front = 0, _front(0)  # of the id that was made last: most are made within the same millisecond

    def elapsed(self) -> float:
        """Seconds since some point; while the machine sleeps, they go on where the system can tell."""
        counting: int | None = getattr(time, _COUNTS_SLEEP, None)
        return time.monotonic() if counting is None else time.clock_gettime(counting)

    def new_id(self) -> str:
        """UUID version 7 (RFC 9562, method 3): 48 bits of milliseconds, 12 of their fraction, 62 random.

        A tick is 1/4096 ms; each id takes a later tick than the one before it, so ids made by one
        process increase strictly even when the wall clock is set back.
        """
        tick = self._take(1)
        millisecond, front = self._front
        if tick >> 12 != millisecond:
            millisecond = tick >> 12
            self._front = millisecond, front = millisecond, _front(millisecond)
        noise = os.urandom(8).hex()
        return f"{front}{tick & 0xFFF:03x}-{_VARIANTS[noise[0]]}{noise[1:4]}-{noise[4:]}"

    def new_ids(self, number: int) -> list[str]:
        """So many new ids, as `new_id` makes them, in their order."""
        first = self._take(number)
        noise = bytearray(os.urandom(8 * number))
        noise[::8] = noise[::8].translate(_VARIANT)
        made: list[str] = []
        text, front, millisecond = noise.hex(), "", -1
        for tick, at in zip(range(first, first + number), range(0, 16 * number, 16), strict=True):
            if tick >> 12 != millisecond:
                millisecond = tick >> 12
                front = _front(millisecond)
            made.append(f"{front}{tick & 0xFFF:03x}-{text[at : at + 4]}-{text[at + 4 : at + 16]}")
        return made

    def _take(self, number: int) -> int:
        """The first of so many ticks that nobody else has."""
        tick = time.time_ns() * 4096 // 1_000_000
        with self._lock:
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick + number - 1
        return tick

    def jitter(self, upper: float) -> float:
        import random

        return random.uniform(0, upper)

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        return bell.wait(timeout)


def _front(milliseconds: int) -> str:
    """How the ids of a millisecond begin."""
    text = f"{milliseconds & 0xFFFFFFFFFFFF:012x}"
    return f"{text[:8]}-{text[8:]}-7"


# The two bits of the variant stand before six of a byte, or before two of a hexadecimal digit.
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))
_VARIANTS = {f"{digit:x}": f"{0x8 | digit & 0x3:x}" for digit in range(16)}


def new_ids(clock: Clock, number: int) -> list[str]:
    """So many new event ids of a clock, at once where it can make them so."""
    make: Callable[[int], list[str]] | None = getattr(clock, "new_ids", None)
    return [clock.new_id() for _ in range(number)] if make is None else make(number)


def format_uuid7(milliseconds: int, fraction: int, noise: int) -> str:
    """Lay out a version 7 UUID: 48 bits of time, 12 bits of `fraction`, 62 bits of `noise`."""
    high = (milliseconds & 0xFFFFFFFFFFFF) << 16 | 0x7000 | (fraction & 0xFFF)
    low = 0x8 << 60 | (noise & 0x3FFFFFFFFFFFFFFF)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def waits_until(due: float, since: float, now: float) -> float:
    """When a wait ends that began at `since`, on the wall clock, which may have been set back: none gets longer."""
    return due if now >= since - STEADY_SECONDS else min(due, now + (due - since))


def iso(seconds: float) -> str:
    """The fixed-width text the log stores: ISO 8601, UTC, microseconds, so that text order is time order."""
    global _second
    fraction, second = math.modf(seconds)
    micros = round(fraction * 1e6)
    if not 0 <= micros < 1_000_000 or seconds < 0:  # the next second, or before 1970
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    known, text = _second
    if second != known:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second = second, text
    return f"{text}.{micros:06d}Z"


_second: tuple[float, str] = (-1.0, "")  # the last one, and its text: most of what is asked for is of the same


def from_iso(text: str) -> datetime:
    """The aware datetime of a stored text; LogCorrupt if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise LogCorrupt("the log", f"{text!r} stands in it for a time.") from error
    if moment.tzinfo is None:
        raise LogCorrupt("the log", f"the time {text!r} in it has no zone.")
    return moment
