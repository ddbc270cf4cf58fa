"""Where a handler runs: each function here makes a `via`, which takes a thunk and has it run elsewhere.

Any callable of that shape will do: `app.call_later` of Textual, a Qt signal's `emit`, ...
"""

from __future__ import annotations

import logging
import socket
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeAlias

from eventbus.errors import EventBusError

if TYPE_CHECKING:
    import asyncio
    import tkinter

__all__ = ["Thunk", "Via", "loop", "queue", "tk"]

Thunk: TypeAlias = Callable[[], None]
Via: TypeAlias = Callable[[Thunk], object]

TURN_SECONDS = 0.008
"""How long thunks may keep Tk's main loop at a stretch: half a frame at 60 Hz."""

REST_MS = 2
"""How long the main loop then has for itself: redrawing happens only when nothing else is due."""

POLL_MS = 20
"""How often the queue is looked at where Tk cannot watch a socket (Windows)."""

_log = logging.getLogger("eventbus.placement")


class _Puttable(Protocol):
    def put_nowait(self, item: Thunk, /) -> None: ...


def loop(loop: asyncio.AbstractEventLoop) -> Via:
    """Run handlers on an asyncio loop, in order; RuntimeError once the loop is closed."""
    return loop.call_soon_threadsafe


def queue(queue: _Puttable) -> Via:
    """Put handlers into a `queue.Queue` or `queue.SimpleQueue`, whose reader calls what it gets.

    A bounded queue that is full raises `queue.Full` rather than hold up the publisher.
    """
    return queue.put_nowait


def tk(root: tkinter.Misc) -> Via:
    """Run handlers in Tk's main loop, in order, in turns short enough for the window to stay responsive.

    Call it in Tk's own thread; what it returns may be called in any. An error of a thunk goes to Tk's
    `report_callback_exception`. Once `root`, a window or widget, is destroyed it raises EventBusError.
    """
    return _TkWatching(root) if hasattr(root.tk, "createfilehandler") else _TkPolling(root)


class _Tk:
    """A queue that other threads fill and Tk's thread empties. No other thread ever calls Tk."""

    def __init__(self, root: tkinter.Misc) -> None:
        # None once it is destroyed: a Tk that is let go last by another thread aborts the process.
        self._root: tkinter.Misc | None = root
        self._thunks: deque[Thunk] = deque()
        self._next_turn: str | None = None  # Tk's id of the scheduled turn
        # A tag of our own: the app's bind("<Destroy>", ...) would replace a binding on the window itself.
        tag = f"eventbus-{id(self)}"
        root.bindtags((*root.bindtags(), tag))
        root.bind_class(tag, "<Destroy>", self._destroyed)

    def __call__(self, thunk: Thunk) -> None:
        if self._root is None:
            raise _gone()
        self._thunks.append(thunk)
        self._wake()

    def _wake(self) -> None:
        raise NotImplementedError

    def _rest(self) -> None:
        """All thunks have run."""
        raise NotImplementedError

    def _release(self, root: tkinter.Misc) -> None:
        """The window goes."""

    def _turn(self) -> None:
        self._next_turn = None
        # Scheduled before anything runs: a thunk may open a modal dialog, whose own loop must find
        # the thunks behind it.
        self._schedule_turn(REST_MS)
        end = perf_counter() + TURN_SECONDS
        while self._root is not None and self._thunks:
            self._run(self._root, self._thunks.popleft())
            if perf_counter() >= end:
                break
        if not self._thunks:
            self._rest()
        else:
            self._schedule_turn(REST_MS)  # again, now that the turn is over: it was due long ago

    def _run(self, root: tkinter.Misc, thunk: Thunk) -> None:
        try:
            thunk()
        except Exception:
            # Left alone it would end Tk's main loop.
            root.nametowidget(".").report_callback_exception(*sys.exc_info())

    def _schedule_turn(self, milliseconds: int) -> None:
        self._cancel_turn()
        if self._root is not None:
            self._next_turn = self._root.after(milliseconds, self._turn)

    def _cancel_turn(self) -> None:
        if self._root is not None and self._next_turn is not None:
            self._root.after_cancel(self._next_turn)
        self._next_turn = None

    def _destroyed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        self._cancel_turn()
        self._release(event.widget)
        self._root = None
        if self._thunks:
            _log.warning("The Tk window closed before %d handlers could run in it.", len(self._thunks))
            self._thunks.clear()


class _TkWatching(_Tk):
    """Woken by a byte in a socket, at most one on its way at a time."""

    def __init__(self, root: tkinter.Misc) -> None:
        super().__init__(root)
        self._awake = False  # a byte or a scheduled turn is on its way
        self._sender, self._receiver = socket.socketpair()
        self._sender.setblocking(False)
        self._receiver.setblocking(False)
        root.tk.createfilehandler(self._receiver, _TK_READABLE, self._heard)

    def _wake(self) -> None:
        if self._awake:
            return
        self._awake = True
        try:
            self._sender.send(b"\0")
        except BlockingIOError:
            pass  # thousands of bytes wait to be read: awake enough
        except OSError as error:  # closed by Tk's thread in this moment
            raise _gone() from error

    def _heard(self, receiver: object, mask: int) -> None:
        self._receiver.recv(4096)
        if self._next_turn is None:
            self._turn()

    def _rest(self) -> None:
        self._cancel_turn()
        # In this order: who appends after the look at the queue finds _awake False and sends a byte.
        self._awake = False
        if self._thunks:
            self._wake()

    def _release(self, root: tkinter.Misc) -> None:
        root.tk.deletefilehandler(self._receiver)
        self._sender.close()
        self._receiver.close()


class _TkPolling(_Tk):
    """Looks at the queue again and again, where Tk cannot watch a socket."""

    def __init__(self, root: tkinter.Misc) -> None:
        super().__init__(root)
        self._rest()

    def _wake(self) -> None:
        """The next look comes by itself."""

    def _rest(self) -> None:
        self._schedule_turn(POLL_MS)


def _gone() -> EventBusError:
    return EventBusError("The Tk window is gone: its handlers cannot run any more.")


_TK_READABLE = 2
"""tkinter.READABLE, without importing tkinter."""
