"""Opening a log: refuse what is not one without touching it, else make or migrate it, and switch to WAL.

A new log is made in one transaction before the switch to WAL, so that the file alone is always whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable

from eventbus.clock import Bell, Clock, Deadline, SystemClock
from eventbus.errors import LogBusy, LogCorrupt, LogError, LogIOError, LogOnNetworkFS, LogReadOnly, NotAnEventLog
from eventbus.store import checkpoint, disk
from eventbus.store.connection import connect
from eventbus.store.holders import is_open_by_another_name
from eventbus.store.location import Location
from eventbus.store.looking import Look, Shape, keeps_from_writing, open_alone, open_to_look
from eventbus.store.migrations import bring_up
from eventbus.store.mounts import network_type
from eventbus.store.recognise import Contents, LogIdentity, read_identity, recognise, refuse_triggers
from eventbus.store.schema import APPLICATION_ID, SCHEMA_VERSION
from eventbus.store.trouble import is_busy, translate, translate_os, until_free

__all__ = ["LogIdentity", "look", "open_log", "read_identity"]

_BUSY_SECONDS = 15.0  # many processes may make one log at once, each waiting for the disk
_AGAIN_SECONDS = 0.01  # between two looks at a file that another process is making
_SQLITE_READONLY_ROLLBACK = 776  # a journal of a crashed transaction would have to be played back first
_JOURNAL_BEGINS = bytes.fromhex("d9d505f920a163d7")  # sqlite.org/fileformat2.html, section 3

_opening = threading.Lock()
_log = logging.getLogger("eventbus.store")


def open_log(
    location: Location, *, adopt: bool, clock: Clock, examine: Callable[[sqlite3.Connection], object] = bool
) -> sqlite3.Connection:
    """The writer's connection to a log, made if there is none yet (file 0600, folder 0700).

    `adopt` allows to make our tables in a database that has others. `examine` is given a connection to a log that
    was there before, which changes nothing, and raises LogError to refuse it. Raises LogError; what is refused is left
    as it was.
    """
    # One at a time: a look shares its read-only -shm with what opens the same log in this process meanwhile.
    with _opening:
        if location.path is not None:
            _refuse_by_place(location.path)
            _refuse_half(location.path)
            _refuse_other_names(location.path)
            _ensure_file(location.path)
            _refuse_by_content(location, adopt=adopt, clock=clock, examine=examine)
        connection = connect(location, writable=True)
    try:
        _settle(connection, location, adopt=adopt, clock=clock)
    except BaseException:
        connection.close()
        raise
    return connection


def look(path: str | os.PathLike[str]) -> Look:
    """A read-only connection to a log that leaves no trace, for programs that show it.

    One opened while nobody else had the file open does not see what is written later: compare
    `looking.Shape.of(path)` and look again. Raises LogError.
    """
    return _looked(_found(path)[0], adopt=False, clock=SystemClock(), to_write=False)


def peek(path: str | os.PathLike[str]) -> Look:
    """`look`, at anything that SQLite reads there: for those who examine what may be damaged, old, or no log at all."""
    return open_to_look(*_found(path))


def _found(path: str | os.PathLike[str]) -> tuple[Location, Shape]:
    """Where a file is that can be looked at."""
    location = Location.of(path)
    if location.path is not None:
        _refuse_by_kind(location.path)
    if location.path is None or not os.path.lexists(location.path):
        raise NotAnEventLog(location.name, "there is no such file.", hint="Check the name; nothing was made.")
    shape = Shape.of(location.path)
    if not shape.size and not shape.has_frames:
        raise NotAnEventLog(location.path, "the file is empty.")
    return location, shape


def _refuse_by_content(
    location: Location, *, adopt: bool, clock: Clock, examine: Callable[[sqlite3.Connection], object]
) -> None:
    shape = Shape.of(location.name)
    if shape.size or shape.has_frames:
        _looked(location, adopt=adopt, clock=clock, to_write=True, examine=examine).close()
    if keeps_from_writing(location):
        raise LogBusy(
            location.name,
            "this process looks at what a crash left of it, which keeps it from being written.",
            hint="Close the connection that look() returned.",
        )


def _looked(
    location: Location,
    *,
    adopt: bool,
    clock: Clock,
    to_write: bool,
    examine: Callable[[sqlite3.Connection], object] = bool,
) -> Look:
    """A connection that leaves no trace, to what has been recognised; waits while another process makes it."""
    path = location.name
    deadline = Deadline(clock, _BUSY_SECONDS)
    while True:
        shape = Shape.of(path)
        connection = open_to_look(location, shape)
        try:
            found = _recognised(connection, location, shape, adopt=adopt, to_write=to_write)
            if not to_write and found is not None and found.schema_version < SCHEMA_VERSION:
                raise LogError(
                    path, "an older release made it.", hint="Open it once with its application to update it."
                )
            if found is not None:
                examine(connection)
            return connection
        except (LogError, sqlite3.Error, UnicodeDecodeError) as error:
            connection.close()
            settled = Shape.of(path) == shape and not (isinstance(error, sqlite3.Error) and is_busy(error))
            if settled or not deadline.left():
                raise (error if isinstance(error, LogError) else translate(path, error, during="open")) from error
        clock.wait(Bell(), _AGAIN_SECONDS)


def _recognised(
    connection: sqlite3.Connection, location: Location, shape: Shape, *, adopt: bool, to_write: bool
) -> LogIdentity | None:
    if not shape.size and shape.has_frames:
        # SQLite would delete this -wal, and what is in it, as left over.
        raise LogCorrupt(
            location.name, "the file is empty, but the -wal beside it is not.", hint="Restore the file from a backup."
        )
    if shape.size == 1:  # for SQLite that is an empty file
        raise NotAnEventLog(location.name, "this is not a SQLite database.")
    try:
        found = recognise(connection, location.name, adopt=adopt)
        if to_write:
            refuse_triggers(connection, location.name)
        return found
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) != _SQLITE_READONLY_ROLLBACK:
            raise
        if to_write and (adopt or _is_marked(location) or _was_empty(location)):
            return None  # opening it to write plays the journal back, and it is recognised again
        raise NotAnEventLog(
            location.name,
            "a transaction of another program was cut off in it.",
            hint="Open it once with the program that writes it; nothing was changed.",
        ) from error


def _is_marked(location: Location) -> bool:
    """True if the file's first page says that we made it, whatever else is in it."""
    with contextlib.closing(open_alone(location)) as connection:
        # With this SQLite reads the first page of a file that is shorter than that page says.
        connection.execute("PRAGMA writable_schema = ON")
        try:
            return Contents.application_id_of(connection) == APPLICATION_ID
        except sqlite3.DatabaseError:
            return False


