"""What recurs: declared, made by factories, caught up with, and gone on with after failures."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Notes
from schedule_stage import DAY, HOUR, Due, Ticked, Ticks, a_bus, seconds_of, ticking

from eventbus import EventDefinitionError, Handlers
from eventbus.schedules.planning import AT_ONCE
from eventbus.technical import ScheduleCaughtUp, ScheduledRunMissed, ScheduleRetrying
from eventbus.testing import START, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


# --- again and again --------------------------------------------------------------------------------------


def test_an_interval_begins_with_its_first_declaration(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=60)
        bus.drain()
        for _ in range(4):
            clock.advance(30)
            bus.drain()
        assert seconds_of(bus) == [60, 120]


def test_cron_goes_by_the_clocks_of_its_zone(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        runs: list[datetime] = []

        @bus.publish_every(cron="30 7 * * *", timezone="Europe/Berlin")
        def daily(run: datetime) -> Ticked:
            runs.append(run)
            return ticking(run)

        for _ in range(48):
            clock.advance(HOUR)
            bus.drain()
        assert [str(run) for run in runs] == ["2026-01-01 07:30:00+01:00", "2026-01-02 07:30:00+01:00"]
        assert daily(runs[0]) == Ticked(6.5 * HOUR)


def test_a_factory_takes_nothing_or_the_time_and_returns_an_event_several_or_none(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(lambda: Ticked(), every=60, name="one")
        bus.publish_every(lambda: [Due("a"), Due("a"), Ticked(1)], every=60, name="several")
        bus.publish_every(lambda: None, every=60, name="none")
        bus.publish_every(lambda run=5: (Ticked(run),), every=60, name="with a default")
        bus.drain()
        clock.advance(60)
        bus.drain()
        assert sorted(envelope.type for envelope in bus.log.read()) == ["time.Due"] * 2 + ["time.Ticked"] * 3
        assert bus.schedules["none"].runs == 1
        clock.advance(60)
        bus.drain()
        assert bus.log.head == 10


def test_its_name_is_that_of_the_function_unless_it_is_given() -> None:
    with a_bus() as bus:
        bus.publish_every(ticking, every=60)
        assert [each.name for each in bus.schedules] == ["schedule_stage:ticking"]
        with pytest.raises(EventDefinitionError, match="name="):
            bus.publish_every(lambda: Ticked(), every=60)


async def coroutine() -> Ticked:
    return Ticked()


def generator() -> Any:
    yield Ticked()


@pytest.mark.parametrize(
    ("factory", "how"),
    [
        (ticking, {}),
        (ticking, {"every": 60, "cron": "* * * * *"}),
        (ticking, {"every": 0}),
        (ticking, {"cron": "tomorrow"}),
        (ticking, {"every": 60, "timezone": "UTC"}),
        (ticking, {"cron": "* * * * *", "timezone": "Europe/Atlantis"}),
        (ticking, {"every": 60, "catch_up": "some"}),
        (ticking, {"every": 60, "name": " a"}),
        (ticking, {"every": 60, "name": 5}),
        (lambda a, b: Ticked(), {"every": 60, "name": "two"}),
        (coroutine, {"every": 60}),
        (generator, {"every": 60}),
        (Ticked(), {"every": 60}),
    ],
)
def test_what_cannot_recur_is_refused_at_the_door(factory: Any, how: dict[str, Any]) -> None:
    with a_bus() as bus:
        with pytest.raises(EventDefinitionError):
            bus.publish_every(factory, **how)
        assert list(bus.schedules) == []


def test_the_same_function_again_replaces_and_another_one_is_refused(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=60, name="tick")
        bus.publish_every(ticking, every=30, name="tick")
        with pytest.raises(EventDefinitionError, match="declared twice"):
            bus.publish_every(lambda: Ticked(), every=60, name="tick")
        bus.drain()
        clock.advance(30)
        bus.drain()
        assert seconds_of(bus) == [30]


def test_a_name_that_is_the_id_of_an_event_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with a_bus() as bus:
        bus.publish_at(Ticked(), 5, id="tick")
        bus.publish_every(ticking, every=60, name="tick")
        bus.drain()
        assert bus.schedules["tick"].kind == "in"
        assert "no schedule can have that name" in caplog.text


def test_it_can_be_declared_before_there_is_a_bus_and_taken_out_again(path: Path, clock: FakeClock) -> None:
    handlers = Handlers()
    handlers.publish_every(ticking, every=60, name="tick")
    with a_bus(path, clock) as bus:
        registration = bus.include(handlers)
        bus.drain()
        clock.advance(60)
        bus.drain()
        registration.close()
        clock.advance(60)
        bus.drain()
        assert seconds_of(bus) == [60]
        assert bus.schedules["tick"].state == "orphan"


class Plugin:
    """A plugin as a module is one."""

    __name__ = "clockwork"

    @staticmethod
    def eventbus_subscribe(handlers: Handlers) -> None:
        handlers.publish_every(ticking, every=60, name="tick")


def test_a_plugin_declares_under_its_own_name(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        (loaded,) = bus.load_plugins(Plugin)
        assert loaded.error is None
        assert [each.name for each in bus.schedules] == [f"{loaded.name}/tick"]
        bus.unload_plugin(loaded.name)
        assert [each.state for each in bus.schedules] == ["orphan"]


def test_two_buses_on_one_file_publish_each_run_once(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as one, a_bus(path, clock) as two:
        one.publish_every(ticking, every=60)
        two.publish_every(ticking, every=60)
        one.drain()
        clock.advance(60)
        one.drain()
        two.drain()
        assert seconds_of(one) == [60]
        one.close()
        clock.advance(60)
        two.drain()
        assert seconds_of(two) == [60, 120]


# --- what was missed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "expected", "missed"),
    [("all", [60, 120, 180, 240, 300], 0), ("latest", [60, 300], 3), ("skip", [60], 4)],
)
def test_runs_missed_while_nobody_was_there(
    path: Path, clock: FakeClock, catch_up: Any, expected: list[float], missed: int
) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up=catch_up)
        bus.drain()
        clock.advance(60)
        bus.drain()
    clock.advance(4 * 60 + 10)
    with a_bus(path, clock) as bus:
        bus.on(ScheduleCaughtUp, handler=(told := Notes()))
        bus.publish_every(ticking, every=60, name="tick", catch_up=catch_up)
        bus.drain()
        assert seconds_of(bus) == expected
        assert bus.schedules["tick"].missed == missed
        assert sum(each.missed for each in told.events) == missed
        clock.advance(50)
        bus.drain()
        assert seconds_of(bus) == [*expected, 360]


def test_a_run_that_is_a_little_late_though_somebody_was_there_is_not_missed(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(ticking, every=600, catch_up="skip")
        bus.drain()
        clock.advance(630)
        bus.drain()
        assert seconds_of(bus) == [600]
        clock.advance(3000)
        bus.drain()
        assert seconds_of(bus) == [600, 3600]
        clock.advance(600 + 61)
        bus.drain()
        assert seconds_of(bus) == [600, 3600]


def test_a_backlog_is_published_in_pages_and_others_have_their_turn(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=1, name="tick", catch_up="all")
        bus.drain()
    clock.advance(3 * AT_ONCE)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=1, name="tick", catch_up="all")
        bus.publish_at(Due("o-1"), 0)
        bus.drain()
        assert seconds_of(bus) == [float(n) for n in range(1, 3 * AT_ONCE + 1)]
        (due,) = bus.log.read(types=Due)
        assert due.position <= AT_ONCE + 1


def test_years_of_seconds_are_passed_over_at_once(path: Path, clock: FakeClock) -> None:
    for _ in range(2):
        with a_bus(path, clock) as bus:
            bus.publish_every(ticking, every=1, name="tick")
            bus.publish_every(ticking, cron="* * * * *", timezone="UTC", name="cron")
            bus.drain()
            clock.advance(3 * 366 * DAY)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=1, name="tick")
        bus.publish_every(ticking, cron="* * * * *", timezone="UTC", name="cron")
        bus.drain()
        assert bus.log.head == 4
        assert bus.schedules["tick"].missed == 2 * 3 * 366 * DAY - 2


def test_a_single_event_is_published_late_or_where_it_is_asked_for_not_at_all(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_at(Ticked(1.0), 60)
        bus.publish_at(Ticked(2.0), 60, catch_up="skip", id="tick-2")
    clock.advance(HOUR)
    with a_bus(path, clock) as bus:
        bus.drain()
        assert seconds_of(bus) == [1.0]
        (missed,) = bus.log.read(types=ScheduledRunMissed)
        assert (missed.event.schedule, missed.event.run) == ("tick-2", START + 60)
        assert list(bus.schedules) == []


def test_an_orphan_waits_for_its_factory_and_then_catches_up(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
    clock.advance(120)
    with a_bus(path, clock) as bus:
        bus.drain()
        assert (bus.schedules["tick"].state, bus.log.head) == ("orphan", 0)
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
        assert (bus.schedules["tick"].state, seconds_of(bus)) == ("active", [60, 120])


@pytest.mark.parametrize("changed", [{"every": 90}, {"cron": "*/2 * * * *", "timezone": "UTC"}])
def test_another_interval_or_expression_counts_from_now(path: Path, clock: FakeClock, changed: dict[str, Any]) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
    clock.advance(150)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, **changed, name="tick", catch_up="all")
        bus.drain()
        assert seconds_of(bus) == []
        clock.advance(90)
        bus.drain()
        assert seconds_of(bus) == [240]


def test_declaring_the_same_again_changes_nothing(path: Path, clock: FakeClock) -> None:
    for _ in range(5):
        with a_bus(path, clock) as bus:
            bus.publish_every(ticking, every=60, name="tick")
            bus.drain()
            clock.advance(25)
    with a_bus(path, clock) as bus:
        assert seconds_of(bus) == [60]


# --- factories that fail ----------------------------------------------------------------------------------


def test_a_factory_that_fails_is_called_again_after_a_while(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        bus.on(ScheduleRetrying, handler=(told := Notes()))
        factory = Ticks(lambda calls: OSError("no network") if calls < 3 else None)
        bus.publish_every(factory, every=60, name="tick")
        bus.drain()
        clock.advance(60)
        bus.drain()
        schedule = bus.schedules["tick"]
        assert (schedule.state, schedule.attempts, schedule.error) == ("retrying", 1, "OSError: no network")
        assert schedule.due is not None
        assert schedule.next_run is not None
        assert schedule.due > schedule.next_run
        bus.drain()
        assert factory.calls == 1
        for _ in range(20):
            clock.advance(1)
            bus.drain()
        assert (seconds_of(bus), factory.calls) == ([60], 3)
        assert (bus.schedules["tick"].state, bus.schedules["tick"].error) == ("active", None)
        assert [each.attempt for each in told.events] == [1, 2]


@pytest.mark.parametrize(
    "result",
    [5, "tick", object(), Ticked, [Ticked(), 5], {Ticked()}, Ticked(float("nan"))],
    ids=["number", "text", "object", "class", "list", "set", "unstorable"],
)
def test_what_is_no_event_is_a_failure_of_the_factory(clock: FakeClock, result: Any) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(lambda: result, every=60, name="tick")
        bus.drain()
        clock.advance(60)
        bus.drain()
        assert bus.log.head == 0
        assert bus.schedules["tick"].state == "retrying"


def test_a_run_whose_factory_fails_again_and_again_is_recorded_as_missed(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:
        factory = Ticks(lambda calls: SystemExit(3) if calls <= 5 else None)
        bus.publish_every(factory, every=600, name="tick")
        bus.publish_every(ticking, every=60, name="other")
        bus.drain()
        for _ in range(20):
            clock.advance(60)
            bus.drain()
        (missed,) = bus.log.read(types=ScheduledRunMissed)
        assert (missed.event.schedule, missed.event.run, missed.event.attempts) == ("tick", START + 600, 5)
        assert missed.event.error == "SystemExit: 3"
        assert seconds_of(bus).count(1200) == 2
        assert len(seconds_of(bus)) == 21
        assert (bus.schedules["tick"].runs, bus.schedules["tick"].missed) == (2, 1)


def test_of_a_backlog_what_was_made_before_a_failure_is_published(path: Path, clock: FakeClock) -> None:
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
    clock.advance(300)
    with a_bus(path, clock) as bus:
        factory = Ticks(lambda calls: OSError("third") if calls == 3 else None)
        bus.publish_every(factory, every=60, name="tick", catch_up="all")
        bus.drain()
        assert seconds_of(bus) == [60, 120]
        clock.advance(5)
        bus.drain()
        assert seconds_of(bus) == [60, 120, 180, 240, 300]


def test_a_factory_may_publish_but_not_wait_for_delivery(clock: FakeClock) -> None:
    with a_bus(clock=clock) as bus:

        def drains() -> None:
            bus.publish(Ticked(1.0))
            bus.drain()

        bus.publish_every(drains, every=60, name="drains")
        bus.drain()
        clock.advance(60)
        bus.drain()
        assert seconds_of(bus) == [1.0]
        assert "WouldDeadlock" in (bus.schedules["drains"].error or "")
