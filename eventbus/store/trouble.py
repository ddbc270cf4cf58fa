"""SQLite's errors as ours, and waiting for a lock that somebody else holds."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from typing import TypeGuard, TypeVar

from eventbus.clock import Bell, Clock, Deadline
from eventbus.errors import (
    BusClosed,
    LogBusy,
    LogCorrupt,
    LogError,
    LogFull,
    LogIOError,
    LogReadOnly,
    LogReplaced,
    NotAnEventLog,
    Stored,
)
from eventbus.store import disk
from eventbus.store.holders import who_writes

T = TypeVar("T")

_FIRST_WAIT = 0.001  # seconds; commits of others take about as long
_LONGEST_WAIT = 0.02  # seconds; shorter than a busy process rests, so that one look falls into it (store/breather.py)

# What is known about a transaction that failed then, unless the error knows better.
_OUTCOMES: dict[str, Stored] = {"begin a transaction": "not stored", "write": "not stored", "commit": "in doubt"}

# Extended codes that the sqlite3 module has no names for in Python 3.11 (sqlite.org/rescode.html).
_READONLY_DBMOVED = 1032


def is_sqlites(error: BaseException) -> TypeGuard[sqlite3.Error | OverflowError | UnicodeDecodeError]:
    """True for an error of SQLite's, and for what only damage brings about.

    That is a number SQLite cannot hold, as after position 2**63 - 1, and a message of its that quotes what is no text.
    """
    if isinstance(error, OverflowError):
        return "SQLite INTEGER" in str(error)
    return isinstance(error, sqlite3.Error | UnicodeDecodeError)


def translate(path: str, error: sqlite3.Error | OverflowError | UnicodeDecodeError, *, during: str) -> LogError:
    """Our error for one of SQLite's, met while trying to `during` ("open", "write", "commit", ...)."""
    if isinstance(error, UnicodeDecodeError):
        return LogCorrupt(
            path, f"could not {during}: a name in it is no text (not UTF-8).", stored=_OUTCOMES.get(during, "")
        )
    if isinstance(error, OverflowError):
        return LogCorrupt(
            path, "its numbers are used up: somebody has written the largest there is.", stored="not stored"
        )
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    build = _TRANSLATIONS.get(code) or _TRANSLATIONS.get(code & 0xFF) or _other
    told = build(path, error, during)
    if not told.stored:
        told.stored = _OUTCOMES.get(during, "")
    return told


def is_busy(error: sqlite3.Error) -> bool:
    """True if somebody else's lock is in the way, so that trying again helps."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def is_out_of_order(error: BaseException) -> bool:
    """True if the disk is full or failing, whoever's statement it was that met it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.Error) and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_of_the_log(error: BaseException) -> bool:
    """True for what is wrong with the file, whoever writes; SQLite's other refusals are about what is written."""
    return isinstance(error, BusClosed) or (isinstance(error, LogError) and type(error) is not LogError)


def begin_immediate(connection: sqlite3.Connection, path: str, clock: Clock, seconds: float = 5.0) -> None:
    """Begin a write transaction, waiting at most `seconds` for others to finish theirs. Raises LogError."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if not is_busy(error):
            raise translate(path, error, during="begin a transaction") from error
        until_free(lambda: connection.execute("BEGIN IMMEDIATE"), path, clock, seconds, during="begin a transaction")


def until_free(action: Callable[[], T], path: str, clock: Clock, seconds: float, *, during: str) -> T:
    """The result of `action`, tried again while a lock is in the way, for at most `seconds`. Raises LogError."""
    deadline = Deadline(clock, seconds)
    longest = _FIRST_WAIT
    while True:
        try:
            return action()
        except sqlite3.Error as error:
            left = deadline.left()
            if not is_busy(error) or not left:
                raise translate(path, error, during=during) from error
        # Half of the wait is random, so that those who met once do not meet again.
        clock.wait(Bell(), min(left, longest / 2 + clock.jitter(longest / 2)))
        longest = min(longest * 2, _LONGEST_WAIT)


def translate_os(path: str, error: OSError, *, during: str) -> LogError:
    """Our error for one of the operating system's."""
    what = f"could not {during}: {error.strerror or error}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LogReadOnly(path, what, hint="Give this user the right to write there, or choose another place.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LogFull(path, what)
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR):
        return NotAnEventLog(path, what)
    return LogIOError(path, what)


def _busy(path: str, error: sqlite3.Error, during: str) -> LogError:
    return LogBusy(
        path,
        f"could not {during}: the lock is held by {who_writes(path)}.",
        hint="Try again when the other is done; it should keep its transactions short.",
    )


def _full(path: str, error: sqlite3.Error, during: str) -> LogError:
    reason = disk.no_room(path) or "SQLite says the disk is full"
    return LogFull(path, f"could not {during}: {reason}.")


def _readonly(path: str, error: sqlite3.Error, during: str) -> LogError:
    reason = disk.unwritable(path) or str(error)
    return LogReadOnly(
        path, f"could not {during}: {reason}.", hint="Give this user the right to write there, or choose another place."
    )


def _moved(path: str, error: sqlite3.Error, during: str) -> LogError:
    return LogReplaced(
        path, f"could not {during}: the file was moved or deleted while it was open.", hint="Open the bus again."
    )


def _io(path: str, error: sqlite3.Error, during: str) -> LogError:
    # A commit that failed in a sync may still be there after a crash: its outcome is open.
    stored: Stored | None = "in doubt" if during == "commit" else None
    reason = disk.no_room(path)
    if reason is not None:
        return LogFull(path, f"could not {during}: {reason}.", stored=stored)
    name = getattr(error, "sqlite_errorname", "SQLITE_IOERR")
    met = disk.probe(path)
    seen = f"; writing another file there fails too: {met.strerror}" if met else "; another file can be written there"
    return LogIOError(
        path, f"could not {during}: {error} ({name}){seen}.", stored=stored, hint="Look after the disk, then reopen."
    )


def _corrupt(path: str, error: sqlite3.Error, during: str) -> LogError:
    return LogCorrupt(path, f"could not {during}: {error}.")


def _not_a_database(path: str, error: sqlite3.Error, during: str) -> LogError:
    return NotAnEventLog(path, "this is not a SQLite database.")


def _cannot_open(path: str, error: sqlite3.Error, during: str) -> LogError:
    if os.path.isabs(path) and not os.path.exists(path):
        return LogReplaced(path, f"could not {during}: the file is gone.", hint="Open the bus again.")
    reason = disk.unwritable(path)
    if reason is not None:
        return _readonly(path, error, during)
    return LogIOError(path, f"could not {during}: {error}.", hint="Are too many files open in this process?")


def _other(path: str, error: sqlite3.Error, during: str) -> LogError:
    return LogError(path, f"could not {during}: {error}.")


_TRANSLATIONS: dict[int, Callable[[str, sqlite3.Error, str], LogError]] = {
    sqlite3.SQLITE_BUSY: _busy,
    sqlite3.SQLITE_LOCKED: _busy,
    sqlite3.SQLITE_PROTOCOL: _busy,
    sqlite3.SQLITE_FULL: _full,
    sqlite3.SQLITE_READONLY: _readonly,
    sqlite3.SQLITE_PERM: _readonly,
    _READONLY_DBMOVED: _moved,
    sqlite3.SQLITE_IOERR: _io,
    sqlite3.SQLITE_CORRUPT: _corrupt,
    sqlite3.SQLITE_NOTADB: _not_a_database,
    sqlite3.SQLITE_CANTOPEN: _cannot_open,
}
