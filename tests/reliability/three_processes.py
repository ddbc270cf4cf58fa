"""Three processes on one log are killed, stopped and resumed at random, while a person deals with what dies.

    python tests/reliability/three_processes.py --kills 1000 [--seed SEED] [--folder FOLDER] [--json]

prints figures, and the seed that repeats the schedule.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from asked import rage_as_asked
from clerks import Clerks
from fleet import Fleet
from kinds import Declared, make_tables
from verdicts import Verdict, left_unanswered
from visitor import Visitor

from eventbus import EventBus

PROCESSES = 3
LONGEST = 600.0  # seconds for what the last processes left undone
BETWEEN_VISITS = 5  # kills


class Storm:
    """What happens to the fleet, and when."""

    def __init__(self, fleet: Fleet, visitor: Visitor, chance: random.Random) -> None:
        self._fleet, self._visitor, self._chance = fleet, visitor, chance
        self._manners = {
            self._kill: 60,
            self._kill_twice: 10,
            self._kill_two: 6,
            self._kill_all: 4,
            self._stop_and_go_on: 10,
            self._stop_and_kill: 10,
            self._close: 5,
        }

    def rage(self, kills: int) -> None:
        """Go on until so many have been killed."""
        next_visit = 0
        while self._fleet.kills < kills:
            (manner,) = self._chance.choices([*self._manners], [*self._manners.values()])
            slot = self._chance.randrange(PROCESSES)
            if self._chance.random() < 0.9:
                self._fleet.wait_until_up(slot)
            self._fleet.wait(self._chance.uniform(0.02, 0.25))
            manner(slot)
            if self._fleet.kills >= next_visit:
                self._visitor.visit()
                next_visit = self._fleet.kills + BETWEEN_VISITS

    def _kill(self, slot: int) -> None:
        self._fleet.kill(slot)

    def _kill_twice(self, slot: int) -> None:
        """The second time while it opens the log."""
        self._fleet.kill(slot)
        self._fleet.wait(self._chance.uniform(0.0, 0.08))
        self._fleet.kill(slot)

    def _kill_two(self, slot: int) -> None:
        self._fleet.kill(slot, (slot + 1) % PROCESSES)

    def _kill_all(self, slot: int) -> None:
        """The next one to open the log finds nobody, and recovers what they left."""
        self._fleet.kill(*range(PROCESSES))

    def _stop_and_go_on(self, slot: int) -> None:
        self._fleet.stop(slot, self._chance.uniform(0.02, 0.5))
        self._fleet.go_on(slot)

    def _stop_and_kill(self, slot: int) -> None:
        self._fleet.stop(slot, self._chance.uniform(0.02, 0.5))
        self._fleet.kill(slot)

    def _close(self, slot: int) -> None:
        self._fleet.wait_until_up(slot)
        self._fleet.close(slot)


def settle(bus: EventBus, visitor: Visitor) -> None:
    """Have everything delivered, by handlers that are mended; what is dead by then is tried again."""
    visitor.resume(bus)
    bus.drain(timeout=LONGEST)
    while visitor.resume(bus) or bus.dead_letters.retry():
        bus.drain(timeout=LONGEST)


def storm(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """All of it; AssertionError if anything that is promised does not hold. Returns figures."""
    began = time.monotonic()
    chance = random.Random(seed)
    path = folder / "events.db"
    with EventBus(path, delivery="manual", durability="process") as bus:
        make_tables(bus)
    visitor = Visitor(folder, chance)
    with Fleet(folder, PROCESSES) as fleet:
        Storm(fleet, visitor, chance).rage(kills)
        fleet.kill(*range(PROCESSES), again=False)
        assert fleet.complaints() == "", fleet.complaints()
    raged = time.monotonic()
    with EventBus(path, durability="process") as bus:
        visitor.reader.look(bus)
        declared = Declared(bus, folder, "end", mended=True)
        clerks = Clerks(bus, folder, "end")
        for key in left_unanswered(folder, fleet.lives):
            clerks.say(key)
        settle(bus, visitor)
        figures = Verdict(bus, folder, visitor.reader, fleet.closed).all()
        epochs = sum(row["epoch"] for row in bus.query("SELECT epoch FROM eventbus_subscriptions"))
        declared.close()
        clerks.close()
    done = {f"{action} by a person": times for action, times in visitor.done.items()}
    times = {"seconds of storm": round(raged - began, 1), "seconds after it": round(time.monotonic() - raged, 1)}
    return {
        "kills": fleet.kills,
        "stops": fleet.stops,
        "closes": fleet.closes,
        "takeovers": epochs,
        "accounts": visitor.reader.looks,
        **figures,
        **done,
        **times,
    }


if __name__ == "__main__":
    rage_as_asked(__doc__, storm)
