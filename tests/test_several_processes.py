"""Several processes on one log: one at a time delivers a subscription, and each wakes the others."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted, Notes, failing, standing_still
from process_stage import DELIVER, LONGEST, Child, WithoutTicks, run, told

from eventbus import EventBus, Projection, Retry, Table, Transaction, handles
from eventbus.errors import WaitTimeout
from eventbus.retry import fixed
from eventbus.store import deliveries
from eventbus.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def owner(path: Path) -> Iterator[Child]:
    """A process that delivers "count" already."""
    child = Child(DELIVER, path)
    assert child.says() == "up"
    yield child
    child.kill()
    child.close()


def listening(path: Path) -> list[int]:
    """The processes to be woken."""
    with closing(sqlite3.connect(path)) as look:
        return [pid for (pid,) in look.execute("SELECT pid FROM eventbus_listeners")]


# --- who delivers -----------------------------------------------------------------------------------------


def test_what_another_process_delivers_is_not_delivered_here(path: Path, owner: Child) -> None:
    with EventBus(path) as bus:
        numbers, _ = told(bus)
        for number in (1, 2):
            bus.publish(Counted(number))
            assert owner.says() == str(number)
        assert bus.drain() == 0
        assert numbers == []
        assert bus.subscriptions["count"].owner == f"pid {owner.pid}"


def test_a_process_that_only_drains_does_not_wait_for_what_another_one_delivers(path: Path, owner: Child) -> None:
    with EventBus(path, delivery="manual") as bus:
        numbers, _ = told(bus)
        bus.publish(Counted(1))
        assert bus.drain() == 0
        assert numbers == []
    assert owner.says() == "1"


def test_each_subscription_has_an_owner_of_its_own(path: Path, owner: Child) -> None:
    with EventBus(path, delivery="manual") as bus:
        told(bus)
        bus.subscribe("mine", Counted, handler=(mine := Notes()))
        bus.publish(Counted(1))
        assert bus.drain() == 1
        assert mine.numbers == [1]


def test_a_process_that_closes_hands_over(path: Path, owner: Child) -> None:
    with EventBus(path) as bus:
        numbers, told_here = told(bus)
        bus.drain()
        owner.end()
        receipt = bus.publish(Counted(1))
        assert bus.wait_for(receipt, "count", timeout=LONGEST) == "handled"
        assert told_here.is_set()
        assert numbers == [1]


def test_a_process_that_is_killed_is_replaced(path: Path, owner: Child) -> None:
    with EventBus(path) as bus:
        numbers, told_here = told(bus)
        bus.drain()
        owner.kill()
        bus.publish(Counted(1))
        assert told_here.wait(LONGEST)
        assert numbers == [1]


def test_a_registration_that_is_closed_hands_over(path: Path) -> None:
    with standing_still(path) as bus:
        registration = bus.include(_declared(notes := Notes()))
        bus.publish(Counted(1))
        bus.drain()
        registration.close()
        bus.drain()
        child = Child(DELIVER, path)
        assert child.says() == "up"
        bus.publish(Counted(2))
        assert child.says() == "2"
        child.end()
        assert notes.numbers == [1]


def _declared(notes: Notes) -> object:
    from eventbus import Handlers

    handlers = Handlers()
    handlers.subscribe("count", Counted, handler=notes, after=0)
    return handlers


def test_a_process_that_lost_its_subscription_stands_by_and_delivers_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        numbers, _ = told(bus)
        bus.publish(Counted(1))
        bus.drain()
        with bus._attachment.engine().storage.writing() as connection:
            connection.execute("UPDATE eventbus_subscriptions SET epoch = epoch + 1, claim = cursor")
        bus.publish(Counted(2))
        bus.drain()
        assert "another process" in caplog.text.lower()
        clock.advance(2)
        bus.drain()
        assert set(numbers) == {1, 2}
        assert bus.subscriptions["count"].cursor == 2


def test_no_attempt_is_counted_of_what_another_process_has_taken_over(path: Path) -> None:
    with standing_still(path, FakeClock()) as bus:
        bus.subscribe("count", Counted, handler=failing(), retry=Retry(attempts=3, backoff=fixed(30)))
        bus.publish(Counted(1))
        bus.drain()
        row, counted = bus.subscriptions["count"].row, "SELECT attempts, tries FROM eventbus_deliveries"
        with bus._attachment.engine().storage.writing() as connection:
            assert deliveries.count_attempt(connection, row.id, row.epoch - 1, 1, "now") is None
            assert connection.execute(counted).fetchall() == [(1, 1)]
            assert deliveries.count_attempt(connection, row.id, row.epoch, 1, "now") == (2, 2)
            assert connection.execute(counted).fetchall() == [(2, 2)]


def test_a_pause_in_another_process_counts_here(path: Path) -> None:
    with standing_still(path) as bus:
        numbers, _ = told(bus)
        bus.drain()
        run('with EventBus(path, delivery="manual") as bus: bus.subscriptions["count"].pause("told to")', path)
        bus.publish(Counted(1))
        bus.drain()
        assert numbers == []
        run('with EventBus(path, delivery="manual") as bus: bus.subscriptions["count"].resume()', path)
        bus.drain()
        assert numbers == [1]


def test_what_another_process_forgot_is_delivered_no_more(path: Path) -> None:
    with standing_still(path) as bus:
        numbers, _ = told(bus)
        bus.drain()
        run('with EventBus(path, delivery="manual") as bus: bus.subscriptions["count"].forget()', path)
        bus.publish(Counted(1))
        bus.drain()
        assert numbers == []
        assert list(bus.subscriptions) == []


class Sum(Projection):
    sums = Table("id INTEGER PRIMARY KEY, total INTEGER NOT NULL")

    @handles(Counted)
    def counted(self, e: Counted, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.sums} VALUES (1, ?) ON CONFLICT DO UPDATE SET total = total + ?", (e.number,) * 2
        )


def test_a_projection_that_another_process_rebuilt_goes_on_here(path: Path) -> None:
    with standing_still(path) as bus:
        bus.project(Sum)
        bus.publish(Counted(1))
        bus.drain()
        run(
            "from test_several_processes import Sum\n"
            'with EventBus(path, delivery="manual") as bus:\n'
            "    bus.project(Sum)\n"
            "    bus.projections[Sum].rebuild()\n",
            path,
        )
        bus.publish(Counted(2))
        bus.drain()
        assert bus.query("SELECT total FROM sums") == [{"total": 3}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_holds_nothing_of_what_its_parent_delivers(path: Path) -> None:
    with standing_still(path) as bus:
        told(bus)
        bus.publish(Counted(1))
        bus.drain()
        bus.publish(Counted(2))
        child = os.fork()
        if child == 0:
            handled = -1
            try:
                with standing_still(path) as own:
                    told(own)
                    handled = own.drain()
            finally:
                os._exit(0 if handled == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert bus.drain() == 1


def test_subscriptions_shows_who_delivers(path: Path, owner: Child) -> None:
    def shown() -> tuple[str, bool | None]:
        command = [sys.executable, "-m", "eventbus", "subscriptions", "--json", str(path)]
        record = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return record["owner"], record["owner_alive"]

    told_by_the_system = sys.platform == "linux"
    assert shown() == (f"pid {owner.pid}", True if told_by_the_system else None)
    owner.kill()
    assert shown() == (f"pid {owner.pid}", False if told_by_the_system else None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a lock")
def test_who_waits_for_what_a_killed_process_delivered_is_told_that_it_has_ended(path: Path, owner: Child) -> None:
    owner.kill()
    with EventBus(path) as bus:
        receipt = bus.publish(Counted(1))
        with pytest.raises(WaitTimeout) as late:
            bus.wait_for(receipt, "count", timeout=0)
    said = f"The process that delivered it (pid {owner.pid}) has ended, and no handler is declared for it in this one."
    assert said in str(late.value)


# --- the lock file ----------------------------------------------------------------------------------------


def test_the_lock_file_is_for_this_user_only_and_stays_empty(path: Path) -> None:
    with standing_still(path) as bus:
        told(bus)
        bus.drain()
    status = (path.parent / "events.db-lock").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == 0


def test_a_process_that_only_publishes_makes_no_lock_file(path: Path) -> None:
    with standing_still(path) as bus:
        bus.publish(Counted(1))
    assert not (path.parent / "events.db-lock").exists()


# --- waking -----------------------------------------------------------------------------------------------


def test_a_commit_of_another_process_wakes_this_one(path: Path) -> None:
    with EventBus(path, clock=WithoutTicks()) as bus:
        numbers, told_here = told(bus)
        bus.drain()
        run('with EventBus(path, delivery="manual") as bus: bus.publish(Counted(1))', path)
        assert told_here.wait(LONGEST)
        told_here.clear()
        run("with EventBus(path) as bus:\n    with bus.transaction() as tx: tx.publish(Counted(2))", path)
        assert told_here.wait(LONGEST)
        assert numbers == [1, 2]


def test_a_process_that_delivers_is_on_the_list_until_it_closes(path: Path) -> None:
    with EventBus(path) as bus:
        bus.publish(Counted(1))
        assert listening(path) == []
        told(bus)
        bus.drain()
        assert listening(path) == [os.getpid()]
    assert listening(path) == []


def test_whoever_ended_without_leaving_the_list_is_taken_off(path: Path, owner: Child) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        owner.kill()
        assert listening(path) == [owner.pid]
        bus.publish(Counted(1))
        clock.advance(2)
        bus.drain()
        assert listening(path) == []


def test_a_process_that_only_publishes_leaves_nothing_open(path: Path) -> None:
    child = Child(DELIVER, path)
    assert child.says() == "up"
    bus = EventBus(path, delivery="manual")
    neighbours = bus._attachment.engine().neighbours
    bus.publish(Counted(1))
    assert child.says() == "1"
    assert neighbours._senders
    bus.close()
    assert not neighbours._senders
    child.kill()
    child.close()
