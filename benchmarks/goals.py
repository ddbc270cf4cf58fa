"""What must hold, as data: one line for each figure."""

from __future__ import annotations

import statistics
from typing import Literal

from attrs import frozen

from benchmarks.measuring import Measured

Kind = Literal["cost", "speed", "excess", "value"]

OURS = "eventbus"


@frozen
class Goal:
    """One figure of one subject.

    cost: `of` takes at most `limit` times as long as `over`. speed: it does at least `limit` times as much in the
    same time. excess: it takes at most `limit` more, in the subject's unit. value: it is at most `limit`, in that unit.
    """

    subject: str
    kind: Kind
    limit: float
    over: str = ""
    of: str = OURS
    note: str = ""

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides that must have been measured."""
        return (self.of, self.over) if self.over else (self.of,)

    @property
    def sentence(self) -> str:
        """What must hold, for a person."""
        limit = f"{self.limit:g}"
        match self.kind:
            case "cost":
                return f"{self.of}: at most {limit} of {self.over}"
            case "speed":
                return f"{self.of}: at least {limit} times as fast as {self.over}"
            case "excess":
                return f"{self.of}: at most {limit} {{unit}} more than {self.over}"
            case "value":
                return f"{self.of}: at most {limit} {{unit}}"

    def figure(self, measured: Measured, scale: float) -> float | None:
        """What was found: the median over the rounds. None where a side is missing."""
        if not all(side in measured.sides and measured.sides[side].samples for side in self.sides):
            return None
        ours = measured.sides[self.of].samples
        if self.kind == "value":
            return statistics.median(ours) * scale
        pairs = list(zip(ours, measured.sides[self.over].samples, strict=True))
        if self.kind == "cost":
            return statistics.median(one / other for one, other in pairs)
        if self.kind == "speed":
            return statistics.median(other / one for one, other in pairs)
        return statistics.median(one - other for one, other in pairs) * scale

    def is_met(self, figure: float) -> bool:
        """True if the figure reaches the goal."""
        return figure >= self.limit if self.kind == "speed" else figure <= self.limit


BARE = "bare table"
FLOOR = "our tables by hand"
SCAN = "scan + decode by hand"
LOOP = "loop by hand, batches of 100"
CHECKED = ", checksums compared"
KEYED = f"{OURS}, in a stream"

GOALS: tuple[Goal, ...] = (
    # emit to 1 / 10 live handlers
    Goal("emit-1", "cost", 0.25, "blinker"),
    Goal("emit-1", "cost", 0.5, "pyee"),
    Goal("emit-10", "cost", 0.1, "blinker"),
    Goal("emit-10", "cost", 0.35, "pyee"),
    # publish, one thread
    Goal("publish-power", "cost", 1.15, BARE),
    Goal("publish-power", "cost", 1.15, BARE, of=KEYED),
    Goal("publish-process", "cost", 1.5, BARE),
    Goal("publish-process", "cost", 1.5, BARE, of=KEYED),
    # publish_many of 1,000
    Goal("publish-many", "speed", 0.7, BARE),
    Goal("publish-many", "speed", 0.7, BARE, of=KEYED),
    # 64 threads / 1,000 tasks with sync
    Goal("threads", "speed", 3, FLOOR),
    Goal("threads", "cost", 20, f"{OURS}, p50", of=f"{OURS}, p99"),
    Goal("tasks", "speed", 8, FLOOR),
    Goal("tasks", "cost", 20, f"{OURS}, p50", of=f"{OURS}, p99"),
    # durable, end to end, without sync
    Goal("durable", "speed", 5, "huey without sync", of=f"{OURS}, process"),
    Goal("durable", "speed", 5, "litequeue", of=f"{OURS}, process"),
    Goal("durable", "speed", 8, "eventsourcing without sync", of=f"{OURS}, process"),
    # backlogs
    Goal("backlog-transactional", "speed", 0.7, LOOP),
    Goal("backlog-transactional-process", "speed", 0.7, LOOP),
    Goal("backlog-plain", "speed", 0.4, SCAN),
    Goal("backlog-50", "cost", 1.3, "1 subscription", of="50, of which 1 matches"),
    # reading
    Goal("read", "speed", 0.6, SCAN),
    Goal("rebuild", "speed", 0.7, LOOP),
    # an idle bus
    Goal("latency", "value", 0.3, of=f"{OURS}, process"),
    # a log of 10 million events
    Goal("large-publish", "cost", 1.2, "small log", of="large log"),
    Goal("large-get", "cost", 1.2, "small log, by position", of="large log, by position"),
    Goal("large-get", "cost", 1.2, "small log, by id", of="large log, by id"),
    Goal("large-open", "value", 50, of="large log"),
    # 10 / 100 / 1,000 idle subscriptions
    Goal("idle", "cost", 1.05, "no subscription", of="10 idle"),
    Goal("idle", "cost", 1.05, "no subscription", of="100 idle"),
    Goal("idle", "cost", 1.05, "no subscription", of="1,000 idle"),
    # a cold process
    Goal("cold", "excess", 60, "sqlite3, a log that exists", of=f"{OURS}, a log that exists"),
    Goal("cold", "excess", 90, "sqlite3, a new log", of=f"{OURS}, a new log"),
    # memory
    Goal("memory", "value", 150, of="read"),
    Goal("memory", "value", 150, of="replay"),
    Goal("memory", "value", 150, of="rebuild"),
)


def goals_of(subject: str) -> list[Goal]:
    """The goals of one subject."""
    return [goal for goal in GOALS if goal.subject == subject]
