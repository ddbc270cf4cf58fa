"""The processes whose history is recorded: each publishes, reads and follows the log until it is killed.

    python chroniclers.py FOLDER

understands what lives.py does. Every call is written down before it is made, and again once it has returned, with
the time of a clock that all processes of the machine share.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

from history import Outcome, Publish, Read
from lives import main, say
from workload import Diary, lines

from eventbus import Context, EventBus, event
from eventbus.errors import BusClosed, EventBusError, PublishInDoubt

PUBLISHERS = 2
PACE = 0.004  # seconds between two calls of one thread, at random up to this
NEVER = float("inf")


@event
class Told:
    """What is published; `key` says which of all."""

    key: str


class Chronicler:
    """One life: its threads, and what each of them has seen."""

    def __init__(self, bus: EventBus, folder: Path, life: str) -> None:
        self._bus, self._life = bus, life
        self._calls = Diary(folder / f"calls-{life}.txt")
        self._reads = Diary(folder / f"reads-{life}.txt")
        self._followed = Diary(folder / "followed.txt")
        self._chance = random.Random(life)
        bus.subscribe("follower", Told, handler=self._follow, order_by="log", after=0)

    def start(self, again: list[str]) -> None:
        """Publish, beginning with what the life before heard no answer to, and read, until the process ends."""
        for number in range(PUBLISHERS):
            said = again if number == 0 else []
            threading.Thread(target=self._publish, args=(said, number), daemon=True).start()
        threading.Thread(target=self._read, daemon=True).start()

    def _follow(self, told: Told, ctx: Context) -> None:
        self._followed.write(ctx.envelope.position)

    def _publish(self, again: list[str], number: int) -> None:
        for key in itertools.chain(again, (f"{self._life}.{number}-{n}" for n in itertools.count())):
            self._calls.write(key, "invoked", time.monotonic_ns())
            try:
                outcome = self._say(key)
            except BusClosed:
                return
            self._calls.write(key, *outcome)
            time.sleep(self._chance.uniform(0, PACE))

    def _say(self, key: str) -> tuple[object, ...]:
        """What came of one call; now and then it is one that the log must refuse."""
        wrong = {"stream": "the last", "expected_version": 10**9} if self._chance.random() < 0.02 else {}
        try:
            receipt = self._bus.publish(Told(key), idempotency_key=None if wrong else key, **wrong)
        except BusClosed:
            raise
        except PublishInDoubt:
            return "in doubt", time.monotonic_ns()
        except EventBusError as error:
            return "failed" if error.stored == "not stored" else "in doubt", time.monotonic_ns()
        return "ok", time.monotonic_ns(), receipt.id, receipt.position

    def _read(self) -> None:
        """The log from its beginning, then on from what was seen, as a tail does."""
        after = 0
        while True:
            began = time.monotonic_ns()
            try:
                seen = [(envelope.position, envelope.id) for envelope in self._bus.log.read(after=after)]
            except BusClosed:
                return
            self._reads.write(began, after, json.dumps(seen))
            after = seen[-1][0] if seen else after
            time.sleep(self._chance.uniform(0, 5 * PACE))


def live(folder: Path, slot: str, number: int) -> None:
    """Work until killed."""
    life = f"{slot}.{number}"
    bus = EventBus(folder / "events.db", durability="process")
    chronicler = Chronicler(bus, folder, life)
    bus.start()
    chronicler.start(unanswered(folder, f"{slot}.{number - 1}"))
    say("up", slot)
    threading.Event().wait()


def unanswered(folder: Path, life: str) -> list[str]:
    """The keys of the calls of one life that never returned, or said that nobody knows."""
    last = {line[0]: line[1] for line in lines(folder / f"calls-{life}.txt")}
    return [key for key, word in last.items() if word in ("invoked", "in doubt")]


def publishes(folder: Path) -> list[Publish]:
    """All calls of all lives."""
    return [call for path in sorted(folder.glob("calls-*.txt")) for call in _of_one_life(path)]


def _of_one_life(path: Path) -> list[Publish]:
    told: defaultdict[str, list[list[str]]] = defaultdict(list)
    for line in lines(path):
        told[line[0]].append(line[1:])
    return [_call(key, words) for key, words in told.items()]


def _call(key: str, words: list[list[str]]) -> Publish:
    """Each life makes each call once: it was invoked, and perhaps it returned."""
    invoked = float(words[0][1])
    if len(words) == 1:
        return Publish(key, invoked, NEVER, "unanswered")
    outcome: Outcome = words[1][0]  # type: ignore[assignment]
    id_, position = (words[1][2], int(words[1][3])) if outcome == "ok" else (None, None)
    return Publish(key, invoked, float(words[1][1]), outcome, id_, position)


def reads(folder: Path) -> list[Read]:
    """All that anybody has read."""
    return [
        Read(path.stem, float(began), int(after), tuple((position, id_) for position, id_ in json.loads(seen)))
        for path in sorted(folder.glob("reads-*.txt"))
        for began, after, seen, _ in lines(path)
    ]


def followed(folder: Path) -> list[int]:
    """What the follower was handed, by whichever process it ran in."""
    return [int(line[0]) for line in lines(folder / "followed.txt")]


if __name__ == "__main__":
    main(Path(sys.argv[1]), live)
