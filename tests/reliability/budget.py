"""How much of a tier is run, and what each tier is: a module of tests/reliability/tiers with these five names.

UNIT        what it counts: "kills", "images"
SHORT       how many of them `make test` runs
LONG        how many of them `make soak` runs
missing()   what this machine lacks for it, as a sentence, or None
run(budget, seed, say)
            goes on until the budget is used up, and returns figures; raises AssertionError (or whatever the library
            raised) for what does not hold. The same seed does the same. `say` takes lines of progress.

The first line of its docstring says what it proves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

Figures = dict[str, float | int | str]
Say = Callable[[str], None]


class Tier(Protocol):
    """One proof; a module is one."""

    UNIT: str
    SHORT: int
    LONG: int

    def missing(self) -> str | None:
        """What this machine lacks."""
        ...

    def run(self, budget: Budget, seed: int, say: Say) -> Figures:
        """The proof."""
        ...


class Budget:
    """At most `amount` of what the tier counts, and no more than begins within `seconds`; None is no limit."""

    def __init__(self, amount: int | None = None, seconds: float | None = None) -> None:
        self.amount = amount
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def left(self, done: int) -> int | None:
        """How many more of the amount; None without one, 0 too when the time is over."""
        if time.monotonic() >= self._until:
            return 0
        return None if self.amount is None else max(0, self.amount - done)

    def rounds(self, each: int) -> Iterator[tuple[int, int]]:
        """(number of the round, how many in it) for rounds of `each`; there is a first one whatever the time."""
        number = done = 0
        while (left := self.left(done)) != 0 or number == 0:
            size = min(each, left or self.amount or each)
            yield number, size
            number, done = number + 1, done + size
