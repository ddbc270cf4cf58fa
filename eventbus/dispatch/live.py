"""`Live`: connects live handlers and calls them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from eventbus.dispatch.failure import LiveFailure
from eventbus.dispatch.place import Place
from eventbus.dispatch.routes import Routes, Snapshot
from eventbus.dispatch.signals import Connection, LiveSignal
from eventbus.dispatch.telling import Telling, Wiring
from eventbus.errors import EventDefinitionError
from eventbus.events import Envelope
from eventbus.handlers import Context, LiveDeclaration, Registration, handling, identity, inspect_handler

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eventbus.events import Vocabulary


class Live:
    """The live handlers of one bus.

    `spawn` runs a coroutine on the bus's loop. `failed` is told of each handler that failed, after it was
    logged; it may be called on any thread on which a handler runs.
    """

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        spawn: Callable[[Coroutine[Any, Any, None]], Future[None]],
        failed: Callable[[LiveFailure], None],
    ) -> None:
        self._routes = Routes(vocabulary)
        self._snapshot_of = self._routes.snapshots.get
        self.ready = self._routes.ready
        """The handlers of classes that are prepared, where there is nothing to do but to call them; see `Routes`."""
        self.prepare = self._routes.prepare
        self._wiring = Wiring(self._routes, spawn, failed)

    def connect(self, declaration: LiveDeclaration) -> Registration:
        """Connect a declared handler to each of its targets."""
        function = declaration.handler
        if function is None:
            return Registration(lambda: None)
        connection = Connection(
            inspect_handler(function), priority=declaration.priority, weak=declaration.weak, via=declaration.via
        )
        signals = [self._routes.signal(target) for target in declaration.targets]
        for signal in signals:
            signal.attach(connection)

        def close() -> None:
            for signal in signals:
                signal.detach(connection)

        return Registration(close)

    def off(self, handler: Callable[..., object]) -> bool:
        """Take a handler out wherever it is connected; False if it was nowhere."""
        connected = [signal for signal in self._routes.all() if signal.has(identity(handler))]
        for signal in connected:
            signal.disconnect(handler)
        return bool(connected)

    def signal(self, cls: type) -> LiveSignal:
        """The blinker signal of a class: what connects to it is called with the event."""
        given: Any = cls  # whatever bus.signal was called with
        if not isinstance(given, type):
            raise EventDefinitionError(
                f"signal takes an event class, or a base of some, not {given!r}.",
                hint='Handlers of a pattern are connected by bus.on("shop.*").',
            )
        return self._routes.signal(cls)

    def hears(self, cls: type) -> bool:
        """Whether anybody listens to this event class."""
        connections = (self._snapshot_of(cls) or self._routes.look(cls)).connections
        return bool(connections) and any(not each.weak or each.function is not None for each in connections)

    def tell(
        self,
        event: object,
        envelope: Envelope | Callable[[], Envelope],
        context: Callable[[Envelope], Context],
        place: Place | None = None,
    ) -> list[BaseException]:
        """Call the handlers of a stored event (an Envelope) or of an emitted one (a function that makes its
        envelope, called only if somebody wants it).

        Plain ones run here, in order; async ones on the bus's loop, not awaited; those with `via` where it
        says. Returns the failures of those that ran here, exits too: whoever publishes lets those go on.
        `place`: where the event was published, if that is not on this stack.
        """
        snapshot = self._snapshot_of(type(event)) or self._routes.look(type(event))
        calls = snapshot.calls
        if not calls:
            return self.telling(snapshot, event, envelope, context, place).tell() if snapshot.connections else []
        failures: list[BaseException] = []
        call = None
        token = handling.set(envelope) if isinstance(envelope, Envelope) and envelope.position else None
        try:
            for call in calls:
                try:
                    result = call(event)
                    if result is not None and isinstance(result, CoroutineType):
                        self.telling(snapshot, event, envelope, context, place).look_after(call, result)
                except BaseException as error:
                    failures += self.telling(snapshot, event, envelope, context, place).note(call, error)
            if snapshot.stale:
                failures += self.telling(snapshot, event, envelope, context, place).tell(after=call)
        finally:
            if token is not None:
                handling.reset(token)
        return failures

    def telling(
        self,
        snapshot: Snapshot,
        event: object,
        envelope: Envelope | Callable[[], Envelope],
        context: Callable[[Envelope], Context],
        place: Place | None = None,
    ) -> Telling:
        """One event on its way to a snapshot's handlers; nothing is called yet."""
        return Telling(self._wiring, snapshot, event, envelope, context, place)

    async def tell_async(
        self,
        event: object,
        envelope: Envelope | Callable[[], Envelope],
        context: Callable[[Envelope], Context],
        place: Place | None = None,
    ) -> list[BaseException]:
        """As `tell`, and wait for the async handlers, which run at the same time; their failures are returned too.

        They go on when the waiting is cancelled.
        """
        snapshot = self._snapshot_of(type(event)) or self._routes.look(type(event))
        telling = self.telling(snapshot, event, envelope, context, place)
        telling.awaited = True
        futures = telling.start()
        if futures:
            import asyncio

            try:
                done, _ = await asyncio.wait([asyncio.wrap_future(future) for future in futures])
            finally:
                telling.awaited = False
            for future in done:
                if not future.cancelled():
                    future.result()  # a handler's errors are in `failures`; this is the end of its loop
        return telling.failures
