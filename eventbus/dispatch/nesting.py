"""How deep publishes are nested in live handlers on a thread: each takes the stack of all that are around it."""

from __future__ import annotations

import os
import sys
import threading
from types import CodeType, FrameType

from eventbus.errors import CausationLoop, Link
from eventbus.store.causes import last_turn

MOST_NESTED = 50
"""A level is 8 frames of ours; with 11 of the handler's own, 50 stay within Python's limit of 1,000."""

running: list[type] = []
"""What is being emitted, on any thread, by a loop that has appended it here and does not say so in `told`.

Such a loop begins only while this is empty, so that there is at most one on the stack of a thread. It costs a third of
what a list of each thread's own does; whoever is nested in it finds it there, and says it for it.
"""

loops: list[tuple[CodeType, str]] = []
"""The code of such loops, with a name that has a value there once the loop has begun; the event is `event`."""


class Nesting(threading.local):
    """What is being told on this thread, the innermost last: a stored event as a link, the class of an emitted one."""

    def __init__(self) -> None:
        self.told: list[Link | type] = []
        self._loop: int | None = None  # where in `told` that of a loop stands, if it was said

    def refuse_deeper(self, type_name: str) -> None:
        """CausationLoop where a live handler publishes in a live handler, and so on, too often."""
        if len(self.told) < MOST_NESTED - 1:
            return
        told = [*self.told, *self._unsaid()]
        if len(told) >= MOST_NESTED:
            links = [(each.__name__, "", 0) if isinstance(each, type) else each for each in told]
            how = "each published by a live handler of the one before it"
            raise CausationLoop(type_name, len(links), last_turn(links, type_name), how)

    def enter(self, told: Link | type) -> None:
        """This is being told from now on; whoever calls this cuts `told` to its length before that."""
        before = len(self.told)
        if self._loop is not None and self._loop >= before:
            self._loop = None
        if running and (unsaid := self._unsaid()):
            self._loop = before
            self.told += unsaid
        self.told.append(told)

    def _unsaid(self) -> list[type]:
        is_said = self._loop is not None and self._loop < len(self.told)
        return _emitted_here() if running and not is_said else []


def _emitted_here() -> list[type]:
    """The class that a loop on this stack emits, if there is one."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        for code, name in loops:
            if frame.f_code is code and name in frame.f_locals:
                return [type(frame.f_locals["event"])]
        frame = frame.f_back
    return []


def _keep_this_threads() -> None:
    running[:] = _emitted_here()


nesting = Nesting()

if hasattr(os, "register_at_fork"):  # the child has no other thread
    os.register_at_fork(after_in_child=_keep_this_threads)