def _was_empty(location: Location) -> bool:
    """True if what was cut off is the first transaction of the file: by its journal there was no page before."""
    try:
        with open(location.name + "-journal", "rb") as journal:
            header = journal.read(20)
    except FileNotFoundError:  # another process has played it back in the meantime; whoever asked looks again
        return False
    return header[:8] == _JOURNAL_BEGINS and header[16:20] == bytes(4)


def _settle(connection: sqlite3.Connection, location: Location, *, adopt: bool, clock: Clock) -> None:
    name = location.name
    found = until_free(lambda: recognise(connection, name, adopt=adopt), name, clock, _BUSY_SECONDS, during="open")
    outdated = found is None or found.schema_version < SCHEMA_VERSION
    if outdated:
        until_free(
            lambda: bring_up(connection, name, adopt=adopt, clock=clock),
            name,
            clock,
            _BUSY_SECONDS,
            during="make the log",
        )
    mode = until_free(
        lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone()[0],
        name,
        clock,
        _BUSY_SECONDS,
        during="switch to WAL",
    )
    if mode != ("memory" if location.memory else "wal"):
        raise LogIOError(
            name,
            f"SQLite cannot keep a WAL there; it stays with {mode!r}.",
            hint="Keep the log on a local disk with shared memory.",
        )
    # The first read opens the -wal and takes the lock by which other processes know that the log is in use.
    until_free(lambda: read_identity(connection), name, clock, _BUSY_SECONDS, during="open")
    if outdated and checkpoint.wal_frames(location):
        with contextlib.closing(connect(location, writable=False)) as partner:
            checkpoint.run(connection, partner)


def _refuse_by_place(path: str) -> None:
    _refuse_by_kind(path)
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    here = folder == os.path.dirname(path)
    reason = disk.unwritable(path) if here else disk.unwritable_folder(folder)
    if reason is not None:
        raise LogReadOnly(path, f"{reason}.", hint="Give this user the right to write there, or choose another place.")


def _refuse_other_names(path: str) -> None:
    """A hard link has another -wal: who opens the log by that name knows nothing of who opens it by this one."""
    try:
        names = os.stat(path).st_nlink
    except OSError:  # there is none yet
        return
    if names < 2:
        return
    if is_open_by_another_name(path):
        raise LogBusy(
            path,
            "a process has it open by another of its names (it has hard links).",
            hint="Open it by one name in all processes, and remove the other names: they have a -wal each.",
        )
    _log.warning("%s: the file has %d names (hard links); whoever opens it by another one damages it", path, names)


def _refuse_half(path: str) -> None:
    """A -wal whose file was moved or deleted: SQLite would delete it beside a new one."""
    shape = Shape.of(path)
    if shape.is_missing and shape.has_frames:
        raise LogCorrupt(
            path,
            "the file is missing, but there is a -wal of it.",
            hint="Bring the file back, or move the -wal away, too; nothing was changed.",
        )


def _refuse_by_kind(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except PermissionError as error:
        reason = disk.closed_folder(path) or f"could not look at the file: {error.strerror}"
        hint = "Give this user the right to enter it, or choose another place."
        raise LogReadOnly(path, f"{reason}.", hint=hint) from error
    except OSError as error:
        raise translate_os(path, error, during="look at the file") from error
    if stat.S_ISDIR(mode):
        raise NotAnEventLog(path, "this is a folder.")
    if not stat.S_ISREG(mode):
        raise NotAnEventLog(path, "this is not a regular file.")
    network = network_type(path)
    if network is not None:
        raise LogOnNetworkFS(path, f"it lies on a network file system ({network}).")


def _ensure_file(path: str) -> None:
    """Make the file, empty, if there is none; never opens one that is there."""
    try:
        _ensure_folder(os.path.dirname(path))
        # Closed before any thread can have opened it with SQLite, whose locks closing would drop.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise translate_os(path, error, during="make the file") from error


def _ensure_folder(folder: str) -> None:
    if os.path.isdir(folder):
        return
    _ensure_folder(os.path.dirname(folder))
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.mkdir(folder, 0o700)
