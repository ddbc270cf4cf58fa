"""Which signals an event class reaches, and the immutable list of handlers that follows from it."""

from __future__ import annotations

import fnmatch
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from eventbus.dispatch.signals import Connection, LiveSignal
from eventbus.errors import EventDefinitionError
from eventbus.events import EventType, event_type

if TYPE_CHECKING:
    from types import CoroutineType

    from eventbus.events import Vocabulary
    from eventbus.handlers import Target

    Returned = CoroutineType[Any, Any, object] | bool | None  # of all else that it may be, nobody asks

_ALL_BUT_TECHNICAL = "*"


class Snapshot:
    """The handlers of one event class, in order; `stale` once there is a newer one."""

    __slots__ = ("calls", "connections", "keys", "stale", "takes_place")

    def __init__(self, connections: Iterable[Connection]) -> None:
        self.connections = tuple(connections)
        self.keys = frozenset(each.key for each in self.connections)
        functions = [each.function for each in self.connections if each.is_plain]
        plain = len(functions) == len(self.connections)
        self.calls: list[Callable[[Any], Returned]] = [f for f in functions if f is not None] if plain else []
        """The functions themselves, if there is nothing to do but to call them. Emptied when the snapshot
        becomes stale: a loop over them then ends by itself, and need not ask at every step."""
        self.takes_place = any(each.is_async or each.via is not None for each in self.connections)
        """Some handler runs when the publisher's stack is gone."""
        self.stale = False

    def outdate(self) -> None:
        self.stale = True
        self.calls.clear()

    def index(self, call: Callable[..., Any]) -> int:
        """Where one of `calls` stands, or stood, in `connections`."""
        return next(index for index, each in enumerate(self.connections) if each.function is call)


class Routes:
    """Signals by what they are for, and a snapshot for each class that was asked for.

    A signal belongs to a type's name and version, or to a plain base class's module and name, so that a
    reloaded class keeps its handlers.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # Reentrant: while a snapshot is built, a collected object may close its own registration.
        self._lock = threading.RLock()
        self._signals: dict[Hashable, LiveSignal] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], LiveSignal]] = {}
        self._changes = 0
        self.ready: dict[type, Snapshot] = {}
        """The snapshots with nothing but `calls`, for whoever has asked all else; anybody may empty it."""
        self.snapshots: dict[type, Snapshot] = {}
        """By class; always this dictionary. May be read without the lock, and lacks what `look` has not built yet."""

    def signal(self, target: Target) -> LiveSignal:
        """The signal for a class or pattern, made when it is first asked for."""
        with self._lock:
            if isinstance(target, str):
                if target not in self._patterns:
                    matcher = re.compile(fnmatch.translate(target))
                    self._patterns[target] = matcher, self._new_signal(repr(target))
                return self._patterns[target][1]
            key = self._key(target)
            if key not in self._signals:
                self._signals[key] = self._new_signal(target.__qualname__)
            return self._signals[key]

    def all(self) -> list[LiveSignal]:
        with self._lock:
            return [*self._signals.values(), *(signal for _, signal in self._patterns.values())]

    def look(self, cls: type) -> Snapshot:
        """The handlers of a class as of now; EventDefinitionError unless it is an event class."""
        snapshot = self.snapshots.get(cls)
        if snapshot is not None:
            return snapshot
        with self._lock:
            changes = -1
            while changes != self._changes:
                changes = self._changes
                snapshot = Snapshot(self._connections(cls))
            assert snapshot is not None
            self.snapshots[cls] = snapshot
            return snapshot

    def prepare(self, cls: type) -> Snapshot:
        """`look`, and have it in `ready` if it belongs there."""
        snapshot = self.look(cls)
        if len(snapshot.calls) == len(snapshot.connections):
            self.ready[cls] = snapshot
            if snapshot.stale:  # since it was looked at; what becomes so from now on is cleared away
                self.ready.clear()
        return snapshot

    def changed(self) -> None:
        """Forget all snapshots: somebody came or went."""
        with self._lock:
            self._changes += 1
            outdated = list(self.snapshots.values())
            self.snapshots.clear()
            for snapshot in outdated:
                snapshot.outdate()
            self.ready.clear()  # after that: see `prepare`

    def _new_signal(self, target: str) -> LiveSignal:
        return LiveSignal(target, self._lock, self.changed)

    def _key(self, cls: type) -> Hashable:
        type_ = _type_of(cls)
        if type_ is None:
            return cls.__module__, cls.__qualname__
        self._vocabulary.meet(cls)
        return type_.name, type_.version

    def _connections(self, cls: type) -> list[Connection]:
        foremost: dict[Hashable, Connection] = {}
        for signal in self._reached(cls):
            for connection in signal.active():
                known = foremost.get(connection.key)
                if known is None or connection.rank < known.rank:
                    foremost[connection.key] = connection
        return sorted(foremost.values(), key=lambda each: each.rank)

    def _reached(self, cls: type) -> Iterator[LiveSignal]:
        met = self._vocabulary.meet(cls)
        for base in cls.__mro__:
            signal = self._signals.get(_base_key(base))
            if signal is not None:
                yield signal
        for pattern, (matcher, signal) in self._patterns.items():
            if matcher.match(met.name) and not (pattern == _ALL_BUT_TECHNICAL and met.kind == "technical"):
                yield signal


def _base_key(cls: type) -> Hashable:
    type_ = _type_of(cls)
    return (type_.name, type_.version) if type_ else (cls.__module__, cls.__qualname__)


def _type_of(cls: type) -> EventType | None:
    try:
        return event_type(cls)
    except EventDefinitionError:
        return None  # a plain base class
