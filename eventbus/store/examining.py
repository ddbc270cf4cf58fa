"""What doctor asks of a log: all of it read-only, and none of it trusts what the tables say."""

from __future__ import annotations

import sqlite3

import attrs

_LOG = "SELECT log_id, incarnation, copy_of, schema_version, created_at FROM eventbus_log WHERE id = 1"
_EVENTS = (
    "SELECT (SELECT min(position) FROM eventbus_events), (SELECT max(position) FROM eventbus_events),"
    " (SELECT time FROM eventbus_events ORDER BY position DESC LIMIT 1)"
)
_COUNT = "SELECT count(*) FROM eventbus_events"
_COUNTED = "SELECT seq FROM sqlite_sequence WHERE name = 'eventbus_events'"
_HOLES = (
    "SELECT count(*), min(stream) FROM (SELECT stream FROM eventbus_events WHERE stream IS NOT NULL GROUP BY stream"
    " HAVING max(sequence) - min(sequence) + 1 <> count(*))"
)
_BEYOND = {
    "subscriptions": "SELECT count(*), max(cursor) FROM eventbus_subscriptions WHERE cursor > ?",
    "deliveries": "SELECT count(*), max(position) FROM eventbus_deliveries WHERE position > ?",
    "idempotency keys": "SELECT count(*), max(position) FROM eventbus_keys WHERE position > ?",
}
_WITHOUT_EVENT = (
    "SELECT count(*) FROM eventbus_deliveries d WHERE position <= ? AND NOT EXISTS"
    " (SELECT 1 FROM eventbus_events e WHERE e.position = d.position)"
)
_WITHOUT_SUBSCRIPTION = (
    "SELECT count(*) FROM eventbus_deliveries WHERE subscription_id NOT IN (SELECT id FROM eventbus_subscriptions)"
)
_BREAKERS = "SELECT name, state, until, reason FROM eventbus_breakers WHERE state <> 'closed' ORDER BY name LIMIT ?"
_OVERDUE = "SELECT count(*), min(due), min(name) FROM eventbus_schedules WHERE state = 'active' AND due < ?"
_FAILED = "SELECT count(*), min(name), min(error) FROM eventbus_schedules WHERE state = 'failed'"
_OUTBOX = "SELECT count(*), min(created_at) FROM eventbus_outbox"
_GAPS = (
    "SELECT s.name, nullif(i.stream, ''), i.expected, i.buffered, i.since, i.due, i.asked FROM eventbus_inbox i"
    " JOIN eventbus_sources s ON s.id = i.source_id WHERE i.since IS NOT NULL ORDER BY i.since LIMIT ?"
)
_DEAD = (
    "SELECT s.name, count(*), min(d.since) FROM eventbus_deliveries d JOIN eventbus_subscriptions s"
    " ON s.id = d.subscription_id WHERE d.state = 'dead' GROUP BY s.id ORDER BY s.name"
)
_LISTED = 20


@attrs.frozen
class LogRow:
    """The log's own row."""

    log_id: str
    incarnation: int
    copy_of: str | None
    schema_version: int
    created_at: str


@attrs.frozen
class Extent:
    """The first and the last position there is, when the last event was recorded, the last position ever given out."""

    first: int
    last: int
    last_time: str | None
    given_out: int


@attrs.frozen
class Pages:
    """How the database is laid out: bytes of a page, how many, how many of them are free, and its journal mode."""

    size: int
    count: int
    free: int
    journal_mode: str


def log_row(connection: sqlite3.Connection) -> LogRow:
    """Raises sqlite3.Error, also where there is none."""
    found = connection.execute(_LOG).fetchone()
    if found is None:
        raise sqlite3.DatabaseError("eventbus_log is empty")
    return LogRow(*found)


def layout(connection: sqlite3.Connection) -> Pages:
    """Raises sqlite3.Error."""
    names = ("page_size", "page_count", "freelist_count", "journal_mode")
    return Pages(*(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names))


def integrity(connection: sqlite3.Connection, *, quick: bool, most: int) -> list[str]:
    """What SQLite complains about, at most so many; `quick` leaves out whether indexes fit their tables."""
    check = "quick_check" if quick else "integrity_check"
    found: list[str] = []
    try:
        for (text,) in connection.execute(f"PRAGMA {check}({int(most)})"):
            found.append(str(text))
    except sqlite3.DatabaseError as error:  # some damage ends the check itself
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        found.append(str(error))
    return [] if found == ["ok"] else found


def extent(connection: sqlite3.Connection) -> Extent:
    """Raises sqlite3.Error."""
    first, last, time = connection.execute(_EVENTS).fetchone()
    counted = connection.execute(_COUNTED).fetchone()
    given_out = counted[0] if counted and isinstance(counted[0], int) else 0
    return Extent(first or 0, last or 0, time, max(given_out, last or 0))


def count(connection: sqlite3.Connection) -> int:
    """How many events there are; looks at all of them."""
    return int(connection.execute(_COUNT).fetchone()[0])


def holes_in_streams(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """In how many streams a sequence is missing between two others, and one of them; looks at all events."""
    found: tuple[int, str | None] = connection.execute(_HOLES).fetchone()
    return found


def beyond(connection: sqlite3.Connection, last: int) -> dict[str, tuple[int, int]]:
    """What speaks of positions after the last one given out: how many rows, and the highest position."""
    found = {what: connection.execute(statement, (last,)).fetchone() for what, statement in _BEYOND.items()}
    return {what: each for what, each in found.items() if each[0]}


def stray_deliveries(connection: sqlite3.Connection, last: int) -> tuple[int, int]:
    """How many deliveries are of events that are not there, and of subscriptions that are not there."""
    return (
        connection.execute(_WITHOUT_EVENT, (last,)).fetchone()[0],
        connection.execute(_WITHOUT_SUBSCRIPTION).fetchone()[0],
    )


def dead(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """Subscriptions with dead letters: how many, and since when the oldest is one."""
    return connection.execute(_DEAD).fetchall()


def open_breakers(connection: sqlite3.Connection) -> list[tuple[str, str, str | None, str | None]]:
    """Breakers that are not closed, at most 20: name, state, until when, and why."""
    return connection.execute(_BREAKERS, (_LISTED,)).fetchall()


def overdue(connection: sqlite3.Connection, before: str) -> tuple[int, str | None, str | None]:
    """How many schedules were due before a time, since when the first, and one's name."""
    found: tuple[int, str | None, str | None] = connection.execute(_OVERDUE, (before,)).fetchone()
    return found


def failed_schedules(connection: sqlite3.Connection) -> tuple[int, str | None, str | None]:
    """How many events could not be published when they were due, the name of one, and an error."""
    found: tuple[int, str | None, str | None] = connection.execute(_FAILED).fetchone()
    return found


def outbox(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many rows wait to be moved into the log, and since when the first."""
    found: tuple[int, str | None] = connection.execute(_OUTBOX).fetchone()
    return found


def gaps(connection: sqlite3.Connection) -> list[tuple[str, str | None, int, int, str, str | None, int | None]]:
    """Senders of whose numbers something is missing, at most 20, those that wait longest first: source, stream, the
    number that is missing, how many events wait, since when, until when, and the position of a person's question."""
    return connection.execute(_GAPS, (_LISTED,)).fetchall()
