"""User SQL's place in the file: one guarded connection, lent to one transaction after another."""

from __future__ import annotations

import logging
import sqlite3

from eventbus.clock import Clock
from eventbus.errors import EventBusError, TransactionTimeout
from eventbus.store.connection import connect_as
from eventbus.store.guarded import Guard, GuardedConnection
from eventbus.store.guarding import for_app, for_tables, nothing
from eventbus.store.location import Location
from eventbus.store.trouble import begin_immediate, translate

_INTERRUPT_EVERY = 0.01  # seconds; one that comes between two statements is forgotten, so it is repeated
_INTERRUPTS = 200  # after these a statement hangs where SQLite cannot stop it, in a function of the user's

_log = logging.getLogger("eventbus.store")


class Guest:
    """Begins and ends the transactions in which user SQL runs on `connection`."""

    def __init__(self, location: Location, clock: Clock) -> None:
        self._location, self._clock = location, clock
        self.connection = connect_as(GuardedConnection, location, writable=True)
        self.connection.guard.is_ours = False
        self.connection.watch()
        self.is_closed = False
        self.is_delivering = False  # the transaction that is open is a durable handler's

    @property
    def overdue(self) -> bool:
        """True once its transaction was open for too long: it is revoked, or about to be."""
        return self.connection.guard.is_overdue

    @overdue.setter
    def overdue(self, overdue: bool) -> None:
        self.connection.guard.is_overdue = overdue

    def begin(self, tables: frozenset[str] | None, patience: float = 5.0) -> None:
        """Begin a transaction for the app (None), or for a projection of these `tables`.

        `patience`: seconds to wait while another process writes.
        Raises LogError, and EventBusError once this guest is closed or revoked.
        """
        if self.is_closed:
            raise EventBusError("This connection was taken away or closed.", stored="not stored")
        self.connection.row_factory = None
        self.connection.text_factory = str
        guard = self.connection.guard
        guard.is_ours = False  # whatever Ctrl-C left behind
        with self.ours():
            begin_immediate(self.connection, self._location.name, self._clock, patience)
        guard.rules = for_app if tables is None else for_tables(tables)
        guard.is_open = True

    def commit(self) -> None:
        """Commit. If it raises, `rollback` is still to be called.

        Raises LogError, EventBusError if the transaction is gone, and sqlite3.IntegrityError for a
        foreign key that was to be checked at the end.
        """
        try:
            with self.connection.guard.running:
                self.check()
                self._end("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise translate(self._location.name, error, during="commit") from error
        finally:
            self.connection.guard.let_go()

    def rollback(self) -> None:
        """Undo the transaction; does nothing if it is over or revoked."""
        try:
            with self.connection.guard.running:
                if self.is_begun:
                    self._end("ROLLBACK" if self.connection.in_transaction else None)
        finally:
            self.connection.guard.let_go()

    @property
    def is_begun(self) -> bool:
        """True while there is something to end: a transaction, or what is left of one."""
        return not self.is_closed and (self.connection.guard.is_open or self.connection.in_transaction)

    def is_whole(self) -> bool:
        """True if there is nothing for `check` to say, but for a fork, which the commit finds."""
        connection = self.connection
        return connection.in_transaction and connection.guard.is_open and not connection.guard.is_overdue

    def check(self) -> None:
        """Raise EventBusError if the transaction is over, revoked, or was rolled back by a statement in it."""
        self.connection.guard.check(self.connection)

    def ours(self) -> _Ours:
        """For the bus's own statements: what the connection runs in this `with` block is not judged."""
        return _Ours(self.connection.guard)

    def revoke(self) -> Guest:
        """End a transaction that takes too long, from any thread; this guest is of no use any more.

        Returns another one. A thread that still works with this one gets errors, and nothing it does
        is kept.
        """
        self.close()
        return Guest(self._location, self._clock)

    def close(self) -> None:
        """Undo what is not committed, and close; does nothing the second time."""
        if self.is_closed:
            return
        self.is_closed = True
        connection, guard = self.connection, self.connection.guard
        guard.is_open = False
        held = self._interrupt_until_idle()
        try:
            if held:
                self._undo()
            else:
                _log.error("a statement hangs in a function of its own; it is undone when that returns")
            connection.finish()
        finally:
            if held:
                guard.running.release()

    def _interrupt_until_idle(self) -> bool:
        running = self.connection.guard.running
        if running.acquire(blocking=False):
            return True
        for _ in range(_INTERRUPTS):
            self.connection.interrupt()
            if running.acquire(timeout=_INTERRUPT_EVERY):
                return True
        return False

    def _undo(self) -> None:
        """Roll back before closing: a statement that is still referred to keeps a closed connection's locks."""
        connection = self.connection
        try:
            # An interrupt lasts for as long as any statement is not finished.
            connection.guard.end_cursors()
            with self.ours():
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except (sqlite3.Error, TransactionTimeout):
            # Closing undoes it as well, as soon as nothing refers to a statement any more.
            _log.warning("rolling back a transaction failed", exc_info=True)

    def _end(self, statement: str | None) -> None:
        guard = self.connection.guard
        guard.end_cursors()
        if statement is not None:
            with self.ours():
                self.connection.execute(statement)
        guard.is_open = guard.is_ours = False
        guard.rules = nothing
        self.connection.watch()


class _Ours:
    """Holds the connection, so that it is not taken away between two of the bus's statements.

    Not a generator, whose end could come any time later: where Ctrl-C skips it, the transaction's end does it.
    """

    __slots__ = ("_before", "_guard")

    def __init__(self, guard: Guard) -> None:
        self._guard, self._before = guard, guard.is_ours

    def __enter__(self) -> None:
        try:
            self._guard.running.acquire()  # an interrupt is raised when it returns, and not sooner
            self._guard.is_ours = True
        except BaseException:
            self._guard.running.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._guard.is_ours = self._before
        self._guard.running.release()
