"""What `eventbus show` says of an event that is not handled: who does something about it, and when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_stage import run
from delivery_stage import Placed
from samplelog import SampleLog

from eventbus import Breaker, EventBus
from eventbus.store.location import Location
from eventbus.store.lockfile import Leases

TOLD = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a lock")
OWNER = "pid 4711"


@contextmanager
def delivered(path: Path, row_id: int) -> Iterator[None]:
    """While a process is there that delivers a subscription."""
    leases = Leases(Location.of(path))
    assert leases.take(row_id)
    yield
    leases.close()


def standing(path: Path, key: str = "1") -> str:
    """The line of the one subscription."""
    lines = run("show", path, key).lines
    return lines[lines.index("Deliveries") + 1].strip()


def status(path: Path, key: str = "1") -> dict[str, Any]:
    """The same for a program."""
    (found,) = run("show", path, key, "--json").records[0]["deliveries"]
    return dict(found)


def log_with(folder: Path, **facts: Any) -> tuple[SampleLog, int]:
    """One event that "work" has claimed."""
    log = SampleLog(folder / "sample.db")
    log.event("Placed", "order-1")
    return log, log.subscription("work", ("Placed", "pattern"), owner=OWNER, **facts)


@TOLD
def test_what_is_claimed_runs_while_its_owner_is_there_and_waits_afterwards(tmp_path: Path) -> None:
    log, row_id = log_with(tmp_path, claim=1)
    path = log.close()
    with delivered(path, row_id):
        assert standing(path) == "work  running"
        assert status(path)["status"] == "running"
    assert standing(path) == "work  waiting  no process delivers it"
    assert status(path)["status"] == "waiting"


@TOLD
def test_what_is_overdue_is_said_to_run_still(tmp_path: Path) -> None:
    log, row_id = log_with(tmp_path, cursor=1)
    log.delivery(row_id, 1, "retrying", attempts=1, error="HandlerTimeout: 5 s")
    path = log.close()
    with delivered(path, row_id):
        assert standing(path) == (
            "work  retrying  after 1 try, its handler still runs, and nothing is tried until it returns,"
            " HandlerTimeout: 5 s"
        )
    assert standing(path) == "work  retrying  after 1 try, no process delivers it, HandlerTimeout: 5 s"


@TOLD
@pytest.mark.parametrize(("due_in", "said"), [(-5.0, "no process delivers it"), (900_000.0, "next in 10 d")])
def test_a_retry_whose_time_has_come_is_not_next_where_nobody_tries_it(
    tmp_path: Path, due_in: float, said: str
) -> None:
    log, row_id = log_with(tmp_path, cursor=1)
    log.delivery(row_id, 1, "retrying", attempts=1, due_in=due_in, error="Oops: no")
    path = log.close()
    assert standing(path).startswith(f"work  retrying  after 1 try, {said}")
    with delivered(path, row_id):
        assert ("next now" in standing(path)) is (due_in < 0)


def test_of_a_paused_subscription_it_is_said_that_it_is_paused_and_why(tmp_path: Path) -> None:
    log, row_id = log_with(tmp_path, state="paused", reason="Mis: conf missing (event x)", cursor=1, claim=2)
    log.event("Placed", "order-2")
    log.delivery(row_id, 1, "retrying", attempts=1, due_in=-5, error="Mis: conf missing")
    path = log.close()
    paused = "paused: Mis: conf missing (event x)"
    assert standing(path) == f"work  retrying  after 1 try, {paused}"
    assert standing(path, "2") == f"work  waiting  {paused}"
    assert "now" not in run("subscriptions", path).lines[1]


def test_behind_an_open_breaker_nothing_runs_and_nothing_is_next_before_it_is_due(tmp_path: Path) -> None:
    def away(placed: Placed) -> None:
        raise ConnectionError("away")

    with EventBus(tmp_path / "log.db", delivery="manual") as bus:
        bus.subscribe("mail", Placed, handler=away, breaker=Breaker(failures=1, seconds=1e6, name="smtp"))
        bus.publish_many([Placed("a"), Placed("b")])
        bus.drain()
        first, second = standing(tmp_path / "log.db"), standing(tmp_path / "log.db", "2")
        assert status(tmp_path / "log.db", "2")["status"] == "waiting"
    said = "the breaker 'smtp' is open, next in "
    assert first.startswith(f"mail  retrying  after 1 try, {said}11 d")
    assert first.endswith(", ConnectionError: away")
    assert second.startswith(f"mail  waiting  {said}11 d")
