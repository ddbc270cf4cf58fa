"""`eventbus rewind`: on a log whose app is not there, with a preview."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_stage import contents, on_a_terminal, run
from delivery_stage import Counted
from test_rewind import Total

from eventbus import EventBus, Retry, event


@event(name="rewind.Placed", stream="order-{order}")
class Placed:
    order: str
    total: int = 0


def broken(placed: Placed) -> None:
    if placed.total < 0:
        raise ValueError(f"order {placed.order} has a total of {placed.total}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A subscription that has handled two events of three, and a projection."""
    path = tmp_path / "shop" / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("invoices", Placed, handler=broken, retry=Retry(attempts=1))
        bus.project(Total)
        bus.publish_many([Placed("a", 1), Placed("b", -1), Placed("c", 3), Counted(1)])
        bus.drain()
    return path


def delivered(file: Path) -> list[int]:
    """The totals that reach "invoices" when the app is started the next time."""
    totals: list[int] = []
    with EventBus(file, delivery="manual") as bus:
        bus.subscribe("invoices", Placed, handler=lambda placed: totals.append(placed.total))
        bus.drain()
    return totals


def test_it_says_what_it_would_do_and_changes_nothing(file: Path) -> None:
    before = contents(file.parent)
    out = run("rewind", file, "invoices", "--after", "1", "--dry-run").out
    assert out.splitlines() == [
        "TYPE           AGAIN",
        "rewind.Placed      2",
        "Would rewind invoices from position 4 to 1, as run 2: 2 events again.",
        "Would clear 1 dead.",
        "What its handler publishes again are new events: their ids derive from the run.",
    ]
    assert contents(file.parent) == before


def test_it_rewinds_and_records_why(file: Path) -> None:
    ran = run("rewind", file, "invoices", "--after", "0", "--yes", "--reason", "a bug in its handler", "--json")
    (record,) = ran.records
    assert record == {
        "subscription": "invoices",
        "after": 0,
        "cursor": 4,
        "run": 2,
        "types": {"rewind.Placed": 3},
        "cleared": {"retrying": 0, "waiting": 0, "held": 0, "dead": 1},
        "steps": 0,
        "events": 3,
        "dry_run": False,
    }
    (told,) = run("log", file, "--type", "eventbus.SubscriptionRewound", "--json").records
    assert (told["payload"]["why"], told["payload"]["after"]) == ("a bug in its handler", 0)
    assert delivered(file) == [1, -1, 3]


def test_a_time_means_what_was_recorded_since(file: Path) -> None:
    assert run("rewind", file, "invoices", "--after", "1h", "--dry-run", "--json").records[0]["after"] == 0


def test_it_asks_on_a_terminal_and_wants_an_answer_elsewhere(file: Path) -> None:
    refused = run("rewind", file, "invoices", "--after", "1")
    assert (refused.code, "Say --yes" in refused.err) == (2, True)
    assert "Rewind invoices?" in on_a_terminal("rewind", file, "invoices", "--after", "1", keys="n\n")
    assert delivered(file) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "--after", "1"], "There are: invoices, total."),
        (["total", "--after", "0"], "projections rebuild"),
        (["invoices", "--after", "99"], "the log ends at position 4"),
        (["invoices", "--after", "soon"], "neither a position nor a time"),
        (["invoices", "--after", "-1"], "neither a position nor a time"),
        (["invoices"], "--after"),
    ],
)
def test_what_cannot_be_rewound_says_why(file: Path, arguments: list[str], said: str) -> None:
    ran = run("rewind", file, *arguments, "--yes")
    assert ran.code != 0
    assert said in ran.err
    assert delivered(file) == []
