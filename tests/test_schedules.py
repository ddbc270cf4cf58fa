"""Events that are published later: kept in the file, listed, cancelled, published once; and how a bus runs them."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bus_stage import run as run_async
from delivery_stage import Notes
from schedule_stage import DAY, HOUR, Due, Ticked, a_bus, at, seconds_of, ticking

from eventbus import EventBus, EventBusError, EventDefinitionError, IdempotencyConflict, InvalidEvent, event
from eventbus.errors import BusClosed, WouldDeadlock
from eventbus.schedules.planning import AT_ONCE
from eventbus.technical import ScheduleChanged, ScheduledRunMissed
from eventbus.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


# --- one event --------------------------------------------------------------------------------------------


def test_an_event_is_published_at_its_time_and_not_before(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        schedule = bus.publish_at(Due("o-1"), at(2026, 1, 1, 0, 1))
        clock.advance(59)
        bus.drain()
        assert bus.log.head == 0
        clock.advance(1)
        bus.drain()
        (envelope,) = bus.log.read()
        assert (envelope.id, envelope.event) == (schedule.name, Due("o-1"))
        assert (envelope.stream, envelope.sequence, envelope.source) == ("order-o-1", 1, bus.source)
        clock.advance(DAY)
        bus.drain()
        assert bus.log.head == 1


@pytest.mark.parametrize("when", [60, 60.0, timedelta(minutes=1)])
def test_a_number_of_seconds_counts_from_now(clock: FakeClock, when: Any) -> None:
    with a_bus(clock=clock) as bus:
        assert bus.publish_at(Ticked(), when).next_run == at(2026, 1, 1, 0, 1)


def test_a_time_that_has_passed_is_now(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_at(Ticked(), at(2020, 1, 1))
        bus.drain()
        assert bus.log.head == 1


def test_all_that_was_given_is_in_the_envelope(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_at(
            Ticked(), 5, stream="clock", id="tick-1", metadata={"who": "ann"}, correlation_id="c", causation_id="b"
        )
        clock.advance(5)
        bus.drain()
        (envelope,) = bus.log.read()
        assert (envelope.id, envelope.stream, envelope.metadata) == ("tick-1", "clock", {"who": "ann"})
        assert (envelope.correlation_id, envelope.causation_id) == ("c", "b")


def test_what_a_handler_schedules_is_caused_by_what_it_handles(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.subscribe("remind", Due, handler=lambda due: bus.publish_at(Ticked(), 5))
        cause = bus.publish(Due("o-1"))
        bus.drain()
        clock.advance(5)
        bus.drain()
        found = bus.log.get(2)
        assert found is not None
        assert found.causation_id == cause.id


def test_events_of_one_time_are_published_in_the_order_in_which_they_were_scheduled(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        for amount in range(2 * AT_ONCE + 5):
            bus.publish_at(Due("o-1", amount), at(2026, 1, 1, 1))
        clock.advance(HOUR)
        bus.drain()
        assert [envelope.event.amount for envelope in bus.log.read()] == list(range(2 * AT_ONCE + 5))


def test_live_handlers_hear_of_it_and_so_do_subscriptions(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        live, durable = Notes(), Notes()
        bus.on(Ticked, handler=live)
        bus.subscribe("ticks", Ticked, handler=durable)
        bus.publish_at(Ticked(1.0), 5)
        clock.advance(5)
        assert bus.drain() == 1
        assert live.events == durable.events == [Ticked(1.0)]


def test_it_survives_a_restart_and_needs_no_class_when_it_is_due(path: Path, clock: FakeClock) -> None:
    def with_a_class_of_its_own() -> None:
        @event(name="time.Gone")
        class Gone:
            number: int

        with a_bus(path, clock) as bus:
            bus.publish_at(Gone(7), 60, id="gone-1")

    with_a_class_of_its_own()
    gc.collect()
    clock.advance(60)
    with a_bus(path, clock) as bus:
        bus.on("*", handler=(heard := Notes()))
        with bus.recorded() as seen:
            bus.drain()
        found = bus.log.get("gone-1")
        assert found is not None
        assert (found.type, found.payload) == ("time.Gone", '{"number":7}')
        assert heard.events == seen == []


def test_the_same_id_again_schedules_nothing_and_other_content_is_refused(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        first = bus.publish_at(Ticked(1.0), 60, id="tick-1")
        assert bus.publish_at(Ticked(1.0), 90, id="tick-1") == first
        with pytest.raises(EventBusError, match="scheduled already"):
            bus.publish_at(Ticked(2.0), 60, id="tick-1")
        clock.advance(60)
        bus.drain()
        assert bus.publish_at(Ticked(1.0), 60, id="tick-1").state == "published"
        with pytest.raises(IdempotencyConflict):
            bus.publish_at(Ticked(2.0), 60, id="tick-1")
        assert list(bus.schedules) == []


def test_an_event_whose_id_was_taken_meanwhile_fails_visibly_and_keeps_nobody_waiting(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_at(Ticked(1.0), 60, id="tick-1")
        bus.publish_at(Ticked(3.0), 60, id="tick-3")
        bus.publish(Ticked(2.0), id="tick-1")
        clock.advance(60)
        bus.drain()
        assert bus.log.get("tick-3") is not None
        assert bus.schedules["tick-1"].state == "failed"
        assert "IdempotencyConflict" in (bus.schedules["tick-1"].error or "")
        (missed,) = bus.log.read(types=ScheduledRunMissed)
        assert missed.event.schedule == "tick-1"


@pytest.mark.parametrize(
    "when", [datetime(2026, 1, 1), -1, float("nan"), float("inf"), "tomorrow", None, True, timedelta(seconds=-1), 1e12]
)
def test_what_is_no_time_is_refused_at_the_door(when: Any) -> None:
    with a_bus() as bus, pytest.raises(EventBusError, match=r"time zone|when="):
        bus.publish_at(Ticked(), when)


def test_what_cannot_be_published_cannot_be_scheduled() -> None:
    with a_bus() as bus:
        with pytest.raises(InvalidEvent):
            bus.publish_at(Ticked(float("nan")), 5)
        with pytest.raises(EventDefinitionError, match="not an event"):
            bus.publish_at(object(), 5)
        with pytest.raises(EventDefinitionError, match="catch_up="):
            bus.publish_at(Ticked(), 5, catch_up="some")  # type: ignore[arg-type]
        assert list(bus.schedules) == []


def test_inside_a_transaction_it_says_so_instead_of_waiting() -> None:
    with a_bus() as bus, bus.transaction(), pytest.raises(WouldDeadlock, match="publish_at"):
        bus.publish_at(Ticked(), 5)


def test_a_closed_bus_schedules_nothing() -> None:
    bus = a_bus()
    bus.close()
    with pytest.raises(BusClosed):
        bus.publish_at(Ticked(), 5)
    with pytest.raises(BusClosed):
        bus.publish_every(ticking, every=60)


def test_a_replayed_handler_schedules_nothing(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.subscribe("remind", Due, handler=lambda due: bus.publish_at(Ticked(5.0), 5))
        bus.publish(Due("o-1"))
        (replayed,) = bus.subscriptions["remind"].replay(bus.log.read())
        assert replayed.published == [Ticked(5.0)]
        assert list(bus.schedules) == []


# --- by name ----------------------------------------------------------------------------------------------


def test_schedules_are_listed_by_their_time(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, cron="0 7 * * *", timezone="Europe/Berlin", name="daily", catch_up="skip")
        one = bus.publish_at(Due("o-1", 5), HOUR)
        bus.publish_every(ticking, every=60, name="tick")
        assert [each.name for each in bus.schedules.list()] == ["tick", one.name, "daily"]
        assert [each.name for each in bus.schedules.list(limit=1)] == ["tick"]
        daily = bus.schedules["daily"]
        assert (daily.kind, daily.when, daily.timezone, daily.catch_up) == (
            "cron",
            "0 7 * * *",
            "Europe/Berlin",
            "skip",
        )
        assert (daily.next_run, daily.last_run, daily.event_id) == (at(2026, 1, 1, 6), None, None)
        event = bus.schedules[one]
        assert (event.type, event.stream, event.payload) == ("time.Due", "order-o-1", {"order_id": "o-1", "amount": 5})
        assert event.event_id == one.name
        assert "tick" in bus.schedules
        assert bus.schedules.get("nobody") is None
        with pytest.raises(KeyError):
            bus.schedules["nobody"]


def test_a_cancelled_event_is_never_published_and_who_cancelled_it_is_recorded(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        schedule = bus.publish_at(Ticked(), 60)
        bus.schedules.cancel(schedule, reason="paid", who="ann")
        clock.advance(HOUR)
        bus.drain()
        assert seconds_of(bus) == []
        (changed,) = bus.log.read(types=ScheduleChanged)
        assert changed.event == ScheduleChanged(schedule.name, "cancelled", "ann", "paid")
        with pytest.raises(EventBusError, match="no schedule"):
            bus.schedules.cancel(schedule)


def test_what_is_cancelled_stays_so_until_it_is_resumed(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.schedules.cancel("tick")
    clock.advance(100)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
        clock.advance(100)
        bus.drain()
        assert (bus.schedules["tick"].state, bus.schedules["tick"].next_run) == ("cancelled", None)
        bus.schedules.resume("tick")
        clock.advance(60)
        bus.drain()
        assert seconds_of(bus) == [260]


def test_what_is_forgotten_begins_anew(path: Path, clock: FakeClock) -> None:
    for expected in ([60], [60, 160]):
        with a_bus(path, clock) as bus:
            bus.publish_every(ticking, every=60, name="tick")
            bus.drain()
            clock.advance(60)
            bus.drain()
            assert seconds_of(bus) == expected
            bus.schedules.forget("tick")
            clock.advance(40)
            bus.drain()
            assert seconds_of(bus) == expected


def test_a_single_event_cannot_be_resumed() -> None:
    with a_bus() as bus, pytest.raises(EventBusError, match="single event"):
        bus.schedules.resume(bus.publish_at(Ticked(), 60))


# --- running ----------------------------------------------------------------------------------------------


def test_a_started_bus_publishes_when_the_time_has_come(path: Path) -> None:
    clock = FakeClock()
    with EventBus(path, clock=clock) as bus:
        heard = Heard(2)
        bus.on(Ticked, handler=heard)
        bus.publish_every(ticking, every=60, name="tick")
        bus.publish_at(Ticked(1.0), 60)
        bus.drain()
        clock.advance(60)
        assert sorted(event.at for event in heard.all()) == [1.0, 60.0]


class Heard:
    """A live handler; `all` waits until it was called so often."""

    def __init__(self, count: int) -> None:
        self._events: list[Any] = []
        self._enough, self._count = threading.Event(), count

    def __call__(self, event: Any) -> None:
        self._events.append(event)
        if len(self._events) >= self._count:
            self._enough.set()

    def all(self) -> list[Any]:
        assert self._enough.wait(60)
        return self._events


def test_an_async_bus_schedules_and_publishes(path: Path) -> None:
    clock = FakeClock()

    async def main() -> list[float]:
        async with EventBus(path, clock=clock) as bus:
            heard = asyncio.Queue[Ticked]()

            @bus.on(Ticked)
            async def note(ticked: Ticked) -> None:
                await heard.put(ticked)

            bus.publish_every(ticking, every=60, name="tick")
            await bus.publish_at_async(Ticked(1.0), 60)
            await bus.drain_async()
            clock.advance(60)
            return sorted([(await heard.get()).at, (await heard.get()).at])

    assert run_async(main()) == [1.0, 60.0]


def test_a_bus_that_delivers_nothing_publishes_nothing(path: Path, clock: FakeClock) -> None:
    with EventBus(path, clock=clock, delivery="manual") as bus:
        bus.publish_at(Ticked(), 5)
        clock.advance(60)
        assert bus.log.head == 0


def test_closing_while_a_factory_runs_waits_for_nothing_and_loses_nothing(path: Path) -> None:
    clock, begun, go_on = FakeClock(), threading.Event(), threading.Event()

    def slow(run: datetime) -> Ticked:
        begun.set()
        go_on.wait(60)
        return ticking(run)

    with EventBus(path, clock=clock) as bus:
        bus.publish_every(slow, every=60, name="tick")
        bus.drain()
        clock.advance(60)
        assert begun.wait(60)
    go_on.set()
    with a_bus(path, clock) as bus:
        bus.publish_every(slow, every=60, name="tick")
        bus.drain()
        assert seconds_of(bus) == [60]


def test_a_factory_that_hangs_keeps_no_other_schedule_from_its_time(path: Path) -> None:
    clock, go_on = FakeClock(), threading.Event()
    with EventBus(path, clock=clock) as bus:
        heard = Heard(1)
        bus.on(Ticked, handler=heard)
        bus.publish_every(lambda: go_on.wait(60) and None, every=60, name="hangs")
        bus.publish_every(ticking, every=60, name="tick")
        bus.schedules.list()
        clock.advance(60)
        assert heard.all() == [Ticked(60.0)]
        go_on.set()


def test_times_are_stored_in_utc() -> None:
    with a_bus() as bus:
        schedule = bus.publish_at(Ticked(), datetime.fromisoformat("2026-07-01T12:00:00+02:00"))
        assert schedule.next_run == at(2026, 7, 1, 10)
        assert schedule.next_run.tzinfo is UTC
