"""A disk that fails in a commit: done again by itself, in doubt if that fails, too, then nothing is tried in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, Faulty, Paid, Placed, run

from eventbus import Context, EventBus, PublishInDoubt
from eventbus.errors import LogFull, LogIOError
from eventbus.store import connection as connections
from eventbus.store import disk as probing
from eventbus.store.outage import EVERY
from eventbus.testing import FakeClock


class Fails:
    """Has so many commits fail, before they happen or after."""

    def __init__(self, times: float, *, name: str = "SQLITE_IOERR_FSYNC", after: bool = False) -> None:
        self.times, self.name, self.after, self.seen = times, name, after, 0

    def __call__(self, sql: str) -> str | None:
        if not sql.startswith("COMMIT") or self.seen >= self.times:
            return None
        self.seen += 1
        return self.name


class FailingDisk(Faulty):
    fails: Any = staticmethod(lambda sql: None)
    opened = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        type(self).opened += 1

    def execute(self, sql: str, *arguments: Any) -> Any:
        fails = type(self).fails
        if sql.startswith("COMMIT") and isinstance(fails, Fails) and fails.after and fails.seen < fails.times:
            super(Faulty, self).execute(sql)
        return super().execute(sql, *arguments)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    plain = connections.connect_as
    made = type("Disk", (FailingDisk,), {})

    def connect_as(kind: Any, location: Any, **how: Any) -> Any:
        return plain(made if kind is connections.sqlite3.Connection else kind, location, **how)

    monkeypatch.setattr(connections, "connect_as", connect_as)
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus(tmp_path: Path, disk: Any, clock: FakeClock) -> Any:
    made = EventBus(tmp_path / "shop.db", delivery="manual", clock=clock)
    made.publish(Placed(0))
    yield made
    disk.fails = lambda sql: None
    made.close()


def events(bus: EventBus) -> list[Any]:
    return [envelope.event for envelope in bus.log.read()]


def broken(path: str) -> OSError:
    return OSError(5, "Input/output error")


PUBLISHES: list[Callable[[EventBus], Any]] = [
    lambda bus: bus.publish(Placed(1)),
    lambda bus: bus.publish_many([Placed(1)])[0],
    lambda bus: bus.submit(Placed(1)).result(PATIENCE),
    lambda bus: run(bus.publish_async(Placed(1))),
]


@pytest.mark.parametrize("publish", PUBLISHES)
@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_fails_once_is_done_again_on_a_new_connection(
    bus: EventBus, disk: Any, publish: Callable[[EventBus], Any], after: bool
) -> None:
    heard: list[Any] = []
    bus.on(Placed)(heard.append)
    before = disk.opened
    disk.fails = Fails(1, after=after)
    receipt = publish(bus)
    assert (receipt.position, receipt.duplicate) == (2, False)
    assert disk.opened > before
    assert events(bus) == [Placed(0), Placed(1)]
    bus.drain()
    assert heard == [Placed(1)]


def test_all_of_a_group_commit_are_done_again_and_those_that_were_refused_stay_so(bus: EventBus, disk: Any) -> None:
    bus.publish(Placed(5), idempotency_key="taken")
    disk.fails = Fails(1)

    async def together() -> list[Any]:
        keys = ["a", "taken", "b"]
        return await asyncio.gather(
            *[bus.publish_async(Paid(n), idempotency_key=key) for n, key in enumerate(keys)], return_exceptions=True
        )

    first, conflict, second = run(together())
    assert type(conflict).__name__ == "IdempotencyConflict"
    assert [first.duplicate, second.duplicate] == [False, False]
    assert events(bus)[2:] == [Paid(0), Paid(2)]


def test_the_second_failure_is_told_and_one_publish_is_one_event_whatever_it_was(bus: EventBus, disk: Any) -> None:
    disk.fails = Fails(2, after=True)  # it is there, and nobody said so, twice
    receipt = bus.publish(Placed(1), idempotency_key="k")
    assert (receipt.position, receipt.duplicate) == (2, False)
    disk.fails = Fails(2)
    with pytest.raises(PublishInDoubt) as caught:
        bus.publish(Placed(2), idempotency_key="k2")
    assert isinstance(caught.value.__cause__, LogIOError)
    assert bus.publish(Placed(2), idempotency_key="k2").position == 3
    assert events(bus) == [Placed(0), Placed(1), Placed(2)]


def test_while_the_disk_fails_publishing_fails_at_once_with_the_reason_and_reading_goes_on(
    bus: EventBus, disk: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.fails = broken_commits = Fails(float("inf"))
    with pytest.raises(PublishInDoubt):
        bus.publish(Placed(1))
    monkeypatch.setattr(probing, "probe", broken)
    tried = broken_commits.seen
    for publish in (*PUBLISHES, lambda bus: _transaction(bus), lambda bus: bus.ingest(Placed(1), source="w", id="1")):
        with pytest.raises(LogIOError, match="nothing is written since a commit failed") as caught:
            publish(bus)
        assert caught.value.stored == "not stored"
        assert "SQLITE_IOERR_FSYNC" in str(caught.value)
    assert broken_commits.seen == tried
    assert events(bus) == [Placed(0)]
    assert bus.query("SELECT count(*) AS n FROM eventbus_events") == [{"n": 1}]


def _transaction(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.publish(Placed(1))


def test_it_goes_on_by_itself_once_a_probe_can_be_written(
    bus: EventBus, disk: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.fails = Fails(2)
    with pytest.raises(PublishInDoubt) as doubt:
        bus.publish(Placed(1))
    asked: list[str] = []

    def probe(path: str) -> OSError | None:
        asked.append(path)
        return broken(path) if len(asked) < 3 else None

    monkeypatch.setattr(probing, "probe", probe)
    for _ in range(5):  # the disk is asked once a second, however often somebody publishes
        with pytest.raises(LogIOError):
            bus.publish(Placed(2))
    assert len(asked) == 1
    clock.advance(EVERY)
    with pytest.raises(LogIOError, match="writing another file there fails"):
        bus.publish(Placed(2))
    clock.advance(EVERY)
    assert bus.publish(Placed(1), idempotency_key=doubt.value.idempotency_key).position == 2
    assert bus.publish(Placed(2)).position == 3
    assert len(asked) == 3


def test_one_that_comes_back_again_and_again_is_left_alone_for_a_second(
    bus: EventBus, disk: Any, clock: FakeClock
) -> None:
    disk.fails = broken_commits = Fails(float("inf"))
    raised = [type(_error(bus)).__name__ for _ in range(6)]
    assert raised == ["PublishInDoubt"] * 4 + ["LogIOError"] * 2
    seen = broken_commits.seen
    clock.advance(EVERY)
    _error(bus)
    assert broken_commits.seen > seen


def _error(bus: EventBus) -> BaseException:
    with pytest.raises((PublishInDoubt, LogIOError)) as caught:
        bus.publish(Placed(1))
    return caught.value


def test_a_full_quota_is_told_as_a_full_disk(
    bus: EventBus, disk: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "no_room", lambda path: "the quota of this user is used up")
    disk.fails = Fails(2, name="SQLITE_IOERR_WRITE")
    with pytest.raises(PublishInDoubt):
        bus.publish(Placed(1))
    monkeypatch.setattr(probing, "probe", lambda path: OSError(122, "Disk quota exceeded"))
    with pytest.raises(LogFull, match="quota"):
        bus.publish(Placed(1))


def test_a_transaction_whose_commit_is_in_doubt_is_told_and_the_log_is_opened_anew_before_the_next(
    bus: EventBus, disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(guest: object) -> None:
        raise LogIOError("shop.db", "could not commit: disk I/O error.", stored="in doubt")

    with monkeypatch.context() as patch:
        patch.setattr("eventbus.store.guest.Guest.commit", fails)
        with pytest.raises(LogIOError) as caught:
            _transaction(bus)
    assert caught.value.stored == "in doubt"
    before = disk.opened
    _transaction(bus)
    assert disk.opened > before
    assert events(bus) == [Placed(0), Placed(1)]


def test_delivery_rests_meanwhile_and_no_attempt_is_used_up(
    bus: EventBus, disk: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    bus.subscribe("orders", Placed, after=0)(lambda placed, ctx: seen.append(ctx.attempt))
    bus.subscribe("rows", Placed, after=0, transactional=True)(lambda placed, ctx: seen.append(ctx.attempt))
    bus.log.get(1)
    bus.subscriptions["orders"]
    disk.fails = Fails(2)
    with pytest.raises(PublishInDoubt):
        bus.publish(Placed(1))
    monkeypatch.setattr(probing, "probe", broken)
    with pytest.raises(LogIOError):
        bus.drain()
    monkeypatch.undo()
    clock.advance(EVERY)
    bus.drain()
    assert set(seen) == {1}
    assert set(bus.status(1).values()) == {"handled"}
    assert list(bus.dead_letters.list()) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("how", [{}, {"concurrency": 2}, {"order_by": "log"}])
def test_what_was_handled_when_the_disk_failed_is_recorded_once_and_not_run_again(
    bus: EventBus, disk: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], after: bool
) -> None:
    seen: list[int] = []

    def handler(placed: Placed, ctx: Context) -> None:
        seen.append(placed.number)
        if len(seen) == 1:
            disk.fails = Fails(1, after=after)
        ctx.publish(Paid(placed.number))

    bus.subscribe("orders", Placed, after=0, handler=handler, **how)
    bus.publish(Placed(1))
    with pytest.raises(LogIOError):
        bus.drain()
    with monkeypatch.context() as patch:
        patch.setattr(probing, "probe", broken)
        with pytest.raises(LogIOError, match="nothing is written since a commit failed"):
            bus.drain()
    clock.advance(EVERY)
    bus.drain()
    assert sorted(seen) == [0, 1]
    assert sorted(each.number for each in events(bus) if isinstance(each, Paid)) == [0, 1]
    assert bus.query("SELECT handled FROM eventbus_subscriptions") == [{"handled": 2}]


def test_a_reader_that_is_not_done_keeps_it_from_being_opened_anew(bus: EventBus, disk: Any, clock: FakeClock) -> None:
    for number in range(3):
        bus.publish(Paid(number))
    reader = bus.connect()
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM eventbus_events").fetchone()
    bus.publish(Paid(4))
    disk.fails = Fails(1)
    with pytest.raises(PublishInDoubt):
        bus.publish(Placed(1))
    with pytest.raises(LogIOError, match="somebody may be reading"):
        bus.publish(Placed(1))
    reader.execute("ROLLBACK")
    reader.close()
    clock.advance(EVERY)
    bus.publish(Placed(1))


def test_closing_meanwhile_closes_all(tmp_path: Path, disk: Any) -> None:
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    bus.publish(Placed(0))
    disk.fails = Fails(float("inf"))
    with pytest.raises(PublishInDoubt):
        bus.publish(Placed(1))
    bus.close()
    disk.fails = lambda sql: None
    with EventBus(tmp_path / "shop.db", delivery="manual") as again:
        assert events(again) == [Placed(0)]
