"""Events that are told and not stored: little more than a loop over their handlers."""

from __future__ import annotations

import os
import weakref
from types import CoroutineType

from eventbus.bus.attaching import Attachment
from eventbus.dispatch import Snapshot, Telling, loops, nesting, running
from eventbus.engine.emitting import emitted
from eventbus.events import Envelope

_begin, _end = running.append, running.pop


class Emitting:
    """Emits for one bus.

    What would have to be asked at each emit is asked once for a class, whose handlers are then `ready`: the bus is
    open, and this process's; the class is an event's; there is nothing to do but to call them. Whatever may change one
    of these empties `ready`.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._attachment, self._live = attachment, attachment.live
        self._ready = attachment.live.ready
        _known.add(self)

    def emit(self, event: object) -> None:
        """Call live handlers here."""
        snapshot = self._ready.get(type(event))
        if snapshot is None or running:
            self._emit_carefully(event)
            return
        call, telling = None, None
        try:
            _begin(type(event))  # within the `try`: a Ctrl-C comes after a call, and never just before this one
            for call in snapshot.calls:  # as Live.tell does; one more call in between would cost as much as a handler's
                try:
                    result = call(event)
                    if result is not None and isinstance(result, CoroutineType):
                        telling = telling or self._telling(snapshot, event)
                        telling.look_after(call, result)
                except BaseException as error:
                    telling = telling or self._telling(snapshot, event)
                    telling.note(call, error)
            if snapshot.stale:
                telling = telling or self._telling(snapshot, event)
                telling.tell(after=call)
        finally:
            _end()
        if telling is not None:
            self._attachment.raise_if_asked(telling.failures)

    def _emit_carefully(self, event: object) -> None:
        """Check all there is to check, say on this thread what is told, and have the handlers ready for next time."""
        self._attachment.check_open()
        cls = type(event)
        if nesting.told:
            nesting.refuse_deeper(cls.__name__)
        if cls not in self._ready:
            self._live.prepare(cls)
            if self._attachment.closed:  # since then; or it is closing, and this is a handler that may still emit
                self._ready.clear()
        before = len(nesting.told)
        try:
            nesting.enter(cls)
            failures = self._live.tell(event, lambda: self._envelope(event), self._attachment.context)
        finally:
            del nesting.told[before:]
        if failures:
            self._attachment.raise_if_asked(failures)

    async def emit_async(self, event: object) -> None:
        """Call live handlers here and await the async ones."""
        self._attachment.check_open()
        failures = await self._live.tell_async(event, lambda: self._envelope(event), self._attachment.context)
        self._attachment.raise_if_asked(failures)

    def _telling(self, snapshot: Snapshot, event: object) -> Telling:
        return self._live.telling(snapshot, event, lambda: self._envelope(event), self._attachment.context)

    def _envelope(self, event: object) -> Envelope:
        return emitted(event, self._attachment.settings.clock)

    def forget_ready(self) -> None:
        """Ask again at the next emit of each class."""
        self._ready.clear()


loops.append((Emitting.emit.__code__, "telling"))

_known: weakref.WeakSet[Emitting] = weakref.WeakSet()


def _forget_all() -> None:
    for emitting in list(_known):
        emitting.forget_ready()


if hasattr(os, "register_at_fork"):  # the child may not use its parent's bus
    os.register_at_fork(after_in_child=_forget_all)
