"""One event being told to its handlers: who is called here, who elsewhere, and what becomes of errors."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from eventbus.dispatch.failure import LiveFailure, raisable
from eventbus.dispatch.place import Place, caller
from eventbus.dispatch.routes import Routes, Snapshot
from eventbus.dispatch.signals import Connection
from eventbus.events import Envelope
from eventbus.handlers import Context, handling
from eventbus.threads import is_ctrl_c, raised_by

if TYPE_CHECKING:
    from asyncio import Task
    from concurrent.futures import Future

_log = logging.getLogger("eventbus.dispatch")

scheduled: ContextVar[bool] = ContextVar("eventbus_scheduled", default=False)
"""True in a live handler that a loop runs: nothing it does may wait for it."""

_tasks: set[Task[None]] = set()
"""A loop holds its tasks weakly; these are held until they are done."""


@attrs.frozen(eq=False)
class Wiring:
    """What a telling needs of its bus."""

    routes: Routes
    spawn: Callable[[Coroutine[Any, Any, None]], Future[None]]
    failed: Callable[[LiveFailure], None]


class Telling:
    """One event on its way to the handlers of one snapshot."""

    __slots__ = (
        "_context",
        "_envelope",
        "_make_context",
        "_place",
        "_snapshot",
        "_wiring",
        "awaited",
        "event",
        "failures",
    )

    def __init__(
        self,
        wiring: Wiring,
        snapshot: Snapshot,
        event: object,
        envelope: Envelope | Callable[[], Envelope],
        make_context: Callable[[Envelope], Context],
        place: Place | None,
    ) -> None:
        self.event = event
        self.failures: list[BaseException] = []
        self.awaited = False
        self._wiring = wiring
        self._snapshot = snapshot
        self._envelope = envelope
        self._make_context = make_context
        self._context: Context | None = None
        self._place = place or (caller() if snapshot.takes_place else None)

    def tell(self, after: Callable[..., Any] | None = None) -> list[BaseException]:
        """Start everything, or what stands behind one of the snapshot's `calls`; returns what failed here."""
        self.start(0 if after is None else self._snapshot.index(after) + 1)
        return self.failures

    def start(self, begin: int = 0) -> list[Future[None]]:
        """Call what runs here, in order, and send the rest on its way; returns what the bus's loop runs."""
        started: list[Future[None]] = []
        stored = self._stored()
        token = handling.set(stored) if stored else None
        try:
            for connection in self._snapshot.connections[begin:]:
                if self._snapshot.stale and not self._still_reaches(connection):
                    continue
                try:
                    future = self._call(connection)
                except BaseException as error:
                    self._failed_here(connection, error)
                else:
                    started += [future] if future else []
        finally:
            if token is not None:
                handling.reset(token)
        return started

    def look_after(self, call: Callable[..., Any], result: object) -> None:
        """Take care of what one of the snapshot's `calls` returned."""
        self._go_on(self._snapshot.connections[self._snapshot.index(call)], result)

    def note(self, call: Callable[..., Any], error: BaseException) -> list[BaseException]:
        """Take care of what one of the snapshot's `calls` raised."""
        self._failed_here(self._snapshot.connections[self._snapshot.index(call)], error)
        return self.failures

    def _failed_here(self, connection: Connection, error: BaseException) -> None:
        self.failures.append(error)
        self._report(connection, error, scheduled=False)

    def _go_on(self, connection: Connection, result: object) -> Future[None] | None:
        """A plain function may return a coroutine, as `lambda e: save(e)` does: it runs as async handlers do."""
        if not inspect.iscoroutine(result):
            return None
        self._place = self._place or caller()
        try:
            return self._spawn(connection, lambda: result)
        except BaseException:
            result.close()
            raise

    def _call(self, connection: Connection) -> Future[None] | None:
        function = connection.function
        if function is None:
            self._wiring.routes.changed()
            return None
        if connection.via is not None:
            carried = copy_context()
            connection.via(lambda: carried.run(self._arrive, connection))
            return None
        if connection.is_async:
            return self._spawn(connection, partial(self._apply, connection, function))
        return self._go_on(connection, self._apply(connection, function))

    def _apply(self, connection: Connection, function: Callable[..., Any]) -> Any:
        return function(self.event, self._told()) if connection.wants_context else function(self.event)

    def _told(self) -> Context:
        if self._context is None:
            if not isinstance(self._envelope, Envelope):
                self._envelope = self._envelope()
            self._context = self._make_context(self._envelope)
        return self._context

    def _stored(self) -> Envelope | None:
        return self._envelope if isinstance(self._envelope, Envelope) and self._envelope.position else None

    def _still_reaches(self, connection: Connection) -> bool:
        return connection.key in self._wiring.routes.look(type(self.event)).keys

    def _arrive(self, connection: Connection) -> None:
        """Run where `via` brought us. A handler that was taken out on the way is not called any more: the
        window it drew in may be gone."""
        function = connection.function
        if function is None or not self._still_reaches(connection):
            return
        try:
            result = self._apply(connection, function)
            if inspect.iscoroutine(result):
                self._go_on_there(connection, result)
        except BaseException as error:
            self._report(connection, error, scheduled=True)
            if is_ctrl_c(error):
                raise

    def _go_on_there(self, connection: Connection, coroutine: Coroutine[Any, Any, object]) -> None:
        """A coroutine that `via` brought to a loop runs on it; elsewhere, on the bus's loop."""
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._go_on(connection, coroutine)
            return
        task = loop.create_task(self._finish(connection, lambda: coroutine, handling.get()))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    def _spawn(self, connection: Connection, call: Callable[[], Coroutine[Any, Any, object]]) -> Future[None]:
        coroutine = self._finish(connection, call, handling.get())
        try:
            return self._wiring.spawn(coroutine)
        except BaseException:
            coroutine.close()
            raise

    async def _finish(
        self, connection: Connection, call: Callable[[], Coroutine[Any, Any, object]], cause: Envelope | None
    ) -> None:
        handling.set(cause)  # whatever context the loop's task was given; it is the task's own
        scheduled.set(True)
        error = await raised_by(call)
        if error is not None:
            if self.awaited:
                self.failures.append(raisable(error))
            self._report(connection, error, scheduled=not self.awaited)

    def _report(self, connection: Connection, error: BaseException, *, scheduled: bool) -> None:
        place = self._place or (None if scheduled else caller())
        spot = None if place is None else str(place)
        _log.error(
            "Live handler %s failed on %s, published at %s",
            connection.qualified,
            type(self.event).__qualname__,
            spot or "no place in the app's code",
            exc_info=error,
        )
        try:
            self._wiring.failed(LiveFailure(connection.qualified, self.event, self._stored(), error, spot, scheduled))
        except Exception:
            # One handler's failure, and what listens to failures, must not stop the next handler.
            _log.exception("The failure of live handler %s could not be reported", connection.qualified)
