"""Those who publish in one life of a process, in every way there is, and who note what they say and what is answered.

A key is noted before it is said and after it is acknowledged. What the life before this one said without hearing an
answer is said again under the same keys: nobody else can know whether it is stored.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from workload import Diary, deposited, lines

from eventbus import EventBus
from eventbus.errors import BusClosed
from eventbus.events import Receipt

BATCH = 5
PACE = 0.15  # seconds; a clerk rests at random up to this long, so that handlers keep up
WAYS = ("one", "one", "many", "rows", "submit")
ASYNC_WAYS = ("one_async", "one_async", "rows_async", "many_async")
TAKEN_OVER = "taken over"  # in the notes of a life: all that was left unanswered before is in them by now
INSERT = "INSERT INTO orders (key, id) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"


def way_of(key: str) -> str:
    """How this key is published."""
    return key.split(".")[2]


def batch(key: str) -> list[str]:
    """The keys of the events that share a commit."""
    return [f"{key}/{nth}" for nth in range(BATCH)]


def unanswered(folder: Path, slot: int | str, lives: int) -> list[str]:
    """What the lives of a slot said and never heard of; each takes that over from those before it, if it gets there."""
    found: dict[str, None] = {}
    for number in reversed(range(lives)):
        life = f"{slot}.{number}"
        stored = {line[0].partition("/")[0] for line in lines(folder / f"stored-{life}.txt")}
        said = [line[0] for line in lines(folder / f"said-{life}.txt")]
        found.update(dict.fromkeys(key for key in said if key not in stored and key != TAKEN_OVER))
        if TAKEN_OVER in said:
            break
    return list(found)


class Clerks:
    """Threads and tasks that publish until the process dies."""

    def __init__(self, bus: EventBus, folder: Path, life: str) -> None:
        self._bus, self._life = bus, life
        self._said, self._stored = Diary(folder / f"said-{life}.txt"), Diary(folder / f"stored-{life}.txt")
        self._rest = threading.Event()

    def start(self, again: list[str]) -> None:
        """Begin, with what has to be said again."""
        for key in (*again, TAKEN_OVER):
            self._said.write(key)
        for work in (lambda: self._repeat(again), lambda: self._work("a"), lambda: self._work("b"), self._loop):
            threading.Thread(target=self._until_closed, args=(work,), daemon=True).start()

    def say(self, key: str) -> None:
        """Publish what this key means, here and now."""
        self._said.write(key)
        way = way_of(key)
        if way == "submit":
            self._bus.submit(deposited(key), idempotency_key=key).add_done_callback(
                lambda future: self._acknowledge(key, future.result())
            )
        elif way.endswith("_async"):
            asyncio.run(self._say_async(key, way))
        elif way == "rows":
            with self._bus.transaction() as tx:
                id_ = tx.publish(deposited(key), idempotency_key=key)
                tx.execute(INSERT, (key, id_))
            self._stored.write(key, id_, "")
        elif way == "many":
            keys = batch(key)
            receipts = self._bus.publish_many([deposited(each) for each in keys], idempotency_keys=keys)
            self._acknowledge_all(keys, receipts)
        else:
            self._acknowledge(key, self._bus.publish(deposited(key), idempotency_key=key))

    def close(self) -> None:
        """Close the diaries."""
        self._said.close()
        self._stored.close()

    def _until_closed(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BusClosed:
            return

    async def _say_async(self, key: str, way: str) -> None:
        if way == "rows_async":
            async with self._bus.transaction() as tx:
                id_ = tx.publish(deposited(key), idempotency_key=key)
                tx.execute(INSERT, (key, id_))
            self._stored.write(key, id_, "")
        elif way == "many_async":
            keys = batch(key)
            events = [deposited(each) for each in keys]
            self._acknowledge_all(keys, await self._bus.publish_many_async(events, idempotency_keys=keys))
        else:
            self._acknowledge(key, await self._bus.publish_async(deposited(key), idempotency_key=key))

    def _acknowledge(self, key: str, receipt: Receipt) -> None:
        self._stored.write(key, receipt.id, receipt.position)

    def _acknowledge_all(self, keys: list[str], receipts: list[Receipt]) -> None:
        for key, receipt in zip(keys, receipts, strict=True):
            self._acknowledge(key, receipt)

    def _repeat(self, again: list[str]) -> None:
        for key in again:
            self.say(key)

    def _keys(self, who: str, ways: tuple[str, ...]) -> Iterator[tuple[str, float]]:
        """Keys without end, and how long to rest before each."""
        chance = random.Random(f"{self._life}.{who}")
        for number in itertools.count():
            yield f"{self._life}.{chance.choice(ways)}.{who}{number}", chance.uniform(0, PACE)

    def _work(self, who: str) -> None:
        for key, rest in self._keys(who, WAYS):
            self._rest.wait(rest)
            self.say(key)

    def _loop(self) -> None:
        async def work() -> None:
            for key, rest in self._keys("c", ASYNC_WAYS):
                await asyncio.sleep(rest)
                self._said.write(key)
                await self._say_async(key, way_of(key))

        asyncio.run(work())
