"""A disk that is nearly full: publishing stops with the reason before it is full, and goes on by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, Paid, Placed, run

from eventbus import Context, EventBus
from eventbus.errors import LogFull
from eventbus.store import disk
from eventbus.store.room import EVERY, KEPT_FREE
from eventbus.testing import FakeClock

GIB = 1 << 30


class Disk:
    """What the operating system says; counts how often it is asked."""

    def __init__(self) -> None:
        self.free, self.total, self.asked = 100 * GIB, 200 * GIB, 0

    def __call__(self, path: str) -> tuple[int, int] | None:
        self.asked += 1
        return self.free, self.total


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(disk, "space", made)
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus(tmp_path: Path, clock: FakeClock) -> Any:
    with EventBus(tmp_path / "shop.db", delivery="manual", clock=clock) as bus:
        bus.publish(Placed(0))
        yield bus


def fills_up(space: Disk, clock: FakeClock, free: int = KEPT_FREE - 1) -> None:
    space.free = free
    clock.advance(EVERY)


def test_publishing_stops_below_64_mib_and_goes_on_when_there_is_room_again(
    bus: EventBus, space: Disk, clock: FakeClock
) -> None:
    fills_up(space, clock)
    with pytest.raises(LogFull, match=r"64\.0 MiB are free on the disk, and publishing stops below 64\.0 MiB") as full:
        bus.publish(Placed(1))
    assert full.value.stored == "not stored"
    assert bus.log.head == 1
    space.free = KEPT_FREE
    clock.advance(EVERY)
    assert bus.publish(Placed(1)).position == 2


def test_every_way_to_publish_is_refused_and_reading_goes_on(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    fills_up(space, clock)

    def in_a_transaction() -> None:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE notes (text)")
            tx.publish(Placed(1))

    async def on_a_loop() -> None:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))

    for publish in (
        lambda: bus.publish(Placed(1)),
        lambda: bus.publish_many([Placed(1), Placed(2)]),
        lambda: bus.submit(Placed(1)).result(PATIENCE),
        lambda: run(bus.publish_async(Placed(1))),
        lambda: run(on_a_loop()),
        in_a_transaction,
        lambda: bus.ingest(Placed(1), source="web", id="1"),
        lambda: bus.publish_at(Placed(1), 10),
    ):
        with pytest.raises(LogFull):
            publish()
    assert [envelope.event for envelope in bus.log.read()] == [Placed(0)]
    assert bus.query("SELECT name FROM sqlite_master WHERE name = 'notes'") == []


def test_rows_of_an_outbox_wait_where_they_are(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    bus.on(Placed)(lambda placed: None)
    with bus.transaction() as tx:
        tx.execute("INSERT INTO eventbus_outbox (event_type, payload) VALUES ('stage.Placed', '{\"number\":7}')")
    fills_up(space, clock)
    bus.drain()
    assert bus.log.head == 1
    fills_up(space, clock, free=GIB)
    bus.drain()
    assert [envelope.event for envelope in bus.log.read(after=1)] == [Placed(7)]


def test_what_is_stored_is_handled_with_what_its_handlers_publish(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    def pay(placed: Placed, ctx: Context) -> None:
        ctx.publish(Paid(placed.number))

    bus.subscribe("payments", Placed, after=0)(pay)
    fills_up(space, clock)
    assert bus.drain() == 1
    assert [envelope.event for envelope in bus.log.read(after=1)] == [Paid(0)]


def test_the_system_is_asked_once_a_second_at_most(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    clock.advance(EVERY)
    before = space.asked
    for number in range(5):
        bus.publish(Placed(number))
    assert space.asked == before + 1
    fills_up(space, clock)
    before = space.asked
    for _ in range(5):
        with pytest.raises(LogFull):
            bus.publish(Placed(1))
    assert space.asked == before + 1


def test_a_large_wal_needs_twice_its_size(
    bus: EventBus, space: Disk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.store.room.wal_bytes", lambda path: 50 << 20)
    fills_up(space, clock, free=99 << 20)
    with pytest.raises(LogFull, match=r"stops below 100\.0 MiB"):
        bus.publish(Placed(1))


def test_of_a_small_disk_a_sixteenth_is_kept_free(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    space.total = 160 << 20
    fills_up(space, clock, free=10 << 20)
    bus.publish(Placed(1))
    fills_up(space, clock, free=(10 << 20) - 1)
    with pytest.raises(LogFull):
        bus.publish(Placed(1))


def test_a_system_that_says_nothing_and_a_log_in_memory_are_not_refused(
    bus: EventBus, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "space", lambda path: None)
    clock.advance(EVERY)
    bus.publish(Placed(1))
    monkeypatch.setattr(disk, "space", lambda path: (0, GIB))
    with EventBus(delivery="manual") as in_memory:
        in_memory.publish(Placed(1))


def test_each_publish_of_a_group_commit_is_told(bus: EventBus, space: Disk, clock: FakeClock) -> None:
    fills_up(space, clock)

    async def together() -> list[object]:
        return await asyncio.gather(*[bus.publish_async(Placed(n)) for n in range(3)], return_exceptions=True)

    assert [type(each) for each in run(together())] == [LogFull] * 3
