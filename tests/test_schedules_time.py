"""Clocks that are set, and machines that sleep: for schedules and for retries nothing comes twice, or much later."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Notes, failing
from schedule_stage import DAY, HOUR, Due, Ticked, a_bus, at, seconds_of, ticking

from eventbus import EventBus, Retry, RetryLater
from eventbus.clock import Bell, ClockWatch, SystemClock, elapsed, waits_until
from eventbus.retry import fixed
from eventbus.testing import START, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def pass_time(bus: EventBus, clock: FakeClock, seconds: float, step: float = 1.0) -> None:
    """Let time pass as a pump sees it that looks now and then."""
    for _ in range(round(seconds / step)):
        clock.advance(step)
        bus.drain()


# --- what is told of the clock ----------------------------------------------------------------------------


def test_a_clock_that_was_set_is_told_from_one_that_only_went_on(clock: FakeClock) -> None:
    watch = ClockWatch(clock)
    clock.advance(10 * HOUR)
    assert watch.moved() == 0.0
    clock.suspend(8 * HOUR)
    assert watch.moved() == 0.0
    clock.jump(-HOUR)
    assert watch.moved() == pytest.approx(-HOUR)
    assert watch.moved() == 0.0
    clock.jump(2 * HOUR)
    assert watch.moved() == pytest.approx(2 * HOUR)
    clock.jump(0.5)
    assert watch.moved() == 0.0


def test_the_machines_own_clocks_agree() -> None:
    clock = SystemClock()
    assert ClockWatch(clock).moved() == 0.0
    assert elapsed(clock) >= 0.0


def test_a_clock_of_the_apps_own_need_not_tell_of_sleep() -> None:
    class Own:
        def time(self) -> float:
            return START

        def monotonic(self) -> float:
            return 5.0

        def new_id(self) -> str:
            return ""

        def jitter(self, upper: float) -> float:
            return 0.0

        def wait(self, bell: Bell, timeout: float | None) -> bool:
            return bell.wait(timeout)

    assert elapsed(Own()) == 5.0
    assert ClockWatch(Own()).moved() == 0.0


@pytest.mark.parametrize(
    ("due", "since", "now", "expected"),
    [(110, 100, 105, 110), (110, 100, 500, 110), (110, 100, 99, 110), (3710, 3700, 100, 110), (3700, 3700, 100, 100)],
)
def test_a_wait_gets_no_longer_by_a_clock_that_was_set_back(
    due: float, since: float, now: float, expected: float
) -> None:
    assert waits_until(due, since, now) == expected


def test_setting_the_simulated_clock_lets_no_time_pass() -> None:
    clock, told = FakeClock(), []
    clock.on_advance(lambda: told.append(clock.time()))
    clock.jump(-HOUR)
    assert (clock.time(), clock.monotonic(), clock.elapsed()) == (START - HOUR, 0.0, 0.0)
    clock.suspend(HOUR)
    assert (clock.time(), clock.monotonic(), clock.elapsed()) == (START, 0.0, HOUR)
    assert told == []
    for bad in (float("nan"), float("-inf"), -START - 2 * HOUR):
        with pytest.raises(ValueError, match="clock is set"):
            clock.jump(bad)
    with pytest.raises(ValueError, match="sleeps"):
        clock.suspend(-1)


# --- schedules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("catch_up", ["all", "latest"])
def test_a_clock_that_is_put_forward_makes_what_is_due_come_once(clock: FakeClock, catch_up: Any) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=1, name="interval", catch_up=catch_up)
        bus.publish_every(ticking, cron={"second": "*"}, timezone="UTC", name="cron", catch_up=catch_up)
        pass_time(bus, clock, 5)
        before = bus.log.head
        clock.jump(HOUR)
        bus.drain()
        assert bus.log.head == before + 2
        pass_time(bus, clock, 5)
        assert bus.log.head == before + 2 + 10


def test_a_clock_that_is_put_forward_brings_no_backlog_to_those_who_skip(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, cron="30 * * * *", timezone="UTC", catch_up="skip")
        pass_time(bus, clock, HOUR, 60)
        clock.jump(HOUR)
        bus.drain()
        assert seconds_of(bus) == [HOUR / 2]


def test_a_backlog_from_downtime_is_not_cut_short_by_a_clock_that_is_put_forward(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
    clock.advance(180)
    with a_bus(path, clock) as bus:
        bus.drain()
        clock.jump(HOUR)
        bus.drain()
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
        assert seconds_of(bus) == [60, 120, 180, 180 + HOUR]


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("all", [60, 120, 180, 240, 300]), ("latest", [60, 300]), ("skip", [60, 300])]
)
def test_sleep_is_downtime(clock: FakeClock, catch_up: Any, expected: list[float]) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=60, catch_up=catch_up)
        bus.drain()
        pass_time(bus, clock, 60)
        clock.suspend(250)
        bus.drain()
        assert seconds_of(bus) == expected


def test_an_interval_goes_on_after_a_clock_was_put_back(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=60, name="tick")
        bus.drain()
        pass_time(bus, clock, 150)
        assert seconds_of(bus) == [60, 120]
        clock.jump(-HOUR)
        pass_time(bus, clock, 300)
        assert len(seconds_of(bus)) == 2 + 4
        ids = [envelope.id for envelope in bus.log.read()]
        assert len(set(ids)) == len(ids)


def test_a_cron_run_does_not_come_twice_because_the_clock_was_put_back(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, cron="0 * * * *", timezone="UTC")
        bus.drain()
        pass_time(bus, clock, 1.5 * HOUR, 60)
        assert seconds_of(bus) == [HOUR]
        clock.jump(-HOUR)
        pass_time(bus, clock, 2 * HOUR, 60)
        assert seconds_of(bus) == [HOUR, 2 * HOUR]


def test_a_cron_schedule_is_not_lost_to_a_clock_that_was_years_ahead(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        clock.jump(4 * 366 * DAY)
        bus.publish_every(ticking, cron="0 * * * *", timezone="UTC", name="hourly")
        bus.drain()
        pass_time(bus, clock, HOUR, 600)
        clock.jump(-4 * 366 * DAY)
        bus.drain()
        assert bus.schedules["hourly"].next_run == at(2026, 1, 1, 2)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, cron="0 * * * *", timezone="UTC", name="hourly")
        pass_time(bus, clock, HOUR, 600)
        assert seconds_of(bus)[1:] == [2 * HOUR]


def test_the_same_after_a_restart(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick")
        bus.publish_every(ticking, cron="0 * * * *", timezone="UTC", name="hourly")
        bus.drain()
        pass_time(bus, clock, HOUR + 30, 30)
    clock.jump(-HOUR)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick")
        bus.publish_every(ticking, cron="0 * * * *", timezone="UTC", name="hourly")
        pass_time(bus, clock, 59)
        before = len(seconds_of(bus))
        pass_time(bus, clock, 2)
        assert len(seconds_of(bus)) == before + 1
        assert bus.schedules["hourly"].next_run == at(2026, 1, 1, 2)


def test_an_event_in_so_many_seconds_waits_no_longer_and_one_at_a_time_waits_for_the_time(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_at(Ticked(1.0), 10)
        bus.publish_at(Ticked(2.0), at(2026, 1, 1, 0, 0, 10))
        bus.drain()
        clock.jump(-HOUR)
        pass_time(bus, clock, 12)
        assert seconds_of(bus) == [1.0]
        pass_time(bus, clock, HOUR, 60)
        assert seconds_of(bus) == [1.0, 2.0]


def test_a_factory_that_failed_is_not_left_alone_for_longer(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        calls: list[datetime] = []

        def fails_once(run: datetime) -> Ticked:
            calls.append(run)
            if len(calls) == 1:
                raise OSError("no")
            return ticking(run)

        bus.publish_every(fails_once, every=60)
        bus.drain()
        pass_time(bus, clock, 60)
        clock.jump(-HOUR)
        pass_time(bus, clock, 4)
        assert seconds_of(bus) == [60]


def test_who_was_there_before_a_clock_was_put_back_was_there_after_it_too(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=60, catch_up="skip")
        bus.drain()
        clock.jump(-HOUR)
        pass_time(bus, clock, 61)
        assert len(seconds_of(bus)) == 1


# --- retries ----------------------------------------------------------------------------------------------


def test_a_retry_waits_no_longer_because_the_clock_was_put_back(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        handler = failing()
        bus.subscribe("stock", Due, handler=handler, retry=Retry(attempts=None, backoff=fixed(10)))
        bus.publish(Due("o-1"))
        bus.drain()
        clock.jump(-HOUR)
        pass_time(bus, clock, 9)
        assert handler.attempts == [1]
        pass_time(bus, clock, 3)
        assert handler.attempts == [1, 2]
        pass_time(bus, clock, 10)
        assert handler.attempts == [1, 2, 3]


def test_a_later_retry_counts_from_its_own_failure(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        handler = failing()
        bus.subscribe("stock", Due, handler=handler, retry=Retry(attempts=None, backoff=fixed(100)))
        bus.publish(Due("o-1"))
        bus.drain()
        pass_time(bus, clock, 1000, 100)
        tried = len(handler.attempts)
        clock.jump(-HOUR)
        pass_time(bus, clock, 110, 10)
        assert len(handler.attempts) == tried + 1


def test_a_retry_comes_once_when_the_clock_is_put_forward(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        handler = failing()
        bus.subscribe("stock", Due, handler=handler, retry=Retry(attempts=None, backoff=fixed(10)))
        bus.publish(Due("o-1"))
        bus.drain()
        clock.jump(HOUR)
        bus.drain()
        bus.drain()
        assert handler.attempts == [1, 2]
        pass_time(bus, clock, 10)
        assert handler.attempts == [1, 2, 3]


def test_a_machine_that_slept_tries_again_once(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        handler = failing()
        bus.subscribe("stock", Due, handler=handler, retry=Retry(attempts=None, backoff=fixed(10)))
        bus.publish(Due("o-1"))
        bus.drain()
        clock.suspend(5 * HOUR)
        bus.drain()
        bus.drain()
        assert handler.attempts == [1, 2]


def test_a_retry_waits_no_longer_after_a_restart_either(path: Path, clock: FakeClock) -> None:
    handler = failing(RetryLater(10))
    for _ in range(2):
        with a_bus(path, clock) as bus:
            bus.subscribe("stock", Due, handler=handler, after=0)
            if not bus.log.head:
                bus.publish(Due("o-1"))
            bus.drain()
            clock.jump(-HOUR)
    with a_bus(path, clock) as bus:
        bus.subscribe("stock", Due, handler=handler, after=0)
        pass_time(bus, clock, 11)
    assert len(handler.events) == 2


def test_a_started_bus_sees_within_a_second_that_its_clock_was_put_back(path: Path) -> None:
    import threading

    clock, tried = FakeClock(), threading.Semaphore(0)

    def handler(due: Due) -> None:
        tried.release()
        raise OSError("no")

    with EventBus(path, clock=clock) as bus:
        bus.subscribe("stock", Due, handler=handler, retry=Retry(attempts=None, backoff=fixed(10)))
        bus.publish(Due("o-1"))
        assert tried.acquire(timeout=60)
        bus.drain()
        clock.jump(-HOUR)
        for _ in range(1000):
            clock.advance(1)
            if tried.acquire(timeout=0.02):
                break
        else:
            pytest.fail("it waits for the hour to pass again")


# --- order ------------------------------------------------------------------------------------------------


def test_no_order_comes_from_the_times_of_events(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        handled = Notes()
        bus.subscribe("stock", Due, handler=handled)
        for number in range(6):
            bus.publish(Due("o-1", number))
            clock.jump(-HOUR if number % 2 else HOUR / 2)
        bus.drain()
        envelopes = list(bus.log.read())
        times = [envelope.time for envelope in envelopes]
        assert times != sorted(times)
        assert [envelope.event.amount for envelope in envelopes] == list(range(6))
        assert [envelope.sequence for envelope in envelopes] == [1, 2, 3, 4, 5, 6]
        assert [due.amount for due in handled.events] == list(range(6))
        backward = [envelope.position for envelope in bus.log.read(backward=True)]
        assert backward == [6, 5, 4, 3, 2, 1]
        late = [envelope.position for envelope in bus.log.read(since=min(times))]
        assert late == [1, 2, 3, 4, 5, 6]


def test_what_was_held_comes_in_the_order_of_the_log_though_time_went_back(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        once: list[bool] = []

        def fail(due: Due, ctx: Any) -> BaseException | None:
            if not once:
                once.append(True)
                return OSError("no")
            return None

        handled = Notes(fail)
        bus.subscribe("stock", Due, handler=handled, retry=Retry(backoff=fixed(10)))
        for number in range(5):
            bus.publish(Due("o-1", number))
            bus.drain()
            clock.jump(-60)
        pass_time(bus, clock, 15)
        assert [due.amount for due in handled.events] == [0, 0, 1, 2, 3, 4]
