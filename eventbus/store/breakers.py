"""Rows of eventbus_breakers: the circuit breakers that have something to remember, by name."""

from __future__ import annotations

import sqlite3

from eventbus.breaker import Circuit
from eventbus.clock import from_iso, iso

_ALL = "SELECT name, state, failures, since, until, reason FROM eventbus_breakers"
_ONE = f"{_ALL} WHERE name = ?"
_PUT = (
    "INSERT INTO eventbus_breakers (name, state, failures, since, until, reason) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET state = excluded.state, failures = excluded.failures, since = excluded.since,"
    " until = excluded.until, reason = excluded.reason"
)
_DROP = "DELETE FROM eventbus_breakers WHERE name = ?"


def everyone(connection: sqlite3.Connection) -> dict[str, Circuit]:
    """All that are not simply closed."""
    return {row[0]: _circuit(row) for row in connection.execute(_ALL).fetchall()}


def one(connection: sqlite3.Connection, name: str) -> Circuit | None:
    """The one of a name; None while it is closed and nothing has failed."""
    found = connection.execute(_ONE, (name,)).fetchone()
    return None if found is None else _circuit(found)


def put(connection: sqlite3.Connection, name: str, circuit: Circuit) -> None:
    """Write where it stands; one that is closed without failures needs no row."""
    if circuit.state == "closed" and not circuit.failures:
        connection.execute(_DROP, (name,))
        return
    until = None if circuit.until is None else iso(circuit.until)
    connection.execute(_PUT, (name, circuit.state, circuit.failures, iso(circuit.since), until, circuit.reason))


def _circuit(row: tuple[str, str, int, str, str | None, str | None]) -> Circuit:
    _, state, failures, since, until, reason = row
    due = None if until is None else from_iso(until).timestamp()
    return Circuit(state, failures, from_iso(since).timestamp(), due, reason)  # type: ignore[arg-type]
