"""Stored one by one, handled by a plain handler, success recorded: each library with its own default sync."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Literal

from benchmarks.goals import OURS
from benchmarks.measuring import Block, Measured
from benchmarks.payload import PLACED, OrderPlaced
from benchmarks.peers import take_part
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus


@contextmanager
def _ours(path: Path | None, durability: Literal["power", "process"]) -> Iterator[Block]:
    with EventBus(path, durability=durability, delivery="manual") as bus:
        bus.subscribe("accounts", OrderPlaced, handler=lambda placed: None)

        def block(times: int) -> float:
            began = perf_counter()
            for _ in range(times):
                bus.publish(PLACED)
            handled = bus.drain()
            spent = perf_counter() - began
            assert handled == times, f"{handled} of {times} were handled"
            return spent / times

        block(1)
        yield block


@contextmanager
def _ours_in_background(path: Path) -> Iterator[Block]:
    with EventBus(path, durability="process") as bus:
        bus.subscribe("accounts", OrderPlaced, handler=lambda placed: None)

        def block(times: int) -> float:
            began = perf_counter()
            for _ in range(times):
                bus.publish(PLACED)
            bus.drain()
            return (perf_counter() - began) / times

        block(1)
        yield block


def _measure(run: Run) -> Measured:
    times, few = run.sizes.durable, run.sizes.slow_events
    with run.contest(f"{times:,} events, published one by one, then handled", run.sizes.rounds) as contest:
        enter = contest.opened.enter_context
        process, power = enter(_ours(run.new_path(), "process")), enter(_ours(run.new_path(), "power"))
        memory, background = enter(_ours(None, "process")), enter(_ours_in_background(run.new_path()))
        contest.add(f"{OURS}, process", "process: no sync", lambda: process(times))
        contest.add(OURS, "power: each publish synced", lambda: power(times))
        contest.add(f"{OURS}, process, in the background", "process: no sync", lambda: background(times))
        contest.add(f"{OURS}, in memory", "none", lambda: memory(times))
        for peer in ("huey", "litequeue", "persist-queue"):
            take_part(contest, run, peer, lambda room: room.handling(run.new_folder()), times)
        for synced, name in ((True, "eventsourcing"), (False, "eventsourcing without sync")):
            take_part(
                contest,
                run,
                "eventsourcing",
                lambda room: room.handling(run.new_path(), synced=synced),  # noqa: B023 - called at once
                few,
                name=name,
                durability="" if synced else "synchronous=NORMAL: no sync",
            )
        take_part(contest, run, "bubus", lambda room: room.handling(), few)
        return contest.run()


SUBJECTS = (Subject("durable", "publish, handle, record success", "us", _measure),)
