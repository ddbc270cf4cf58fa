"""Putting what arrives out of order back into order. Rules only: no clock, no disk, no events, just numbers.

A sender numbers what it sends without holes. What carries the number that is `expected` is delivered,
and with it all that waits right behind it; what is ahead waits; what was passed is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

__all__ = ["POLICIES", "Gap", "Policy", "Verdict", "deadline", "gap", "judge", "run"]

Verdict = Literal["store", "buffer", "buffered", "seen", "late"]
"""What becomes of an arrival: deliver it, let it wait, it waits already, it was delivered, or it comes too late."""

Policy = Literal["wait", "skip", "dead"]
"""What follows when a gap has been open for too long: nothing, go on without it, or ask a person."""

POLICIES: tuple[Policy, ...] = ("wait", "skip", "dead")


@attrs.frozen
class Gap:
    """The numbers that are missing, both ends included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def judge(number: int, *, first: int, expected: int, buffered: bool, skipped: bool) -> Verdict:
    """What becomes of an arriving number.

    `first`: where counting began. `expected`: the lowest number that was neither delivered nor skipped.
    `buffered`, `skipped`: whether this number waits already, or was given up.
    """
    if number == expected:
        return "store"
    if number > expected:
        return "buffered" if buffered else "buffer"
    return "late" if skipped or number < first else "seen"


def run(expected: int, ahead: Iterable[int]) -> int:
    """The number that is expected once all that follows without a hole is delivered; `ahead` ascends."""
    for number in ahead:
        if number != expected:
            break
        expected += 1
    return expected


def gap(expected: int, ahead: Iterable[int]) -> Gap | None:
    """What is missing before the first number that waits; None if nothing waits. `ahead` ascends."""
    for number in ahead:
        return Gap(expected, number - 1)
    return None


def deadline(since: float | None, timeout: float | None, policy: Policy, *, asked: bool) -> float | None:
    """When the policy is to be followed, in the seconds of `since`; None for never.

    `since` is when the first of those that wait has arrived: nothing waits longer than `timeout`, however many
    gaps there are. `asked`: a person is deciding already.
    """
    if since is None or timeout is None or policy == "wait" or (policy == "dead" and asked):
        return None
    return since + timeout
