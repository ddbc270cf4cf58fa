"""A log in which every room has something, and what becomes of it when a bus goes on.

    python tests/fixture_stage.py > tests/logs/version-2.sql

writes it down as SQL, for releases to come; what is in it is the same each time.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from delivery_stage import ONCE, Counted, Oops, Paid, Placed

from eventbus import Breaker, Context, EventBus, Projection, Retry, Table, Transaction, event, handles
from eventbus.testing import FakeClock

PLACE = re.compile(r'File ".*?([^/"]+)"')


@event(name="stock.Reminded")
class Reminded:
    text: str


class Stock(Projection):
    stock = Table("number INTEGER PRIMARY KEY, times INTEGER NOT NULL", indexes=["times"])

    @handles(Counted)
    def counted(self, counted: Counted, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.stock} VALUES (?, 1)", (counted.number,))


class Shop:
    """The app: what its handlers were given, and whether they fail."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.given: list[str] = []
        self.charges: list[str] = []

    def declare(self, bus: EventBus) -> None:
        """Subscribe all that there is."""
        bus.subscribe("mail", Placed, Paid, handler=self.mail, retry=ONCE)
        bus.subscribe("charges", Placed, handler=self.charge, retry=Retry(attempts=9), order_by=None)
        bus.subscribe("supplier", Counted, handler=self.ask, breaker=Breaker(failures=1, seconds=600, name="supplier"))
        bus.project(Stock)
        bus.publish_every(self.remind, every=3600.0, name="hourly")

    def mail(self, happened: Placed | Paid) -> None:
        self._note(f"mail {happened.order_id}")

    def charge(self, placed: Placed, ctx: Context) -> None:
        ctx.step("charge", self.charges.append, placed.order_id)
        self._note(f"charge {placed.order_id}")

    def ask(self, counted: Counted) -> None:
        self._note(f"ask {counted.number}")

    def remind(self, moment: object) -> Reminded:
        return Reminded("hourly")

    def _note(self, what: str) -> None:
        if self.fails:
            raise Oops("no")
        self.given.append(what)


def write(path: Path) -> None:
    """Make the log."""
    clock = FakeClock(seed=7)
    with closing(EventBus(path, clock=clock, delivery="manual", source="shop")) as bus:
        Shop(fails=True).declare(bus)
        bus.publish(Placed("1", 1), idempotency_key="order 1", metadata={"user": "ada"})
        bus.publish(Paid("1"))
        bus.publish(Counted(1))
        bus.drain()
        bus.dead_letters.edit(1, Placed("1", 9), subscription="mail", reason="a typo", who="ada")
        bus.drain()
        bus.publish_at(Reminded("once"), 86_400.0)
        bus.ingest(Counted(5), source="warehouse", id="w-1", sequence=1)
        bus.ingest(Counted(7), source="warehouse", id="w-3", sequence=3, on_gap="dead", gap_timeout=86_400.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO eventbus_outbox (id, event_type, payload, created_at) VALUES"
            " ('outbox-1', 'stock.Counted', '{\"number\": 9}', '2026-01-01T00:00:00.000000Z')"
        )


def as_sql(path: Path) -> Iterator[str]:
    """The log as a script, without the places of this machine."""
    with closing(sqlite3.connect(path)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        yield f"PRAGMA application_id = {application_id};"
        for statement in connection.iterdump():
            yield PLACE.sub(r'File "\1"', statement)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "shop.db"))
        sys.stdout.write("\n".join(as_sql(Path(folder, "shop.db"))) + "\n")
