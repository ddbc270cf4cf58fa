"""What an outcome writes, and what it changes in memory once that is committed."""

from __future__ import annotations

import sqlite3

import attrs

from eventbus.clock import Clock, iso
from eventbus.delivery import (
    Behind,
    Bundle,
    Careful,
    Failed,
    Handled,
    Item,
    Left,
    NotMeant,
    Outcome,
    Overdue,
    Stretch,
    Unloaded,
    each,
)
from eventbus.errors import EventBusError
from eventbus.retry import Again, Discard, Pause
from eventbus.store import deliveries, steps, subscriptions
from eventbus.store.append import Appender
from eventbus.store.deliveries import AttemptRow, DeliveryRow
from eventbus.store.drafts import Appended
from eventbus.worker.lane import Lane


def needs_writing(unit: Item, outcome: Outcome) -> bool:
    """False for what is written already, or changes nothing."""
    match outcome:
        case Handled(recorded=recorded):
            return not recorded
        case Left():
            return any(item.parked for item in each(unit))
        case _:
            return True


@attrs.frozen
class Effect:
    """What a recorded outcome means for the lane; applied after the commit."""

    item: Item
    outcome: Outcome
    row: DeliveryRow | None = None
    due: float | None = None
    appended: tuple[Appended, ...] = ()
    discarded: Handled | None = None  # it failed, and is done with all the same
    pauses: str | None = None  # why the subscription stops
    held: bool = False  # it did not run, and is behind another one

    def each(self) -> list[Effect]:
        """One for each delivery."""
        item = self.item
        return [attrs.evolve(self, item=one) for one in item.items()] if isinstance(item, Stretch) else [self]

    @property
    def new(self) -> bool:
        """True if the delivery had no row before."""
        match self.outcome:
            case Overdue(new=new):
                return new
            case Behind():
                return True
            case _:
                return not self.item.parked

    @property
    def succeeded(self) -> bool:
        """True if the handler returned."""
        return isinstance(self.outcome, Handled)

    @property
    def already_recorded(self) -> bool:
        """True if the handler's own transaction wrote it down."""
        return isinstance(self.outcome, Handled) and self.outcome.recorded

    @property
    def counts(self) -> bool:
        """True if it is to be counted as handled in this commit."""
        return self.succeeded and not self.already_recorded

    @property
    def moves(self) -> bool:
        """True if the delivery is done or has a row of its own."""
        done = isinstance(self.outcome, Handled | NotMeant) or self.discarded is not None
        return done or self.row is not None

    def apply(self, lane: Lane, now: float) -> None:
        """Bring the lane up to date."""
        done = self.discarded or self.outcome
        if isinstance(done, Handled | NotMeant):
            lane.settle(self.item, done.released, now)
        elif self.row is not None:
            lane.park(self.row, self.due, new=self.new)
        else:
            lane.put_back(self.item, held=self.held)
        lane.paused = lane.paused or self.pauses is not None


