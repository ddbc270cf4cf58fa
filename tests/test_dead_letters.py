"""Dead letters: found, and tried again by a person, here or in another process."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import (
    ONCE,
    ORDERS,
    Counted,
    Notes,
    Oops,
    Paid,
    Placed,
    accounted,
    audit,
    failing,
    only,
    positions,
    standing_still,
    stuck,
)

from eventbus import Context, EventBus, Retry
from eventbus.errors import EventBusError, WouldDeadlock
from eventbus.retry import fixed
from eventbus.technical import DeadLetterRetried, DeadLettersAlert, DeliveryRevived
from eventbus.testing import START, FakeClock

# --- list and get ---------------------------------------------------------------------------------------


def test_a_dead_letter_says_what_died_why_and_what_waits_behind_it() -> None:
    with stuck(standing_still(), Notes(only(1)), *ORDERS) as bus:
        (letter,) = bus.dead_letters.list()
        assert (letter.subscription, letter.position, letter.order_key) == ("stock", 1, "order-a")
        assert (letter.attempts, letter.held, letter.error) == (1, 2, "Oops: number 1")
        assert letter.envelope is not None
        assert letter.envelope.event == ORDERS[0]
        assert letter.since == datetime.fromtimestamp(START, UTC)


def test_get_has_every_attempt() -> None:
    clock = FakeClock()
    with stuck(standing_still(clock=clock), failing(), Counted(1), retry=Retry(attempts=2, backoff=fixed(5))) as bus:
        clock.advance(5)
        bus.drain()
        letter = bus.dead_letters.get(1)
        assert letter is not None
        assert [(each.attempt, each.error_type, each.message) for each in letter.failures] == [
            (1, "Oops", "no"),
            (2, "Oops", "no"),
        ]
        assert letter.envelope is not None
        assert bus.dead_letters.get(letter.envelope.id) == letter
        assert bus.dead_letters.get(2) is None
        assert bus.dead_letters.get("nobody") is None


def test_get_asks_which_subscription_where_several_have_one() -> None:
    with standing_still() as bus:
        bus.subscribe("one", Counted, handler=failing(), retry=ONCE)
        bus.subscribe("two", Counted, handler=failing(), retry=ONCE)
        receipt = bus.publish(Counted(1))
        bus.drain()
        with pytest.raises(EventBusError, match="several subscriptions"):
            bus.dead_letters.get(receipt)
        found = bus.dead_letters.get(receipt, "two")
        assert found is not None
        assert found.subscription == "two"


HOUR = timedelta(hours=1)
THEN = datetime.fromtimestamp(START, UTC)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"subscription": "stock"}, [1, 2, 3]),
        ({"type": Placed}, [1]),
        ({"type": "stock.*"}, [2, 3]),
        ({"type": [Placed, "stock.Counted"]}, [1, 2, 3]),
        ({"type": Paid}, []),
        ({"error": Oops}, [1, 3]),
        ({"error": "Value*"}, [2]),
        ({"error": "oops"}, []),
        ({"text": "NO SUCH"}, [2]),
        ({"text": "number"}, [1, 3]),
        ({"since": THEN + HOUR}, [3]),
        ({"until": THEN}, [1, 2]),
        ({"since": THEN, "until": THEN + HOUR, "error": Oops, "type": Counted}, [3]),
    ],
)
def test_filters_say_which_are_meant(filters: Any, expected: list[int]) -> None:
    def fail(event: Any, ctx: Context) -> BaseException:
        return ValueError("no such thing") if event.number == 2 else Oops(f"number {event.number}")

    clock = FakeClock()
    with stuck(standing_still(clock=clock), Notes(fail), Placed("a", 1), Counted(2)) as bus:
        clock.advance(3600)
        bus.publish(Counted(3))
        bus.drain()
        assert positions(bus.dead_letters.list(**filters)) == expected
        assert positions(bus.dead_letters.list(**filters, limit=1)) == expected[:1]
        assert positions(bus.dead_letters.retry(**filters, dry_run=True)) == expected


@pytest.mark.parametrize(
    "filters", [{"subscription": "nobody"}, {"since": datetime(2026, 1, 1)}, {"limit": -1}, {"limit": True}]
)
def test_a_filter_that_is_none_is_refused(filters: Any) -> None:
    with stuck(standing_still(), failing(), Counted(1)) as bus, pytest.raises(EventBusError):
        bus.dead_letters.list(**filters)


# --- retry ----------------------------------------------------------------------------------------------


def test_a_retry_has_all_attempts_before_it_and_what_was_held_follows_in_order() -> None:
    clock, notes = FakeClock(), Notes(lambda event, ctx: Oops("down") if clock.time() < START + 100 else None)
    with stuck(standing_still(clock=clock), notes, *ORDERS, retry=Retry(attempts=2, backoff=fixed(1))) as bus:
        for _ in range(2):
            clock.advance(1)
            bus.drain()
        assert positions(bus.dead_letters.list()) == [1, 3]
        clock.advance(100)
        notes.events.clear()
        notes.attempts.clear()
        assert positions(bus.dead_letters.retry(1)) == [1]
        assert bus.drain() == 3
        assert (notes.numbers, notes.attempts) == ([1, 2, 4], [1, 1, 1])
        assert [str(bus.status(position)["stock"]) for position in (1, 2, 3, 4)] == [
            *["handled"] * 2,
            "dead",
            "handled",
        ]


def test_a_key_stops_at_its_first_new_failure() -> None:
    failed = {1, 2}
    notes = Notes(lambda event, ctx: Oops("no") if event.number in failed else None)
    with stuck(standing_still(), notes, *ORDERS) as bus:
        failed.discard(1)
        bus.dead_letters.retry()
        bus.drain()
        assert notes.numbers == [1, 3, 1, 2]
        assert [str(bus.status(position)["stock"]) for position in (1, 2, 4)] == ["handled", "dead", "held"]
        assert accounted(bus, "stock") == 4


def test_one_that_dies_again_keeps_its_history_and_what_is_behind_it_stays_held() -> None:
    with stuck(standing_still(), Notes(only(1)), *ORDERS) as bus:
        for _ in range(2):
            bus.dead_letters.retry(1)
            bus.drain()
        letter = bus.dead_letters.get(1)
        assert letter is not None
        assert (letter.attempts, letter.tries, letter.held) == (1, 3, 2)
        assert [each.attempt for each in letter.failures] == [1, 2, 3]


def test_a_dry_run_says_what_would_be_tried_in_order_and_changes_nothing() -> None:
    with stuck(standing_still(), Notes(only(1, 3)), *ORDERS) as bus:
        assert [(each.position, each.held) for each in bus.dead_letters.retry(dry_run=True)] == [(1, 2), (3, 0)]
        assert positions(bus.dead_letters.discard(type="*", reason="no", dry_run=True)) == [1, 3]
        assert (bus.drain(), bus.log.head) == (0, 4)
        assert positions(bus.dead_letters.list()) == [1, 3]


def test_a_retry_is_bounded() -> None:
    with stuck(standing_still(), failing(), *map(Counted, range(5))) as bus:
        assert positions(bus.dead_letters.retry(subscription="stock", limit=2)) == [1, 2]
        assert positions(bus.dead_letters.list()) == [3, 4, 5]


def test_what_is_no_dead_letter_is_refused_and_nothing_is_done() -> None:
    with stuck(standing_still(), Notes(only(1)), *ORDERS) as bus:
        for wrong in (2, 99, "nobody"):
            with pytest.raises(EventBusError, match="no dead letter"):
                bus.dead_letters.retry(1, wrong)
        with pytest.raises(EventBusError, match="not both"):
            bus.dead_letters.retry(1, text="number")
        assert (audit(bus), bus.drain()) == ([], 0)


def test_in_strict_order_the_subscription_goes_on_from_there() -> None:
    failed = {1}
    notes = Notes(lambda event, ctx: Oops("no") if event.number in failed else None)
    with stuck(standing_still(), notes, *ORDERS, order_by="log") as bus:
        failed.clear()
        bus.dead_letters.retry(1)
        bus.drain()
        assert notes.numbers == [1, 1, 2, 3, 4]


def test_a_revived_delivery_is_told_of() -> None:
    heard: list[Any] = []
    with stuck(standing_still(), failing(), Counted(1)) as bus:
        bus.on(DeliveryRevived, DeadLetterRetried, handler=heard.append)
        bus.dead_letters.retry(1)
        bus.drain()
    assert [(type(each), each.subscription, each.position) for each in heard] == [
        (DeadLetterRetried, "stock", 1),
        (DeliveryRevived, "stock", 1),
    ]


def test_a_bus_that_delivers_in_the_background_goes_on_by_itself() -> None:
    failed = {1}
    notes = Notes(lambda event, ctx: Oops("no") if event.number in failed else None)
    with EventBus() as bus:
        bus.subscribe("stock", Placed, handler=notes, retry=ONCE)
        receipts = bus.publish_many(ORDERS)
        assert bus.wait_for(receipts[0], "stock") == "dead"
        assert bus.wait_for(receipts[3], "stock") == "held"
        failed.clear()
        bus.dead_letters.retry(receipts[0])
        assert bus.wait_for(receipts[3], "stock") == "handled"


def test_a_person_who_acts_inside_a_transaction_is_refused() -> None:
    with stuck(standing_still(), failing(), Counted(1)) as bus, bus.transaction(), pytest.raises(WouldDeadlock):
        bus.dead_letters.retry(1)


# --- alerts ---------------------------------------------------------------------------------------------


def test_an_alert_is_told_once_for_each_crossing_of_a_count() -> None:
    clock, told = FakeClock(), list[tuple[str, int]]()
    with stuck(standing_still(clock=clock), failing(), Counted(1)) as bus:
        bus.on(DeadLettersAlert, handler=lambda alert: told.append((alert.subscription, alert.count)))
        bus.dead_letters.alert(count=2)

        def after(*events: object) -> list[tuple[str, int]]:
            bus.publish_many(list(events))
            bus.drain()
            clock.advance(1)
            bus.drain()
            return told

        assert after() == []
        assert after(Counted(2)) == [("stock", 2)]
        assert after(Counted(3)) == [("stock", 2)]
        bus.dead_letters.discard(type="*", reason="void")
        assert after() == [("stock", 2)]
        assert after(Counted(4), Counted(5)) == [("stock", 2), ("stock", 2)]


def test_an_alert_is_told_when_one_grows_old_until_it_is_closed() -> None:
    clock, told = FakeClock(), list[str]()
    with stuck(standing_still(clock=clock), failing(), Counted(1)) as bus:
        bus.on(DeadLettersAlert, handler=lambda alert: told.append(alert.oldest))
        closed = bus.dead_letters.alert(age=60, subscription="stock")
        bus.dead_letters.alert(age=60, subscription="other")
        bus.dead_letters.alert(age=60)
        closed.close()
        for _ in range(4):
            clock.advance(20)
            bus.drain()
    assert told == ["2026-01-01T00:00:00.000000Z"]


def test_an_alert_says_which_threshold_was_crossed() -> None:
    clock, told = FakeClock(), list[tuple[str, float]]()
    with stuck(standing_still(clock=clock), failing(), Counted(1)) as bus:
        bus.on(DeadLettersAlert, handler=lambda alert: told.append((alert.crossed, alert.threshold)))
        bus.dead_letters.alert(count=1, age=60)
        bus.dead_letters.alert(count=9, age=30.5)
        for _ in range(4):
            clock.advance(20)
            bus.drain()
    assert told == [("count", 1), ("age", 30.5)]


def test_an_alert_of_a_name_that_nobody_has_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with stuck(standing_still(clock=clock), failing(), Counted(1)) as bus:
        for name in ("stock", "later", "typo", "eventbus.outbox"):
            bus.dead_letters.alert(count=1, subscription=name)
        bus.subscribe("later", Counted, handler=failing())
        for _ in range(3):
            bus.drain()
            clock.advance(1)
    told = [record.getMessage() for record in caplog.records if record.name == "eventbus.dead_letters"]
    assert told == ["an alert waits for 'typo', of which this log knows nothing"]


@pytest.mark.parametrize("threshold", [{}, {"count": 0}, {"count": True}, {"age": 0}, {"age": "1h"}])
def test_an_alert_without_a_threshold_is_refused(threshold: Any) -> None:
    with standing_still() as bus, pytest.raises(EventBusError):
        bus.dead_letters.alert(**threshold)


# --- another process ------------------------------------------------------------------------------------


def elsewhere(path: Path, action: str) -> None:
    """Do something to the dead letters of a log in another process."""
    program = f"from eventbus import EventBus\nbus = EventBus({str(path)!r})\nbus.dead_letters.{action}\nbus.close()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("order_by", ["stream", "log"])
def test_a_bus_notices_what_is_done_in_another_process(tmp_path: Path, order_by: Any) -> None:
    path, failed = tmp_path / "log.db", {1, 3}
    notes = Notes(lambda event, ctx: Oops("no") if event.number in failed else None)
    clock = FakeClock(time.time() + 3600)  # what the other process makes due now is due here
    with stuck(standing_still(path, clock), notes, *ORDERS, order_by=order_by) as bus:
        failed.discard(1)
        elsewhere(path, "retry(1)")
        bus.drain()
        assert sorted(set(notes.numbers)) == ([1, 2, 3, 4] if order_by == "stream" else [1, 2, 3])
        elsewhere(path, "discard(3, reason='hopeless')")
        bus.publish(Placed("b", 5))
        bus.drain()
        assert notes.numbers[-1] == 5
        assert accounted(bus, "stock") == 4
        assert bus.subscriptions["stock"].counts == {}


def test_a_bus_at_rest_notices_within_its_tick(tmp_path: Path) -> None:
    path, failed = tmp_path / "log.db", {1}
    notes = Notes(lambda event, ctx: Oops("no") if event.number in failed else None)
    with EventBus(path) as bus:
        bus.subscribe("stock", Placed, handler=notes, retry=ONCE)
        first, last = bus.publish_many([Placed("a", 1), Placed("a", 2)])
        assert bus.wait_for(first, "stock") == "dead"
        failed.clear()
        elsewhere(path, "retry(1)")
        assert bus.wait_for(last, "stock", timeout=20) == "handled"
