"""Calling live handlers; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.goals import OURS
from benchmarks.measuring import Measured, timed
from benchmarks.payload import PLACED, OrderPlaced, handlers
from benchmarks.peers import dispatch_with
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

PEERS = ("blinker", "pyee", "psygnal", "bubus")


def _plain(called: list[Callable[[OrderPlaced], None]], times: int) -> float:
    def emit(placed: OrderPlaced) -> None:
        for handle in called:
            handle(placed)

    return timed(emit, times, PLACED)


def _isolated(called: list[Callable[[OrderPlaced], None]], times: int) -> float:
    def emit(placed: OrderPlaced) -> None:
        for handle in called:
            try:
                handle(placed)
            except Exception as error:
                raise AssertionError(handle) from error  # a bus would log it and go on

    return timed(emit, times, PLACED)


def _measure(run: Run, number: int) -> Measured:
    times = run.sizes.emits
    with run.contest(f"{times:,} emits", run.sizes.rounds) as contest:
        bus = contest.opened.enter_context(EventBus(delivery="manual"))
        for handle in handlers(number):
            bus.on(OrderPlaced, handler=handle)
        contest.add(OURS, "none", lambda: timed(bus.emit, times, PLACED))
        for peer in PEERS:
            few = run.sizes.dispatches_slow if peer == "bubus" else times
            dispatch_with(contest, run, peer, number, few)
        called = handlers(number)
        contest.add("plain loop", "none", lambda: _plain(called, times))
        contest.add("plain loop that isolates errors", "none", lambda: _isolated(called, times))
        return contest.run()


SUBJECTS = (
    Subject("emit-1", "emit to 1 live handler", "us", lambda run: _measure(run, 1)),
    Subject("emit-10", "emit to 10 live handlers", "us", lambda run: _measure(run, 10)),
)
