"""The rules of a lane: what is next, what waits, where the cursor may stand. No log, no clock, no thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from delivery_stage import Counted, Oops

from eventbus import Envelope, Retry, testing
from eventbus.delivery import Behind, Careful, Failed, Handled, Item, Left, Outcome, Unloaded, each
from eventbus.events import TypeName
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.subscriptions import Match, SubscriptionRow, with_backfill
from eventbus.worker.attempts import attempts
from eventbus.worker.job import BATCH, Job
from eventbus.worker.lane import WINDOW, Lane
from eventbus.worker.matching import Matching

ROW = SubscriptionRow(1, "stock", 1, "subscription", 1, "active", None, 0, 0, 0, 0, 1, (), "stream", None)


class Stub:
    """A handler as a lane sees it."""

    kind, via, tables, synced, is_own = "plain", None, None, True, False
    concurrency, batch, timeout, breaker = 1, None, None, None
    in_a_row = False

    def __init__(self, key_of: Callable[[Envelope], str | None] | None, retry: Retry | None = None) -> None:
        self.key_of, self.retry = key_of, retry or Retry()

    call: Any = None


def lane(*, strict: bool = False, careful: int = 0, claim: int = 1000) -> Lane:
    work: Any = Stub(None if strict else lambda envelope: envelope.stream)
    return Lane(row=ROW, work=work, epoch=1, cursor=0, claim=claim, careful=careful, matching=Matching(()))


def envelope(position: int, key: str | None = None) -> Envelope:
    return testing.context(Counted(position), position=position, stream=key).envelope


def offered(lane: Lane, *keys: str | None) -> Lane:
    """Events at positions 1, 2, ... with these keys."""
    lane.offer([envelope(position, key) for position, key in enumerate(keys, 1)], len(keys))
    return lane


def taken(lane: Lane) -> list[Item]:
    """What is next, with its handler now."""
    items = lane.fresh() or []
    lane.launch(Job(lane, items))
    return items


def parked(position: int, key: str | None, state: Any = "retrying", attempts: int = 1) -> DeliveryRow:
    return DeliveryRow(position, key, state, attempts, attempts, None, None, "then")


def positions(items: list[Item] | None) -> list[int]:
    return [item.position for item in items or ()]


# --- what is next ---------------------------------------------------------------------------------------


def test_fresh_events_come_in_batches_and_not_beyond_the_claim() -> None:
    assert positions(offered(lane(), *[None] * (BATCH + 5)).fresh()) == list(range(1, BATCH + 1))
    assert positions(offered(lane(claim=2), None, None, None).fresh()) == [1, 2]
    assert offered(lane(claim=0), None).wants_claim()


def test_events_of_a_blocked_key_are_parked_and_the_others_go_on() -> None:
    it = lane()
    offered(it, "a", "b", "a", "b")
    it.launch(Job(it, [it.ready.popleft()]))
    it.park(parked(1, "a"), due=50.0)
    assert positions(it.fresh()) == [2]
    assert it.fresh() is None
    assert [(item.position, outcome) for item, outcome in it.pending] == [(3, Behind())]


def test_nothing_overtakes_in_the_file_what_has_no_row_yet() -> None:
    """A transactional handler writes the cursor itself, before the pump writes what is parked."""
    it = offered(lane(), "a", "b")
    it.blocked["a"] = 1
    assert it.fresh() is None
    assert [item.position for item, _ in it.pending] == [1]


def test_what_may_have_been_running_in_a_crash_is_parked_first() -> None:
    it = offered(lane(careful=2), None, None, None)
    assert it.fresh() is None
    assert [(item.position, outcome) for item, outcome in it.pending] == [(1, Careful()), (2, Careful())]


def test_in_strict_order_only_one_event_is_parked_and_nothing_passes_it() -> None:
    it = offered(lane(strict=True, careful=2), None, None)
    assert it.fresh() is None
    assert len(it.pending) == 1
    it.pending.clear()
    assert it.cursor_after([], stuck=1) == 0
    it.park(parked(1, None), due=5.0)
    assert (it.cursor_after([], stuck=None), it.stuck_at) == (0, 1)
    assert it.fresh() is None
    assert not it.wants(head=100)


def test_an_order_key_that_cannot_be_told_is_a_problem_of_its_event() -> None:
    def fail(envelope: Envelope) -> str:
        raise Oops

    it = lane()
    it.work.key_of = fail  # type: ignore[misc]
    offered(it, "a")
    assert isinstance(it.ready[0].problem, Oops)
    assert it.ready[0].key is None


def test_a_lane_reads_ahead_no_further_than_its_window() -> None:
    it = lane()
    assert it.wants(head=1)
    assert not it.wants(head=0)
    it.offer([envelope(position) for position in range(1, WINDOW + 1)], WINDOW)
    assert not it.wants(head=WINDOW + 1)
    it.ready.clear()
    it.paused = True
    assert not it.wants(head=WINDOW + 1)


# --- parked deliveries ----------------------------------------------------------------------------------


def test_parked_deliveries_come_back_in_the_order_of_their_due_times() -> None:
    it = offered(lane(), "a", "b")
    it.park(parked(1, "a"), due=20.0)
    it.park(parked(2, "b"), due=10.0)
    assert it.next_due() == 10.0
    assert it.parked(now=9.9) is None
    assert it.parked(now=10.0) == 2
    it.take(2)
    it.park(parked(2, "b", attempts=2), due=30.0, new=False)
    assert (it.parked(now=25.0), it.next_due()) == (1, 20.0)


def test_a_key_is_free_once_all_that_waited_for_it_is_done() -> None:
    it = offered(lane(), "a", "a")
    first, second = taken(it)
    third = it.item(envelope(3, "a"))
    it.ready.append(third)
    it.park(parked(1, "a"), due=10.0)
    it.park(parked(2, "a", "held"), due=None)
    assert (it.held, it.blocked["a"]) == (1, 2)
    first.parked = second.parked = True
    it.settle(first, (2, 0), now=11.0)
    assert (it.held, it.parked(11.0)) == (0, 2)
    assert it.fresh() is None
    it.pending.clear()
    it.put_back(third)
    it.settle(second, None, now=12.0)
    assert it.blocked == {}
    assert it.fresh() == [third]


def test_a_dead_delivery_blocks_its_key_and_is_never_due() -> None:
    it = offered(lane(), "a")
    it.park(parked(1, "a"), due=10.0)
    it.park(parked(1, "a", "dead"), due=None, new=False)
    assert it.next_due() is None
    assert it.blocked == {"a": 1}


def test_a_delivery_without_its_class_waits_until_it_is_woken() -> None:
    it = offered(lane(), "a")
    it.park(parked(1, "a", "waiting", attempts=0), due=None)
    assert it.next_due() is None
    it.wake(it.unloaded[1], now=5.0)
    assert it.parked(5.0) == 1
    assert it.blocked == {"a": 1}


# --- the cursor -----------------------------------------------------------------------------------------


def test_the_cursor_stays_below_the_first_that_is_not_done() -> None:
    it = offered(lane(), "a", "b", "c")
    taken(it)
    assert it.cursor_after([1], stuck=None) == 1
    assert it.cursor_after([2, 3], stuck=None) == 0
    assert it.cursor_after([1, 2, 3], stuck=None) == 3


def test_the_cursor_passes_what_was_read_and_is_not_meant_for_it() -> None:
    it = offered(lane(), "a")
    it.scanned = 90
    assert it.cursor_after([], stuck=None) == 0
    taken(it)
    assert it.cursor_after([1], stuck=None) == 90
    assert it.cursor_after([], stuck=1) == 0
    it.ready.append(it.item(envelope(80, "b")))
    assert it.cursor_after([1], stuck=None) == 79


def test_an_old_delivery_that_fails_again_does_not_move_the_cursor() -> None:
    it = lane()
    it.make_due(70, 1.0, 1, "a", again=True)
    it.take(70)
    it.park(parked(70, "a", attempts=2), due=9.0, new=False)
    assert it.cursor_after([70], stuck=None) == 0


def test_what_has_a_row_already_is_not_read_again() -> None:
    it = lane()
    it.apart = frozenset({2})
    offered(it, "a", "a", "a")
    assert positions(list(it.ready)) == [1, 3]


def test_a_lane_is_quiet_when_nothing_can_be_done_now() -> None:
    it = lane()
    assert it.quiet(head=0, now=0.0)
    assert not it.quiet(head=1, now=0.0)
    offered(it, "a")
    assert not it.quiet(head=1, now=0.0)
    taken(it)
    it.park(parked(1, "a"), due=10.0)
    it.jobs.clear()
    it.passed = 0
    assert it.quiet(head=1, now=9.0)
    assert not it.quiet(head=1, now=10.0)
    it.paused = True
    assert it.quiet(head=1, now=10.0)
    it.jobs.append(Job(it, []))
    assert not it.quiet(head=1, now=10.0)


# --- several at once ------------------------------------------------------------------------------------


def several(concurrency: int, *keys: str | None) -> Lane:
    it = lane()
    it.work.concurrency = concurrency  # type: ignore[misc]
    return offered(it, *keys)


def test_several_keys_are_worked_on_at_once_and_each_key_in_order() -> None:
    it = several(3, "a", "a", "b", None, None)
    assert [positions(taken(it)) for _ in range(4)] == [[1], [3], [4], [5]]
    assert not it.idle()
    it.jobs.pop(0)
    it.settle(it.flight[1], None, 0.0)
    assert positions(it.fresh()) == [2]


def test_what_is_parked_has_the_cursor_above_it_where_events_come_one_after_the_other() -> None:
    it = offered(lane(careful=3), "a", "a", "b")
    assert it.fresh() is None
    assert [item.position for item, _ in it.pending] == [1, 2, 3]
    assert it.cursor_after([1, 2, 3], stuck=None) == 3


def test_what_is_not_run_after_all_comes_up_where_it_was() -> None:
    it = several(2, "a", "b", "c")
    (first,), (_second,) = taken(it), taken(it)
    it.put_back(first)
    assert positions(it.fresh()) == [1]


def test_what_may_have_ended_the_process_runs_alone() -> None:
    it = several(4, "a", "b")
    it.careful = 1
    it.make_due(1, 0.0, 1, "a", again=True)
    assert it.parked(0.0) == 1
    assert it.take(1)
    it.launch(Job(it, [it.item(envelope(1, "a"))]))
    assert not it.idle()


# --- a batch --------------------------------------------------------------------------------------------


def run_batch(it: Lane, ends: dict[int, Outcome], *, stop_at: int | None = None) -> tuple[list[int], list[Outcome]]:
    """Which events are tried, and how all of them end."""
    tried: list[int] = []
    outcomes: list[Outcome] = []
    batch = attempts(
        Job(it, list(it.ready)), lambda item, outcome: outcomes.append(outcome), lambda: len(tried) == stop_at
    )
    item = next(batch, None)
    while item is not None:
        tried.append(item.position)
        try:
            item = batch.send(ends.get(item.position, Handled()))
        except StopIteration:
            item = None
    return tried, outcomes


FAILED = Failed(Oops(), 0.0, 0.0)


@pytest.mark.parametrize("bad", [FAILED, Unloaded()])
def test_in_a_batch_a_failure_blocks_its_own_key(bad: Outcome) -> None:
    tried, outcomes = run_batch(offered(lane(), "a", "b", "a", None), {1: bad})
    assert tried == [1, 2, 4]
    assert outcomes == [bad, Handled(), Behind(), Handled()]


def test_in_a_batch_in_strict_order_a_failure_leaves_the_rest_undone() -> None:
    tried, outcomes = run_batch(offered(lane(strict=True), "a", "b", "c"), {2: FAILED})
    assert tried == [1, 2]
    assert outcomes == [Handled(), FAILED, Left()]


def test_in_a_batch_the_end_of_the_bus_leaves_the_rest_undone() -> None:
    assert run_batch(offered(lane(), "a", "b", "c"), {}, stop_at=1) == ([1], [Handled(), Left(), Left()])


def test_a_list_that_is_handled_comes_back_as_one_so_that_no_commit_falls_between_its_events() -> None:
    it = offered(lane(), "a", "b", "c")
    it.work.batch = 3  # type: ignore[misc]
    back: list[tuple[list[int], Outcome]] = []
    batch = attempts(
        Job(it, list(it.ready)), lambda unit, outcome: back.append((positions(each(unit)), outcome)), lambda: False
    )
    next(batch)
    with pytest.raises(StopIteration):
        batch.send(Handled())
    assert back == [([1, 2, 3], Handled())]


# --- what a subscription means --------------------------------------------------------------------------


def kind(name: str, kind: Any = "domain", bases: tuple[str, ...] = ()) -> TypeName:
    return TypeName(name, 1, kind, bases)


@pytest.mark.parametrize(
    ("match", "how", "name", "matches"),
    [
        ("a", "base", kind("a"), True),
        ("a", "base", kind("b", bases=("a",)), True),
        ("a", "base", kind("b"), False),
        ("shop.*", "pattern", kind("shop.A"), True),
        ("shop.*", "pattern", kind("Shop.A"), False),
        ("*", "pattern", kind("a", "technical"), False),
        ("t*", "pattern", kind("tick", "technical"), True),
        ("tick", "base", kind("tick", "technical"), True),
    ],
)
def test_matches(match: str, how: Any, name: TypeName, matches: bool) -> None:
    assert Match(match, how, 0).covers(name.name, name.kind, name.bases) is matches


def test_the_earliest_of_several_matches_counts() -> None:
    matching = Matching((Match("shop.*", "pattern", 5), Match("shop.A", "base", 3)))
    matching.resolve({1: kind("shop.A"), 2: kind("shop.B"), 3: kind("other")})
    assert [matching.means(1, position) for position in (3, 4)] == [False, True]
    assert [matching.means(2, position) for position in (5, 6)] == [False, True]
    assert not matching.means(3, 100)


def test_a_backfill_moves_the_cursor_back_and_the_others_do_not_come_again() -> None:
    before = attrs.evolve(ROW, cursor=50, types=(Match("a", "base", 10), Match("b", "base", 20, is_to_come=True)))
    row = with_backfill(before)
    assert (row.cursor, with_backfill(row)) == (20, row)
    matching = Matching(row.types)
    matching.resolve({1: kind("a"), 2: kind("b"), 3: kind("c", bases=("a", "b"))})
    assert [matching.means(1, position) for position in (30, 50, 51)] == [False, False, True]
    assert [matching.means(2, position) for position in (20, 21, 51)] == [False, True, True]
    assert not matching.means(3, 30)
    assert matching.concerns(3, 30)
