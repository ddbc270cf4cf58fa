"""A sqlite3 connection that does anything for the app's own tables, except end the transaction.

An authorizer stands guard for as long as the connection lives. What it cannot see is kept here:

- SQLite asks it when a statement is prepared, and prepared statements are cached by their text. So the
  bus's own statements carry a mark that nobody else sends, and a change of role expires the cache.
- `INSERT OR ROLLBACK` ends the transaction without asking; what came next would commit by itself. So
  each statement first looks whether the transaction is still there.
- A statement may hang in a thread while another one takes the connection away. So all that runs
  statements or fetches rows does so under a lock.
- A cursor that is still open after the commit keeps the old state of the database in use. So cursors
  end with their transaction.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from eventbus import errors
from eventbus.errors import EventBusError, ForkedBus, TransactionTimeout
from eventbus.store.guarding import Action, Rules, against_text, nothing
from eventbus.store.statements import split

TRANSACTION_SECONDS = 5.0  # then whoever has a transaction open loses it

# As they are: `super()` would cost as much as the guard itself.
_cursor, _execute, _execute_many = sqlite3.Connection.cursor, sqlite3.Cursor.execute, sqlite3.Cursor.executemany

_CURSORS_REMEMBERED = 1000  # between two prunings of the list


_forks = 0  # that this process has come out of, as far as Python knows; quicker to look at than its number


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class StatementRefused(errors.StatementRefused, sqlite3.OperationalError):
    """SQLite's kind of error too, so that libraries take their other way; apart, as `errors` loads no sqlite3."""


class Guard:
    """What holds for one guarded connection now."""

    def __init__(self) -> None:
        self.rules: Rules = nothing
        self.is_open = False
        self.is_overdue = False
        self.is_ours = True  # until the connection is set up
        self.running = threading.RLock()
        self._pid, self.forks = os.getpid(), _forks
        self._mark = f" /* {os.urandom(8).hex()} */"
        self.refused = self.sql = ""
        self._cursors: list[weakref.ref[sqlite3.Cursor]] = []
        self.turn = 0  # grows with each transaction: a cursor is of one

    def authorize(self, code: int, first: str | None, second: str | None, database: str | None, _: str | None) -> int:
        """What SQLite asks for each thing a statement wants to do."""
        if self.is_ours:
            return sqlite3.SQLITE_OK
        action = Action(code, first or "", second or "", database)
        reason = self.rules(action) or against_text(action, self.sql)
        if reason is None:
            return sqlite3.SQLITE_OK
        self.refused = reason
        return sqlite3.SQLITE_DENY

    def admit(self, connection: sqlite3.Connection, sql: str) -> str:
        """The statement as it may be run now. Raises EventBusError if its transaction is gone."""
        self.refused, self.sql = "", sql
        if self.is_ours:
            return sql + self._mark
        self.check(connection)
        return sql

    def check(self, connection: sqlite3.Connection) -> None:
        """Raise EventBusError unless the transaction that was begun is still there, and this process is its own."""
        if os.getpid() != self._pid:
            raise ForkedBus(self._pid)
        self.refuse_overdue()
        if not self.is_open:
            raise EventBusError(
                "This transaction is over.", stored="not stored", hint="Use a connection inside its own transaction."
            )
        if not connection.in_transaction:
            raise EventBusError(
                "The transaction was rolled back by a statement in it.",
                stored="not stored",
                hint="INSERT OR ROLLBACK and RAISE(ROLLBACK) undo everything: use OR ABORT, or a savepoint.",
            )

    def refuse_overdue(self) -> None:
        """Raise TransactionTimeout once the transaction was revoked."""
        if self.is_overdue and not self.is_ours:
            raise TransactionTimeout(TRANSACTION_SECONDS)

    def explain(self, sql: str, error: sqlite3.Error) -> None:
        """Raise an error with the reason, if `error` is SQLite's bare "not authorized", or comes of a revocation."""
        if self.is_overdue:
            raise TransactionTimeout(TRANSACTION_SECONDS) from error
        # CREATE TABLE, which SQLite runs as statements of its own, says it with another error code; so do functions.
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_AUTH and not str(error).startswith("not authorized"):
            return
        if self.refused:
            raise refusal(f"{sql.strip()[:60]!r}", self.refused) from error
        # Nobody has refused it: Ctrl-C came inside `authorize`, and sqlite3 makes a refusal of whatever that raises.
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt from error

    def let_go(self) -> None:
        """Release what this thread still holds of `running`: Ctrl-C may have kept it from doing so."""
        while True:
            try:
                self.running.release()
            except RuntimeError:  # it is not this thread's
                return

    def remember(self, cursor: sqlite3.Cursor) -> None:
        """Note a cursor with rows to fetch, which ends with the transaction."""
        if len(self._cursors) >= _CURSORS_REMEMBERED:
            self._cursors = [known for known in self._cursors if known() is not None]
        self._cursors.append(weakref.ref(cursor))

    def end_cursors(self) -> None:
        """Close every cursor that has rows to fetch; no other runs anything any more, either."""
        self.turn += 1
        cursors, self._cursors = self._cursors, []
        for reference in cursors:
            cursor = reference()
            if cursor is not None:
                cursor.close()


