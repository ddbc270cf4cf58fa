"""Rows of eventbus_listeners: the processes to wake after a commit, by the address of their datagram socket."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

_ALL = "SELECT address FROM eventbus_listeners"
_JOIN = "INSERT INTO eventbus_listeners (address, pid, since) VALUES (?, ?, ?)"
_LEAVE = "DELETE FROM eventbus_listeners WHERE address = ?"


def everyone(connection: sqlite3.Connection) -> list[str]:
    """All addresses, those of processes that ended without leaving too."""
    return [address for (address,) in connection.execute(_ALL).fetchall()]


def join(connection: sqlite3.Connection, address: str, pid: int, now: str) -> None:
    """Have a process woken from now on."""
    connection.execute(_JOIN, (address, pid, now))


def leave(connection: sqlite3.Connection, addresses: Iterable[str]) -> None:
    """Wake these no more."""
    connection.executemany(_LEAVE, [(address,) for address in addresses])
