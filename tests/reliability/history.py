"""Is a recorded history one that a log may have? Plain functions: what was published and read, against the log.

A history is what clients saw, each call with the moments at which it was invoked and returned, on one clock. What is
found is returned as sentences; an empty list means that the history keeps what is promised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import attrs

Outcome = Literal["ok", "failed", "in doubt", "unanswered"]
Entry = tuple[int, str, str]  # position, id, key


@attrs.frozen
class Publish:
    """One call: "failed" says that nothing was stored, "in doubt" and "unanswered" that nobody knows."""

    key: str
    invoked: float
    returned: float  # of one that was not answered: any time after it was invoked
    outcome: Outcome
    id: str | None = None  # as told, where it was acknowledged
    position: int | None = None


@attrs.frozen
class Read:
    """What one reader saw at once, in the order in which it was handed over: positions and ids, after `after`."""

    reader: str
    invoked: float
    after: int
    seen: tuple[tuple[int, str], ...]
    until_end: bool = True  # it read to what was the end of the log


def check(
    publishes: Sequence[Publish], log: Sequence[Entry], reads: Iterable[Read], handled: dict[str, Sequence[int]]
) -> list[str]:
    """Everything; `handled`: the positions that each subscriber in strict order was handed, repetitions included."""
    return [
        *check_publishes(publishes, log),
        *check_reads(publishes, log, reads),
        *(problem for name, seen in handled.items() for problem in check_subscriber(name, seen, log)),
    ]


def check_publishes(publishes: Iterable[Publish], log: Sequence[Entry]) -> list[str]:
    """Nothing lost, nothing from nowhere, each key once, and acknowledged before invoked means lower position."""
    attempts: defaultdict[str, list[Publish]] = defaultdict(list)
    for publish in publishes:
        attempts[publish.key].append(publish)
    return [
        *_disorder_of_positions(log),
        *_repeated_keys(log),
        *_lost(attempts, log),
        *_phantoms(attempts, log),
        *_out_of_time(attempts, log),
    ]


def _disorder_of_positions(log: Sequence[Entry]) -> list[str]:
    positions = [position for position, _, _ in log]
    return [] if positions == sorted(set(positions)) else ["positions do not increase"]


def _repeated_keys(log: Sequence[Entry]) -> list[str]:
    at: defaultdict[str, list[int]] = defaultdict(list)
    for position, _, key in log:
        at[key].append(position)
    return [f"{key} is stored {len(found)} times, at {found}" for key, found in at.items() if len(found) > 1]


def _lost(attempts: dict[str, list[Publish]], log: Sequence[Entry]) -> list[str]:
    stored = {key: (position, id_) for position, id_, key in log}
    problems: list[str] = []
    for key, calls in attempts.items():
        for call in calls:
            if call.outcome != "ok":
                continue
            found = stored.get(key)
            if found is None:
                problems.append(f"{key} was acknowledged and is lost")
            elif call.id not in (None, found[1]) or call.position not in (None, found[0]):
                problems.append(
                    f"{key} was acknowledged as {call.id} at {call.position} and is {found[1]} at {found[0]}"
                )
    return problems


def _phantoms(attempts: dict[str, list[Publish]], log: Sequence[Entry]) -> list[str]:
    """A stored event was asked for, by a call that did not say that it stored nothing."""
    problems: list[str] = []
    for position, _, key in log:
        calls = attempts.get(key, [])
        if not calls:
            problems.append(f"{key} at {position} was never published")
        elif all(call.outcome == "failed" for call in calls):
            problems.append(f"{key} at {position} is stored, though each publish of it failed")
    return problems


def _out_of_time(attempts: dict[str, list[Publish]], log: Sequence[Entry]) -> list[str]:
    """What was acknowledged before another was first asked for is before it in the log."""
    problems: list[str] = []
    latest, latest_key = -1.0, ""  # of all that is before, the one that was first asked for last
    for position, _, key in log:
        calls = attempts.get(key, [])
        acknowledged = min((call.returned for call in calls if call.outcome == "ok"), default=None)
        if acknowledged is not None and acknowledged < latest:
            problems.append(
                f"{key} at {position} was acknowledged before {latest_key} was published, which is before it"
            )
        invoked = min((call.invoked for call in calls), default=-1.0)
        if invoked > latest:
            latest, latest_key = invoked, key
    return problems


def check_reads(publishes: Iterable[Publish], log: Sequence[Entry], reads: Iterable[Read]) -> list[str]:
    """What each reader saw is a piece of the log without a hole, and has all that was acknowledged before it read."""
    acknowledged = sorted((call.returned, call.key) for call in publishes if call.outcome == "ok")
    position_of = {key: position for position, _, key in log}
    known: list[tuple[float, int]] = []  # the highest position that was acknowledged by then
    highest = 0
    for returned, key in acknowledged:
        highest = max(highest, position_of.get(key, 0))
        known.append((returned, highest))
    return [problem for read in reads for problem in _check_read(read, log, known)]


def _check_read(read: Read, log: Sequence[Entry], known: Sequence[tuple[float, int]]) -> list[str]:
    end = read.seen[-1][0] if read.seen else read.after
    expected = [(position, id_) for position, id_, _ in log if read.after < position <= end]
    problems: list[str] = []
    if list(read.seen) != expected:
        problems.append(f"{read.reader} saw {list(read.seen)[:9]}... after {read.after}, not {expected[:9]}...")
    due = max((position for returned, position in known if returned < read.invoked), default=0)
    if read.until_end and end < due:
        problems.append(f"{read.reader} read up to {end}, though {due} had been acknowledged")
    return problems


def check_subscriber(name: str, seen: Sequence[int], log: Sequence[Entry]) -> list[str]:
    """It was handed the log without a hole; where it went back, it went on from there one by one."""
    positions = [position for position, _, _ in log]
    first_times = list(dict.fromkeys(seen))
    if first_times != positions[: len(first_times)]:
        return [f"{name} was handed {first_times[:9]}..., not what the log begins with"]
    place = {position: number for number, position in enumerate(positions)}
    return [
        f"{name} was handed {after} right after {before}"
        for before, after in pairwise(seen)
        if place[after] > place[before] + 1
    ]
