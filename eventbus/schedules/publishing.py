"""The commits: an event is appended and its schedule moved on together, so that neither is there without the other."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from eventbus.clock import iso
from eventbus.delivery import in_words
from eventbus.errors import EventBusError, EventDefinitionError, InvalidEvent
from eventbus.events import EventType, Vocabulary
from eventbus.retry import Again, Retry
from eventbus.schedules.factories import Made, missed_id
from eventbus.schedules.planning import AT_ONCE, LATE_SECONDS, moved, seconds
from eventbus.store import schedules
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Appended, Draft
from eventbus.store.schedules import ScheduleRow
from eventbus.store.storage import Storage
from eventbus.store.trouble import is_of_the_log
from eventbus.technical import ScheduleCaughtUp, ScheduledRunMissed, ScheduleRetrying

RETRY = Retry(attempts=5)
"""How often a factory that fails is called for a run, and how long it waits in between."""

_SOURCE = "eventbus"
_MAX_PAYLOAD = 1 << 16

_log = logging.getLogger("eventbus.schedules")


class Publisher:
    """Publishes what is due, each run once: whoever finds its row moved on has nothing to do."""

    def __init__(
        self,
        storage: Storage,
        vocabulary: Vocabulary,
        *,
        announce: Callable[[Sequence[Appended]], None],
        emit: Callable[[object], None],
    ) -> None:
        self._storage, self._clock, self._vocabulary = storage, storage.clock, vocabulary
        self._announce, self._emit = announce, emit
        self._unloaded: dict[int, EventType] = {}
        self._drafter = Drafter(vocabulary, storage.clock, source=_SOURCE, max_payload=_MAX_PAYLOAD)

    # -- single events -----------------------------------------------------------------------------
    def events(self, now: float, watched_since: float) -> bool:
        """Publish those whose time has come, at most AT_ONCE; True if there were any."""
        appended: list[Appended] = []
        with self._storage.writing() as connection:
            text = iso(now)
            rows = schedules.due_events(connection, text, AT_ONCE)
            for row in rows:
                appended += self._event(connection, row, now, watched_since)
        if rows:
            self._told(appended)
        return bool(rows)

    def _event(self, connection: sqlite3.Connection, row: ScheduleRow, now: float, since: float) -> list[Appended]:
        due = seconds(row.due or row.since)
        if row.catch_up == "skip" and (due < since or now - due > LATE_SECONDS):
            schedules.delete(connection, row.id)
            late = f"its time had passed by {now - due:.0f} s"
            return self._missed(connection, row, due, late, now)
        try:
            appended = self._storage.appender.append(connection, [self._draft_of(row)], iso(now))
        except Exception as error:
            if is_of_the_log(error):
                raise
            line = in_words(error)
            _log.error("the event %s cannot be published at its time: %r", row.name, line)
            schedules.change(connection, attrs.evolve(row, state="failed", due=None, error=line), iso(now))
            return self._missed(connection, row, due, line, now)
        schedules.delete(connection, row.id)
        return appended

    def _draft_of(self, row: ScheduleRow) -> Draft:
        """The event as it was scheduled; its class need not be there any more."""
        if row.type_id is None or row.source_id is None or not isinstance(row.payload, str):
            raise EventBusError("Its row was changed by something else than a bus.")
        type_, event = self._revived(row.type_id, row.payload)
        return Draft(
            event=event,
            type=type_,
            payload=row.payload,
            id=row.name,
            source=self._storage.names.source_named(row.source_id),
            stream=row.stream,
            metadata=row.metadata,
            correlation_id=row.correlation_id,
            causation_id=row.causation_id,
            known_id=True,
        )

    def _revived(self, type_id: int, payload: str) -> tuple[EventType, Any]:
        """Its class and the event, for live handlers; where they cannot be had, a class that nobody listens to."""
        name = self._storage.names.type_named(type_id)
        try:
            known = self._vocabulary.find(name.name, name.version)
            if known is not None:
                return known, known.decode(payload)
        except (EventDefinitionError, InvalidEvent) as error:
            _log.info("live handlers do not hear of an event that was scheduled: %s", error)
        if type_id not in self._unloaded:
            self._unloaded[type_id] = EventType(
                name=name.name,
                version=name.version,
                kind=name.kind,
                stream=None,
                cls=_Unloaded,
                bases=name.bases,
                qualified="",
                fill=None,
                codec=None,  # type: ignore[arg-type]
            )
        return self._unloaded[type_id], None

    # -- what recurs -------------------------------------------------------------------------------
    def made(self, made: Made) -> bool:
        """Publish what a factory has made, and go on to the next run; False where somebody else has done so."""
        try:
            return self._made(made)
        except EventBusError as error:
            if is_of_the_log(error):
                raise
            # What the log refuses is the factory's failure.
            refused = Made(made.factory, made.row, made.plan, failed=made.plan.runs[0], error=error)
            return self._made(refused)

    def _made(self, made: Made) -> bool:
        tell: list[object] = []
        with self._storage.writing() as connection:
            row = schedules.one(connection, made.row.name)
            if row is None or _is_another(row, made.row):
                return False
            now = self._clock.time()
            appended: list[Appended] = []
            for run, drafts in made.done:
                appended += self._storage.appender.append(connection, drafts, iso(now))
                row = attrs.evolve(row, last_run=iso(run), runs=row.runs + 1, attempts=0)
            if made.failed is None:
                row = attrs.evolve(moved(row, made.plan.following, now), error=None)
            else:
                row, missed = self._failed(connection, row, made, now, tell)
                appended += missed
            if made.plan.between is not None and (made.failed is None or made.plan.between[0] < made.failed):
                row = attrs.evolve(row, missed=row.missed + made.plan.passed)
                if not made.plan.runs:
                    row = attrs.evolve(row, last_run=iso(made.plan.between[1]))
                tell.append(ScheduleCaughtUp(row.name, made.plan.passed, *made.plan.between))
            schedules.change(connection, row, iso(now))
        self._told(appended)
        for each in tell:
            self._emit(each)
        return True

    def _failed(
        self, connection: sqlite3.Connection, row: ScheduleRow, made: Made, now: float, tell: list[object]
    ) -> tuple[ScheduleRow, list[Appended]]:
        """Have it called again after a while; once it is out of attempts, its run is missed."""
        assert made.failed is not None
        assert made.error is not None
        attempt = row.attempts + 1
        verdict = RETRY.after_failure(made.error, attempt, self._clock.jitter)
        _log.warning("the factory of %s failed (attempt %d): %r", row.name, attempt, made.line, exc_info=made.error)
        if isinstance(verdict, Again):
            due = now + verdict.seconds
            tell.append(ScheduleRetrying(row.name, made.failed, attempt, made.line, due))
            attempts = attempt if verdict.counts else max(row.attempts, 1)
            again = moved(row, made.failed, now)
            return attrs.evolve(again, due=iso(due), attempts=attempts, error=made.line), []
        missed = self._missed(connection, row, made.failed, made.line, now, attempt)
        following = made.following_failed()
        row = attrs.evolve(row, last_run=iso(made.failed), runs=row.runs + 1, missed=row.missed + 1, error=made.line)
        return moved(row, following, now), missed

    # -- both --------------------------------------------------------------------------------------
    def _missed(
        self, connection: sqlite3.Connection, row: ScheduleRow, run: float, error: str, now: float, attempts: int = 0
    ) -> list[Appended]:
        draft = self._drafter.draft(
            ScheduledRunMissed(row.name, run, attempts, error[:1000]), id=missed_id(row, row.runs + 1)
        )
        return self._storage.appender.append(connection, [draft], iso(now))

    def _told(self, appended: list[Appended]) -> None:
        self._announce([each for each in appended if each.draft.type.cls is not _Unloaded])


class _Unloaded:
    """The class of an event whose own is not loaded here."""


def _is_another(row: ScheduleRow, seen: ScheduleRow) -> bool:
    """Whether it has gone on, or was changed, since it was read."""
    keys = ("id", "series", "state", "kind", "spec", "timezone", "run", "runs", "attempts")
    return any(getattr(row, key) != getattr(seen, key) for key in keys)
