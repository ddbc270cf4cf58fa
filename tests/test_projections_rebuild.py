"""Rebuilding a projection while the app goes on: nobody sees it half done, and it ends up equal row for row."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bus_stage import at_once
from delivery_stage import Counted, Notes, Oops, standing_still
from projection_stage import Refunded, Sales, Sold, filled, sales, some, tables

from eventbus import EventBus, EventBusError, Transaction, handles
from eventbus.errors import LogError, WouldDeadlock
from eventbus.store import subscriptions
from eventbus.technical import ProjectionSwapped
from eventbus.testing import FakeClock
from eventbus.worker.transactional import TransactionalRunner

# --- rebuild --------------------------------------------------------------------------------------------


def test_a_rebuilt_projection_equals_the_live_one_row_for_row() -> None:
    with standing_still() as bus:
        live = filled(bus)
        bus.projections["sales"].rebuild()
        assert sales(bus) == live
        bus.projections[Sales].rebuild()
        assert sales(bus) == live
        assert tables(bus) == ["sales", "sales__3"]
        bus.publish(Sold("new", 1))
        bus.drain()
        assert sales(bus) == live | {"new": (1, 1)}


def test_no_reader_sees_a_rebuild_half_done() -> None:
    seen: list[Any] = []
    steps: list[tuple[int, int]] = []
    with standing_still() as bus:
        live = filled(bus)

        def progress(done: int, total: int) -> None:
            steps.append((done, total))
            seen.append(sales(bus))

        bus.projections["sales"].rebuild(progress)
    assert all(each == live for each in seen)
    assert len(seen) > 2
    assert steps == sorted(steps)
    assert {total for _, total in steps} == {700}
    assert steps[-1] == (700, 700)


def test_a_rebuild_on_a_bus_that_was_not_started_delivers_to_nobody_else() -> None:
    with standing_still() as bus:
        live = filled(bus, 3)
        heard: list[Any] = []
        bus.subscribe("others", Sold, after=0, handler=heard.append)
        bus.projections["sales"].rebuild()
        assert (sales(bus), heard) == (live, [])
        assert bus.drain() == len(heard) > 0


def test_handlers_that_read_during_a_rebuild_see_whole_tables_only() -> None:
    seen: list[int] = []
    with standing_still() as bus:
        filled(bus)

        def look(counted: Counted) -> None:
            seen.append(sum(orders for orders, _ in sales(bus).values()))

        bus.subscribe("look", Counted, handler=look)
        bus.on(Counted, handler=look)
        orders = sum(orders for orders, _ in sales(bus).values())
        bus.projections["sales"].rebuild(lambda done, total: bus.emit(Counted(1)))
        bus.publish(Counted(1))
        bus.drain()
    assert set(seen) == {orders}


def test_a_rebuild_while_others_publish_ends_with_their_events_in_it() -> None:
    def publish() -> None:
        for _ in range(50):
            bus.publish(Sold("busy", 1))

    with EventBus() as bus:
        live = filled(bus)
        threads = [threading.Thread(target=publish) for _ in range(3)]
        for thread in threads:
            thread.start()
        bus.projections["sales"].rebuild()
        for thread in threads:
            thread.join()
        bus.drain()
        assert sales(bus) == live | {"busy": (150, 150)}


def again(bus: EventBus) -> None:
    bus.project(Sales)


def a_rebuild(bus: EventBus) -> None:
    bus.projections["sales"].rebuild()


def a_pause(bus: EventBus) -> None:
    bus.projections["sales"].pause()
    bus.projections["sales"].resume()


@pytest.mark.parametrize("meanwhile", [again, a_rebuild, a_pause])
def test_what_is_called_while_a_rebuild_runs_does_not_end_it_early(meanwhile: Callable[[EventBus], object]) -> None:
    seen: list[Any] = []
    with standing_still() as bus:
        live = filled(bus, 1500)

        def progress(done: int, total: int) -> None:
            seen.append(sales(bus))
            if len(seen) == 2:
                meanwhile(bus)

        bus.projections["sales"].rebuild(progress)
        assert [sales(bus), *seen] == [live] * (len(seen) + 1)
        assert len(seen) > 2
        assert tables(bus) == ["sales", "sales__2"]  # a second rebuild joins the one that runs


def test_rebuilds_on_several_threads_are_one(tmp_path: Path) -> None:
    with EventBus(tmp_path / "log.db", durability="process") as bus:
        live, seen = filled(bus, 1500), list[Any]()
        at_once(*[lambda: bus.projections["sales"].rebuild(lambda done, total: seen.append(sales(bus)))] * 3)
        assert all(each == live for each in (*seen, sales(bus)))


def test_a_rebuild_that_the_log_interrupts_goes_on_before_anybody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    commit, clock, calls = TransactionalRunner._commit, FakeClock(), list[Any]()

    def flaky(runner: TransactionalRunner, lane: Any, batch: Any) -> int:
        calls.append(batch)
        if len(calls) == 3:
            raise LogError("the log", "busy")
        return commit(runner, lane, batch)

    with standing_still(clock=clock) as bus:
        live, seen = filled(bus, 1500), list[Any]()
        calls.clear()
        monkeypatch.setattr(TransactionalRunner, "_commit", flaky)

        def progress(done: int, total: int) -> None:
            seen.append(sales(bus))
            clock.advance(2)

        bus.projections["sales"].rebuild(progress)
        assert [sales(bus), *seen] == [live] * (len(seen) + 1)
        assert len(calls) > 3


def test_a_paused_projection_that_is_rebuilt_stays_paused() -> None:
    with standing_still() as bus:
        filled(bus, 10)
        bus.projections["sales"].pause("inventory")
        bus.publish(Sold("late", 1))
        bus.drain()
        assert "late" not in sales(bus)
        bus.projections["sales"].rebuild()
        row = bus.projections["sales"].row
        assert (row.generation, row.state, row.state_reason) == (2, "paused", "inventory")
        bus.publish(Sold("later", 1))
        bus.drain()
        assert sales(bus)["late"] == (1, 1)
        assert "later" not in sales(bus)
        bus.projections["sales"].resume()
        bus.drain()
        assert sales(bus)["later"] == (1, 1)


def test_a_rebuild_publishes_nothing_and_calls_no_subscription_again() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("sold", Sold, handler=notes)
        filled(bus, 50)
        calls, head = len(notes.events), bus.log.head
        bus.projections["sales"].rebuild()
        assert (len(notes.events), bus.log.head) == (calls, head)


class Breakable(Sales):
    broken = False

    @handles(Refunded)
    def refunded(self, refunded: Refunded, tx: Transaction) -> None:
        if type(self).broken:
            raise Oops("no refunds")
        self.add(refunded.customer, 0, -refunded.amount, tx)


def test_a_rebuild_that_fails_says_where_and_the_old_tables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_still() as bus:
        bus.project(Breakable)
        bus.publish_many([Sold("a", 5), Refunded("a", 1), Sold("a", 5)])
        bus.drain()
        monkeypatch.setattr(Breakable, "broken", True)
        for _ in range(2):
            with pytest.raises(EventBusError, match=r"stopped at position 2: Oops: no refunds\. The old tables stay"):
                bus.projections["breakable"].rebuild()
            assert sales(bus) == {"a": (2, 9)}
        monkeypatch.undo()
        bus.projections["breakable"].rebuild()
        assert sales(bus) == {"a": (2, 9)}
        assert len(tables(bus)) == 2


def test_a_rebuild_mends_a_projection_that_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_still() as bus:
        monkeypatch.setattr(Breakable, "broken", True)
        bus.project(Breakable)
        bus.publish_many([Sold("a", 5), Refunded("a", 1), Sold("a", 5)])
        bus.drain()
        assert sales(bus) == {"a": (1, 5)}
        monkeypatch.undo()
        bus.projections["breakable"].rebuild()
        assert sales(bus) == {"a": (2, 9)}
        assert bus.projections["breakable"].counts == {}


def test_a_rebuild_in_a_running_bus_tells_of_the_swap() -> None:
    told: list[ProjectionSwapped] = []
    with EventBus() as bus:
        bus.on(ProjectionSwapped, handler=told.append)
        live = filled(bus)
        bus.projections["sales"].rebuild()
        assert sales(bus) == live
    assert told == [ProjectionSwapped("sales", 2)]


def test_a_rebuild_where_it_would_wait_for_ever_raises_at_once() -> None:
    with EventBus() as bus:
        filled(bus, 5)
        with bus.transaction(), pytest.raises(WouldDeadlock, match="rebuild was called inside an open transaction"):
            bus.projections["sales"].rebuild()


def test_only_what_is_declared_here_can_be_rebuilt(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        live = filled(bus, 10)
    with standing_still(tmp_path / "log.db") as bus:
        assert bus.projections["sales"].state == "orphan"
        with pytest.raises(EventBusError, match="'sales' is not declared in this process"):
            bus.projections["sales"].rebuild()
        assert sales(bus) == live


def test_a_projection_that_readers_see_is_not_looked_up_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    with_id = subscriptions.with_id

    def counted(connection: Any, row_id: int) -> Any:
        looked.append(row_id)
        return with_id(connection, row_id)

    with standing_still() as bus:
        bus.project(Sales)
        bus.publish_many(some(3))
        bus.drain()
        bus.projections["sales"].rebuild()
        bus.drain()
        monkeypatch.setattr(subscriptions, "with_id", counted)
        bus.publish_many(some(3))
        bus.drain()
    assert looked == []
