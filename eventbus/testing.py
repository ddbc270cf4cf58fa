"""A kit for tests of apps and plugins: a clock that stands still, and handlers called without a bus."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from eventbus.clock import Bell, format_uuid7, iso
from eventbus.errors import EventDefinitionError
from eventbus.events import Envelope, EventType, TypeName, event_type
from eventbus.handlers import Context, Kept, Steps

if TYPE_CHECKING:
    from eventbus.store.transaction import Transaction

__all__ = ["START", "FakeClock", "RecordingContext", "context"]

START = 1767225600.0
"""2026-01-01T00:00:00Z: when a FakeClock starts, and when events of `context` happened."""

_MAX_PAYLOAD = 1 << 20  # the bus's default


class FakeClock:
    """A clock that moves only when told to: `EventBus(clock=FakeClock())`.

    Ids count up and jitter is always half of what it may be, so that a test repeats exactly. Two clocks
    on one log make the same ids unless their `seed` differs; better, give both buses one clock.
    """

    def __init__(self, start: float = START, *, seed: int = 0) -> None:
        self._start = float(start)
        self._elapsed = self._asleep = self._set = 0.0
        self._seed = seed
        self._ids = 0
        self._lock = threading.Lock()
        self._sleepers: list[_Sleeper] = []
        self._callbacks: list[_Callback] = []

    def time(self) -> float:
        return self._start + self.elapsed() + self._set

    def monotonic(self) -> float:
        return self._elapsed

    def elapsed(self) -> float:
        """Seconds since it was made, those of `suspend` included."""
        return self._elapsed + self._asleep

    def new_id(self) -> str:
        """UUID version 7 of this clock's time; the random part is `seed` (30 bits) and a counter (32 bits)."""
        with self._lock:
            self._ids += 1
            count, now = self._ids, self.time()
        return format_uuid7(int(now * 1000), 0, (self._seed & 0x3FFFFFFF) << 32 | count)

    def jitter(self, upper: float) -> float:
        return upper * 0.5

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        """Block until `bell` rings, `advance` has passed `timeout`, or so many real seconds are over; True if it rang.

        The last is for what does not know this clock, such as a lock of another process. After `advance`
        has ended a wait, the next wait of the bell returns True at once.
        """
        if timeout is None or timeout <= 0:
            return bell.wait(timeout)
        with self._lock:
            sleeper = _Sleeper(bell, self._elapsed + timeout)
            self._sleepers.append(sleeper)
        try:
            rang = bell.wait(timeout)
        finally:
            with self._lock:
                self._sleepers.remove(sleeper)
        if sleeper.overslept:
            # `advance` rang it. Whether somebody else did so too cannot be told, and must not be lost.
            bell.ring()
        return rang and not sleeper.overslept

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once; returns when all that wait were woken and told, not when they are done."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"A clock moves forward by a number of seconds, not by {seconds!r}.")
        with self._lock:
            self._elapsed += seconds
            late = [each for each in self._sleepers if each.deadline <= self._elapsed]
            for each in late:
                each.overslept = True
            callbacks = list(self._callbacks)
        for each in late:
            each.bell.ring()
        for callback in callbacks:
            callback.function()

    def jump(self, seconds: float) -> None:
        """Set the wall clock, forward or (below 0) back: no time passes, and nobody is told."""
        if not math.isfinite(seconds) or self.time() + seconds < 0:
            raise ValueError(f"A clock is set by a number of seconds, and not to before 1970: {seconds!r}.")
        with self._lock:
            self._set += seconds

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: `seconds` pass on the wall clock, none for timers, and nobody is told."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"A machine sleeps for a number of seconds, not for {seconds!r}.")
        with self._lock:
            self._asleep += seconds

    def on_advance(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each advance, in the advancing thread; returns what ends that."""
        entry = _Callback(callback)
        with self._lock:
            self._callbacks.append(entry)
        return partial(self._forget, entry)

    def _forget(self, entry: _Callback) -> None:
        with self._lock:
            if entry in self._callbacks:
                self._callbacks.remove(entry)


@attrs.define(eq=False)
class _Sleeper:
    bell: Bell
    deadline: float
    overslept: bool = False


@attrs.frozen(eq=False)
class _Callback:
    function: Callable[[], None]


class RecordingContext(Context):
    """A Context without a bus: what the handler publishes is checked as a bus would, and kept in `published`.

    Its steps run; their results are in `steps`, by name."""

    __slots__ = ("published", "steps")

    def __init__(self, envelope: Envelope, **options: Any) -> None:
        self.published: list[Any] = []
        self.steps: dict[str, Any] = {}
        steps = None if options.get("transaction") is not None else Steps(_Shelf(self.steps))
        super().__init__(envelope, publish=self._record, steps=steps, **options)

    def _record(self, event: object, **options: Any) -> str:
        event_type(type(event)).encode(event, _MAX_PAYLOAD)
        self.published.append(event)
        return _id(self.envelope.position + len(self.published))


@attrs.frozen
class _Shelf:
    """Keeps the results themselves."""

    results: dict[str, Any]

    def find(self, name: str) -> Kept | None:
        return None

    def keep(self, name: str, text: str | None, result: Any) -> None:
        self.results[name] = result


def context(
    event: object,
    *,
    position: int = 1,
    stream: str | None = None,
    sequence: int | None = None,
    time: float = START,
    source: str = "test",
    correlation_id: str | None = None,
    causation_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    attempt: int = 1,
    is_replay: bool = False,
    stopping: bool = False,
    transaction: Transaction | None = None,
) -> RecordingContext:
    """A Context for calling a handler plainly: `invoice(placed, context(placed))`.

    The keywords say what the envelope and the context tell the handler; `time` is in seconds since 1970 UTC.
    """
    kind = event_type(type(event))
    stream, sequence = _place(event, kind, stream, sequence)
    row = (
        position,
        _id(position),
        0,
        stream,
        sequence,
        iso(time),
        0,
        correlation_id,
        causation_id,
        None if metadata is None else json.dumps(dict(metadata)),
        None,
        kind.encode(event, _MAX_PAYLOAD),
    )
    return RecordingContext(
        Envelope.around(event, row, _Spelled(kind, source, event)),
        attempt=attempt,
        is_replay=is_replay,
        stopping=lambda: stopping,
        transaction=transaction,
    )


def _place(event: object, kind: EventType, stream: str | None, sequence: int | None) -> tuple[str | None, int | None]:
    """The stream of an event, by default that of its template, and its number in there, by default the first."""
    stream = stream if stream is not None else kind.stream_of(event)
    if stream is not None:
        return stream, 1 if sequence is None else sequence
    if sequence is not None:
        raise EventDefinitionError("An event without a stream has no sequence.", hint="Give a stream as well.")
    return None, None


@attrs.frozen
class _Spelled:
    """What a log knows by number, for the one event of a context."""

    kind: EventType
    source: str
    event: object

    def type_named(self, type_id: int) -> TypeName:
        return TypeName(self.kind.name, self.kind.version, self.kind.kind, self.kind.bases)

    def source_named(self, source_id: int) -> str:
        return self.source

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> Any:
        return self.event

    def verify(self, row: tuple[Any, ...]) -> None:
        """It was not read."""


def _id(number: int) -> str:
    return format_uuid7(int(START * 1000), 0, number)
