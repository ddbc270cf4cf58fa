"""`eventbus schedules`: what it lists, and what it cancels."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cli_stage import contents, run
from schedule_stage import Due, Ticked, ticking

from eventbus import EventBus
from eventbus.technical import ScheduleChanged


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    with EventBus(folder / "app.db", delivery="manual") as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.publish_every(ticking, cron="0 7 1 1 *", timezone="Europe/Berlin", name="yearly", catch_up="skip")
        bus.publish_at(Due("o-1\x1b[31m", 5), timedelta(minutes=10), id="due-1")
        bus.drain()
    return folder / "app.db"


def test_it_lists_what_is_scheduled_the_next_one_first_and_touches_nothing(file: Path) -> None:
    before = contents(file.parent)
    ran = run("schedules", file)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.lines] == ["NAME", "tick", "due-1", "yearly"]
    assert "every 60 s" in ran.lines[1]
    assert "time.Due" in ran.lines[2]
    assert "0 7 1 1 * Europe/Berlin" in ran.lines[3]
    assert contents(file.parent) == before


def test_a_record_has_everything(file: Path) -> None:
    tick, due, yearly = run("schedules", file, "--json").records
    assert (tick["kind"], tick["spec"], tick["catch_up"], tick["declared"]) == ("every", "60", "all", None)
    assert (due["kind"], due["type"], due["stream"]) == ("in", "time.Due", "order-o-1\x1b[31m")
    assert due["payload"] == {"order_id": "o-1\x1b[31m", "amount": 5}
    assert (yearly["timezone"], yearly["state"], yearly["last_run"]) == ("Europe/Berlin", "active", None)
    assert len(run("schedules", file, "--json", "--limit", "2").records) == 2
    assert "\x1b" not in run("schedules", file).out


def test_with_the_bus_what_it_does_not_declare_is_an_orphan(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "clockwork_app.py"
    module.write_text(
        "from eventbus import EventBus\nfrom schedule_stage import ticking\nbus = EventBus('x.db')\n"
        "bus.publish_every(ticking, every=60, name='tick')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    states = {
        each["name"]: each["state"] for each in run("schedules", file, "--bus", "clockwork_app:bus", "--json").records
    }
    assert states == {"tick": "active", "due-1": "active", "yearly": "orphan"}


def test_it_cancels_and_records_that(file: Path) -> None:
    ran = run("schedules", file, "--cancel", "tick", "--reason", "too many")
    assert (ran.code, ran.out) == (0, "Cancelled tick.\n")
    assert run("schedules", file, "--cancel", "due-1", "--json").records[0]["action"] == "cancelled"
    states = {each["name"]: each["state"] for each in run("schedules", file, "--json").records}
    assert states == {"tick": "cancelled", "yearly": "active"}
    with EventBus(file, delivery="manual") as bus:
        one, two = bus.log.read(types=ScheduleChanged)
        assert (one.event.schedule, one.event.why, one.source) == ("tick", "too many", "eventbus")
        assert two.event.schedule == "due-1"


def test_what_was_cancelled_is_resumed_or_forgotten_and_both_are_recorded(file: Path) -> None:
    for name in ("tick", "yearly"):
        run("schedules", file, "--cancel", name)
    assert run("schedules", file, "--resume", "tick", "--reason", "enough").out == "Resumed tick.\n"
    assert run("schedules", file, "--forget", "yearly", "--json").records == [
        {"name": "yearly", "kind": "cron", "action": "forgotten"}
    ]
    states = {each["name"]: each["state"] for each in run("schedules", file, "--json").records}
    assert states == {"tick": "active", "due-1": "active"}
    with EventBus(file, delivery="manual") as bus:
        changed = [envelope.event for envelope in bus.log.read(types=ScheduleChanged)][2:]
    assert [(each.schedule, each.action, each.why) for each in changed] == [
        ("tick", "resumed", "enough"),
        ("yearly", "forgotten", None),
    ]


def test_a_single_event_is_named_by_how_its_id_begins(file: Path) -> None:
    with EventBus(file, delivery="manual") as bus:
        bus.publish_at(Due("o-2", 5), timedelta(minutes=10), id="due-20")
        bus.publish_at(Due("o-3", 5), timedelta(minutes=10), id="due-21")
    ran = run("schedules", file, "--cancel", "due-2")
    assert (ran.code, "More than one id begins with 'due-2'" in ran.err) == (1, True)
    assert run("schedules", file, "--cancel", "ti").code == 2  # what recurs has a name of its own
    assert run("schedules", file, "--cancel", "due-1").out == "Cancelled due-1.\n"
    assert run("schedules", file, "--forget", "due-20").out == "Forgot due-20.\n"
    assert run("schedules", file, "--cancel", "d").out == "Cancelled due-21.\n"


def test_it_says_what_it_cannot_do(file: Path) -> None:
    assert "--cancel or --forget" in run("schedules", file, "--cancel", "tick", "--forget", "yearly").err
    assert "single event" in run("schedules", file, "--resume", "due-1").err
    assert "no schedule 'nobody'" in run("schedules", file, "--cancel", "nobody").err
    assert "--cancel" in run("schedules", file, "--reason", "why").err


def test_a_list_that_is_cut_says_so(file: Path) -> None:
    assert run("schedules", file, "--limit", "0").out == "There are more than --limit 0.\n"
    assert run("schedules", file, "--limit", "2").lines[-1] == "There are more than --limit 2."
    assert len(run("schedules", file, "--limit", "2", "--json").lines) == 2
    assert "--limit" not in run("schedules", file, "--limit", "3").out


def test_a_log_without_schedules_says_so(tmp_path: Path) -> None:
    with EventBus(tmp_path / "app.db") as bus:
        bus.publish(Ticked())
    assert run("schedules", tmp_path / "app.db").out == "Nothing is scheduled in this log.\n"
    assert run("schedules", tmp_path / "app.db", "--json").out == ""
