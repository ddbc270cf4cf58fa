"""Replay: a handler over stored events again, changing nothing in the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Paid, Placed, failing, only, standing_still
from projection_stage import Sales, Sold, sales

from eventbus import Context, EventBus, EventBusError, Retry
from eventbus.errors import WouldDeadlock


def snapshot(bus: EventBus) -> list[Any]:
    """Everything that a replay must not change."""
    return [
        bus.query(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("eventbus_events", "eventbus_deliveries", "eventbus_attempts")
    ] + [bus.query("SELECT name, cursor, handled, state FROM eventbus_subscriptions")]


def test_replay_hands_matching_events_over_again_and_changes_nothing() -> None:
    notes, replays = Notes(), []

    def handle(counted: Counted, ctx: Context) -> None:
        notes(counted, ctx)
        replays.append(ctx.is_replay)

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=handle)
        bus.publish_many([Counted(1), Placed("a"), Counted(2), Counted(3)])
        bus.drain()
        before = snapshot(bus)
        replayed = list(bus.subscriptions["stock"].replay(bus.log.read(after=1)))
        assert [each.envelope.event for each in replayed] == [Counted(2), Counted(3)]
        assert snapshot(bus) == before
    assert notes.numbers == [1, 2, 3, 2, 3]
    assert replays == [False] * 3 + [True] * 2


def test_what_a_replayed_handler_publishes_is_caught() -> None:
    def handle(placed: Placed, ctx: Context) -> None:
        ctx.publish(Paid("by ctx"))
        bus.publish(Paid("by bus"))
        bus.publish_many([Paid("by many")])
        bus.submit(Paid("by submit")).result()

    with standing_still() as bus:
        bus.publish(Placed("a"))
        bus.subscribe("pay", Placed, handler=handle, after=0)
        before = snapshot(bus)
        (replayed,) = bus.subscriptions["pay"].replay(bus.log.read())
        assert [paid.order_id for paid in replayed.published] == ["by ctx", "by bus", "by many", "by submit"]
        assert replayed.error is None
        assert snapshot(bus)[0] == before[0]
        bus.publish(Paid("afterwards"))
        assert bus.log.head == 2


def test_the_transaction_of_a_replayed_handler_is_rolled_back() -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        ctx.tx.execute("INSERT INTO shelf VALUES (?)", (counted.number,))
        ctx.tx.publish(Paid("x"))

    with standing_still() as bus:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE shelf (number)")
        bus.publish_many([Counted(1), Counted(2)])
        bus.subscribe("shelf", Counted, handler=handle, after=0, transactional=True)
        replayed = list(bus.subscriptions["shelf"].replay(bus.log.read()))
        assert [each.published for each in replayed] == [[Paid("x")], [Paid("x")]]
        assert bus.query("SELECT * FROM shelf") == []
        assert bus.log.head == 2


def test_a_projection_can_be_replayed_as_well() -> None:
    with standing_still() as bus:
        bus.project(Sales)
        bus.publish(Sold("a", 1))
        bus.drain()
        (replayed,) = bus.projections[Sales].replay(bus.log.read())
        assert replayed.error is None
        assert sales(bus) == {"a": (1, 1)}


@pytest.mark.parametrize("error", [Oops("no"), SystemExit(3)])
@pytest.mark.parametrize("transactional", [False, True])
def test_a_replayed_handler_that_fails_is_reported_and_the_replay_goes_on(
    error: BaseException, transactional: bool
) -> None:
    notes = Notes(lambda event, ctx: error if event.number == 1 else None)
    with standing_still() as bus:
        bus.publish_many([Counted(1), Counted(2)])
        bus.subscribe("stock", Counted, handler=notes, after=0, transactional=transactional)
        first, second = bus.subscriptions["stock"].replay(bus.log.read())
    assert (first.error, second.error) == (error, None)


def test_async_handlers_are_replayed_on_a_loop() -> None:
    async def handle(counted: Counted, ctx: Context) -> None:
        await asyncio.sleep(0)
        ctx.publish(Paid(str(counted.number)))

    with standing_still() as bus:
        bus.publish_many([Counted(1), Counted(2)])
        bus.subscribe("stock", Counted, handler=handle, after=0)
        replayed = list(bus.subscriptions["stock"].replay(bus.log.read()))
    assert [each.published for each in replayed] == [[Paid("1")], [Paid("2")]]


def test_dead_letters_stay_dead_when_their_events_are_replayed() -> None:
    notes = Notes(only(1))
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=1))
        bus.publish(Counted(1))
        bus.drain()
        notes.fail = only()
        (replayed,) = bus.subscriptions["stock"].replay(bus.log.read())
        assert replayed.error is None
        assert bus.status(1)["stock"] == "dead"


def test_replay_needs_a_handler_in_this_process() -> None:
    with standing_still() as bus:
        registration = bus.subscribe("stock", Counted, handler=failing())
        bus.publish(Counted(1))
        registration.close()
        with pytest.raises(EventBusError, match="No handler is declared for 'stock' in this process"):
            bus.subscriptions["stock"].replay(bus.log.read())


def test_replay_refuses_where_it_would_wait_for_ever() -> None:
    async def main(bus: EventBus) -> None:
        with pytest.raises(WouldDeadlock, match="replay would block the event loop"):
            bus.subscriptions["stock"].replay(bus.log.read())

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes(), transactional=True)
        bus.publish(Counted(1))
        asyncio.run(main(bus))
        subscription = bus.subscriptions["stock"]
        with bus.transaction(), pytest.raises(WouldDeadlock, match="inside an open transaction"):
            subscription.replay(iter(()))
