"""How far a subscription is behind: in events, and in the age of the oldest that it has still to handle by itself."""

from __future__ import annotations

from pathlib import Path

from delivery_stage import ORDERS, Counted, Notes, Placed, failing, only, standing_still, stuck
from samplelog import SampleLog

from eventbus import Retry
from eventbus.retry import fixed
from eventbus.store import overview
from eventbus.testing import FakeClock

NAME = "stock"


def test_lag_and_the_last_error_are_told() -> None:
    clock = FakeClock()
    with standing_still(None, clock) as bus:
        stuck(bus, failing(), retry=Retry(attempts=2, backoff=fixed(30)))
        stock = bus.subscriptions[NAME]
        assert (stock.lag.events, stock.lag.seconds, stock.last_error) == (0, 0.0, None)
        bus.publish(Placed("a", 1))
        clock.advance(5)
        assert (stock.lag.events, round(stock.lag.seconds)) == (1, 5)
        bus.drain()
        assert (stock.lag.events, round(stock.lag.seconds), stock.last_error) == (0, 5, "Oops: no")
        clock.advance(30)
        bus.drain()
        bus.publish(Placed("a", 2))
        bus.drain()
        assert stock.counts == {"dead": 1, "held": 1}
        assert (stock.lag.events, stock.lag.seconds) == (0, 0.0), "they wait for a person"


def test_the_last_error_is_that_of_the_last_event_that_failed_in_a_round() -> None:
    def failing_with_its_number(placed: Placed) -> None:
        raise ValueError(placed.number)

    with standing_still() as bus:
        bus.subscribe(NAME, Placed, handler=failing_with_its_number, retry=Retry(attempts=1), order_by=None)
        bus.publish_many([Placed("a", number) for number in range(5)])
        bus.drain()
        assert bus.subscriptions[NAME].last_error == "ValueError: 4"


def test_events_that_do_not_concern_it_are_no_lag() -> None:
    with standing_still() as bus:
        bus.subscribe(NAME, Counted, handler=Notes())
        bus.publish_many([*ORDERS, Counted(1), *ORDERS])
        stock = bus.subscriptions[NAME]
        assert stock.cursor == 0
        assert stock.lag.events == 1
        bus.drain()
        bus.publish_many(ORDERS)
        assert (stock.lag.events, stock.lag.seconds) == (0, 0.0)


def test_behind_what_stops_it_everything_is_to_come() -> None:
    clock = FakeClock()
    with standing_still(None, clock) as bus:
        stuck(bus, Notes(only(2)), ORDERS[0], ORDERS[1], order_by="log")
        clock.advance(10)
        bus.publish_many(ORDERS[2:])
        clock.advance(5)
        bus.drain()
        lag = bus.subscriptions[NAME].lag
        assert (lag.events, round(lag.seconds)) == (2, 5), "the dead letter itself is none of them"


def test_all_are_counted_in_one_pass_and_each_from_where_it_stands(tmp_path: Path) -> None:
    log = SampleLog(tmp_path / "sample.db")
    for number in range(20):
        log.event(("Odd", "Even")[number % 2], ago=100.0 - number)
    for cursor in range(21):
        log.subscription(f"odd-{cursor:02}", ("Odd", "base"), cursor=cursor)
        log.subscription(f"all-{cursor:02}", ("*", "pattern"), cursor=cursor)
    found = {view.row.name: view for view in overview.everyone(log.db)}
    times = [time for (time,) in log.db.execute("SELECT time FROM eventbus_events ORDER BY position")]
    for cursor in range(21):
        odd, every = found[f"odd-{cursor:02}"], found[f"all-{cursor:02}"]
        positions = [position for position in range(1, 21, 2) if position > cursor]
        assert odd.behind == len(positions)
        assert odd.oldest == (times[positions[0] - 1] if positions else None)
        assert every.behind == 20 - cursor
        assert every.oldest == (times[cursor] if cursor < 20 else None)
    log.db.close()


def test_what_is_settled_ahead_of_the_cursor_is_no_lag(tmp_path: Path) -> None:
    log = SampleLog(tmp_path / "sample.db")
    for number in range(4):
        log.event("Odd", ago=10.0 - number)
    log.subscription("ahead", ("Odd", "base"), cursor=1, ahead=(2, 3))
    (view,) = overview.everyone(log.db)
    assert view.behind == 1
    assert view.oldest == log.db.execute("SELECT time FROM eventbus_events WHERE position = 4").fetchone()[0]
    log.db.close()
