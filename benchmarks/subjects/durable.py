"""Stored one by one, handled by a plain handler, success recorded: each library with its own default sync."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Literal

from benchmarks.goals import OURS
from benchmarks.measuring import Contest, Measured
from benchmarks.payload import PLACED, OrderPlaced
from benchmarks.peers import Queue, add, room
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

NO_SYNC = "no sync"
AT_ONCE = ", each handled at once"


def all_then_all(queue: Queue, times: int) -> float:
    """Put all, then handle all; seconds for each."""
    put, handle = queue.put, queue.handle
    began = perf_counter()
    for _ in range(times):
        put()
    for _ in range(times):
        handle()
    return (perf_counter() - began) / times


def each_at_once(queue: Queue, times: int) -> float:
    """Handle each before the next is put; seconds for each."""
    put, handle = queue.put, queue.handle
    began = perf_counter()
    for _ in range(times):
        put()
        handle()
    return (perf_counter() - began) / times


def _bus(contest: Contest, run: Run, *, delivery: Literal["thread", "manual"] = "manual", **how: Any) -> EventBus:
    """A bus with one subscription, which has handled one event."""
    bus = contest.opened.enter_context(EventBus(how.pop("path", run.new_path()), delivery=delivery, **how))
    bus.subscribe("accounts", OrderPlaced, handler=lambda placed: None)
    bus.publish(PLACED)
    bus.drain()
    return bus


def _published_and_drained(bus: EventBus, times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        bus.publish(PLACED)
    bus.drain()
    spent = perf_counter() - began
    assert bus.subscriptions["accounts"].cursor == bus.log.head
    return spent / times


def _add_ours(contest: Contest, run: Run) -> None:
    times = run.sizes.durable
    process, power = _bus(contest, run, durability="process"), _bus(contest, run)
    single = _bus(contest, run, durability="process")
    background = _bus(contest, run, durability="process", delivery="thread")
    contest.add(f"{OURS}, process", NO_SYNC, partial(_published_and_drained, process, times))
    contest.add(OURS, "power: each publish synced", partial(_published_and_drained, power, times))
    contest.add(f"{OURS}, process, by its thread", NO_SYNC, partial(_published_and_drained, background, times))
    in_turn = Queue(partial(single.publish, PLACED), single.drain)
    contest.add(f"{OURS}, process{AT_ONCE}", NO_SYNC, partial(each_at_once, in_turn, run.sizes.publishes))
    memory = _bus(contest, run, path=None)
    contest.add(f"{OURS}, in memory", "none", partial(_published_and_drained, memory, times))


def _add_peers(contest: Contest, run: Run) -> None:
    times, few = run.sizes.durable, run.sizes.durable_slow
    _add(contest, run, "huey", partial(all_then_all, times=few))
    _add(contest, run, "huey", partial(all_then_all, times=times), " without sync", synced=False)
    _add(contest, run, "litequeue", partial(all_then_all, times=times))
    _add(contest, run, "litequeue", partial(each_at_once, times=run.sizes.publishes), AT_ONCE)
    _add(contest, run, "persist-queue", partial(all_then_all, times=few))
    _add(contest, run, "eventsourcing", partial(all_then_all, times=few))
    _add(contest, run, "eventsourcing", partial(all_then_all, times=few), " without sync", synced=False)


def _add(contest: Contest, run: Run, peer: str, handle: Callable[[Queue], float], which: str = "", **how: bool) -> None:
    def enter() -> Callable[[], float]:
        queue = contest.opened.enter_context(room(peer).handling(run.new_folder(), **how))
        each_at_once(queue, 1)
        return lambda: handle(queue)

    add(contest, run, peer, peer + which, NO_SYNC if how else "", enter)


def _measure(run: Run) -> Measured:
    size = f"{run.sizes.durable:,} events, published one by one, then handled"
    with run.contest(size, run.sizes.durable_rounds) as contest:
        _add_ours(contest, run)
        _add_peers(contest, run)
        return contest.run()


SUBJECTS = (Subject("durable", "publish, handle, record success", "us", _measure),)
