"""Delivery as it ought to be, as small list machines: for each subscription and order key a queue of deliveries.

No clock, no file and no bus in here. What a process that dies, or a handler that pauses its subscription, leaves
undone is not foretold: each queue may have come any number of steps far, and `agree` takes over how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import attrs

ATTEMPTS, PAUSE = 3, 10.0
DONE = frozenset({"handled", "dropped", "discarded"})  # dropped: by its handler's error; discarded: by a person


@attrs.frozen
class World:
    """What decides how an attempt ends, besides the event itself."""

    now: float
    outage: bool
    calm: frozenset[int]  # events that no longer pause their subscription
    loaded: bool  # whether the rare class is


@attrs.frozen
class Seen:
    """Where a delivery stands, as one can see in the log."""

    word: str  # done, to come, retrying, dead, unloaded
    attempts: int = 0
    due: float | None = None  # where that is still to come


@attrs.frozen
class Delivery:
    """One event due to one subscription: `fails` attempts fail, then it ends as `ends` says."""

    number: int
    fails: int = 0
    ends: str = "well"  # well, drop, pause, outage
    rare: bool = False
    state: str = "to come"  # or retrying, dead, unloaded, or one of DONE
    attempts: int = 0
    due: float = 0.0

    def seen(self, now: float) -> Seen:
        """What is due and has used up no attempt is simply to come, whether it has a row or not."""
        if self.state in DONE:
            return Seen("done")
        if self.state == "retrying" and (self.attempts or self.due > now):
            return Seen("retrying", self.attempts, self.due if self.due > now else None)
        return Seen("to come" if self.state == "retrying" else self.state, self.attempts)

    def tried(self, world: World) -> Delivery | None:
        """After one more attempt; None where its subscription pauses instead."""
        if self.attempts >= ATTEMPTS:  # the process died in its last one
            return attrs.evolve(self, state="dead")
        if self.rare and not world.loaded:
            return attrs.evolve(self, state="unloaded")
        if self.ends == "pause" and self.number not in world.calm:
            return None
        if self.ends == "outage" and world.outage:
            return attrs.evolve(self, state="retrying", due=world.now + PAUSE)
        if self.ends == "drop":
            return attrs.evolve(self, state="dropped")
        attempts = self.attempts + 1
        if attempts > self.fails:
            return attrs.evolve(self, state="handled", attempts=attempts)
        if attempts == ATTEMPTS:
            return attrs.evolve(self, state="dead", attempts=attempts)
        return attrs.evolve(self, state="retrying", attempts=attempts, due=world.now + PAUSE)

    def counted(self) -> Delivery:
        """As a crash leaves it: its attempt was counted beforehand, and nobody knows how it went."""
        state = "retrying" if self.state == "to come" else self.state
        return attrs.evolve(self, state=state, attempts=self.attempts + 1)


@attrs.define
class Queue:
    """The deliveries of one order key. Only the first that is not done is ever tried."""

    line: list[Delivery] = attrs.field(factory=list)
    history: list[list[Delivery]] = attrs.field(factory=list)  # of the last drain, step by step

    def head(self) -> int | None:
        """The place of the first that is not done."""
        return next((place for place, each in enumerate(self.line) if each.state not in DONE), None)

    def drain(self, world: World) -> bool:
        """Try the first as long as it is due; True if it asks for a pause."""
        self.history = [list(self.line)]
        while (place := self.head()) is not None:
            first = self.line[place]
            waits = first.state == "unloaded" and not world.loaded
            if waits or first.state == "dead" or (first.state != "unloaded" and first.due > world.now):
                return False
            after = first.tried(world)
            if after is None:
                return True
            self.line[place] = after
            self.history.append(list(self.line))
        return False

    def agree(self, seen: list[Seen], now: float, *, crashed: bool) -> bool:
        """Go back to the step of the last drain at which it looked like this; False if it never did."""
        for line in self.history:
            for lines in (line, *([_counted(line)] if crashed else [])):
                if [each.seen(now) for each in lines] == seen:
                    self.line = lines
                    return True
        return False


def _counted(line: list[Delivery]) -> list[Delivery]:
    place = Queue(line).head()
    return line if place is None else [*line[:place], line[place].counted(), *line[place + 1 :]]


class Model:
    """One subscription."""

    def __init__(self, key_of: Callable[[int, str | None], Hashable]) -> None:
        self._key_of = key_of
        self.queues: dict[Hashable, Queue] = {}
        self._queue_of: dict[int, Queue] = {}
        self.paused = False

    def publish(self, delivery: Delivery, stream: str | None) -> None:
        """One more, behind those of its key."""
        queue = self.queues.setdefault(self._key_of(delivery.number, stream), Queue())
        queue.line.append(delivery)
        self._queue_of[delivery.number] = queue

    def drain(self, world: World) -> bool:
        """Everything that is due, as if nothing paused; True if something does."""
        if self.paused:
            for queue in self.queues.values():
                queue.history = [list(queue.line)]
            return False
        return sum(queue.drain(world) for queue in self.queues.values()) > 0

    def agree(self, seen: Mapping[int, Seen], now: float, *, crashed: bool) -> None:
        """Take over what the log says; AssertionError where no step of a queue looks like that."""
        for key, queue in self.queues.items():
            found = [seen[each.number] for each in queue.line]
            assert queue.agree(found, now, crashed=crashed), (key, found, queue.history)

    def change(self, number: int, **how: object) -> None:
        """What a person does to a delivery."""
        queue = self._queue_of[number]
        queue.line = [attrs.evolve(each, **how) if each.number == number else each for each in queue.line]

    def all(self) -> list[Delivery]:
        """Every delivery, by its number."""
        return sorted((each for queue in self.queues.values() for each in queue.line), key=lambda each: each.number)

    def in_state(self, *states: str) -> list[int]:
        """The numbers of those that are in one of these states, in order."""
        return [each.number for each in self.all() if each.state in states]
