"""Following one event: its status for each subscription, and waiting until it is settled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Placed, failing, only, standing_still

from eventbus import Context, EventBus, EventBusError, Projection, Retry, Table, Transaction, WaitTimeout, handles
from eventbus.errors import BusClosed, WouldDeadlock
from eventbus.retry import fixed
from eventbus.testing import START, FakeClock
from eventbus.worker.progress import Progress

ONCE = Retry(attempts=1)


class Numbers(Projection):
    numbers = Table("number INTEGER")

    @handles(Counted)
    def counted(self, counted: Counted, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.numbers} VALUES (?)", (counted.number,))


def everything_at_once(bus: EventBus) -> None:
    bus.project(Numbers)
    bus.subscribe("fine", Counted, Placed, handler=Notes())
    bus.subscribe("again", Placed, handler=failing(), retry=Retry(attempts=9, backoff=fixed(30)))
    bus.subscribe("dead", Placed, handler=failing(), retry=ONCE)
    bus.subscribe("strict", Placed, handler=failing(), retry=ONCE, order_by="log")
    bus.publish_many([Placed("a"), Placed("a"), Counted(1)])


# --- status ---------------------------------------------------------------------------------------------


def test_status_says_for_each_subscription_what_has_become_of_an_event() -> None:
    with standing_still() as bus:
        everything_at_once(bus)
        names = {"fine", "again", "dead", "strict", "numbers"}
        assert bus.status(1) == dict.fromkeys(names, "waiting") | {"numbers": "not_applicable"}
        bus.drain()
        assert bus.status(1) == {
            "fine": "handled",
            "again": "retrying",
            "dead": "dead",
            "strict": "dead",
            "numbers": "not_applicable",
        }
        assert bus.status(2) == bus.status(1) | {"again": "held", "dead": "held", "strict": "held"}
        assert bus.status(3) == dict.fromkeys(names, "not_applicable") | {"fine": "handled", "numbers": "handled"}


def test_a_status_carries_the_facts() -> None:
    with standing_still() as bus:
        everything_at_once(bus)
        bus.drain()
        again, dead = bus.status(1)["again"], bus.status(1)["dead"]
        held_for_good, held_for_now = bus.status(2)["dead"], bus.status(2)["again"]
    assert (again.state, again.attempts, again.error) == ("retrying", 1, "Oops: no")
    assert again.due == datetime.fromtimestamp(START + 30, UTC)
    assert (dead.state, dead.attempts, dead.error, dead.due) == ("dead", 1, "Oops: no", None)
    assert (dead.final, again.final) == (True, False)
    assert (held_for_good.final, held_for_now.final) == (True, False)


def test_an_event_is_found_by_id_position_and_receipt() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        receipt = bus.publish(Counted(1))
        assert bus.status(receipt) == bus.status(receipt.id) == bus.status(receipt.position) == {"stock": "waiting"}
        for wrong in ("nobody", 99):
            with pytest.raises(EventBusError, match="There is no event"):
                bus.status(wrong)


def test_an_event_before_the_beginning_of_a_subscription_is_none_of_its_business() -> None:
    with standing_still() as bus:
        old = bus.publish(Counted(1))
        bus.subscribe("stock", Counted, handler=Notes())
        bus.publish(Counted(2))
        bus.drain()
        assert bus.status(old) == {"stock": "not_applicable"}


# --- waiting --------------------------------------------------------------------------------------------


def test_wait_for_returns_once_the_event_is_settled_whatever_the_outcome() -> None:
    with EventBus() as bus:
        bus.project(Numbers)
        bus.subscribe("fine", Counted, handler=Notes())
        bus.subscribe("dead", Placed, handler=failing(), retry=ONCE)
        bus.subscribe("strict", Placed, handler=failing(), retry=ONCE, order_by="log")
        first, second, counted = bus.publish_many([Placed("a"), Placed("a"), Counted(1)])
        assert bus.wait_for(counted, "fine") == "handled"
        assert bus.wait_for(counted, "dead") == "not_applicable"
        assert bus.wait_for(counted, Numbers) == bus.wait_for(counted, "numbers") == "handled"
        assert bus.query("SELECT number FROM numbers") == [{"number": 1}]
        assert bus.wait_for(first, "dead") == bus.wait_for(first, "strict") == "dead"
        assert bus.wait_for(second, "dead") == bus.wait_for(second.id, "strict") == "held"


def test_wait_for_does_the_same_on_a_loop() -> None:
    async def note(counted: Counted) -> None:
        await asyncio.sleep(0)

    async def main() -> list[str]:
        async with EventBus() as bus:
            bus.subscribe("fine", Counted, handler=note)
            bus.subscribe("dead", Placed, handler=failing(), retry=ONCE)
            first, second, counted = await bus.publish_many_async([Placed("a"), Placed("a"), Counted(1)])
            pairs: list[Any] = [(counted, "fine"), (counted, "dead"), (first, "dead"), (second, "dead")]
            waiting = [bus.wait_for_async(receipt, name) for receipt, name in pairs]
            return list(await asyncio.gather(*waiting))

    assert asyncio.run(main()) == ["handled", "not_applicable", "dead", "held"]


def test_wait_for_waits_through_the_retries() -> None:
    clock = FakeClock()

    def third_time(counted: Counted, ctx: Context) -> None:
        if ctx.attempt < 3:
            raise Oops

    with EventBus(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=third_time, retry=Retry(backoff=fixed(0)))
        assert bus.wait_for(bus.publish(Counted(1)), "stock") == "handled"


def test_wait_for_gives_up_with_a_sentence_that_says_how_it_stands() -> None:
    with EventBus() as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=Retry(backoff=fixed(1e6)))
        receipt = bus.publish(Counted(1))
        bus.drain()
        with pytest.raises(WaitTimeout, match="It is retrying, last error: Oops: no") as caught:
            bus.wait_for(receipt, "stock", timeout=0)
        assert isinstance(caught.value, TimeoutError)


def test_a_wait_that_nobody_ends_says_why() -> None:
    with EventBus() as bus:
        registration = bus.subscribe("stock", Counted, handler=Notes())
        receipt = bus.publish(Counted(1))
        assert bus.wait_for(receipt, "stock") == "handled"
        bus.subscriptions["stock"].pause()
        receipt = bus.publish(Counted(2))
        with pytest.raises(WaitTimeout, match=r"It is waiting. The subscription is paused; resume\(\) it."):
            bus.wait_for(receipt, "stock", timeout=0)
        bus.subscriptions["stock"].pause("an audit")
        with pytest.raises(WaitTimeout, match=r"The subscription is paused: an audit\."):
            asyncio.run(bus.wait_for_async(receipt, "stock", timeout=0))
        bus.subscriptions["stock"].resume()
        assert bus.wait_for(receipt, "stock") == "handled"
        registration.close()
        bus.drain()
        with pytest.raises(WaitTimeout, match="no handler is declared for it in this one"):
            bus.wait_for(bus.publish(Counted(3)), "stock", timeout=0)


def test_what_a_wait_says_ends_with_one_full_stop_and_moves_no_cursor() -> None:
    def refusing(counted: Counted) -> None:
        raise Oops("gone away \x1b[31m.")

    with EventBus() as bus:
        bus.subscribe("stock", Counted, handler=refusing, retry=Retry(backoff=fixed(1e6)))
        receipt = bus.publish(Counted(1))
        bus.drain()
        with pytest.raises(WaitTimeout) as caught:
            bus.wait_for(receipt, "stock", timeout=0)
        said = r"It is retrying, last error: Oops: gone away \x1b[31m."
        assert str(caught.value) == f"Event 1 was not handled by 'stock' within 0 s. {said}"
        bus.subscriptions["stock"].pause("holiday \x1b[31m. ")
        with pytest.raises(WaitTimeout) as caught:
            bus.wait_for(receipt, "stock", timeout=0)
        assert caught.value.hint == rf"{said} The subscription is paused: holiday \x1b[31m."


def test_a_wait_follows_what_a_person_does() -> None:
    notes = failing()
    with EventBus() as bus:
        bus.subscribe("stock", Placed, handler=notes, retry=ONCE)
        first, _, third = bus.publish_many([Placed("a"), Placed("a"), Placed("a")])
        assert bus.wait_for(first, "stock") == "dead"
        assert bus.wait_for(third, "stock") == "held"
        notes.fail = lambda event, ctx: None
        bus.dead_letters.edit(first, Placed("a", 9))
        assert bus.status(first)["stock"] == "dead"
        bus.dead_letters.retry(first)
        assert bus.wait_for(third, "stock") == bus.wait_for(first, "stock") == "handled"
        assert notes.numbers[-3:] == [9, 0, 0]
        notes.fail = lambda event, ctx: Oops("no")
        fourth, fifth = bus.publish_many([Placed("a"), Placed("a")])
        assert bus.wait_for(fourth, "stock") == "dead"
        notes.fail = lambda event, ctx: None
        bus.dead_letters.discard(fourth, reason="no use")
        assert bus.wait_for(fourth, "stock") == "discarded"
        assert bus.wait_for(fifth, "stock") == "handled"


def test_a_bus_that_delivers_nothing_by_itself_says_so_instead_of_waiting() -> None:
    async def main(bus: EventBus) -> None:
        with pytest.raises(EventBusError, match=r"await bus.drain_async\(\)"):
            await bus.wait_for_async(1, "stock")

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes(only()))
        receipt = bus.publish(Counted(1))
        with pytest.raises(EventBusError, match=r"Call bus.drain\(\)"):
            bus.wait_for(receipt, "stock")
        asyncio.run(main(bus))


def test_wait_for_refuses_where_it_would_wait_for_ever() -> None:
    async def main(bus: EventBus) -> None:
        with pytest.raises(WouldDeadlock, match="wait_for_async"):
            bus.wait_for(1, "stock")

    with EventBus() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        receipt = bus.publish(Counted(1))
        asyncio.run(main(bus))
        with bus.transaction(), pytest.raises(WouldDeadlock, match="inside an open transaction"):
            bus.wait_for(receipt, "stock")


@pytest.mark.parametrize("name", ["nobody", 7, Counted])
def test_wait_for_something_that_is_no_subscription_is_an_error(name: Any) -> None:
    with EventBus() as bus:
        receipt = bus.publish(Counted(1))
        with pytest.raises(EventBusError, match=r"no subscription|is named by"):
            bus.wait_for(receipt, name)


def test_waits_that_run_out_leave_nothing_behind() -> None:
    progress = Progress()

    async def wait() -> None:
        await asyncio.gather(*(progress.wait_async(progress.version, timeout=0) for _ in range(5)))

    asyncio.run(wait())
    assert not progress._futures


def test_a_wait_without_an_end_ends_when_the_event_is_settled() -> None:
    async def main() -> None:
        async with EventBus() as bus:
            bus.subscribe("stock", Counted, handler=Notes())
            receipt = await bus.publish_async(Counted(1))
            assert await bus.wait_for_async(receipt, "stock", timeout=None) == "handled"

    asyncio.run(main())
    with EventBus() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        assert bus.wait_for(bus.publish(Counted(1)), "stock", timeout=None) == "handled"


@pytest.mark.parametrize(
    ("timeout", "why"),
    [
        (-1, "at least 0 seconds, not -1"),
        (float("nan"), "at least 0 seconds, not nan"),
        ("5", "a number of seconds, or None for no end, not '5'"),
        (True, "a number of seconds, or None for no end, not True"),
    ],
)
def test_a_timeout_that_is_none_is_refused(timeout: Any, why: str) -> None:
    with EventBus() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        receipt = bus.publish(Counted(1))
        with pytest.raises(EventBusError, match=why):
            bus.wait_for(receipt, "stock", timeout=timeout)
        with pytest.raises(EventBusError, match=why):
            bus.drain(timeout)
        with pytest.raises(EventBusError, match=why):
            bus.close(timeout)


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e300, 0])
def test_a_bus_closes_however_long_that_may_take(timeout: float | None) -> None:
    bus = EventBus()
    bus.start()
    bus.close(timeout)
    with pytest.raises(BusClosed):
        bus.publish(Counted(1))
