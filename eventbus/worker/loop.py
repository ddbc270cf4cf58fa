"""The loop on which the bus's async handlers run: the one it was entered on, else one of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from eventbus.threads import is_ctrl_c, raised_by, running_loop

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

_STOP_SECONDS = 1.0  # for the private loop's thread to end after it was told to

_log = logging.getLogger("eventbus.worker")


class LoopEnded(RuntimeError):
    """A loop was closed before what was given to it had ended."""


class BusLoop:
    """Runs coroutines on the adopted loop, or on a private one in a daemon thread, started by the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._adopted: asyncio.AbstractEventLoop | None = None
        self._private: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: dict[Future[Any], tuple[asyncio.AbstractEventLoop, Coroutine[Any, Any, Any]]] = {}

    def adopt(self, loop: asyncio.AbstractEventLoop, *, lasting: bool = True) -> None:
        """Use the app's own loop from now on; unless `lasting`, only where no other was adopted."""
        if lasting or self._adopted is None or self._adopted.is_closed():
            self._adopted = loop

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run a coroutine on the bus's loop; callable from any thread, never waits."""
        import asyncio

        loop = self._loop()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # the app has closed it this moment
            if loop is not self._adopted:
                coroutine.close()
                raise
            self._adopted = None
            return self.spawn(coroutine)
        self._running[future] = loop, coroutine
        future.add_done_callback(lambda done: self._ended(done, loop))
        return future

    def call(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine on the bus's loop and wait for it, on another thread; raises what it raises."""
        error = self.spawn(raised_by(lambda: coroutine)).result()
        if error is not None:
            raise error

    def _ended(self, future: Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._running.pop(future, None)
        if future.cancelled() and self._adopted is loop:
            self._adopted = None

    def leave(self) -> None:
        """The app's loop cancels what runs there, as it does before it is closed: use it no longer."""
        self._adopted = None

    def sweep(self) -> None:
        """End what was left on a loop that is closed: nothing would ever be heard of it."""
        if not self._running:
            return
        from concurrent.futures import InvalidStateError

        for future, (loop, coroutine) in list(self._running.items()):
            if not loop.is_closed() or future.done():
                continue
            try:
                coroutine.close()
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                _log.exception("a handler did not end with its loop")
            with contextlib.suppress(InvalidStateError):
                future.set_exception(LoopEnded("The asyncio loop it ran on was closed."))

    def join(self, timeout: float | None) -> bool:
        """Wait for what was spawned so far; False after `timeout` seconds, and at once on the loop itself."""
        self.sweep()
        running = list(self._running)
        if not running:
            return True
        if running_loop() is self._loop():
            return False
        from concurrent.futures import wait

        return not wait(running, timeout).not_done

    def cancel(self) -> None:
        """Cancel what still runs."""
        self.sweep()
        for future in list(self._running):
            future.cancel()

    def close(self, timeout: float = _STOP_SECONDS) -> None:
        """Stop the private loop, if there is one, within `timeout` seconds; an adopted loop belongs to the app."""
        with self._lock:
            loop, self._private, thread, self._thread = self._private, None, self._thread, None
        self._adopted = None
        if loop is not None and thread is not None:
            with contextlib.suppress(RuntimeError):  # its thread has closed it already
                loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(timeout)

    def _loop(self) -> asyncio.AbstractEventLoop:
        adopted = self._adopted
        if adopted is not None and not adopted.is_closed():
            return adopted
        with self._lock:
            if self._private is None or self._private.is_closed():
                import asyncio

                self._private = loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name="eventbus-loop", daemon=True)
                self._thread.start()
            return self._private

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The private loop's thread, until the bus lets go of it: a task that exits, or stops it, ends no other."""
        import asyncio

        asyncio.set_event_loop(loop)
        try:
            while self._private is loop:
                try:
                    loop.run_forever()
                except BaseException:  # of a task that a handler has started
                    _log.exception("a task on the bus's loop tried to end it; the loop goes on")
        finally:
            _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left and close."""
    import asyncio

    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
