"""`bus.schedules`: what is scheduled, looked at and cancelled by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import attrs

from eventbus.asking import check_whole
from eventbus.clock import iso
from eventbus.errors import EventBusError
from eventbus.people import user
from eventbus.recurrence import restored
from eventbus.schedules.planning import first_run, moved, seconds
from eventbus.schedules.schedule import Schedule
from eventbus.store import schedules
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Appended
from eventbus.store.schedules import ScheduleRow
from eventbus.store.storage import Storage
from eventbus.technical import ScheduleChanged

LISTED = 1000  # schedules that `list` returns unless told otherwise
_MAX_PAYLOAD = 1 << 16

_Action = Literal["cancelled", "resumed", "forgotten"]


class Schedules:
    """The schedules of one log; what recurs goes by its name, a single event by the id that it will have."""

    def __init__(
        self,
        storage: Storage,
        *,
        source: str,
        is_declared: Callable[[str], bool],
        changed: Callable[[], None],
        announce: Callable[[Sequence[Appended]], None],
    ) -> None:
        self._storage, self._is_declared, self._changed, self._announce = storage, is_declared, changed, announce
        self._drafter = Drafter(storage.names.vocabulary, storage.clock, source=source, max_payload=_MAX_PAYLOAD)

    def list(self, *, limit: int = LISTED) -> list[Schedule]:
        """At most `limit` schedules, the next one first; those that will not come again are last."""
        check_whole("limit", limit)
        with self._storage.reading() as connection:
            self._storage.names.refresh(connection)
            return [self._schedule(row) for row in schedules.listed(connection, limit)]

    def get(self, which: str | Schedule) -> Schedule | None:
        """The one of this name; None if there is none, as once a single event is published."""
        with self._storage.reading() as connection:
            self._storage.names.refresh(connection)
            row = schedules.one(connection, _name(which))
        return None if row is None else self._schedule(row)

    def __getitem__(self, which: str | Schedule) -> Schedule:
        found = self.get(which)
        if found is None:
            raise KeyError(_name(which))
        return found

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self.list())

    def __contains__(self, which: str | Schedule) -> bool:
        return self.get(which) is not None

    # -- acting ------------------------------------------------------------------------------------
    def cancel(self, which: str | Schedule, *, reason: str | None = None, who: str | None = None) -> Schedule:
        """Publish nothing of it any more; returns it as it was. A single event is gone with that.

        What recurs stays cancelled however often it is declared, until `resume`. EventBusError if there is none.
        """

        def cancelled(connection: sqlite3.Connection, row: ScheduleRow, now: float) -> None:
            if row.spec is None:
                schedules.delete(connection, row.id)
            else:
                schedules.change(connection, attrs.evolve(moved(row, None, now), state="cancelled"), iso(now))

        return self._act(which, "cancelled", cancelled, reason, who)

    def resume(self, which: str | Schedule, *, reason: str | None = None, who: str | None = None) -> Schedule:
        """Go on with what was cancelled, from now on. EventBusError if there is none, or it is a single event."""

        def resumed(connection: sqlite3.Connection, row: ScheduleRow, now: float) -> None:
            if row.spec is None:
                raise EventBusError(f"{row.name!r} is a single event.", hint="Schedule it again with publish_at.")
            if row.state == "cancelled":
                recurrence = restored(row.kind, row.spec, row.timezone)
                last_run = None if row.last_run is None else seconds(row.last_run)
                going = attrs.evolve(row, state="active", start=iso(now))
                going = moved(going, first_run(recurrence, now, now, last_run), now)
                schedules.change(connection, going, iso(now))

        return self._act(which, "resumed", resumed, reason, who)

    def forget(self, which: str | Schedule, *, reason: str | None = None, who: str | None = None) -> Schedule:
        """Remove it with all that is known of it; declaring it again begins anew, at the next start."""

        def forgotten(connection: sqlite3.Connection, row: ScheduleRow, now: float) -> None:
            schedules.delete(connection, row.id)

        return self._act(which, "forgotten", forgotten, reason, who)

    def _act(
        self,
        which: str | Schedule,
        action: _Action,
        act: Callable[[sqlite3.Connection, ScheduleRow, float], None],
        reason: str | None,
        who: str | None,
    ) -> Schedule:
        """Do something to one of them and record it, in one commit."""
        name = _name(which)
        with self._storage.writing() as connection:
            self._storage.names.refresh(connection)
            row = schedules.one(connection, name)
            if row is None:
                raise EventBusError(f"There is no schedule {name!r} in this log.", stored="not stored")
            now = self._storage.clock.time()
            act(connection, row, now)
            draft = self._drafter.draft(ScheduleChanged(name, action, who or user(), reason))
            appended = self._storage.appender.append(connection, [draft], iso(now))
        self._changed()
        self._announce(appended)
        return self._schedule(row)

    def _schedule(self, row: ScheduleRow) -> Schedule:
        type_name = None if row.type_id is None else self._storage.names.type_named(row.type_id).name
        return Schedule.of(row, type_name, is_declared=self._is_declared(row.name))


def _name(which: str | Schedule) -> str:
    name = which.name if isinstance(which, Schedule) else which
    if type(name) is not str:
        raise EventBusError(f"A schedule goes by its name, or the id of its event, not {which!r}.")
    return name