class GuardedConnection(sqlite3.Connection):
    """A sqlite3 connection as libraries know it, that leaves the transaction to the bus."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.guard = Guard()
        super().__init__(*arguments, **named)

    def watch(self) -> None:
        """Ask the guard from now on; again: make SQLite forget the answers it has."""
        super().set_authorizer(self.guard.authorize)

    def finish(self) -> None:
        """Close, for the bus."""
        super().close()

    def cursor(self, factory: Any = None) -> Any:
        """A guarded cursor; it is closed when the transaction ends."""
        if factory is not None and not (isinstance(factory, type) and issubclass(factory, GuardedCursor)):
            raise refusal("cursor(factory)", "this connection makes guarded cursors")
        return self._cursor(factory or GuardedCursor)

    def _cursor(self, kind: type[GuardedCursor]) -> GuardedCursor:
        guard = self.guard
        if guard.is_overdue:
            guard.refuse_overdue()
        try:
            cursor: GuardedCursor = _cursor(self, kind)
        except sqlite3.ProgrammingError as error:  # it was closed
            guard.explain("", error)
            raise
        cursor.guard, cursor.turn = guard, guard.turn
        return cursor

    def execute(self, sql: str, parameters: Any = (), /) -> GuardedCursor:
        """Run one statement. Raises EventBusError for what is refused; so do the next two."""
        return self._cursor(GuardedCursor).run(_execute, sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> GuardedCursor:
        """Run one statement for each set of parameters."""
        return self._cursor(GuardedCursor).run(_execute_many, sql, parameters)

    def executescript(self, script: str, /) -> GuardedCursor:
        """Run several statements in the transaction, where sqlite3's own would commit first."""
        return self._cursor(GuardedCursor).executescript(script)

    def commit(self) -> None:
        """Refused."""
        raise refusal("commit()", "the bus commits or rolls back when the block or handler ends")

    def rollback(self) -> None:
        """Refused."""
        raise refusal("rollback()", "the bus rolls back when an error leaves the block or handler")

    def __exit__(self, kind: object, error: object, traceback: object, /) -> Any:
        """Refused after a body without an error; an error goes on, and the bus rolls back."""
        if error is None:
            self.commit()
        return False

    def close(self) -> None:
        """Refused."""
        raise refusal("close()", "the connection is the bus's")

    def set_authorizer(self, *_: Any, **__: Any) -> None:
        """Refused."""
        raise refusal("set_authorizer()", "the connection is the bus's")

    def deserialize(self, *_: Any, **__: Any) -> None:
        """Refused."""
        raise refusal("deserialize()", "the connection is the bus's")

    def blobopen(self, table: str, *arguments: Any, **named: Any) -> Any:
        """Open a value of one of the app's tables; for this SQLite asks no authorizer."""
        self.guard.check(self)
        for code in (sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE):
            reason = self.guard.rules(Action(code, table, "", "main"))
            if reason is not None:
                raise refusal("blobopen()", reason)
        return super().blobopen(table, *arguments, **named)


class GuardedCursor(sqlite3.Cursor):
    """Runs a statement only while its transaction is there. Raises EventBusError for what is refused."""

    __slots__ = ("guard", "turn")
    guard: Guard
    turn: int  # its transaction

    def execute(self, sql: str, parameters: Any = (), /) -> GuardedCursor:
        """Run one statement."""
        return self.run(_execute, sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> GuardedCursor:
        """Run one statement for each set of parameters."""
        return self.run(_execute_many, sql, parameters)

    def run(self, run: Callable[[sqlite3.Cursor, str, Any], object], sql: str, parameters: Any) -> GuardedCursor:
        """Run a statement by one of sqlite3's own methods."""
        guard = self.guard
        with guard.running:
            if self.turn != guard.turn:
                self.close()
            # The common case at once: a handler runs many statements.
            if (
                guard.is_ours
                or not guard.is_open
                or guard.is_overdue
                or guard.forks != _forks
                or not (self.connection.in_transaction)
            ):
                admitted = guard.admit(self.connection, sql)
            else:
                admitted, guard.refused, guard.sql = sql, "", sql
            try:
                run(self, admitted, parameters)
            except sqlite3.DatabaseError as error:
                guard.explain(sql, error)
                raise
            if self.description is not None:
                guard.remember(self)
        return self

    def fetchone(self) -> Any:
        """The next row, or None."""
        with self.guard.running:
            try:
                return super().fetchone()
            except sqlite3.Error as error:
                self.guard.explain("", error)
                raise

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows (`arraysize` if not given), or those that are left."""
        with self.guard.running:
            try:
                return super().fetchmany(self.arraysize if size is None else size)
            except sqlite3.Error as error:
                self.guard.explain("", error)
                raise

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        with self.guard.running:
            try:
                return super().fetchall()
            except sqlite3.Error as error:
                self.guard.explain("", error)
                raise

    def __next__(self) -> Any:
        """The next row, in a loop."""
        with self.guard.running:
            try:
                return super().__next__()
            except sqlite3.Error as error:
                self.guard.explain("", error)
                raise

    def executescript(self, script: str, /) -> GuardedCursor:
        """Run several statements, one by one."""
        for statement in split(script):
            self.execute(statement)
        return self


def refusal(what: str, reason: str) -> StatementRefused:
    """The error for something user SQL may not do."""
    return StatementRefused(f"{what} was refused: {reason}.")
