"""The app's own migrations: one transaction, guarded like every other, and of several processes one applies them."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils
from bus_stage import Placed, elsewhere
from log_stage import command, environment

from eventbus import EventBus
from eventbus.errors import EventBusError, LogBusy, WouldDeadlock

OPENING = """
from eventbus import EventBus, event
import sqlite_utils
migrations = sqlite_utils.Migrations("app")
@migrations()
def orders(db): db.table("orders").create({"id": int}, pk="id")
@migrations()
def first(db): db.table("orders").insert({"id": 1})
@event
class Opened: pass
print("ready", flush=True)
sys.stdin.readline()
with EventBus(sys.argv[1], migrations=migrations, delivery="manual") as bus: bus.publish(Opened())
"""


def migrated_by(step: Callable[[sqlite_utils.Database], object]) -> sqlite_utils.Migrations:
    made = sqlite_utils.Migrations("shop")
    made(name="step")(step)
    return made


def test_of_many_processes_that_open_at_once_one_migrates_and_all_succeed(tmp_path: Path) -> None:
    path, pipe = tmp_path / "shop.db", subprocess.PIPE
    started = [
        subprocess.Popen(command(OPENING, path), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment())
        for _ in range(6)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in started] == [""] * len(started)
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == len(started)
        assert bus.query("SELECT id FROM orders") == [{"id": 1}]


def test_a_lock_held_by_somebody_else_is_reported_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EventBus(tmp_path / "shop.db", delivery="manual") as first:
        first.publish(Placed(1))
        monkeypatch.setattr("eventbus.store.storage._BEGIN_BUSY_SECONDS", 0.0)
        with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            second = EventBus(
                tmp_path / "shop.db", delivery="manual", migrations=migrated_by(lambda db: db.execute("SELECT 1"))
            )
            with pytest.raises(LogBusy):
                second.publish(Placed(2))


@pytest.mark.parametrize("sql", ["DROP TABLE eventbus_events", "DELETE FROM eventbus_log", "COMMIT"])
def test_a_migration_can_neither_touch_the_log_nor_end_its_transaction(tmp_path: Path, sql: str) -> None:
    refused = EventBus(tmp_path / "shop.db", migrations=migrated_by(lambda db: db.execute(sql)), delivery="manual")
    with pytest.raises(EventBusError, match="refused"):
        refused.publish(Placed(1))
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        assert bus.publish(Placed(1)).position == 1


def test_of_migrations_that_fail_nothing_is_kept(tmp_path: Path) -> None:
    made = sqlite_utils.Migrations("shop")
    made(name="one")(lambda db: db.execute("CREATE TABLE orders (id)"))
    made(name="two")(lambda db: 1 / 0)
    bus = EventBus(tmp_path / "shop.db", migrations=made, delivery="manual")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            bus.publish(Placed(1))
    with EventBus(tmp_path / "shop.db", delivery="manual") as other:
        assert other.query("SELECT name FROM sqlite_master WHERE name = 'orders'") == []


def test_a_migration_that_publishes_is_told_that_the_bus_is_not_open(tmp_path: Path) -> None:
    with EventBus(tmp_path / "shop.db", delivery="manual") as first:
        first.publish(Placed(1))
        uses = [lambda: second.publish(Placed(2)), lambda: first.publish(Placed(2)), lambda: second.log.head]
        second = EventBus(tmp_path / "shop.db", migrations=migrated_by(lambda db: uses[0]()), delivery="manual")
        while uses:
            with pytest.raises(WouldDeadlock):
                elsewhere(lambda: second.publish(Placed(3)))
            del uses[0]
        assert first.publish(Placed(4)).position == 2


def test_a_new_log_whose_migration_publishes_is_told_the_same(tmp_path: Path) -> None:
    bus = EventBus(tmp_path / "shop.db", migrations=migrated_by(lambda db: bus.publish(Placed(2))), delivery="manual")
    with pytest.raises(WouldDeadlock, match="migration"):
        bus.publish(Placed(1))
