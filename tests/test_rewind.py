"""A rewind begins a new run: what it has handled is delivered again, and the accounts still add up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import ONCE, ORDERS, Counted, Notes, Placed, only, standing_still, stuck
from process_stage import HEAD, LONGEST, Child

from eventbus import Context, EventBus, Projection, Table, Transaction, handles
from eventbus.errors import EventBusError, WouldDeadlock
from eventbus.technical import SubscriptionRewound
from eventbus.testing import FakeClock

NAME = "stock"


def numbers(bus: EventBus, name: str = NAME, *, after: int = 0) -> set[int]:
    """The positions that concern the subscription, as the log has them."""
    return {envelope.position for envelope in bus.log.read(after=after, types=[Placed, Counted])}


def assert_accounts_add_up(bus: EventBus, name: str = NAME) -> None:
    """Each matching event after the start is handled, discarded, to come, or has a delivery of its own."""
    subscription = bus.subscriptions[name]
    row = subscription.row
    with bus._attachment.engine().storage.reading() as connection:
        ((discarded,),) = connection.execute(
            "SELECT discarded FROM eventbus_subscriptions WHERE name = ?", (name,)
        ).fetchall()
    known = row.handled + discarded + sum(subscription.counts.values()) + subscription.lag.events
    assert known == len(numbers(bus, after=row.start))


# --- what is delivered again ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"transactional": True}, {"order_by": "log"}, {"order_by": None}])
def test_what_comes_after_the_position_is_delivered_again(how: dict[str, Any]) -> None:
    with stuck(standing_still(), notes := Notes(), *ORDERS, **how) as bus:
        done = bus.subscriptions[NAME].rewind(after=2)
        bus.drain()
        assert notes.numbers == [1, 2, 3, 4, 3, 4]
        assert (done.after, done.cursor, done.run, done.events, done.types) == (2, 4, 2, 2, {"Placed": 2})
        assert bus.subscriptions[NAME].row.handled == 4
        assert bus.subscriptions[NAME].row.run == 2
        assert_accounts_add_up(bus)


def test_async_handlers_are_given_it_again_as_well() -> None:
    seen: list[int] = []

    async def handle(placed: Placed) -> None:
        seen.append(placed.number)

    with stuck(standing_still(), handle, *ORDERS) as bus:
        bus.subscriptions[NAME].rewind(after=0)
        bus.drain()
        assert seen == [1, 2, 3, 4, 1, 2, 3, 4]


def test_what_was_there_before_it_subscribed_is_delivered_too() -> None:
    with standing_still() as bus:
        bus.publish_many(ORDERS[:2])
        stuck(bus, notes := Notes(), ORDERS[2])
        assert notes.numbers == [3]
        bus.subscriptions[NAME].rewind(after=1)
        assert_accounts_add_up(bus)
        bus.drain()
        assert notes.numbers == [3, 2, 3]
        assert bus.subscriptions[NAME].row.handled == 2
        assert_accounts_add_up(bus)


def test_a_class_that_was_added_later_counts_from_there_on() -> None:
    with standing_still() as bus:
        bus.subscribe(NAME, Placed, handler=Notes())
        bus.publish_many([Counted(1), Placed("a", 2), Counted(3)])
        bus.drain()
        bus.subscribe(NAME, Placed, Counted, handler=(notes := Notes()))
        bus.publish(Counted(4))
        bus.drain()
        assert notes.numbers == [4]
        assert bus.subscriptions[NAME].rewind(after=1).types == {"Placed": 1, "stock.Counted": 2}
        bus.drain()
        assert notes.numbers == [4, 2, 3, 4]


def test_a_datetime_means_what_was_recorded_since() -> None:
    clock = FakeClock()
    with standing_still(None, clock) as bus:
        bus.subscribe(NAME, Placed, handler=(notes := Notes()))
        bus.publish(ORDERS[0])
        clock.advance(60)
        moment = datetime.fromtimestamp(clock.time(), UTC)
        bus.publish(ORDERS[1])
        bus.drain()
        assert bus.subscriptions[NAME].rewind(after=moment).after == 1
        bus.drain()
        assert notes.numbers == [1, 2, 2]
        with pytest.raises(EventBusError, match="no event of that time"):
            bus.subscriptions[NAME].rewind(after=moment + timedelta(days=1))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (99, "the log ends at position 5"),
        (5, "a rewind goes back"),
        (-1, "at least 0"),
        (True, "at least 0"),
        ("1", "at least 0"),
        (datetime(2026, 1, 1), "aware datetime"),
    ],
)
def test_what_is_no_position_that_it_has_passed_is_refused(after: Any, said: str) -> None:
    with stuck(standing_still(), Notes(), *ORDERS) as bus:
        bus.publish(ORDERS[0])
        for dry_run in (True, False):
            with pytest.raises(EventBusError, match=said):
                bus.subscriptions[NAME].rewind(after=after, dry_run=dry_run)
        assert (bus.log.head, bus.subscriptions[NAME].row.run) == (5, 1)


def test_in_an_open_transaction_it_is_refused() -> None:
    with stuck(standing_still(), Notes(), *ORDERS) as bus:
        stock = bus.subscriptions[NAME]
        with bus.transaction(), pytest.raises(WouldDeadlock):
            stock.rewind(after=0)


# --- what is cleared, and what stays ----------------------------------------------------------------------


def test_deliveries_after_the_position_are_cleared_and_those_before_it_go_on() -> None:
    notes = Notes(only(1, 3))
    with stuck(standing_still(), notes, *ORDERS) as bus:
        assert bus.subscriptions[NAME].counts == {"dead": 2, "held": 2}
        before = bus.dead_letters.get(1)
        done = bus.subscriptions[NAME].rewind(after=1)
        assert dict(done.cleared) == {"dead": 1, "held": 2}
        assert bus.subscriptions[NAME].counts == {"dead": 1}
        after = bus.dead_letters.get(1)
        assert before is not None
        assert after is not None
        assert len(after.failures) == len(before.failures) == 1
        assert_accounts_add_up(bus)
        notes.fail = lambda event, ctx: None
        bus.drain()
        assert notes.numbers == [1, 3, 3], "what is behind the dead letter of its key is held again"
        bus.dead_letters.retry(1)
        bus.drain()
        assert notes.numbers == [1, 3, 3, 1, 2, 4]
        assert_accounts_add_up(bus)


def test_in_strict_order_the_delivery_that_stops_it_is_cleared() -> None:
    notes = Notes(only(3))
    with stuck(standing_still(), notes, *ORDERS, order_by="log") as bus:
        notes.fail = lambda event, ctx: None
        assert bus.subscriptions[NAME].rewind(after=1).cleared == {"dead": 1}
        bus.drain()
        assert notes.numbers == [1, 2, 3, 2, 3, 4]
        assert_accounts_add_up(bus)


def test_steps_run_again_but_not_those_of_what_stays() -> None:
    ran: list[int] = []
    with standing_still() as bus:

        @bus.subscribe(NAME, Placed, retry=ONCE, order_by=None)
        def handle(placed: Placed, ctx: Context) -> None:
            ctx.step("note", ran.append, placed.number)
            raise ValueError("after the step")

        bus.publish_many(ORDERS[:2])
        bus.drain()
        assert bus.subscriptions[NAME].rewind(after=1).steps == 1
        bus.drain()
        bus.dead_letters.retry(1)
        bus.drain()
        assert ran == [1, 2, 2]


def test_what_its_handler_publishes_again_are_new_events() -> None:
    def handle(placed: Placed, ctx: Context) -> None:
        ctx.publish(Counted(placed.number))

    with standing_still() as bus:
        bus.subscribe("maker", Placed, handler=handle)
        bus.publish(ORDERS[0])
        bus.drain()
        bus.subscriptions["maker"].rewind(after=0)
        bus.drain()
        made = list(bus.log.read(types=Counted))
        assert len({envelope.id for envelope in made}) == 2
        assert {envelope.causation_id for envelope in made} == {bus.log.get(1).id}  # type: ignore[union-attr]


@pytest.mark.parametrize("after", range(9))
def test_whatever_the_position_the_accounts_add_up(after: int, tmp_path: Path) -> None:
    events = [
        Placed("a", 1),
        Counted(2),
        Placed("b", 3),
        Placed("a", 4),
        Placed("c", 5),
        Placed("b", 6),
        Placed("d", 7),
    ]
    notes = Notes(only(3, 4, 5))
    with standing_still(tmp_path / "log.db") as bus:
        bus.publish(Placed("z", 0))  # before it subscribed
        stuck(bus, notes, *events)
        bus.dead_letters.discard(4, reason="never mind")
        bus.drain()
        assert_accounts_add_up(bus)
        bus.subscriptions[NAME].rewind(after=after)
        assert_accounts_add_up(bus)
        bus.drain()
        assert_accounts_add_up(bus)
        bus.subscriptions[NAME].rewind(after=after // 2)
        notes.fail = lambda event, ctx: None
        bus.drain()
        assert_accounts_add_up(bus)


def test_what_a_person_gave_up_stays_given_up_unless_it_comes_again() -> None:
    with stuck(standing_still(), Notes(only(1, 3)), *ORDERS) as bus:
        bus.dead_letters.discard(1, 3, reason="never mind")
        bus.drain()
        bus.subscriptions[NAME].rewind(after=2)
        assert [bus.status(position)[NAME] for position in (1, 2, 3, 4)] == [
            "discarded",
            "handled",
            "waiting",
            "waiting",
        ]
        assert_accounts_add_up(bus)
        bus.subscriptions[NAME].rewind(after=0)
        assert {str(bus.status(position)[NAME]) for position in (1, 2, 3, 4)} == {"waiting"}


# --- who did it -------------------------------------------------------------------------------------------


def test_it_is_recorded_with_who_and_why() -> None:
    with stuck(standing_still(), Notes(), *ORDERS) as bus:
        bus.subscriptions[NAME].rewind(after=1, who="ada", reason="a bug in its handler")
        (envelope,) = bus.log.read(types=SubscriptionRewound)
        assert envelope.event == SubscriptionRewound(NAME, 1, 4, 3, 2, "ada", "a bug in its handler")


def test_a_preview_says_what_would_be_done_and_changes_nothing() -> None:
    with stuck(standing_still(), Notes(only(3)), *ORDERS) as bus:
        row = bus.subscriptions[NAME].row
        planned = bus.subscriptions[NAME].rewind(after=1, dry_run=True)
        assert (planned.events, planned.cleared, planned.run) == (3, {"dead": 1}, 2)
        assert (bus.subscriptions[NAME].row, bus.log.head) == (row, 4)
        assert planned == bus.subscriptions[NAME].rewind(after=1)


# --- while it is at work ----------------------------------------------------------------------------------


def test_a_paused_subscription_stays_paused_until_it_is_resumed() -> None:
    with stuck(standing_still(), notes := Notes(), *ORDERS) as bus:
        bus.subscriptions[NAME].pause("told to")
        bus.subscriptions[NAME].rewind(after=3)
        bus.drain()
        assert notes.numbers == [1, 2, 3, 4]
        assert bus.subscriptions[NAME].state == "paused"
        bus.subscriptions[NAME].resume()
        bus.drain()
        assert notes.numbers == [1, 2, 3, 4, 4]


def test_one_without_a_handler_here_is_rewound_for_whoever_has_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with stuck(standing_still(path), Notes(), *ORDERS):
        pass
    with standing_still(path) as bus:
        assert bus.subscriptions[NAME].state == "orphan"
        bus.subscriptions[NAME].rewind(after=2)
    with stuck(standing_still(path), notes := Notes()):
        assert notes.numbers == [3, 4]


@pytest.mark.parametrize("transactional", [False, True])
def test_what_the_handler_is_doing_counts_for_nothing(tmp_path: Path, transactional: bool) -> None:
    began, go_on, numbers = threading.Event(), threading.Event(), list[int]()
    with EventBus(tmp_path / "log.db") as bus:

        @bus.subscribe(NAME, Placed, transactional=transactional)
        def handle(placed: Placed) -> None:
            numbers.append(placed.number)
            began.set()
            if not transactional:  # while one runs, nobody else writes
                assert go_on.wait(LONGEST)

        bus.publish_many(ORDERS[:2])
        assert began.wait(LONGEST)
        bus.subscriptions[NAME].rewind(after=0)
        go_on.set()
        bus.drain(LONGEST)
        assert numbers[-2:] == [1, 2]
        assert bus.subscriptions[NAME].row.handled == 2
        assert_accounts_add_up(bus)


REWOUND = (
    HEAD
    + """