class Recorder:
    """Writes the outcomes of one lane within an open transaction."""

    def __init__(self, connection: sqlite3.Connection, appender: Appender, lane: Lane, clock: Clock) -> None:
        self._connection, self._appender, self._lane, self._clock = connection, appender, lane, clock
        self._now = clock.time()
        self._text = iso(self._now)
        self._parked_keys: set[str] = set()

    def record(self, unit: Item, outcome: Outcome) -> list[Effect]:
        """Write one outcome; that of a list is one for each of its events, in order."""
        if isinstance(unit, Bundle) and isinstance(outcome, Handled):
            return self._handled_together(unit)
        return [self._record(item, outcome) for item in each(unit)]

    def _record(self, item: Item, outcome: Outcome) -> Effect:
        match outcome:
            case Handled(recorded=True):
                return Effect(item, outcome)
            case Left():
                return self._left(item)
            case Handled():
                return self._handled(item)
            case Failed():
                return self._failed(item, outcome)
            case Overdue():
                return self._overdue(item, outcome)
            case NotMeant():
                return Effect(item, NotMeant(settle(self._connection, self._lane, item, self._text)))
            case _:
                return self._not_run(item, outcome)

    def _not_run(self, item: Item, outcome: Behind | Careful | Unloaded) -> Effect:
        match outcome:
            case Behind():
                return self._behind(item, outcome)
            case Careful():
                return self._careful(item, outcome)
            case Unloaded():
                attempts = item.attempt - 1 if item.parked else 0
                if item.parked:
                    deliveries.unbegin_attempt(self._connection, self._lane.row.id, item.position)
                return self._park(item, outcome, "waiting", attempts=attempts, error=_no_class(item))

    def _behind(self, item: Item, outcome: Behind) -> Effect:
        return self._held(item, outcome) if self._is_blocked(item) else self._due(item, outcome)

    def _careful(self, item: Item, outcome: Careful) -> Effect:
        expected = item.key is not None and (item.key in self._lane.blocked or item.key in self._parked_keys)
        return self._held(item, outcome) if expected and self._is_blocked(item) else self._due(item, outcome)

    def _is_blocked(self, item: Item) -> bool:
        """Asked of the log: a person may have settled from another process what it was behind.

        Of its key only what comes before it counts: what was added with backfill=True goes before what waits already.
        """
        if item.key is None:
            return False
        return deliveries.is_behind(self._connection, self._lane.row.id, item.key, item.position)

    def _held(self, item: Item, outcome: Outcome) -> Effect:
        return self._park(item, outcome, "held")

    def _due(self, item: Item, outcome: Outcome) -> Effect:
        return self._park(item, outcome, "retrying", self._now)

    def _left(self, item: Item) -> Effect:
        if not item.parked:
            return Effect(item, Left())
        row = deliveries.one(self._connection, self._lane.row.id, item.position)
        # Its attempt was counted beforehand, and then it did not run.
        deliveries.uncount_attempt(self._connection, self._lane.row.id, item.position)
        return Effect(item, Left(), held=row is not None and row.state == "held")

    def _handled(self, item: Item) -> Effect:
        try:
            appended = self._published(item)
        except EventBusError as error:  # what a handler published and the log refuses is the handler's failure
            return self._failed(item, Failed(error, self._now, 0.0))
        return self._settled(item, appended)

    def _handled_together(self, bundle: Bundle) -> list[Effect]:
        """All of a list are handled, and what it published is stored, or none: nobody can tell for which that was."""
        try:
            appended = self._published(bundle)
        except EventBusError:  # as where a list fails: each alone, and whose fault it was shows there
            for item in bundle.items:
                item.alone = True
            return [self._left(item) for item in bundle.items]
        last = bundle.items[-1]
        return [self._settled(item, appended if item is last else ()) for item in bundle.items]

    def _published(self, unit: Item) -> tuple[Appended, ...]:
        """What its handler has published, stored. Raises what keeps the log from taking it, with nothing stored."""
        return tuple(self._appender.append(self._connection, unit.drafts, self._text)) if unit.drafts else ()

    def _settled(self, item: Item, appended: tuple[Appended, ...]) -> Effect:
        released = settle(self._connection, self._lane, item, self._text)
        return Effect(item, Handled(released=released), appended=appended)

    def _failed(self, item: Item, failed: Failed) -> Effect:
        if self._lane.work.is_own and isinstance(failed.error, EventBusError):
            failed.error.stored = ""  # the log keeps what it asks about
        self._attempt(item, failed, failed.message(), failed.traceback())
        retry = self._lane.work.retry
        verdict = None
        if retry is not None and not failed.final:
            verdict = retry.after_failure(failed.error, item.attempt, self._clock.jitter, tries=item.tries)
        if isinstance(verdict, Again):
            attempts = item.attempt if verdict.counts else item.attempt - 1
            due = self._now + verdict.seconds
            return self._park(item, failed, "retrying", due, attempts=attempts, error=failed.line())
        if isinstance(verdict, Discard):
            return Effect(
                item, failed, discarded=Handled(released=settle(self._connection, self._lane, item, self._text))
            )
        if isinstance(verdict, Pause):
            return self._paused(item, failed)
        return self._park(item, failed, "dead", attempts=item.attempt, error=failed.line())

    def _attempt(self, item: Item, ended: Failed | Overdue, message: str, traceback: str) -> None:
        attempt = AttemptRow(
            run=self._lane.row.run,
            position=item.position,
            attempt=item.tries,
            started_at=iso(ended.started_at),
            seconds=ended.seconds,
            error_type=type(ended.error).__qualname__,
            message=message,
            traceback=traceback,
        )
        deliveries.record_attempt(self._connection, self._lane.row.id, attempt)

    def _overdue(self, item: Item, overdue: Overdue) -> Effect:
        """It is due at no time here, for it still runs; a process that starts later tries it at once."""
        self._attempt(item, overdue, overdue.error.what, overdue.stack)
        return self._park(item, overdue, "retrying", attempts=item.attempt, error=overdue.line())

    def _paused(self, item: Item, failed: Failed) -> Effect:
        """The delivery uses up no attempt, and is due as soon as a person has resumed the subscription."""
        reason = f"{failed.line()} (event {item.envelope.id})"
        subscriptions.set_state(self._connection, self._lane.row.id, "paused", reason, self._text)
        parked = self._park(item, failed, "retrying", self._now, attempts=item.attempt - 1, error=failed.line())
        return attrs.evolve(parked, pauses=reason)

    def _park(
        self,
        item: Item,
        outcome: Outcome,
        state: deliveries.DeliveryState,
        due: float | None = None,
        *,
        attempts: int = 0,
        error: str | None = None,
    ) -> Effect:
        due_text = iso(due) if due is not None else None
        counted = isinstance(outcome, Failed | Overdue) or (item.parked and not isinstance(outcome, Behind))
        tries = item.tries if counted else 0
        row = DeliveryRow(item.position, item.key, state, attempts, tries, due_text, error, self._text)
        deliveries.park(self._connection, self._lane.row.id, row)
        if item.key is not None:
            self._parked_keys.add(item.key)
        return Effect(item, outcome, row, due)


def _no_class(item: Item) -> str:
    return f"no class is loaded for {item.envelope.type!r} version {item.envelope.version}"


def settle(connection: sqlite3.Connection, lane: Lane, item: Item, now: str) -> tuple[int, int] | None:
    """Write that a delivery is done; returns the next of its key if it was parked, which is due now."""
    if item.parked or item.has_steps:
        steps.forget(connection, lane.row.id, item.position)
    if not item.parked:
        return None
    deliveries.settle(connection, lane.row.id, item.position)
    if item.key is None:
        return None
    return deliveries.release_next(connection, lane.row.id, item.key, now)
