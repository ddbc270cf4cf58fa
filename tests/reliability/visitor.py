"""A person who looks in from a process that delivers nothing: deals with dead letters, pauses, resumes."""

from __future__ import annotations

import json
import random
from pathlib import Path

from kinds import KINDS, MENDED
from snapshots import Reader
from workload import Balances, Deposited

from eventbus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.errors import EventBusError

AT_ONCE = 40  # dead letters of one visit


class Visitor:
    """Comes again and again, each time with a bus of its own."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        self.reader = Reader()
        self.done = {"retry": 0, "edit": 0, "discard": 0, "pause": 0, "resume": 0}

    def visit(self) -> None:
        """Look whether the accounts add up, then change something."""
        with EventBus(self._folder / "events.db", delivery="manual", durability="process") as bus:
            self.reader.look(bus)
            letters = bus.dead_letters.list(limit=1000)
            for letter in self._chance.sample(letters, min(AT_ONCE, len(letters))):
                try:
                    self._deal_with(bus, letter)
                except EventBusError as error:  # its owner was faster
                    if "no dead letter" not in str(error):
                        raise
            self.resume(bus)
            if self._chance.random() < 0.2:
                self._pause(bus, self._chance.choice(KINDS).name)
            self.reader.look(bus)

    def resume(self, bus: EventBus) -> int:
        """Have all go on that are paused; how many those were."""
        paused = [each for each in bus.subscriptions.values() if each.state == "paused"]
        for subscription in paused:
            subscription.resume()
        self.done["resume"] += len(paused)
        return len(paused)

    def _pause(self, bus: EventBus, name: str) -> None:
        if name in bus.subscriptions:
            bus.subscriptions[name].pause()
            self.done["pause"] += 1

    def _deal_with(self, bus: EventBus, letter: DeadLetter) -> None:
        name = letter.subscription
        action = "retry" if name == Balances.name else self._chance.choice(("retry", "edit", "edit", "discard"))
        if action == "edit":
            assert letter.envelope is not None
            fields = {**json.loads(letter.envelope.payload or "{}"), "amount": MENDED}
            bus.dead_letters.edit(letter, Deposited(**fields), subscription=name)
        if action == "discard":
            bus.dead_letters.discard(letter, subscription=name, reason="void", whole_key=self._chance.random() < 0.3)
        else:
            bus.dead_letters.retry(letter, subscription=name)
        self.done[action] += 1
