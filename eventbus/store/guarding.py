"""What user SQL may do inside a transaction of the bus, as rules on SQLite's authorizer codes.

The rules answer with None (allowed) or the reason why not, half a sentence for the error message.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

import attrs

from eventbus.store.schema import OUTBOX

PREFIX = "eventbus_"

# The one table of the bus's that everybody may insert into; rows that are there are the bus's.
_DOORWAY = frozenset({(sqlite3.SQLITE_INSERT, OUTBOX)})

_THE_BUS_ENDS = "the bus commits or rolls back when the block or handler ends"
_RESERVED = f"names that begin with {PREFIX} are the bus's own"

# PRAGMA statements that do something even without a value.
_ACTING = frozenset({"wal_checkpoint", "optimize", "incremental_vacuum"})
# Those whose argument is a name to report on.
_REPORTING = """
  table_info table_xinfo table_list index_list index_info index_xinfo foreign_key_list foreign_key_check
  integrity_check quick_check database_list function_list module_list pragma_list collation_list compile_options
"""
# Those that may be set: what sqlite-utils sets for a while, and the app's own number, which rolls back too.
_SETTABLE = frozenset({"recursive_triggers", "defer_foreign_keys", "legacy_alter_table", "user_version"})

_SCHEMA_TABLES = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"})

# SQLite's own table: the counters of all AUTOINCREMENT tables, the bus's positions among them.
_COUNTERS = "sqlite_sequence"
_SHARED_COUNTERS = f"{_COUNTERS} counts the bus's positions, too: name your own table in a WHERE clause"
_SOME_ROWS = re.compile(r"\bwhere\b")

_COMMENT = re.compile(r"/\*.*?(?:\*/|$)|--[^\n]*", re.DOTALL)
_TO_OUR_NAME = re.compile(rf"\brename\s+to\s*[\"'`\[]?{PREFIX}", re.IGNORECASE)

_ALWAYS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_ROWS = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_CHANGES = _ROWS - {sqlite3.SQLITE_READ}
_FILES = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
# Actions whose first two arguments are a thing's own name and the table it is on or the module it is of.
_SHAPES = frozenset(
    getattr(sqlite3, f"SQLITE_{verb}_{noun}")
    for verb in ("CREATE", "DROP")
    for noun in ("TABLE", "INDEX", "TRIGGER", "VIEW", "VTABLE", "TEMP_TABLE", "TEMP_INDEX", "TEMP_TRIGGER", "TEMP_VIEW")
) | {sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_ANALYZE}


@attrs.frozen
class Action:
    """What a statement being prepared wants to do: SQLite's code with its arguments."""

    code: int
    first: str
    second: str
    database: str | None


Rules = Callable[[Action], str | None]


def nothing(action: Action) -> str | None:
    """Between transactions."""
    return "its transaction is over"


def for_app(action: Action) -> str | None:
    """The app's transaction: its own tables and their schema; the bus's may be read, and its outbox inserted into."""
    code = action.code
    if code in _ALWAYS or code == sqlite3.SQLITE_READ:
        return None
    if code in _ROWS:
        return _RESERVED if _is_ours(action.first) and not _is_doorway(code, action.first) else None
    if code in _SHAPES:
        return _RESERVED if _is_ours(action.first) or _is_ours(action.second) else None
    if code == sqlite3.SQLITE_ALTER_TABLE:  # its first argument is the database; a temporary table could shadow ours
        hides = action.first.casefold() == "temp"
        return _RESERVED if hides or _is_ours(action.second) else None
    return _control(action)


def protect(code: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
    """An authorizer for the app's own connections: everything but changes of the bus's tables, its outbox apart.

    Foreign programs can still make them; this one is against a slip in the app that holds the only copy.
    """
    if code in _CHANGES:
        changed = "" if _is_doorway(code, first or "") else first
    elif code in _SHAPES:
        changed = first if _is_ours(first or "") else second
    else:
        changed = second if code == sqlite3.SQLITE_ALTER_TABLE else ""
    return sqlite3.SQLITE_DENY if _is_ours(changed or "") else sqlite3.SQLITE_OK


def against_text(action: Action, sql: str) -> str | None:
    """What SQLite does not tell an authorizer and the statement says: the new name of a table, and which rows of
    the counters it shares between all tables are changed. Asked after the rules have allowed the action."""
    if action.code == sqlite3.SQLITE_ALTER_TABLE:
        return _RESERVED if _TO_OUR_NAME.search(_COMMENT.sub(" ", sql)) else None
    if action.code in _CHANGES and action.first.casefold() == _COUNTERS:
        text = _COMMENT.sub(" ", sql).casefold()
        if _COUNTERS not in text:  # SQLite does it itself, as in DROP TABLE
            return None
        inserts = action.code == sqlite3.SQLITE_INSERT
        return _SHARED_COUNTERS if PREFIX in text or not (inserts or _SOME_ROWS.search(text)) else None
    return None


def for_tables(tables: frozenset[str]) -> Rules:
    """A projection: rows of `tables`, nothing else; their schema is the bus's to change."""
    own = frozenset(name.casefold() for name in tables)
    listed = ", ".join(sorted(tables)) or "none"

    def rules(action: Action) -> str | None:
        code, table = action.code, action.first.casefold()
        if code in _ALWAYS:
            return None
        if code in _ROWS:
            if table in own and action.database in ("main", None):
                return None
            if code == sqlite3.SQLITE_READ and (table in _SCHEMA_TABLES or table.startswith("pragma_")):
                return None
            return f"a projection reads and writes its own tables only ({listed}), not {action.first}"
        if code in _SHAPES or code == sqlite3.SQLITE_ALTER_TABLE:
            return "a projection declares its tables with Table and does not change them"
        return _control(action)

    return rules


def _control(action: Action) -> str | None:
    if action.code == sqlite3.SQLITE_SAVEPOINT:
        return _RESERVED if _is_ours(action.second) else None
    if action.code == sqlite3.SQLITE_TRANSACTION:
        return _THE_BUS_ENDS
    if action.code == sqlite3.SQLITE_PRAGMA:
        return _pragma(action.first.casefold(), action.second)
    if action.code in _FILES:
        return "another file could not be committed together with this one"
    return "it is not allowed in a transaction of the bus"


def _pragma(name: str, value: str) -> str | None:
    if name in _REPORTING.split() or name in _SETTABLE or (not value and name not in _ACTING):
        return None
    return f"PRAGMA {name} is the bus's to decide"


def _is_doorway(code: int, name: str) -> bool:
    return (code, name.casefold()) in _DOORWAY


def _is_ours(name: str) -> bool:
    return name.casefold().startswith(PREFIX)
