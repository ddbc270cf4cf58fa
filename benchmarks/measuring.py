"""Sides take turns, round by round, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import repeat
from time import perf_counter
from types import TracebackType
from typing import Self, TypeVar

import attrs

Block = Callable[[int], float]  # does something that many times; returns seconds for each
Tell = Callable[[str], None]
T = TypeVar("T")


@attrs.define
class Side:
    """One of those compared: what it gave in each round, in seconds (memory: MiB), and how durable it is."""

    name: str
    durability: str
    samples: list[float] = attrs.field(factory=list[float])

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The middle half of the rounds lies between these."""
        return quartiles(self.samples)


@attrs.define
class Measured:
    """What became of one subject."""

    size: str
    sides: dict[str, Side] = attrs.field(factory=dict[str, Side])
    missing: dict[str, str] = attrs.field(factory=dict[str, str])  # what could not take part, and why


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper one; of a single value, twice that."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of a hundred lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def timed(work: Callable[[T], object], times: int, argument: T) -> float:
    """Seconds for each of `times` calls with an argument; no function in between, which would be timed as well."""
    began = perf_counter()
    for _ in repeat(None, times):
        work(argument)
    return (perf_counter() - began) / times


class Contest:
    """Some sides that take turns; leaving its `with` block closes what they have open."""

    def __init__(self, size: str, rounds: int, tell: Tell) -> None:
        self._measured = Measured(size)
        self._rounds, self._tell = rounds, tell
        self._runs: list[tuple[tuple[str, ...], Callable[[], Sequence[float]]]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, where)

    @property
    def opened(self) -> ExitStack:
        """What is entered here is closed with the contest."""
        return self._stack

    def add(self, name: str, durability: str, run: Callable[[], float]) -> None:
        """A side that gives one number each round."""
        self.add_several((name,), durability, lambda: (run(),))

    def add_several(self, names: tuple[str, ...], durability: str, run: Callable[[], Sequence[float]]) -> None:
        """A side that gives several numbers each round, each under a name of its own."""
        for name in names:
            self._measured.sides[name] = Side(name, durability)
        self._runs.append((names, run))

    def leave_out(self, name: str, reason: str) -> None:
        """Say that something cannot take part."""
        self._measured.missing[name] = reason

    def run(self) -> Measured:
        """Let all take turns; the first round warms up and does not count, where there are several."""
        extra = 1 if self._rounds > 1 else 0
        for number in range(self._rounds + extra):
            self._tell(f"round {number} of {self._rounds}" if number or not extra else "warming up")
            runs = self._runs if number % 2 else self._runs[::-1]  # nobody always comes after the same one
            for names, run in runs:
                found = run()
                if number >= extra:
                    for name, value in zip(names, found, strict=True):
                        self._measured.sides[name].samples.append(value)
            gc.collect()
        return self._measured
