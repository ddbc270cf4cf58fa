"""The list of what is declared, and those who follow it: each follower gets each declaration once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from eventbus.handlers.declarations import LiveDeclaration
from eventbus.handlers.registration import Registration

if TYPE_CHECKING:
    from eventbus.handlers.declaration import Declaration


class _Entry:
    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        self.taken_out = False
        self.registrations: dict[_Follower, Registration | None] = {}

    @property
    def gone(self) -> bool:
        return isinstance(self.declaration, LiveDeclaration) and self.declaration.handler is None


class _Follower:
    def __init__(self, callback: Callable[[Declaration], Registration]) -> None:
        self.callback = callback
        self.left = False


class Declared:
    """Declarations in order. Callbacks and closings run without the lock: a bus has locks of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []
        self._followers: list[_Follower] = []

    def now(self) -> tuple[Declaration, ...]:
        """What is declared and still there."""
        with self._lock:
            self._entries = [entry for entry in self._entries if not entry.gone]
            return tuple(entry.declaration for entry in self._entries)

    def add(self, declaration: Declaration) -> Registration:
        """Add one and hand it to every follower; if one of them refuses it, it is taken out again."""
        entry = _Entry(declaration)
        with self._lock:
            self._entries = [other for other in self._entries if not other.gone]
            self._entries.append(entry)
            followers = list(self._followers)
        try:
            for follower in followers:
                self._hand_over(entry, follower)
        except BaseException:
            self._take_out(entry)
            raise
        return Registration(lambda: self._take_out(entry))

    def follow(self, callback: Callable[[Declaration], Registration]) -> Registration:
        """Hand every declaration, present and later, to `callback`; if it refuses one, all are closed again."""
        follower = _Follower(callback)
        with self._lock:
            self._followers.append(follower)
            entries = list(self._entries)
        try:
            for entry in entries:
                self._hand_over(entry, follower)
        except BaseException:
            self._leave(follower)
            raise
        return Registration(lambda: self._leave(follower))

    def _hand_over(self, entry: _Entry, follower: _Follower) -> None:
        with self._lock:
            if entry.gone or entry.taken_out or follower.left or follower in entry.registrations:
                return
            entry.registrations[follower] = None  # claimed: another thread may be handing over the same pair
        registration = follower.callback(entry.declaration)
        with self._lock:
            wanted = not entry.taken_out and not follower.left
            if wanted:
                entry.registrations[follower] = registration
        if not wanted:
            registration.close()

    def _take_out(self, entry: _Entry) -> None:
        with self._lock:
            entry.taken_out = True
            self._entries = [other for other in self._entries if other is not entry]
            registrations = list(entry.registrations.values())
            entry.registrations.clear()
        _close(registrations)

    def _leave(self, follower: _Follower) -> None:
        with self._lock:
            follower.left = True
            self._followers = [other for other in self._followers if other is not follower]
            registrations = [entry.registrations.pop(follower, None) for entry in self._entries]
        _close(registrations)


def _close(registrations: Iterable[Registration | None]) -> None:
    with ExitStack() as stack:  # one that fails to close does not keep the others open
        for registration in registrations:
            if registration is not None:
                stack.callback(registration.close)
