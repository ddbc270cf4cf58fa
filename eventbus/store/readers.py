"""The read-only connections of one open log: each is lent to one reader at a time and kept for the next."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from eventbus.store.anchor import Anchor
from eventbus.store.connection import connect
from eventbus.store.location import Location


class Readers:
    """Connections that are made when all are lent; `check` raises where none may be lent any more."""

    def __init__(self, location: Location, anchor: Anchor, check: Callable[[], None]) -> None:
        self._location, self._anchor, self._check = location, anchor, check
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self) -> sqlite3.Connection:
        """One that nobody else uses."""
        self._check()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        self._anchor.check("")  # another file at our path is another log
        return connect(self._location, writable=False)

    def give_back(self, connection: sqlite3.Connection) -> None:
        """The reader is done with it."""
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def rest(self) -> None:
        """Keep one; what else is idle is closed."""
        with self._lock:
            spare, self._idle = self._idle[1:], self._idle[:1]
        for connection in spare:
            connection.close()

    def close(self) -> list[sqlite3.Connection]:
        """Lend none any more; returns those that are idle, which are to be closed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        return idle
