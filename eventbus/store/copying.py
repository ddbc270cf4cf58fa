"""Copying a log while others write to it: all pages of one moment, marked as a copy, and checked.

SQLite's backup takes the pages as they are. Within one read transaction others go on writing into the -wal, and the
copy need not begin again; only the -wal cannot be emptied meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import attrs

from eventbus.errors import LogCorrupt
from eventbus.store import verifying
from eventbus.store.connection import open_uri, settings
from eventbus.store.location import Location
from eventbus.store.looking import WITHOUT_LOCKS
from eventbus.store.recognise import refuse_triggers
from eventbus.store.trouble import translate

Progress = Callable[[int, int], object]

_PAGES = 512  # copied between two calls of `progress`: 2 MiB
_COUNT = "SELECT count(*), coalesce(max(position), 0) FROM eventbus_events"
_LOG = "SELECT log_id, incarnation FROM eventbus_log WHERE id = 1"
# It is the log at an earlier moment, so its id stays. Who opens it to write goes on as the next one (store/loss.py).
_MARK = (
    "UPDATE eventbus_log SET copy_of = log_id",
    "UPDATE eventbus_subscriptions SET owner = NULL",
    "DELETE FROM eventbus_listeners",
)
_MOST_COMPLAINTS = 3


@attrs.frozen
class Copied:
    """What is in a copy: of which log, how many events, and the position of the last one."""

    log_id: str
    incarnation: int
    events: int
    last_position: int


def copy(source: sqlite3.Connection, into: Location, path: str, progress: Progress | None = None) -> Copied:
    """Copy the log that `source` reads into a file that nobody else has open, and mark and check the copy.

    `path` is what errors call it. `source` may be in a transaction: that moment is copied. `progress` is called
    with what is done, and of how much, first in pages and then in events. Raises LogError, LogCorrupt if the copy
    does not hold together.
    """
    report = progress or _nobody_asks
    with closing(_open(into)) as target:
        try:
            began = not source.in_transaction
            if began:
                source.execute("BEGIN")
            try:
                wanted = _read(source)  # the first read settles the moment
                refuse_triggers(source, path)  # they would run when the copy is marked
                source.backup(target, pages=_PAGES, progress=lambda _, left, total: report(total - left, total))
            finally:
                if began:
                    source.execute("ROLLBACK")
            _mark(target)
            _check(target, path, wanted, report)
        except sqlite3.Error as error:
            raise translate(path, error, during="copy the log") from error
    return wanted


def _open(into: Location) -> sqlite3.Connection:
    # Nobody else knows of the file, so that it needs no locks, which a network file system may not have.
    uri = into.asking(mode="rw", vfs=WITHOUT_LOCKS)
    target = open_uri(sqlite3.Connection, into, uri, ("PRAGMA locking_mode = EXCLUSIVE", *settings()))
    target.text_factory = verifying.decoded
    return target


def _read(connection: sqlite3.Connection) -> Copied:
    log_id, incarnation = connection.execute(_LOG).fetchone()
    return Copied(log_id, incarnation, *connection.execute(_COUNT).fetchone())


def _mark(target: sqlite3.Connection) -> None:
    # Without a -wal the file alone is the copy, and whoever reads it makes none beside it.
    target.execute("PRAGMA journal_mode = DELETE")
    target.execute("BEGIN IMMEDIATE")
    for statement in _MARK:
        target.execute(statement)
    target.execute("COMMIT")


def _check(target: sqlite3.Connection, path: str, wanted: Copied, report: Progress) -> None:
    complaints = [text for (text,) in target.execute("PRAGMA integrity_check(10)") if text != "ok"]
    if _read(target) != wanted:
        complaints.append("it has other events than the log")
    done = 0
    for checked in verifying.pages(target):
        complaints += [f"the event at position {at} is damaged: {what}" for at, what in checked.wrong]
        done += checked.count
        report(done, wanted.events)
    if complaints:
        more = "" if len(complaints) <= _MOST_COMPLAINTS else f" and {len(complaints) - _MOST_COMPLAINTS} more"
        raise LogCorrupt(
            path,
            f"the copy does not hold together: {'; '.join(complaints[:_MOST_COMPLAINTS])}{more}.",
            hint="The log itself may be damaged: eventbus doctor tells. No copy was kept.",
        )


def _nobody_asks(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""
