"""Pausing and resuming a subscription: what is recorded, and `eventbus pause` and `eventbus resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_stage import run
from delivery_stage import Counted, Notes, standing_still

from eventbus import EventBus, Projection, Table, Transaction, handles
from eventbus.technical import SubscriptionChanged


class Sums(Projection):
    """Something to be paused."""

    sums = Table("total INTEGER")

    @handles(Counted)
    def counted(self, counted: Counted, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.sums} VALUES (?)", (counted.number,))


def changes(bus: EventBus) -> list[Any]:
    return [envelope.event for envelope in bus.log.read(types=SubscriptionChanged)]


def test_who_paused_and_resumed_it_and_why_is_recorded_once() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        stock = bus.subscriptions["stock"]
        assert stock.resume() is False
        assert [stock.pause("an audit", who="ada") for _ in range(2)] == [True, False]
        assert stock.pause("a longer audit", who="ada") is True
        assert [stock.resume("done", who="bob") for _ in range(2)] == [True, False]
        assert changes(bus) == [
            SubscriptionChanged("stock", "paused", "ada", "an audit"),
            SubscriptionChanged("stock", "paused", "ada", "a longer audit"),
            SubscriptionChanged("stock", "resumed", "bob", "done"),
        ]
        assert (stock.state, stock.row.state_reason) == ("active", None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        bus.project(Sums)
        bus.drain()
    return tmp_path / "log.db"


@pytest.mark.parametrize("name", ["stock", "sums"])
def test_the_program_pauses_and_resumes_and_says_who_and_why(file: Path, name: str) -> None:
    assert run("pause", file, name, "--reason", "an audit").out == f"Paused {name}, until: eventbus resume\n"
    assert run("pause", file, name, "--reason", "an audit").out == f"{name} is paused already.\n"
    notes = Notes()
    with standing_still(file) as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.project(Sums)
        bus.publish(Counted(1))
        assert bus.drain() == 1  # what the other one is given
    assert run("resume", file, name, "--json").records == [{"name": name, "action": "resumed", "changed": True}]
    assert run("resume", file, name).out == f"{name} is not paused.\n"
    with standing_still(file) as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.project(Sums)
        assert bus.drain() == 1
        assert notes.numbers == [1]
        (paused, resumed) = bus.log.read(types=SubscriptionChanged)
        assert (paused.event.action, paused.event.why, paused.source) == ("paused", "an audit", "eventbus")
        assert (resumed.event.action, resumed.event.why) == ("resumed", None)
        assert paused.event.who != ""


def test_a_paused_row_says_why_and_how_it_goes_on(file: Path) -> None:
    for name in ("stock", "sums"):
        run("pause", file, name, "--reason", "an audit")
    told = ["  └ an audit", "  └ until: eventbus resume"]
    assert run("subscriptions", file).lines[2:4] == told
    assert run("projections", "list", file).lines[2:4] == told


def test_what_cannot_be_paused_is_refused_and_nothing_is_written(file: Path) -> None:
    ran = run("pause", file, "nobody")
    assert (ran.code, "no subscription 'nobody'" in ran.err) == (1, True)
    assert run("pause", file).code == 2
    assert run("pause", file.parent / "nowhere.db", "stock").code == 2
    assert not (file.parent / "nowhere.db").exists()
    assert run("log", file, "--json").out == ""
