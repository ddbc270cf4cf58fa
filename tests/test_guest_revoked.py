"""Taking the connection away from user SQL that takes too long: nothing of it is kept, whatever it is doing."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.clock import SystemClock
from eventbus.errors import EventBusError, LogError
from eventbus.store.guest import Guest
from eventbus.store.location import Location
from eventbus.store.opening import open_log


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location.of(tmp_path / "events.db")


@pytest.fixture
def writer(location: Location) -> Iterator[sqlite3.Connection]:
    """The bus's own connection, that sees what is committed."""
    with closing(open_log(location, adopt=False, clock=SystemClock())) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, total REAL)")
        connection.execute("CREATE TABLE audit (line TEXT)")
        yield connection


@pytest.fixture
def guest(location: Location, writer: sqlite3.Connection) -> Iterator[Guest]:
    with closing(Guest(location, SystemClock())) as guest:
        yield guest


def orders(writer: sqlite3.Connection) -> list[str]:
    return [order for (order,) in writer.execute("SELECT id FROM orders ORDER BY id")]


def insert(guest: Guest, order: str) -> None:
    guest.connection.execute("INSERT INTO orders VALUES (?, 1.0)", (order,))


COUNT_FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO audit SELECT i FROM n"


def test_a_revoked_transaction_leaves_nothing_and_its_connection_does_nothing(
    guest: Guest, writer: sqlite3.Connection
) -> None:
    guest.begin(None)
    insert(guest, "undone")
    unread = guest.connection.execute("SELECT * FROM orders")
    with closing(guest.revoke()) as another:
        another.begin(None)
        insert(another, "kept")
        for stale in (
            lambda: insert(guest, "late"),
            unread.fetchone,
            guest.commit,
            lambda: guest.begin(None),
        ):
            with pytest.raises((EventBusError, sqlite3.ProgrammingError)):
                stale()
        guest.rollback()
        another.commit()
    assert orders(writer) == ["kept"]


def test_a_statement_that_never_ends_is_revoked_from_another_thread(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(Guest(here, SystemClock())) as guest,
    ):
        writer.execute("CREATE TABLE audit (line)")
        guest.begin(None)
        counting = threading.Event()
        guest.connection.create_function("noticed", 0, counting.set)
        errors: list[Exception] = []

        def hang() -> None:
            try:
                guest.connection.execute("SELECT noticed()").fetchone()
                guest.connection.execute(COUNT_FOR_EVER)
            except (EventBusError, sqlite3.Error) as error:
                errors.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        assert counting.wait(60)
        with closing(guest.revoke()) as another:
            another.begin(None)
            another.connection.execute("INSERT INTO audit VALUES ('kept')")
            another.commit()
        thread.join(60)
        assert len(errors) == 1
        assert writer.execute("SELECT line FROM audit").fetchall() == [("kept",)]


def test_revoking_leaves_nothing_however_it_meets_the_handler(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    with closing(open_log(here, adopt=False, clock=SystemClock())) as writer:
        writer.execute("CREATE TABLE audit (line)")
        guest = Guest(here, SystemClock())
        for _ in range(50):
            guest.begin(None)
            started = threading.Event()

            def work(mine: Guest = guest, started: threading.Event = started) -> None:
                try:
                    while True:
                        mine.connection.execute("INSERT INTO audit VALUES ('x')")
                        started.set()
                except (EventBusError, sqlite3.Error):
                    return

            thread = threading.Thread(target=work)
            thread.start()
            assert started.wait(60)
            guest = guest.revoke()
            assert writer.execute("SELECT count(*) FROM audit").fetchone() == (0,)
            thread.join(60)
            assert not thread.is_alive()
        guest.close()
        gc.collect()
        assert writer.execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_a_guest_of_a_locked_log_says_who_holds_it(tmp_path: Path) -> None:
    class Impatient(SystemClock):
        """A clock on which all waiting is over at once."""

        now = 0.0

        def monotonic(self) -> float:
            self.now += 60
            return self.now

    here = Location.of(tmp_path / "events.db")
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(Guest(here, Impatient())) as guest,
    ):
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogError, match="lock is held by"):
            guest.begin(None)
        writer.execute("ROLLBACK")
