"""The inbox: what senders have numbered, what waits for those before it, and which numbers were given up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import attrs

from eventbus.ordering import Gap, Policy

_PAGE = 256  # numbers looked at in one go: most gaps are filled by a few

_ROW = "id, source_id, stream, first, expected, buffered, on_gap, gap_timeout, since, due, asked, asked_to"
_FIND = f"SELECT {_ROW} FROM eventbus_inbox WHERE source_id = ? AND stream = ?"
_WITH_ID = f"SELECT {_ROW} FROM eventbus_inbox WHERE id = ?"
_ADD = "INSERT INTO eventbus_inbox (source_id, stream, first, expected) VALUES (?, ?, ?, ?) RETURNING id"
_SAVE = (
    "UPDATE eventbus_inbox SET expected = ?, buffered = ?, on_gap = ?, gap_timeout = ?, since = ?, due = ?, asked = ?,"
    " asked_to = ? WHERE id = ?"
)
_DUE = "SELECT id FROM eventbus_inbox WHERE due <= ? ORDER BY due"
_DUE_TO_ASK = "SELECT 1 FROM eventbus_inbox WHERE due <= ? AND on_gap = 'dead' LIMIT 1"
_ARRIVED = (
    "SELECT e.inbox_id, e.number, e.received_at FROM eventbus_inbox_events e JOIN eventbus_inbox i ON i.id = e.inbox_id"
    " WHERE i.due IS NOT NULL AND e.received_at >= ? AND e.received_at <= ?"
)
_SET_ARRIVAL = "UPDATE eventbus_inbox_events SET received_at = ? WHERE inbox_id = ? AND number = ?"
_SET_DUE = "UPDATE eventbus_inbox SET since = ?, due = ? WHERE id = ?"
_ASKED = f"SELECT {_ROW} FROM eventbus_inbox WHERE asked IS NOT NULL ORDER BY asked"

_EVENT = (
    "number, key, event_id, type_id, digest, correlation_id, causation_id, metadata, received_at, payload, source_id"
)
_BUFFER = f"INSERT INTO eventbus_inbox_events (inbox_id, {_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WITH_NUMBER = f"SELECT {_EVENT} FROM eventbus_inbox_events WHERE inbox_id = ? AND number = ?"
_WITH_KEY = f"SELECT {_EVENT} FROM eventbus_inbox_events WHERE source_id = ? AND key = ? LIMIT 1"
_AHEAD = "SELECT number FROM eventbus_inbox_events WHERE inbox_id = ? AND number >= ? ORDER BY number LIMIT ?"
_EARLIEST = "SELECT min(received_at) FROM eventbus_inbox_events WHERE inbox_id = ?"
_RUN = f"SELECT {_EVENT} FROM eventbus_inbox_events WHERE inbox_id = ? AND number >= ? AND number < ? ORDER BY number"
_TAKE = "DELETE FROM eventbus_inbox_events WHERE inbox_id = ? AND number >= ? AND number < ?"

_SKIP = "INSERT INTO eventbus_inbox_skipped (inbox_id, last, first, position) VALUES (?, ?, ?, ?)"
_SKIPPED = "SELECT first FROM eventbus_inbox_skipped WHERE inbox_id = ? AND last >= ? ORDER BY last LIMIT 1"

_SENDERS = (
    "SELECT s.name, nullif(i.stream, ''), i.first, i.expected, i.buffered, i.on_gap, i.gap_timeout, i.since, i.due,"
    " i.asked, (SELECT min(number) FROM eventbus_inbox_events e WHERE e.inbox_id = i.id) FROM eventbus_inbox i"
    " JOIN eventbus_sources s ON s.id = i.source_id WHERE (? IS NULL OR s.name = ?)"
    " AND (NOT ? OR i.since IS NOT NULL) ORDER BY s.name, i.stream"
)
_WAITING = (
    "SELECT e.number, e.key, t.name, t.version, e.received_at, e.metadata, e.payload FROM eventbus_inbox_events e"
    " JOIN eventbus_inbox i ON i.id = e.inbox_id JOIN eventbus_sources s ON s.id = i.source_id"
    " JOIN eventbus_types t ON t.id = e.type_id WHERE s.name = ? AND i.stream = ? ORDER BY e.number LIMIT ?"
)


@attrs.frozen
class SenderRow:
    """The numbers of one source and stream ("" for what has none): where they are, and what follows a gap."""

    id: int
    source_id: int
    stream: str
    first: int
    expected: int
    buffered: int = 0
    on_gap: Policy = "wait"
    gap_timeout: float | None = None
    since: str | None = None
    due: str | None = None
    asked: int | None = None
    asked_to: int | None = None


@attrs.frozen
class BufferedRow:
    """An event that arrived too early; `key` is the sender's id."""

    number: int
    key: str
    event_id: str
    type_id: int
    digest: bytes
    correlation_id: str | None
    causation_id: str | None
    metadata: str | None
    received_at: str
    payload: str
    source_id: int


@attrs.frozen
class SenderView:
    """The numbers of one source and stream, with names; `waits_from` is the lowest number that waits."""

    source: str
    stream: str | None
    first: int
    expected: int
    buffered: int
    on_gap: Policy
    gap_timeout: float | None
    since: str | None
    due: str | None
    asked: int | None
    waits_from: int | None

    @property
    def missing(self) -> Gap | None:
        """The numbers that those which wait are waiting for, up to the lowest of them."""
        return None if self.waits_from is None else Gap(self.expected, self.waits_from - 1)


