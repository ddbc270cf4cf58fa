"""Doctor on what is stuck: subscriptions, dead letters, breakers, schedules, and what comes in from outside."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from cli_stage import run
from clishop_stage import BUS, shop_in
from delivery_stage import ONCE, Counted, failing, standing_still

from eventbus import Breaker, EventBus
from eventbus.doctor import Examination, Finding, examine
from eventbus.testing import FakeClock

HOUR = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def found(examination: Examination) -> dict[str, Finding]:
    """What was found about deliveries and the like."""
    place = ("sqlite-wal-reset", "modes", "folder", "space")
    return {finding.code: finding for finding in examination.findings if finding.code not in place}


def later(bus: EventBus, clock: FakeClock, seconds: float) -> dict[str, Finding]:
    clock.advance(seconds)
    return found(examine(bus.path or "", quick=True, clock=clock))


def test_a_subscription_that_lags_is_worth_a_look_while_the_log_is_open(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Counted, handler=failing())
        bus.publish(Counted(1))
        assert later(bus, clock, 10) == {}
        finding = later(bus, clock, 2 * HOUR)["lag"]
        assert "2 hours ago" in finding.what
    if os.path.exists("/proc/locks"):
        assert finding.severity == "look"
        assert later(bus, clock, 1)["lag"].severity == "note", "nobody runs that could have handled it"


def test_dead_letters_are_worth_a_look_once_they_are_old(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=ONCE)
        bus.publish(Counted(1))
        bus.drain()
        assert later(bus, clock, HOUR)["dead-letters"].severity == "note"
        finding = later(bus, clock, 48 * HOUR)["dead-letters"]
        assert (finding.severity, finding.facts["dead"]) == ("look", 1)


def test_dead_letters_are_worth_a_look_once_they_are_many(path: Path) -> None:
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=ONCE, order_by=None)
        bus.publish_many([Counted(number) for number in range(101)])
        bus.drain()
        assert found(examine(path, quick=True, clock=FakeClock()))["dead-letters"].severity == "look"


def test_what_stands_is_told_with_the_reason(path: Path) -> None:
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=failing(), breaker=Breaker(failures=1, seconds=60, name="supplier"))
        bus.subscribe("mail", Counted, handler=failing())
        bus.start()
        bus.subscriptions["mail"].pause()
        bus.publish(Counted(1))
        bus.drain()
        findings = found(examine(path, quick=True, clock=FakeClock()))
    assert "'mail' is paused" in findings["paused"].what
    assert findings["breaker"].facts["breaker"] == "supplier"


def test_what_was_to_be_published_and_was_not_is_told(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.publish_at(Counted(1), 60)
        bus.connect().execute("INSERT INTO eventbus_outbox (event_type) VALUES ('stock.Counted')").connection.close()
        findings = later(bus, clock, 5)
        assert "overdue" not in findings
        findings = later(bus, clock, HOUR)
    assert findings["overdue"].facts["schedules"] == 1


def test_a_number_that_does_not_come_is_told(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.ingest(Counted(1), source="warehouse", id="1", sequence=1)
        bus.ingest(Counted(3), source="warehouse", id="3", sequence=3)
        assert later(bus, clock, 10)["inbox-gap"].severity == "note"
        finding = later(bus, clock, 2 * HOUR)["inbox-gap"]
    assert (finding.severity, finding.facts["missing"], finding.facts["waiting"]) == ("look", 2, 1)


def test_with_the_app_s_bus_what_nobody_declares_is_an_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop_in(tmp_path, monkeypatch) as app, closing(app.shop_bus()) as bus:
        bus.subscribe("old", app.OrderPlaced, handler=print)
        bus.start()
    ran = run("doctor", tmp_path / "shop.db", "--bus", BUS, "--json", "--quick")
    orphans = [
        finding["facts"]["subscription"] for finding in ran.records[0]["findings"] if finding["code"] == "orphan"
    ]
    assert orphans == ["old"]
