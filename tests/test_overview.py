"""Every subscription at once: what each is behind by, and what is stuck, told apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from samplelog import SampleLog, shop

from eventbus.store import overview
from eventbus.store.opening import look


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[SampleLog]:
    log = SampleLog(tmp_path / "sample.db")
    yield log
    log.db.close()


@pytest.fixture
def shop_log(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = look(shop(tmp_path / "shop.db"))
    yield connection
    connection.close()


def behind(log: SampleLog) -> dict[str, int]:
    return {view.row.name: view.behind for view in overview.everyone(log.db)}


def test_a_subscription_is_behind_only_by_events_that_concern_it(sample: SampleLog) -> None:
    sample.type("Tick", kind="technical")
    sample.type("shop.Placed", bases=("shop.Fact",))
    for name in ("shop.Placed", "Other", "Tick", "shop.Placed"):
        sample.event(name)
    sample.subscription("by type", ("shop.Placed", "pattern"))
    sample.subscription("by base", ("shop.Fact", "base"))
    sample.subscription("by pattern", ("shop.*", "pattern"))
    sample.subscription("all", ("*", "pattern"))
    sample.subscription("technical", ("Tick", "pattern"))
    sample.subscription("later", ("shop.Placed", "pattern"), start=1)
    sample.subscription("further", ("shop.Placed", "pattern"), cursor=2)
    sample.subscription("out of order", ("shop.Placed", "pattern"), ahead=(4,))
    sample.subscription("nothing", ("Unheard", "pattern"))
    assert behind(sample) == {
        "by type": 2,
        "by base": 2,
        "by pattern": 2,
        "all": 3,
        "technical": 1,
        "later": 1,
        "further": 1,
        "out of order": 1,
        "nothing": 0,
    }


def test_a_delivery_beyond_the_cursor_is_retrying_not_behind(sample: SampleLog) -> None:
    sample.event("Placed")
    stuck = sample.subscription("strict", ("Placed", "pattern"))
    sample.delivery(stuck, 1, "retrying", attempts=1, due_in=5, error="ValueError: no")
    (view,) = overview.everyone(sample.db)
    assert (view.behind, view.counts, view.last_error) == (0, {"retrying": 1}, "ValueError: no")
    assert view.next_due is not None


def test_only_the_subscriptions_of_a_role_are_listed(shop_log: sqlite3.Connection) -> None:
    assert [view.row.name for view in overview.everyone(shop_log, role="projection")] == ["sales"]


def test_what_is_stuck_is_told_for_each_subscription_by_itself(sample: SampleLog) -> None:
    for _ in range(3):
        sample.event("Placed")
    one = sample.subscription("one", ("Placed", "pattern"), cursor=3)
    two = sample.subscription("two", ("Placed", "pattern"), cursor=3)
    sample.subscription("well", ("Placed", "pattern"), cursor=3)
    sample.delivery(one, 1, "retrying", attempts=1, due_in=60, error="ValueError: first")
    sample.delivery(one, 2, "retrying", attempts=1, due_in=5, error="ValueError: second")
    sample.delivery(one, 3, "dead", attempts=9)
    sample.delivery(two, 2, "dead", attempts=9, error="OSError: no")
    views = {view.row.name: view for view in overview.everyone(sample.db)}
    assert {name: view.counts for name, view in views.items()} == {
        "one": {"retrying": 2, "dead": 1},
        "two": {"dead": 1},
        "well": {},
    }
    assert {name: view.last_error for name, view in views.items()} == {
        "one": "ValueError: second",
        "two": "OSError: no",
        "well": None,
    }
    dues = sample.db.execute("SELECT min(due) FROM eventbus_deliveries WHERE state = 'retrying'").fetchone()
    assert [(views[name].next_due,) for name in ("one", "two", "well")] == [dues, (None,), (None,)]
