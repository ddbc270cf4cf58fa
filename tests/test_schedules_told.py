"""What is logged about schedules, for whoever reads the app's log."""

from __future__ import annotations

from pathlib import Path

import pytest
from schedule_stage import Ticks, a_bus, ticking

from eventbus.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_what_is_logged_of_a_factory_that_fails_moves_no_cursor(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with a_bus(clock=clock) as bus:
        bus.publish_every(Ticks(lambda calls: ValueError("no \x1b[31mdata")), every=60, name="f")
        bus.drain()
        clock.advance(60)
        bus.drain()
    (told,) = [record.message for record in caplog.records if "the factory of f" in record.message]
    assert told == r"the factory of f failed (attempt 1): 'ValueError: no \x1b[31mdata'"


@pytest.mark.parametrize("is_open", [False, True])
def test_a_factory_that_is_declared_twice_with_other_times_is_warned_of(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, is_open: bool
) -> None:
    with a_bus(clock=clock) as bus:
        if is_open:
            assert bus.log.head == 0
        bus.publish_every(ticking, every=60, name="tick")
        bus.publish_every(ticking, every=60, name="tick")
        assert caplog.messages == []
        bus.publish_every(ticking, cron="0 7 * * *", timezone="UTC", name="tick")
        bus.drain()
        assert bus.schedules["tick"].when == "0 7 * * *"
    assert caplog.messages == [
        "the schedule 'tick' is declared twice: before with every=60, catch_up='latest', now with"
        " cron='0 7 * * *', timezone='UTC', catch_up='latest', which counts from now on"
    ]


def test_two_buses_that_declare_one_schedule_with_other_times_are_warned_of(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with a_bus(tmp_path / "log.db", clock) as one, a_bus(tmp_path / "log.db", clock) as other:
        for bus, catch_up in ((one, "latest"), (other, "all")):
            bus.publish_every(ticking, every=60, name="tick", catch_up=catch_up)
            bus.drain()
    (told,) = caplog.messages
    assert "before with every=60, catch_up='latest', now with every=60, catch_up='all'" in told