import logging
logging.getLogger("eventbus.worker").setLevel(logging.INFO)
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with EventBus(path) as bus:
    @bus.subscribe("count", Counted, after=0)
    def count(counted):
        say("begin", counted.number)
        sys.stdin.readline()
    bus.drain()
    say("up")
    import threading
    threading.Event().wait()
"""
)


def test_another_process_that_delivers_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    child = Child(REWOUND, path)
    try:
        assert child.says() == "up"
        with EventBus(path, delivery="manual") as bus:
            first, second = bus.publish(Counted(1)), bus.publish(Counted(2))
            del first, second
            assert child.says() == "begin 1"
            bus.subscriptions["count"].rewind(after=0)
            child.tell("go on")
            while (line := child.says()) == "begin 2":  # of the batch that it was in
                child.tell("go on")
            assert line in ("count was rewound; it goes on from there", "begin 1")
            if line != "begin 1":
                assert child.says() == "begin 1"
            assert bus.subscriptions["count"].row.handled == 0
            child.tell("go on")
            assert child.says() == "begin 2"
            assert bus.subscriptions["count"].owner == f"pid {child.pid}"
    finally:
        child.kill()
        child.close()


# --- projections ------------------------------------------------------------------------------------------


class Total(Projection):
    totals = Table("id INTEGER PRIMARY KEY, total INTEGER NOT NULL")

    @handles(Counted)
    def counted(self, e: Counted, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.totals} VALUES (1, ?) ON CONFLICT DO UPDATE SET total = total + ?", (e.number,) * 2
        )


def test_a_projection_is_rebuilt_instead() -> None:
    with standing_still() as bus:
        bus.project(Total)
        bus.publish_many([Counted(1), Counted(2)])
        bus.drain()
        total = bus.projections[Total]
        with pytest.raises(EventBusError, match="rebuilt from the beginning"):
            total.rewind(after=1)
        assert total.rewind(after=0, dry_run=True).events == 2
        assert total.row.generation == 1
        assert total.rewind(after=0).events == 2
        assert total.row.generation == 2
        assert bus.query("SELECT total FROM totals") == [{"total": 3}]
