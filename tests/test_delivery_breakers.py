"""Deliveries behind a circuit breaker: they wait without using up attempts, over a restart too, and one finds out."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cli_stage import run
from delivery_stage import Counted, Notes, Oops, Placed, accounted, standing_still

from eventbus import Breaker, EventBus, EventDefinitionError, Retry
from eventbus.breaker import BreakerStatus
from eventbus.clock import iso
from eventbus.retry import fixed
from eventbus.technical import CircuitClosed, CircuitOpened
from eventbus.testing import FakeClock

BREAKER = Breaker(failures=3, seconds=30.0, on=(ConnectionError,))
RETRY = Retry(attempts=10, backoff=fixed(1))


class Downstream:
    """What handlers call: it is away while `away` says so, and counts how often it was asked."""

    def __init__(self) -> None:
        self.away = True
        self.asked = 0
        self.numbers: list[int] = []

    def __call__(self, event: Any) -> None:
        self.asked += 1
        if self.away:
            raise ConnectionError("it is away")
        self.numbers.append(event.number)


def behind(bus: EventBus, downstream: Downstream, name: str = "mail", **how: Any) -> EventBus:
    bus.subscribe(name, Placed, Counted, handler=downstream, **{"breaker": BREAKER, "retry": RETRY, **how})
    return bus


def rows(bus: EventBus) -> list[dict[str, Any]]:
    return bus.query("SELECT name, state, failures, reason FROM eventbus_breakers ORDER BY name")


@pytest.mark.parametrize("transactional", [False, True])
def test_an_open_breaker_keeps_all_deliveries_waiting(transactional: bool) -> None:
    clock, downstream = FakeClock(), Downstream()
    with behind(standing_still(clock=clock), downstream, transactional=transactional) as bus:
        receipts = bus.publish_many([Counted(number) for number in range(20)])
        bus.drain()
        assert downstream.asked == 3
        assert rows(bus) == [{"name": "mail", "state": "open", "failures": 3, "reason": "ConnectionError: it is away"}]
        clock.advance(29)
        bus.drain()
        assert downstream.asked == 3
        assert bus.status(receipts[-1])["mail"] == "waiting"
        assert bus.status(receipts[0])["mail"].attempts == 1


def test_one_delivery_probes_and_all_go_on_once_it_is_handled() -> None:
    clock, downstream = FakeClock(), Downstream()
    with behind(standing_still(clock=clock), downstream) as bus:
        bus.publish_many([Counted(number) for number in range(20)])
        bus.drain()
        clock.advance(30)
        bus.drain()
        assert downstream.asked == 4
        assert rows(bus)[0]["state"] == "open"
        downstream.away = False
        clock.advance(30)
        bus.drain()
        assert sorted(downstream.numbers) == list(range(20))
        assert rows(bus) == []
        assert accounted(bus, "mail") == 20


def test_a_breaker_stays_open_over_a_restart(tmp_path: Path) -> None:
    clock, downstream, path = FakeClock(), Downstream(), tmp_path / "log.db"
    with behind(standing_still(path, clock), downstream) as bus:
        bus.publish_many([Counted(number) for number in range(5)])
        bus.drain()
    with behind(standing_still(path, clock), downstream) as bus:
        bus.drain()
        assert downstream.asked == 3
        downstream.away = False
        clock.advance(30)
        assert bus.drain() == 5


def test_subscriptions_share_a_breaker_by_its_name() -> None:
    clock, downstream, shared = FakeClock(), Downstream(), Breaker(failures=3, name="smtp")
    with standing_still(clock=clock) as bus:
        behind(bus, downstream, "mail", breaker=shared)
        bus.publish_many([Counted(number) for number in range(5)])
        bus.drain()
        behind(bus, downstream, "letters", breaker=shared, after=0)
        bus.drain()
        assert downstream.asked == 3
        assert [row["name"] for row in rows(bus)] == ["smtp"]
        downstream.away = False
        clock.advance(30)
        assert bus.drain() == 10


def test_where_its_breaker_stands_is_told_by_the_subscription() -> None:
    clock, downstream = FakeClock(), Downstream()
    with behind(standing_still(clock=clock), downstream, breaker=evolve(BREAKER, name="smtp")) as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        mail = bus.subscriptions["mail"]
        assert bus.subscriptions["stock"].breaker is None
        assert mail.breaker == BreakerStatus("smtp", "closed", 0, None, None)
        bus.publish_many([Counted(number) for number in range(5)])
        bus.drain()
        until = datetime.fromtimestamp(clock.time() + 30, UTC)
        assert mail.breaker == BreakerStatus("smtp", "open", 3, until, "ConnectionError: it is away")
        assert (mail.state, mail.reason) == ("active", None)
        clock.advance(30)
        downstream.away = False
        bus.drain()
        assert mail.breaker == BreakerStatus("smtp", "closed", 0, None, None)


@pytest.mark.parametrize("one_bus", [True, False])
def test_breakers_of_one_name_and_other_settings_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_bus: bool
) -> None:
    clock = FakeClock()
    with standing_still(tmp_path / "log.db", clock) as bus, standing_still(tmp_path / "log.db", clock) as other:
        behind(bus, Downstream(), "mail", breaker=Breaker(failures=5, seconds=60, name="smtp"))
        behind(bus, Downstream(), "letters", breaker=Breaker(failures=5, seconds=60, name="smtp"))
        behind(bus, Downstream(), "stock", breaker=Breaker(failures=5))
        bus.drain()
        assert caplog.messages == []
        behind(bus if one_bus else other, Downstream(), "sms", breaker=Breaker(failures=2, seconds=60, name="smtp"))
        for each in (bus, other):
            each.drain()
            each.drain()
    assert caplog.messages == [
        "the breaker 'smtp' is Breaker(failures=5, seconds=60, on=(Exception)) for 'mail', but"
        " Breaker(failures=2, seconds=60, on=(Exception)) for 'sms': give both the same settings, or another name"
    ]


def test_errors_that_do_not_count_leave_it_closed() -> None:
    notes = Notes(lambda event, ctx: Oops("no"))
    with standing_still() as bus:
        bus.subscribe("mail", Counted, handler=notes, breaker=BREAKER, retry=Retry(attempts=1))
        bus.publish_many([Counted(number) for number in range(10)])
        bus.drain()
        assert len(notes.events) == 10
        assert bus.subscriptions["mail"].counts == {"dead": 10}


def test_other_subscriptions_go_on() -> None:
    downstream, notes = Downstream(), Notes()
    with behind(standing_still(), downstream) as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish_many([Counted(number) for number in range(10)])
        bus.drain()
        assert notes.numbers == list(range(10))


def test_what_it_logs_when_it_opens_moves_no_cursor(caplog: pytest.LogCaptureFixture) -> None:
    def away(counted: Counted) -> None:
        raise ConnectionError("away \x1b[31m")

    with standing_still() as bus:
        bus.subscribe("mail", Counted, handler=away, breaker=evolve(BREAKER, failures=1))
        bus.publish(Counted(1))
        bus.drain()
    (told,) = [record.message for record in caplog.records if "is open until" in record.message]
    assert told.endswith(r"'ConnectionError: away \x1b[31m'")


def test_it_tells_when_it_opens_and_closes() -> None:
    clock, downstream = FakeClock(), Downstream()
    heard: list[Any] = []
    with behind(standing_still(clock=clock), downstream) as bus:
        bus.on(CircuitOpened, CircuitClosed, handler=heard.append)
        bus.publish_many([Counted(number) for number in range(5)])
        bus.drain()
        downstream.away = False
        clock.advance(30)
        bus.drain()
    opened, closed = heard
    assert (opened.breaker, opened.failures, opened.reason) == ("mail", 3, "ConnectionError: it is away")
    assert opened.until == clock.time()
    assert closed == CircuitClosed("mail")


def test_keys_in_parallel_stop_at_an_open_breaker_too() -> None:
    clock, downstream = FakeClock(), Downstream()
    with behind(standing_still(clock=clock), downstream, concurrency=4) as bus:
        bus.publish_many([Counted(number) for number in range(50)])
        bus.drain(timeout=20)
        assert 3 <= downstream.asked <= 6
        asked, downstream.away = downstream.asked, False
        clock.advance(30)
        bus.drain(timeout=20)
        assert downstream.asked == asked + 50
        assert accounted(bus, "mail") == 50


def test_lists_behind_a_breaker_wait_and_come_back() -> None:
    clock = FakeClock()
    away, numbers = [True], list[int]()

    def handler(events: list[Counted]) -> None:
        if away:
            raise ConnectionError
        numbers.extend(event.number for event in events)

    with standing_still(clock=clock) as bus:
        bus.subscribe("mail", Counted, handler=handler, breaker=BREAKER, retry=RETRY, batch=4)
        bus.publish_many([Counted(number) for number in range(10)])
        bus.drain()
        assert rows(bus)[0]["state"] == "open"
        away.clear()
        clock.advance(30)
        bus.drain()
        assert sorted(numbers) == list(range(10))


def test_people_see_an_open_breaker_and_when_it_is_looked_at_again(tmp_path: Path) -> None:
    path, downstream = tmp_path / "log.db", Downstream()
    clock = FakeClock(time.time())
    with behind(standing_still(path, clock), downstream, breaker=evolve(BREAKER, seconds=3600.0)) as bus:
        bus.publish_many([Counted(number) for number in range(5)])
        bus.drain()
    out = run("subscriptions", path).out
    assert re.search(r"^mail +open +2 .* in (59 min|1 h)", out, re.M)
    assert "ConnectionError: it is away" in out
    (record,) = run("subscriptions", path, "--json").records
    assert (record["breaker"]["name"], record["breaker"]["state"]) == ("mail", "open")
    assert record["breaker"]["until"] == iso(clock.time() + 3600)


def test_what_is_no_breaker_is_refused() -> None:
    with EventBus() as bus, pytest.raises(EventDefinitionError, match="breaker= must be a Breaker"):
        bus.subscribe("mail", Counted, handler=print, breaker=5)  # type: ignore[call-overload]


def test_a_subscription_that_comes_after_the_start_finds_its_breaker_open(tmp_path: Path) -> None:
    clock = FakeClock()
    with standing_still(tmp_path / "log.db", clock) as bus:
        behind(bus, Downstream())
        bus.publish_many([Placed(str(number), number) for number in range(5)])
        bus.drain()
    downstream = Downstream()
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.drain()
        behind(bus, downstream)
        bus.drain()
        assert downstream.asked == 0


def test_an_open_breaker_probes_in_time_though_the_clock_is_set_back() -> None:
    clock, downstream = FakeClock(), Downstream()
    with behind(standing_still(clock=clock), downstream) as bus:
        bus.publish_many([Counted(number) for number in range(4)])
        bus.drain()
        downstream.away = False
        clock.jump(-3600)
        bus.drain()
        assert downstream.asked == 3
        clock.advance(31)
        bus.drain()
        assert downstream.numbers == [0, 1, 2, 3]
