"""Connections that the bus lends to the app, for SQL of its own."""

from __future__ import annotations

import sqlite3
import weakref

from eventbus.errors import EventBusError
from eventbus.store.connection import connect_as
from eventbus.store.guarding import protect
from eventbus.store.location import Location

BUSY_SECONDS = 5.0  # that one waits for a lock, as sqlite3 does


class _Lent(sqlite3.Connection):
    """A class of its own, so that it can be known whether there still is one."""


class Loans:
    """Those of one log that somebody still has."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._lent: weakref.WeakSet[_Lent] = weakref.WeakSet()

    def __bool__(self) -> bool:
        return bool(self._lent)

    def lend(self) -> sqlite3.Connection:
        """One with our settings, which may not change the log's tables. Raises LogError; EventBusError in memory."""
        if self._location.memory:
            raise EventBusError(
                "A log in memory has no file to connect to.", hint="Use bus.transaction(), or give the bus a path."
            )
        connection = connect_as(_Lent, self._location, writable=True)
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        connection.set_authorizer(protect)
        self._lent.add(connection)
        return connection
