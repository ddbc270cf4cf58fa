"""Many at once, each waiting for the disk: threads, and tasks on one loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from time import perf_counter

from benchmarks import floor
from benchmarks.goals import BARE, FLOOR, OURS
from benchmarks.measuring import Contest, Measured, percentile
from benchmarks.payload import PLACED
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

NAMES = (OURS, f"{OURS}, p50", f"{OURS}, p99")


def _publish_on_threads(bus: EventBus, threads: int, each: int) -> tuple[float, float, float]:
    """Seconds for each event, and p50 and p99 of what one publish waits."""
    waited: list[float] = []
    start = threading.Barrier(threads + 1)

    def publish() -> None:
        own: list[float] = []
        start.wait()
        for _ in range(each):
            began = perf_counter()
            bus.publish(PLACED)
            own.append(perf_counter() - began)
        waited.extend(own)

    running = [threading.Thread(target=publish) for _ in range(threads)]
    for thread in running:
        thread.start()
    start.wait()
    began = perf_counter()
    for thread in running:
        thread.join()
    return (perf_counter() - began) / (threads * each), percentile(waited, 50), percentile(waited, 99)


async def _publish_in_tasks(path: Path, tasks: int, each: int) -> tuple[float, float, float]:
    waited: list[float] = []

    async def publish() -> None:
        for _ in range(each):
            began = perf_counter()
            await bus.publish_async(PLACED)
            waited.append(perf_counter() - began)

    async with EventBus(path) as bus:
        await bus.publish_async(PLACED)
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(tasks):
                group.create_task(publish())
        spent = perf_counter() - began
    return spent / (tasks * each), percentile(waited, 50), percentile(waited, 99)


def _add_floors(contest: Contest, run: Run) -> None:
    times, enter = run.sizes.publishes, contest.opened.enter_context
    tables = enter(floor.opened(run.new_path(), "ours", synced=True))
    bare = enter(floor.opened(run.new_path(), "bare", synced=True))
    contest.add(FLOOR, "power, one thread", lambda: tables.one_by_one(times))
    contest.add(BARE, "power, one thread", lambda: bare.one_by_one(times))


def _threads(run: Run) -> Measured:
    threads, each = run.sizes.threads, run.sizes.per_thread
    with run.contest(f"{threads} threads, {each} events each", run.sizes.rounds) as contest:
        bus = contest.opened.enter_context(EventBus(run.new_path()))
        contest.add_several(NAMES, "power", lambda: _publish_on_threads(bus, threads, each))
        _add_floors(contest, run)
        return contest.run()


def _tasks(run: Run) -> Measured:
    tasks, each = run.sizes.tasks, run.sizes.per_task
    with run.contest(f"{tasks:,} tasks, {each} events each", run.sizes.rounds) as contest:
        path = run.new_path()
        contest.add_several(NAMES, "power", lambda: asyncio.run(_publish_in_tasks(path, tasks, each)))
        _add_floors(contest, run)
        return contest.run()


SUBJECTS = (
    Subject("threads", "64 threads publishing, synced", "us", _threads),
    Subject("tasks", "1,000 asyncio tasks publishing, synced", "us", _tasks),
)