@attrs.frozen
class WaitingView:
    """An event that waits, with names."""

    number: int
    id: str
    type: str
    version: int
    received_at: str
    metadata: str | None
    payload: Any


# --- senders ----------------------------------------------------------------------------------------------


def find(connection: sqlite3.Connection, source_id: int, stream: str) -> SenderRow | None:
    """The numbers of a source and stream, None if it has sent none yet."""
    found = connection.execute(_FIND, (source_id, stream)).fetchone()
    return SenderRow(*found) if found else None


def with_id(connection: sqlite3.Connection, row_id: int) -> SenderRow | None:
    """The row as it is now."""
    found = connection.execute(_WITH_ID, (row_id,)).fetchone()
    return SenderRow(*found) if found else None


def add(connection: sqlite3.Connection, source_id: int, stream: str, first: int) -> SenderRow:
    """Begin to count at `first`."""
    (row_id,) = connection.execute(_ADD, (source_id, stream, first, first)).fetchone()
    return SenderRow(row_id, source_id, stream, first, first)


def save(connection: sqlite3.Connection, row: SenderRow) -> None:
    """Write what can change of a row."""
    values = (row.expected, row.buffered, row.on_gap, row.gap_timeout, row.since, row.due, row.asked, row.asked_to)
    connection.execute(_SAVE, (*values, row.id))


def due(connection: sqlite3.Connection, now: str) -> list[int]:
    """The senders whose gap is open for too long, by id, the longest first."""
    return [row_id for (row_id,) in connection.execute(_DUE, (now,)).fetchall()]


def is_due_to_ask(connection: sqlite3.Connection, now: str) -> bool:
    """Whether a person has to be asked about one of them."""
    return connection.execute(_DUE_TO_ASK, (now,)).fetchone() is not None


def asked(connection: sqlite3.Connection) -> list[SenderRow]:
    """The senders with a gap that a person decides about."""
    return [SenderRow(*found) for found in connection.execute(_ASKED).fetchall()]


# --- what waits -------------------------------------------------------------------------------------------


def buffer(connection: sqlite3.Connection, row_id: int, event: BufferedRow) -> None:
    """Have an event wait for those before it."""
    connection.execute(_BUFFER, (row_id, *attrs.astuple(event)))


def with_number(connection: sqlite3.Connection, row_id: int, number: int) -> BufferedRow | None:
    """What waits with this number."""
    found = connection.execute(_WITH_NUMBER, (row_id, number)).fetchone()
    return BufferedRow(*found) if found else None


def with_key(connection: sqlite3.Connection, source_id: int, key: str) -> BufferedRow | None:
    """What waits of a source with this id of the sender's."""
    found = connection.execute(_WITH_KEY, (source_id, key)).fetchone()
    return BufferedRow(*found) if found else None


def ahead(connection: sqlite3.Connection, row_id: int, number: int) -> Iterator[int]:
    """The numbers that wait, from this one on, ascending."""
    while True:
        found = connection.execute(_AHEAD, (row_id, number, _PAGE)).fetchall()
        yield from (each for (each,) in found)
        if len(found) < _PAGE:
            return
        number = found[-1][0] + 1


def take(connection: sqlite3.Connection, row_id: int, number: int, end: int) -> list[BufferedRow]:
    """Take out what waits with the numbers from this one up to, but not with, `end`."""
    if number >= end:
        return []
    found = connection.execute(_RUN, (row_id, number, end)).fetchall()
    connection.execute(_TAKE, (row_id, number, end))
    return [BufferedRow(*each) for each in found]


def earliest(connection: sqlite3.Connection, row_id: int) -> str | None:
    """When the first of those that wait arrived; None if none does."""
    (since,) = connection.execute(_EARLIEST, (row_id,)).fetchone()
    return None if since is None else str(since)


def arrived(connection: sqlite3.Connection, after: str, until: str) -> list[tuple[int, int, str]]:
    """What came between these times, both included, and waits for a limited time: sender, number, and when it came."""
    return connection.execute(_ARRIVED, (after, until)).fetchall()


def set_arrival(connection: sqlite3.Connection, row_id: int, number: int, received_at: str) -> None:
    """It came at another time than the clock said."""
    connection.execute(_SET_ARRIVAL, (received_at, row_id, number))


def set_due(connection: sqlite3.Connection, row_id: int, since: str, due: str) -> None:
    """A gap is open since another time than the clock said."""
    connection.execute(_SET_DUE, (since, due, row_id))


# --- what was given up ------------------------------------------------------------------------------------


def skip(connection: sqlite3.Connection, row_id: int, gap: Gap, position: int) -> None:
    """Note numbers that were given up, and the event that says so."""
    connection.execute(_SKIP, (row_id, gap.last, gap.first, position))


def was_skipped(connection: sqlite3.Connection, row_id: int, number: int) -> bool:
    """Whether this number was given up."""
    found = connection.execute(_SKIPPED, (row_id, number)).fetchone()
    return found is not None and found[0] <= number


# --- looking ----------------------------------------------------------------------------------------------


def senders(connection: sqlite3.Connection, source: str | None = None, *, gaps: bool = False) -> list[SenderView]:
    """All that number their events, by source and stream; with `gaps`, those that wait for something."""
    return [SenderView(*found) for found in connection.execute(_SENDERS, (source, source, gaps)).fetchall()]


def waiting(connection: sqlite3.Connection, source: str, stream: str | None, limit: int) -> list[WaitingView]:
    """What waits of a source and stream, by number, at most `limit`."""
    return [WaitingView(*found) for found in connection.execute(_WAITING, (source, stream or "", limit)).fetchall()]
