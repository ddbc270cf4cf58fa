"""Who publishes in a simulation: each event follows from its key, so that anybody can say it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

from history import Publish, check_publishes
from simulated.faults import Died
from simulated.kinds import Happened

from eventbus.errors import EventBusError, PublishInDoubt

if TYPE_CHECKING:
    from simulated.process import Process
    from simulated.world import World

T = TypeVar("T")

_FATES = ((0, "well"),) * 20 + ((1, "well"),) * 3 + ((2, "well"), (9, "well"), (0, "drop"), (0, "death"))
_STREAMS = ("a", "b", "c", None)
MOST = 20  # events of one world
MOST_TRIES = 1000  # in the end, where nothing fails from outside any more


class Publisher:
    """Publishes in different ways, and remembers what it was told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._steps = 0.0
        self._numbers = 0
        self._salt = world.chance.randrange(1 << 30)
        self.open: list[int] = []  # said, and nobody knows whether it is stored
        self.history: list[Publish] = []

    def happened(self, number: int) -> Happened:
        """The event of this number."""
        fails, ends = self._of(_FATES, "fate", number)
        return Happened(number, f"key-{number}", fails, ends)

    def stream(self, number: int) -> str | None:
        """The stream of this number."""
        return self._of(_STREAMS, "stream", number)

    def _of(self, table: Sequence[T], what: str, number: int) -> T:
        return table[crc32(f"{what} {self._salt} {number}".encode()) % len(table)]

    def say(self, process: Process) -> None:
        """Something new, or once more what nobody has heard of."""
        if self.open and self._world.chance.random() < 0.4:
            self._try(process, [self.open.pop(self._world.chance.randrange(len(self.open)))])
        elif self._numbers < MOST:
            many = self._world.chance.choice((1, 1, 1, 2, 4))
            self._numbers += many
            self._try(process, list(range(self._numbers - many, self._numbers)))

    def say_again(self, process: Process) -> None:
        """All that is open, until it is acknowledged."""
        for _ in range(MOST_TRIES):
            if not self.open:
                return
            self._try(process, [self.open.pop()])
        raise AssertionError(f"nothing fails any more, and these cannot be published: {self.open}")

    def check(self) -> None:
        """What was acknowledged is there, once and in order; nothing else is."""
        events = self._world.judge.events.values()
        problems = check_publishes(self.history, [(each.position, each.id, each.key) for each in events])
        assert not problems, problems

    def _try(self, process: Process, numbers: list[int]) -> None:
        way = self._world.chance.choice((_one_by_one, _together, _with_rows))
        invoked = self._tick()
        known: Known = {}
        outcome = self._world.within(process, lambda: self._outcome(lambda: way(self, process, numbers, known)))
        outcome = {"died": "unanswered"}.get(outcome, outcome)
        returned = self._tick()
        self._world.say(process.number, "publishes", numbers, way.__name__, outcome)
        for number in numbers:
            told = known.get(number)
            self.history.append(
                Publish(
                    key=f"key-{number}",
                    invoked=invoked,
                    returned=returned,
                    outcome="ok" if told else outcome,
                    id=told[0] if told else None,
                    position=told[1] if told else None,
                )
            )
            if told is None:
                self.open.append(number)

    def _outcome(self, do: Callable[[], None]) -> str:
        try:
            do()
        except Died:
            return "unanswered"
        except PublishInDoubt:
            return "in doubt"
        except EventBusError as error:
            return "failed" if error.stored == "not stored" else "in doubt"
        return "ok"

    def _tick(self) -> float:
        self._steps += 1
        return self._steps


Known = dict[int, tuple[str, "int | None"]]  # by number: the id, and the position where that is told


def _one_by_one(said: Publisher, process: Process, numbers: list[int], known: Known) -> None:
    for number in numbers:
        event = said.happened(number)
        receipt = process.bus.publish(event, stream=said.stream(number), idempotency_key=event.key)
        known[number] = receipt.id, receipt.position


def _together(said: Publisher, process: Process, numbers: list[int], known: Known) -> None:
    """One commit for each stream."""
    for each in _STREAMS:
        mine = [number for number in numbers if said.stream(number) == each]
        events = [said.happened(number) for number in mine]
        receipts = process.bus.publish_many(events, stream=each, idempotency_keys=[event.key for event in events])
        known.update(zip(mine, [(receipt.id, receipt.position) for receipt in receipts], strict=True))


def _with_rows(said: Publisher, process: Process, numbers: list[int], known: Known) -> None:
    found: Known = {}
    with process.bus.transaction() as tx:
        for number in numbers:
            event = said.happened(number)
            id_ = tx.publish(event, stream=said.stream(number), idempotency_key=event.key)
            tx.execute("INSERT INTO orders VALUES (?, ?)", (event.key, id_))
            found[number] = id_, None
    known.update(found)
