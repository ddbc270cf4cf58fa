"""Is this a log? Asked of a file that is only looked at, and again under the lock before anything is made."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Set

import attrs

from eventbus.errors import LogCorrupt, LogTooNew, NotAnEventLog
from eventbus.store.schema import APPLICATION_ID, DDL, OUTBOX, SCHEMA_VERSION

_KINDS = {
    name: kind.lower()
    for kind, name in re.findall(r"CREATE (?:UNIQUE )?(TABLE|INDEX|VIEW) (?:IF NOT EXISTS )?(\w+)", DDL)
}
_OURS = frozenset(name for name, kind in _KINDS.items() if kind != "view")
_ELSEWHERE = frozenset({OUTBOX})  # other applications' databases may have it, too
_ASK_FOR_WAL = "Ask for the file of the same name ending in -wal and put it beside this one; nothing was changed."
_ADOPT = "Choose another file, or open it with adopt=True to keep a log beside the rest; nothing was changed."
_RESTORE = "Restore a backup; nothing was changed."

_CONTENTS = (
    "SELECT name, CASE WHEN type = 'table' AND rootpage = 0 THEN 'virtual table' ELSE type END FROM sqlite_master"
)

# A column that is computed (hidden is 2 or 3) is not a table's of ours, and may cost anything to read.
_COMPUTED = (
    "SELECT m.name FROM sqlite_master m JOIN pragma_table_xinfo(m.name) x WHERE m.type = 'table'"
    " AND m.name LIKE 'eventbus^_%' ESCAPE '^' AND x.hidden <> 0"
)
_TRIGGERS = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'eventbus^_%' ESCAPE '^'"


@attrs.frozen
class LogIdentity:
    """Which log it is: `incarnation` rises when it goes on after a loss or a restore."""

    log_id: str
    incarnation: int
    schema_version: int


@attrs.frozen
class Contents:
    """What a database says of itself."""

    pages: int
    application_id: int
    kinds: Mapping[str, str]  # by name: table, index, view, trigger

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Contents:
        """Raises sqlite3.Error, busy too."""
        kinds = dict(connection.execute(_CONTENTS).fetchall())
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        return cls(pages, cls.application_id_of(connection), kinds)

    @property
    def names(self) -> Set[str]:
        """What there is, of whatever kind."""
        return self.kinds.keys()

    @staticmethod
    def application_id_of(connection: sqlite3.Connection) -> int:
        """The number in the first page by which applications know their files. Raises sqlite3.Error."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        return int(application_id)

    @property
    def is_blank(self) -> bool:
        """True if nobody has put anything there, so that the file may become ours altogether."""
        return not self.names and self.application_id == 0


def recognise(
    connection: sqlite3.Connection, path: str, *, adopt: bool, blank_is_new: bool = False
) -> LogIdentity | None:
    """The log in a database; None if our tables may be made there.

    `blank_is_new`: a first page with nothing in it is no reason to suspect a lost -wal (a transaction
    on an empty file sees one).

    Raises NotAnEventLog, LogTooNew, LogCorrupt, and sqlite3.Error, busy too.
    """
    contents = Contents.of(connection)
    if "eventbus_log" in contents.names:
        _refuse_disguised(connection, path, contents)
        return _identity(connection, path, contents.names)
    if ours := contents.names & _OURS - _ELSEWHERE:
        some = ", ".join(sorted(ours)[:3])
        raise LogCorrupt(path, f"it has tables of a log ({some}), but not eventbus_log.", hint=_RESTORE)
    if contents.pages == 0 or (blank_is_new and contents.is_blank):
        return None
    if contents.application_id == APPLICATION_ID:
        raise LogCorrupt(
            path, "this is a log whose tables are still in a -wal that was left behind.", hint=_ASK_FOR_WAL
        )
    if not adopt:
        raise _foreign(path, contents)
    return None


def read_identity(connection: sqlite3.Connection) -> LogIdentity:
    """Which log an open connection is on. Raises sqlite3.Error."""
    row = connection.execute("SELECT log_id, incarnation, schema_version FROM eventbus_log WHERE id = 1").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("eventbus_log is empty")
    return LogIdentity(*row)


def refuse_triggers(connection: sqlite3.Connection, path: str) -> None:
    """Raise LogCorrupt if something would run within the bus's own transactions, behind its back."""
    found = triggers(connection)
    if found:
        some = ", ".join(f"{name} on {table}" for name, table in found[:3])
        raise LogCorrupt(
            path,
            f"it has triggers on tables of the log: {some}.",
            hint="Drop them; an app's triggers belong on its own tables. Nothing was changed.",
        )


def triggers(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The triggers on our tables, each with its table; none of them is ours. Raises sqlite3.Error."""
    return connection.execute(_TRIGGERS).fetchall()


def _refuse_disguised(connection: sqlite3.Connection, path: str, contents: Contents) -> None:
    """What has a name of ours and is something else may do anything when it is read."""
    for name, kind in _KINDS.items():
        found = contents.kinds.get(name, kind)
        if found != kind:
            raise LogCorrupt(path, f"{name} is a {found} in it, not a {kind}.", hint=_RESTORE)
    computed = connection.execute(_COMPUTED).fetchone()
    if computed is not None:
        raise LogCorrupt(path, f"its table {computed[0]} has computed columns.", hint=_RESTORE)


def _identity(connection: sqlite3.Connection, path: str, names: Set[str]) -> LogIdentity:
    try:
        row = connection.execute("SELECT schema_version FROM eventbus_log").fetchone()
        if row is not None and isinstance(row[0], int) and row[0] > SCHEMA_VERSION:
            raise LogTooNew(path, row[0], SCHEMA_VERSION)
        identity = read_identity(connection)
    except sqlite3.DatabaseError as error:
        # A plain SQL error (no such column, or no row) is about what the table is; others are about the file.
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) != sqlite3.SQLITE_ERROR:
            raise
        raise LogCorrupt(path, f"its table eventbus_log is not as we make it ({error}).", hint=_RESTORE) from error
    if identity.schema_version < 1:
        raise LogCorrupt(path, f"its schema version is {identity.schema_version}.", hint=_RESTORE)
    if identity.incarnation < 1:
        raise LogCorrupt(path, f"its incarnation is {identity.incarnation}.", hint=_RESTORE)
    missing = sorted(_OURS - names)
    if identity.schema_version == SCHEMA_VERSION and missing:
        raise LogCorrupt(path, f"it lacks {', '.join(missing)}.", hint=_RESTORE)
    return identity


def _foreign(path: str, contents: Contents) -> NotAnEventLog:
    if contents.application_id:
        return NotAnEventLog(
            path,
            f"this is a database of another application (application_id {contents.application_id:#010x}).",
            hint=_ADOPT,
        )
    if contents.names:
        return NotAnEventLog(
            path,
            "this is a database with tables, and none of them are a log's.",
            hint=_ADOPT,
        )
    return NotAnEventLog(
        path,
        "this is a database without tables; they may be in a -wal that was left behind.",
        hint="Ask for the file of the same name ending in -wal, or, if it really is empty, open it with adopt=True.",
    )
