"""What can go wrong with a statement of a simulated process: busy, an error before or after a commit, and death."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import attrs

from eventbus.store import connection as connecting
from eventbus.store.guarded import GuardedConnection
from eventbus.store.location import Location

END_OF_FUSE = 1
_WRITING = frozenset({"INSERT", "UPDATE", "DELETE"})


class Died(BaseException):
    """The process is dead: whatever it still tries on its way out, nothing of it reaches the file."""


@attrs.define
class Faults:
    """What is to go wrong next in one life; counted down by its statements."""

    busy: int = 0  # so many attempts to begin a transaction find the lock taken
    commit_fails: str = ""  # "before" it is written, or "after" that
    fuse: int = 0  # statements until it dies; 0: it lives
    dead: bool = False

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.busy = self.fuse = 0
        self.commit_fails = ""


class Mortal(Protocol):
    """Whom a connection belongs to."""

    faults: Faults
    connections: list[sqlite3.Connection]

    def die(self) -> None:
        """Lose everything but the files."""
        ...

    def begins(self) -> None:
        """It is about to begin a transaction."""
        ...

    def writes(self) -> None:
        """It is about to write, in a transaction of the bus's own."""
        ...

    def met(self, fault: str) -> None:
        """Something has gone wrong."""
        ...

    def breaks(self, what: str) -> None:
        """Something happened that never may."""
        ...


class FaultyConnection(sqlite3.Connection):
    """Mixed into each class of connection that a simulated process opens."""

    owner: Mortal | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        owner = self.owner
        if owner is None:
            return super().execute(sql, parameters)
        faults = owner.faults
        if faults.dead:
            raise Died
        word = sql[:6].upper()
        after = word == "COMMIT" and faults.fuse == END_OF_FUSE
        if faults.fuse and not after:
            _burn(owner)
        if word == "COMMIT":
            return self._commit(owner, sql, parameters, dies=after)
        if word.startswith("BEGIN"):
            owner.begins()
            _be_busy(owner)
        elif word in _WRITING and self.in_transaction and not isinstance(self, GuardedConnection):
            owner.writes()
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            if word in _WRITING and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                owner.breaks(f"the log was busy in the middle of a transaction ({error.sqlite_errorname})")
            raise

    def _commit(self, owner: Mortal, sql: str, parameters: Any, *, dies: bool) -> Any:
        fails, owner.faults.commit_fails = owner.faults.commit_fails, ""
        if fails == "before":
            owner.met("commit failed before")
            raise _error("disk I/O error", "SQLITE_IOERR_WRITE")
        result = super().execute(sql, parameters)
        if dies:
            _burn(owner)
        if fails == "after":
            owner.met("commit failed after")
            raise _error("disk I/O error", "SQLITE_IOERR_FSYNC")
        return result


def _burn(owner: Mortal) -> None:
    owner.faults.fuse -= 1
    if not owner.faults.fuse:
        owner.die()
        raise Died


def _be_busy(owner: Mortal) -> None:
    if owner.faults.busy:
        owner.faults.busy -= 1
        owner.met("busy")
        raise _error("database is locked", "SQLITE_BUSY")


def _error(text: str, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


_kinds: dict[type[sqlite3.Connection], type[sqlite3.Connection]] = {}


def _faulty(kind: type[sqlite3.Connection]) -> type[sqlite3.Connection]:
    if kind not in _kinds:
        _kinds[kind] = type(f"Faulty{kind.__name__}", (FaultyConnection, kind), {})
    return _kinds[kind]


@contextmanager
def connections_of(owner: Callable[[], Mortal | None]) -> Iterator[None]:
    """Within this block each connection to a log belongs to whoever `owner` says opens it."""
    plain = connecting.open_uri

    def open_uri(
        kind: type[sqlite3.Connection], location: Location, uri: str, statements: tuple[str, ...]
    ) -> sqlite3.Connection:
        opener = owner()
        if opener is None:
            return plain(kind, location, uri, statements)
        if opener.faults.dead:
            raise Died
        connection = plain(_faulty(kind), location, uri, statements)
        connection.owner = opener  # type: ignore[attr-defined]
        opener.connections.append(connection)
        return connection

    connecting.open_uri = open_uri  # type: ignore[assignment]
    try:
        yield
    finally:
        connecting.open_uri = plain


def cut_off(connection: sqlite3.Connection) -> None:
    """Close a connection of a dead process: what it had not committed is gone, and nothing is asked of the bus."""
    try:
        sqlite3.Connection.set_authorizer(connection, None)
        sqlite3.Connection.rollback(connection)
    except sqlite3.ProgrammingError:  # it was closed in time
        return
    sqlite3.Connection.close(connection)
