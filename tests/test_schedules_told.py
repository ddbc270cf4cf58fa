"""What is logged about schedules, for whoever reads the app's log."""

from __future__ import annotations

import pytest
from schedule_stage import Ticks, a_bus

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
