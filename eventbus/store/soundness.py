"""Whether an error that nobody foresaw comes of rows that their tables forbid.

SQLite holds a row to its table's types, and to NOT NULL, where the row is written, not where it is read. So a damaged
page may hand out a value that no bus can have written, and what that ends in is some error of Python's. Values are not
looked at each time for its sake: once it has happened, SQLite is asked.
"""

from __future__ import annotations

import sqlite3

from eventbus.errors import EventBusError, LogCorrupt

BLUNDERS = (TypeError, AttributeError, ValueError, LookupError)

_TABLES = (
    "SELECT name FROM sqlite_master"
    " WHERE type = 'table' AND name GLOB 'eventbus_*' AND name <> 'eventbus_events'"  # those have checksums
)
_CHECK = "SELECT * FROM pragma_quick_check(?) LIMIT 1"


def blame(connection: sqlite3.Connection, path: str, error: BaseException) -> None:
    """Raise LogCorrupt if `error` is one of those that damage ends in, and the tables are indeed not sound."""
    if isinstance(error, BLUNDERS) and not isinstance(error, EventBusError) and (what := _complaint(connection)):
        raise LogCorrupt(path, f"it holds what its tables forbid: {what}.") from error


def _complaint(connection: sqlite3.Connection) -> str:
    try:
        for (name,) in connection.execute(_TABLES).fetchall():
            for (said,) in connection.execute(_CHECK, (name,)).fetchall():
                if said != "ok":
                    return str(said).rpartition("\n")[2]
    except sqlite3.DatabaseError as error:
        return "" if isinstance(error, sqlite3.ProgrammingError) else str(error)
    return ""
