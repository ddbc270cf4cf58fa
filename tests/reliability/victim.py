"""The processes that are killed: they publish in every way there is while they handle, and acknowledge what returned.

    python victim.py FOLDER

has everything loaded and makes one process after the other: a line of standard input is the number of the next one and
the keys that were never acknowledged, which it says again. Standard output says which process it is, when it is up,
and how it ended.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from workload import Diary, Ordered, declare, deposited, make_app_tables, rebuild, vial

from eventbus import EventBus
from eventbus.events import Receipt

PACE = 0.03  # seconds; a publisher rests at random up to this long, so that handlers keep up
BATCH = 5
REBUILDS = 10  # one such process, or such a rest, in so many begins to rebuild the projection
IN_FLIGHT = 8

logging.getLogger("eventbus.delivery").disabled = True  # the handlers fail on purpose; nothing else may complain


class Publishers:
    """Threads and tasks that publish until the process dies."""

    def __init__(self, bus: EventBus, folder: Path, cycle: str) -> None:
        self._bus, self._cycle = bus, cycle
        self._said, self._stored = Diary(folder / "said.txt"), Diary(folder / "stored.txt")
        self._ordered = Diary(folder / "ordered.txt")
        self._rest = threading.Event()

    def start(self, again: list[str]) -> None:
        """Begin; `again` are the keys whose outcome nobody knows."""
        works = [self._orders, self._batches, self._submit, self._loop, self._rebuild, lambda: self._repeat(again)]
        works += [lambda number=number: self._publish(f"thread{number}") for number in range(3)]  # type: ignore[misc]
        for work in works:
            threading.Thread(target=work, daemon=True).start()

    def _keys(self, who: str) -> Iterator[tuple[str, float]]:
        """Keys without end, and how long to rest before each."""
        chance = random.Random(f"{self._cycle}.{who}")
        for number in itertools.count():
            yield f"{self._cycle}.{who}.{number}", chance.uniform(0, PACE)

    def _paced(self, who: str) -> Iterator[str]:
        for key, rest in self._keys(who):
            self._rest.wait(rest)
            yield key

    def _acknowledge(self, key: str, receipt: Receipt) -> None:
        self._stored.write(key, receipt.id, receipt.position, receipt.stream, receipt.sequence)

    def _publish(self, who: str) -> None:
        for key in self._paced(who):
            self._said.write(key)
            self._acknowledge(key, self._bus.publish(deposited(key), idempotency_key=key))

    def _repeat(self, again: list[str]) -> None:
        for key in again:
            self._acknowledge(key, self._bus.publish(deposited(key), idempotency_key=key))

    def _batches(self) -> None:
        for number, key in enumerate(self._paced("many")):
            if number % 8 == 0:
                for receipt in self._bus.publish_many(vial(key)):
                    self._acknowledge(key, receipt)
            keys = [f"{key}/{nth}" for nth in range(BATCH)]
            receipts = self._bus.publish_many([deposited(each) for each in keys], idempotency_keys=keys)
            for each, receipt in zip(keys, receipts, strict=True):
                self._acknowledge(each, receipt)

    def _orders(self) -> None:
        for number, key in enumerate(self._paced("order")):
            with self._bus.transaction() as tx:
                id_ = tx.publish(Ordered(key))
                tx.execute("INSERT INTO orders (key, id) VALUES (?, ?)", (key, id_))
                if number % 2:
                    tx.publish(deposited(key), idempotency_key=key)
            self._ordered.write(key, id_)

    def _rebuild(self) -> None:
        for number in itertools.count(int(self._cycle)):
            if number % REBUILDS == 0:
                rebuild(self._bus)
            self._rest.wait(PACE)

    def _submit(self) -> None:
        room = threading.Semaphore(IN_FLIGHT)

        def stored(key: str) -> Callable[[Future[Receipt]], None]:
            def note(future: Future[Receipt]) -> None:
                room.release()
                self._acknowledge(key, future.result())

            return note

        for key in self._paced("submit"):
            room.acquire()
            self._said.write(key)
            self._bus.submit(deposited(key), idempotency_key=key).add_done_callback(stored(key))

    def _loop(self) -> None:
        async def publish(who: str) -> None:
            for key, rest in self._keys(who):
                await asyncio.sleep(rest)
                self._said.write(key)
                self._acknowledge(key, await self._bus.publish_async(deposited(key), idempotency_key=key))

        async def order() -> None:
            for key, rest in self._keys("async-order"):
                await asyncio.sleep(rest)
                async with self._bus.transaction() as tx:
                    id_ = tx.publish(Ordered(key))
                    tx.execute("INSERT INTO orders (key, id) VALUES (?, ?)", (key, id_))
                self._ordered.write(key, id_)

        async def all_of_them() -> None:
            await asyncio.gather(publish("task0"), publish("task1"), order())

        asyncio.run(all_of_them())


def live(folder: Path, cycle: str, again: list[str]) -> None:
    """Publish and handle until killed."""
    bus = EventBus(folder / "events.db", durability="power" if int(cycle) % 4 == 0 else "process")
    make_app_tables(bus)
    declare(bus, folder)
    bus.start()
    Publishers(bus, folder, cycle).start(again)
    os.write(sys.stdout.fileno(), b"up\n")
    threading.Event().wait()


def main(folder: Path) -> None:
    """Let one process after the other live."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            cycle, *again = line.split()
            live(folder, cycle, again)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
