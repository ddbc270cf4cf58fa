"""Declarations on their way to their rows: when they wait, who hears of a mistake, and how a bus with work ends."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted, Notes
from projection_stage import Sales, Sold, sales

from eventbus import EventBus, EventBusError, EventDefinitionError, Retry, event
from eventbus.errors import BusClosed, LogBusy
from eventbus.store import storage

PATIENCE = 20.0  # seconds, for what takes milliseconds


def test_declaring_inside_a_transaction_of_another_log_waits_for_nobody(tmp_path: Path) -> None:
    declared, notes = threading.Event(), Notes()
    with EventBus(tmp_path / "shop.db") as bus, EventBus(tmp_path / "other.db") as other:

        def declare() -> None:
            with other.transaction():
                bus.subscribe("first", Counted, handler=notes)
                bus.subscribe("second", Counted, handler=Notes())
            declared.set()

        threading.Thread(target=declare, daemon=True).start()
        assert declared.wait(PATIENCE)
        bus.publish(Counted(1))
        bus.drain()
        assert sorted(bus.subscriptions) == ["first", "second"]
        assert notes.events == [Counted(1)]


def test_every_declaration_that_is_refused_is_told_and_spoils_no_other(tmp_path: Path) -> None:
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:

        async def declare(*names: str) -> None:  # on a loop nobody waits for the disk, so nobody hears of it yet
            for name in names:
                bus.subscribe(name, Counted, handler=Notes(), after=99)

        asyncio.run(declare("one", "two"))
        with pytest.raises(EventDefinitionError, match=r"'one'.*'two'"):
            bus.publish(Counted(1))
        assert bus.publish(Counted(1)).position == 1
        asyncio.run(declare("three"))
        bus.subscribe("good", Counted, handler=Notes())
        with pytest.raises(EventDefinitionError, match="'three'"):
            bus.drain()
        assert list(bus.subscriptions) == ["good"]


def test_a_projection_of_two_buses_outlives_one_of_them_after_a_rebuild(tmp_path: Path) -> None:
    with EventBus(tmp_path / "shop.db") as stays, EventBus(tmp_path / "shop.db") as leaves:
        for bus in (stays, leaves):
            bus.project(Sales)
        stays.publish(Sold("Ada", 1))
        stays.projections["sales"].rebuild()
        leaves.close()
        assert stays.wait_for(stays.publish(Sold("Ada", 2)), Sales, PATIENCE) == "handled"
        assert sales(stays) == {"Ada": (2, 3)}


def test_a_bus_that_is_closed_publishes_nothing_though_another_has_the_file_open(tmp_path: Path) -> None:
    with EventBus(tmp_path / "shop.db", delivery="manual") as stays:
        leaves = EventBus(tmp_path / "shop.db", delivery="manual")
        leaves.publish(Counted(1))
        leaves.close()
        with pytest.raises(BusClosed):
            leaves.publish(Counted(2))
        assert stays.log.head == 1


def test_a_handler_that_runs_while_the_bus_closes_may_use_it_to_its_end(tmp_path: Path) -> None:
    path, running, closing = tmp_path / "shop.db", threading.Event(), threading.Event()
    bus = EventBus(path)
    with bus:

        def slow(counted: Counted) -> None:
            running.set()
            closing.wait(PATIENCE)
            bus.publish(Sold("Ada", counted.number))
            assert bus.query("SELECT 1 AS one") == [{"one": 1}]

        bus.subscribe("slow", Counted, handler=slow, retry=Retry(attempts=1))
        bus.publish(Counted(1))
        assert running.wait(PATIENCE)
        closer = threading.Thread(target=lambda: bus.close(PATIENCE))
        closer.start()
        while True:  # until the bus refuses others
            try:
                bus.log.head  # noqa: B018
            except EventBusError:
                break
        closing.set()
        closer.join(PATIENCE)
    with EventBus(path, delivery="manual") as again:
        assert [envelope.type for envelope in again.log.read()] == ["stock.Counted", "shop.Sold"]
        assert again.subscriptions["slow"].row.handled == 1
        assert again.subscriptions["slow"].counts == {}


def test_a_process_that_delivered_a_forgotten_subscription_does_not_touch_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("old", Counted, handler=Notes())
        old = bus.subscriptions["old"].row
        bus.subscriptions["old"].forget()
        bus.subscribe("new", Counted, handler=Notes())
        assert bus.subscriptions["new"].row.id != old.id


def test_a_class_that_another_bus_of_the_log_knows_otherwise_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    @event(name="stock.Counted")
    class Other:
        number: int

    heard: list[Counted] = []
    with EventBus(tmp_path / "log.db") as bus, EventBus(tmp_path / "log.db") as second:
        bus.on(Counted, handler=heard.append)
        with pytest.raises(EventDefinitionError, match="has 2 classes"):
            second.on(Other, handler=print)
        bus.publish(Counted(1))
    assert heard == [Counted(1)]


def test_what_could_not_be_recorded_is_not_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, old, new = tmp_path / "log.db", Notes(), Notes()
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("stock", Counted, handler=old)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with monkeypatch.context() as hasty:
            hasty.setattr(storage, "_BEGIN_BUSY_SECONDS", 0.0)
            with pytest.raises(LogBusy):
                bus.subscribe("stock", Counted, handler=new)
            with pytest.raises(LogBusy):
                bus.subscribe("other", Counted, handler=new)
        blocker.close()
        assert [declaration.name for declaration in bus.declarations] == ["stock"]
        bus.publish(Counted(1))
        bus.drain()
    assert (old.numbers, new.numbers) == ([1], [])


def test_what_is_emitted_makes_no_file(tmp_path: Path) -> None:
    heard = queue.SimpleQueue[Counted]()
    with closing(EventBus(tmp_path / "log.db")) as bus:

        @bus.on(Counted)
        async def hear(counted: Counted) -> None:
            heard.put(counted)

        bus.emit(Counted(1))
        assert heard.get(timeout=PATIENCE) == Counted(1)
    assert list(tmp_path.iterdir()) == []
