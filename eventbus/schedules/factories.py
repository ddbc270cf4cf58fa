"""What is declared here to make events, and what it has made for some runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import attrs

from eventbus.delivery import in_words
from eventbus.errors import InvalidEvent
from eventbus.events import is_event
from eventbus.handlers import ScheduleDeclaration
from eventbus.schedules.planning import Plan, seconds
from eventbus.store.drafter import derive_id
from eventbus.store.drafts import Draft
from eventbus.store.schedules import ScheduleRow
from eventbus.worker.delivering import delivering

Drafted = Callable[..., Draft]


@attrs.define(eq=False)
class Factory:
    """A schedule as one bus has declared it; `watched_since`: since when its runs are published in time here."""

    declaration: ScheduleDeclaration
    draft: Drafted
    watched_since: float = 0.0

    @property
    def name(self) -> str:
        """The schedule's name."""
        return self.declaration.name


@attrs.define(eq=False)
class Made:
    """Drafts for runs of a row, up to the one whose factory failed: `failed`, with its `error`."""

    factory: Factory
    row: ScheduleRow
    plan: Plan
    done: list[tuple[float, list[Draft]]] = attrs.field(factory=list[tuple[float, list[Draft]]])
    failed: float | None = None
    error: BaseException | None = None

    def following_failed(self) -> float | None:
        """The time after the run that failed."""
        assert self.failed is not None
        return self.factory.declaration.recurrence.next(self.failed, seconds(self.row.start))

    @property
    def line(self) -> str:
        """The error in one line."""
        return in_words(self.error) if self.error is not None else ""


def make(factory: Factory, row: ScheduleRow, plan: Plan) -> Made:
    """Call the factory for each run, on a thread of ours and outside any transaction; nothing is raised."""
    made = Made(factory, row, plan)
    call = _Call()
    token = delivering.set(call)  # what waits for delivery would wait for this
    try:
        for number, run in enumerate(plan.runs, row.runs + 1):
            try:
                drafts = _drafts(factory, row, number, factory.declaration.make(run))
            except BaseException as error:  # also of a factory that calls sys.exit()
                made.failed, made.error = run, error
                break
            made.done.append((run, drafts))
    finally:
        call.running = False
        delivering.reset(token)
    return made


@attrs.define(eq=False)
class _Call:
    """Implements `worker.attempts.Awaited`."""

    running: bool = True
    subscription: str = ""


def _drafts(factory: Factory, row: ScheduleRow, number: int, result: object) -> list[Draft]:
    """Drafts of what it returned; doing it again makes the same ids."""
    if result is None:
        return []
    events = cast("list[object]", list(result)) if isinstance(result, list | tuple) else [result]  # pyright: ignore[reportUnknownArgumentType]
    drafts: list[Draft] = []
    for nth, event in enumerate(events):
        if not is_event(event):
            raise InvalidEvent(factory.name, "", f"its factory returned {type(event).__name__}, which is no event")
        draft = factory.draft(event)
        draft.id = derive_id(row.name, number, row.series, draft.type.name, nth)
        draft.known_id = True
        drafts.append(draft)
    return drafts


def missed_id(row: ScheduleRow, number: int) -> str:
    """The id of the event which records that a run was missed."""
    return derive_id(row.name, number, row.series, "missed", 0)


__all__ = ["Factory", "Made", "make", "missed_id"]
