"""blinker signals that know what blinker does not: order, contexts, and where a handler runs.

blinker holds the receivers, so its own connect, disconnect, connected_to and muted work as its users know them.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import blinker

from eventbus.errors import EventDefinitionError
from eventbus.handlers import Callee, identity, inspect_handler, qualified_name, weakly

if TYPE_CHECKING:
    from eventbus.placement import Via

F = TypeVar("F", bound=Callable[..., Any])

_order = itertools.count()


class Connection:
    """One handler as it was connected: once, to any number of signals."""

    __slots__ = ("_held", "is_async", "key", "qualified", "rank", "via", "wants_context", "weak")

    def __init__(self, callee: Callee, *, priority: int = 0, weak: bool = False, via: Via | None = None) -> None:
        self._held: Callable[..., Any] = weakly(callee.function) if weak else callee.function
        self.weak = weak
        self.via = via
        self.key: Hashable = identity(callee.function)
        self.rank = (-priority, next(_order))
        self.wants_context = callee.wants_context
        self.is_async = callee.is_async
        self.qualified = callee.qualified

    @property
    def function(self) -> Callable[..., Any] | None:
        """The handler; None once a weak one is gone."""
        return self._held() if self.weak else self._held

    @property
    def is_plain(self) -> bool:
        """Nothing to do but to call it with the event."""
        return not (self.weak or self.wants_context or self.is_async or self.via is not None)


class LiveSignal(blinker.Signal):
    """The signal of one event class or pattern; whoever connects to it is called by the bus with the event."""

    def __init__(self, target: str, lock: threading.RLock, changed: Callable[[], None]) -> None:
        self.target = target
        self._lock = lock
        self._changed = changed
        self._connections: dict[Hashable, tuple[Connection, ...]] = {}
        super().__init__(f"Live handlers of {target}.")

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "is_muted":
            self._changed()

    def connect(self, receiver: F, sender: Any = blinker.ANY, weak: bool = True) -> F:
        """blinker's connect; EventDefinitionError for a sender, because events have none."""
        if sender is not blinker.ANY:
            raise EventDefinitionError(
                f"{qualified_name(receiver)} cannot be connected for one sender: events have none.",
                hint="Connect to the signal of the event's class.",
            )
        if not callable(receiver):
            inspect_handler(receiver)
        # blinker's own receivers get the event only, whatever else they could take.
        is_async = inspect.iscoroutinefunction(receiver)
        self.attach(Connection(Callee(receiver, False, is_async, qualified_name(receiver)), weak=weak))
        return receiver

    def disconnect(self, receiver: Callable[..., Any], sender: Any = blinker.ANY) -> None:
        """blinker's disconnect; it takes out handlers of `bus.on` as well."""
        with self._lock:
            gone = self._connections.pop(identity(receiver), ())
            held = next((each.function for each in gone if each.function is not None), receiver)
            super().disconnect(held, sender)
            self._changed()

    def attach(self, connection: Connection) -> None:
        """Connect a handler with all that we know about it."""
        with self._lock:
            others = tuple(each for each in self._connections.get(connection.key, ()) if each.function is not None)
            self._connections[connection.key] = (*others, connection)
            self._hold(connection.key)
            self._changed()

    def detach(self, connection: Connection) -> None:
        """Take one connection out; the handler stays while another connection of it does."""
        with self._lock:
            before = self._connections.pop(connection.key, ())
            others = tuple(each for each in before if each is not connection)
            function = connection.function
            if others:
                self._connections[connection.key] = others
                self._hold(connection.key)
            elif before and function is not None:
                super().disconnect(function)
            self._changed()

    def _hold(self, key: Hashable) -> None:
        """Have blinker hold a handler once, and weakly if all of its connections are weak."""
        connections = self._connections[key]
        # The first one's function: blinker knows a built-in method by its object, and each access makes a new one.
        function = connections[0].function
        if function is not None:
            super().connect(function, weak=all(each.weak for each in connections))

    def has(self, key: Hashable) -> bool:
        return key in self._connections

    def active(self) -> Iterator[Connection]:
        """The connection of each receiver, the foremost where one was connected more than once."""
        if self.is_muted:
            return
        receivers = {identity(receiver) for receiver in self.receivers_for(blinker.ANY)}
        for key, connections in list(self._connections.items()):
            alive = [each for each in connections if each.function is not None]
            if key in receivers and alive:
                yield min(alive, key=lambda each: each.rank)
            elif not alive:
                self._connections.pop(key, None)
