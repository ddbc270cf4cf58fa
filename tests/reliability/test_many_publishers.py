"""Many publish at once, from threads and from event loops: all of it is stored, and sequences have no holes."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import accounts
import pytest
from workload import Deposited, Ordered, deposited

from eventbus import EventBus
from eventbus.events import Receipt

THREADS = 500
TASKS = 2000
LOOPS = 2
LONGEST = 120.0  # seconds, for a machine that has other things to do


class Crowd:
    """Threads that all begin at the same moment; what one of them raises is raised at the end."""

    def __init__(self, works: list[Callable[[], None]]) -> None:
        self._errors: list[BaseException] = []
        self._gate = threading.Barrier(len(works))
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(LONGEST)
        assert not [thread for thread in self._threads if thread.is_alive()], "some never came back"
        assert self._errors == []

    def _run(self, work: Callable[[], None]) -> None:
        try:
            self._gate.wait(LONGEST)
            work()
        except BaseException as error:
            self._errors.append(error)


def check_stored(bus: EventBus, receipts: list[Receipt], keys: list[str]) -> None:
    log = accounts.Log(bus)
    accounts.check_order(log)
    assert Counter(envelope.event.key for envelope in log.of(Deposited)) == Counter(keys)
    assert len({receipt.position for receipt in receipts}) == len(receipts)
    for receipt in receipts:
        envelope = log.at[receipt.position]
        assert (envelope.id, envelope.stream, envelope.sequence) == (receipt.id, receipt.stream, receipt.sequence)


def order(bus: EventBus, key: str) -> None:
    with bus.transaction() as tx:
        id_ = tx.publish(Ordered(key))
        tx.execute("INSERT INTO orders (key, id) VALUES (?, ?)", (key, id_))
        tx.publish(deposited(key))


async def order_async(bus: EventBus, key: str) -> None:
    async with bus.transaction() as tx:
        id_ = tx.publish(Ordered(key))
        tx.execute("INSERT INTO orders (key, id) VALUES (?, ?)", (key, id_))
        tx.publish(deposited(key))


def on_loops(make: Callable[[int], Coroutine[Any, Any, None]]) -> list[Callable[[], None]]:
    """All tasks, dealt out to loops that each run in a thread of their own."""

    def loop(mine: range) -> None:
        async def everyone() -> None:
            await asyncio.gather(*(make(number) for number in mine))

        asyncio.run(everyone())

    return [lambda first=first: loop(range(first, TASKS, LOOPS)) for first in range(LOOPS)]  # type: ignore[misc]


@pytest.fixture
def bus(tmp_path: Path) -> Any:
    with EventBus(tmp_path / "events.db") as bus:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE orders (key TEXT, id TEXT)")
        yield bus


def orders_of(bus: EventBus) -> list[tuple[str, str]]:
    return [(row["key"], row["id"]) for row in bus.query("SELECT key, id FROM orders ORDER BY rowid")]


def test_500_threads_publish_at_once_and_all_is_stored(bus: EventBus) -> None:
    keys, receipts = [f"thread.{number}" for number in range(THREADS)], []
    Crowd([lambda key=key: receipts.append(bus.publish(deposited(key))) for key in keys]).run()  # type: ignore[misc]
    assert len(receipts) == THREADS
    check_stored(bus, receipts, keys)


def test_2000_tasks_over_two_loops_publish_at_once_and_all_is_stored(bus: EventBus) -> None:
    keys, receipts = [f"task.{number}" for number in range(TASKS)], []

    async def publish(number: int) -> None:
        receipts.append(await bus.publish_async(deposited(keys[number])))

    Crowd(on_loops(publish)).run()
    assert len(receipts) == TASKS
    check_stored(bus, receipts, keys)


def test_transactions_publishes_and_submits_of_threads_and_loops_mix(bus: EventBus) -> None:
    heard: list[str] = []
    seen: list[str] = []
    bus.on(Deposited, handler=lambda event: heard.append(event.key))
    bus.subscribe("seen", Deposited, handler=lambda event: seen.append(event.key))
    threads = [f"thread.{number}" for number in range(THREADS)]
    tasks = [f"task.{number}" for number in range(TASKS)]

    def publish(number: int) -> Callable[[], object]:
        ways = (
            lambda: bus.publish(deposited(threads[number])),
            lambda: bus.submit(deposited(threads[number])).result(LONGEST),
            lambda: bus.publish_many([deposited(threads[number])]),
            lambda: order(bus, threads[number]),
        )
        return ways[number % len(ways)]

    async def publish_async(number: int) -> None:
        if number % 10 == 0:
            await order_async(bus, tasks[number])
        else:
            await bus.publish_async(deposited(tasks[number]))

    Crowd([publish(number) for number in range(THREADS)] + on_loops(publish_async)).run()  # type: ignore[list-item]
    check_stored(bus, [], threads + tasks)
    assert sorted(heard) == sorted(threads + tasks)
    assert orders_of(bus) == [(each.event.key, each.id) for each in accounts.Log(bus).of(Ordered)]
    bus.drain(timeout=LONGEST)
    assert sorted(seen) == sorted(threads + tasks)


def test_500_threads_that_expect_the_same_version_agree_on_one(bus: EventBus) -> None:
    from eventbus.errors import WrongExpectedVersion

    won, lost = [], []

    def publish(key: str) -> None:
        try:
            won.append(bus.publish(deposited(key), stream="one", expected_version=0))
        except WrongExpectedVersion as error:
            lost.append(error)

    Crowd([lambda number=number: publish(f"thread.{number}") for number in range(THREADS)]).run()  # type: ignore[misc]
    assert (len(won), len(lost)) == (1, THREADS - 1)
    assert bus.log.head == 1


def test_500_threads_that_say_the_same_key_store_one_event(bus: EventBus) -> None:
    receipts: list[Receipt] = []
    Crowd(
        [lambda: receipts.append(bus.publish(deposited("same"), idempotency_key="same")) for _ in range(THREADS)]
    ).run()
    assert len({(receipt.id, receipt.position) for receipt in receipts}) == 1
    assert sorted(receipt.duplicate for receipt in receipts) == [False] + [True] * (THREADS - 1)
    assert bus.log.head == 1
