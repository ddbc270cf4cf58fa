"""The process whose disk is recorded: it publishes in all forms, handles, projects, checkpoints, closes and reopens.

    python powered.py FOLDER NOTES LIFE DURABILITY [FAULT]

The log is FOLDER/events.db; FOLDER/told.txt (telling.py) is recorded with it, so that the tape knows what was told by
then. Handlers note in NOTES. LIFE is the seed and the first part of each key; its clock and ids repeat with it.
FAULT is module:function, called with what is told before anything is opened: the proof must find it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from hasty import patch_in
from telling import Told
from workload import Balances, Ordered, declare, deposited, make_app_tables, vial

from eventbus import EventBus
from eventbus.testing import START, FakeClock

SESSIONS = 3  # times it opens and closes the log
STEPS = 14  # in each
BATCH = 5
A_YEAR = 365 * 86400.0
LONG = 9000  # characters: more than fits into one page
INSERT = "INSERT INTO orders (key, id) VALUES (?, ?)"


class Powered:
    """One session: steps chosen by chance, each noted before and after."""

    def __init__(self, bus: EventBus, told: Told, chance: random.Random, life: str) -> None:
        self._bus, self._told, self._chance, self._life = bus, told, chance, life
        self._count = 0
        self._steps: dict[Callable[[], None], int] = {
            self._publish: 6,
            self._publish_long: 1,
            self._publish_many: 2,
            self._publish_vial: 1,
            self._publish_again: 2,
            self._submit: 2,
            self._publish_async: 2,
            self._order: 4,
            self._order_async: 1,
            self._drain: 4,
            self._look: 3,
            self._rest: 2,
            self._rebuild: 1,
        }

    def work(self, steps: int) -> None:
        """Take so many steps."""
        for step in self._chance.choices([*self._steps], [*self._steps.values()], k=steps):
            step()
        if self._chance.random() < 0.5:
            self._drain()

    def _key(self, who: str) -> str:
        self._count += 1
        key = f"{self._life}.{who}.{self._count}"
        self._told.say(key)
        return key

    def _publish(self) -> None:
        key = self._key("one")
        how = {"idempotency_key": key} if self._chance.random() < 0.7 else {}
        self._told.tell(self._bus.publish(deposited(key), **how))

    def _publish_long(self) -> None:
        self._told.tell(self._bus.publish(deposited(self._key("x" * self._chance.randrange(LONG)))))

    def _publish_again(self) -> None:
        key = self._key("again")
        for _ in range(2):
            self._told.tell(self._bus.publish(deposited(key), idempotency_key=key))

    def _publish_many(self) -> None:
        key = self._key("many")
        keys = [f"{key}/{number}" for number in range(BATCH)]
        for each in keys:
            self._told.say(each)
        for receipt in self._bus.publish_many([deposited(each) for each in keys], idempotency_keys=keys):
            self._told.tell(receipt)

    def _publish_vial(self) -> None:
        for receipt in self._bus.publish_many(vial(self._key("vial"))):
            self._told.tell(receipt)

    def _submit(self) -> None:
        futures = [self._bus.submit(deposited(self._key("submit"))) for _ in range(3)]
        for future in futures:
            self._told.tell(future.result())

    def _publish_async(self) -> None:
        async def publish() -> None:
            events = [deposited(self._key("async")) for _ in range(2)]
            for receipt in await asyncio.gather(*(self._bus.publish_async(each) for each in events)):
                self._told.tell(receipt)

        asyncio.run(publish())

    def _order(self) -> None:
        key = self._key("order")
        with self._bus.transaction() as tx:
            id_ = tx.publish(Ordered(key))
            tx.execute(INSERT, (key, id_))
            if int(key.rpartition(".")[2]) % 2:
                tx.publish(deposited(key), idempotency_key=key)
        self._told.tell_of(id_)

    def _order_async(self) -> None:
        async def order() -> None:
            key = self._key("task")
            async with self._bus.transaction() as tx:
                id_ = tx.publish(Ordered(key))
                tx.execute(INSERT, (key, id_))
            self._told.tell_of(id_)

        asyncio.run(order())

    def _drain(self) -> None:
        self._bus.drain()

    def _look(self) -> None:
        self._told.see(self._bus)

    def _rest(self) -> None:
        """What the pump does when nothing goes on: a checkpoint."""
        self._bus._attachment.engine().storage.rest()

    def _rebuild(self) -> None:
        self._bus.projections[Balances].rebuild()


def main(folder: Path, notes: Path, life: str, durability: str, fault: str = "") -> None:
    """Live, and end in order."""
    logging.getLogger("eventbus").setLevel(logging.CRITICAL)
    told, chance = Told(folder), random.Random(life)
    patch_in(fault, told)
    number = int(life.rpartition("-")[2])
    clock = FakeClock(START + number * A_YEAR, seed=chance.getrandbits(30))
    for session in range(SESSIONS):
        how = {"delivery": "manual", "durability": durability, "clock": clock, "accept_loss": durability != "power"}
        with EventBus(folder / "events.db", **how) as bus:  # type: ignore[arg-type]
            make_app_tables(bus)
            diaries = declare(bus, notes)
            Powered(bus, told, chance, f"{life}-{session}").work(STEPS)
            told.see(bus)
        for diary in diaries:
            diary.close()
        clock.advance(1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    sys.stdout.flush()
    os._exit(0)
