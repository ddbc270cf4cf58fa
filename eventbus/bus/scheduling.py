"""What a bus has scheduled: kept in the log, and published by whoever delivers."""

from __future__ import annotations

import threading
from typing import Any

from eventbus.bus.attaching import Attachment
from eventbus.bus.catching import caught
from eventbus.bus.transacting import refuse_in_transaction
from eventbus.engine import Engine
from eventbus.errors import EventDefinitionError
from eventbus.handlers import CatchUp, Registration, ScheduleDeclaration, check_catch_up
from eventbus.schedules import Factory, Schedule, Schedules
from eventbus.schedules.adding import add_event, due_time, replayed
from eventbus.schedules.timetable import refuse_other, warn_of_other_times
from eventbus.store.drafter import Drafter


class Scheduling:
    """What one bus has scheduled, and the factories that it has declared."""

    def __init__(self, attachment: Attachment, drafter: Drafter) -> None:
        self._attachment, self._drafter = attachment, drafter
        self._factories: list[Factory] = []
        self._engine: Engine | None = None
        self._lock = threading.RLock()
        attachment.when_attached(self._join, self._leave)

    # -- what recurs -------------------------------------------------------------------------------
    def declare(self, declaration: ScheduleDeclaration) -> Registration:
        """Have a schedule recorded and published; the same function again replaces the one before."""
        self._attachment.check_open()
        factory = Factory(declaration, self._drafter.draft)
        with self._lock:
            others = [each for each in self._factories if each.name == factory.name]
            for other in others:
                refuse_other(other, factory)
            if self._engine is not None:
                self._engine.timetable.declare(factory)
            else:
                warn_of_other_times(others, factory)
            self._factories.append(factory)
            for other in others:
                self._remove(other)
        return Registration(lambda: self._remove(factory))

    def _remove(self, factory: Factory) -> None:
        with self._lock:
            if factory in self._factories:
                self._factories.remove(factory)
                if self._engine is not None:
                    self._engine.timetable.take_out(factory)

    def _join(self, engine: Engine) -> None:
        with self._lock:
            self._engine = engine
            for factory in list(self._factories):
                try:
                    engine.timetable.declare(factory)
                except EventDefinitionError as error:  # another bus on the file has one of that name
                    self._factories.remove(factory)
                    engine.timetable.refuse(factory, error)

    def _leave(self, engine: Engine) -> None:
        with self._lock:
            for factory in self._factories:
                engine.timetable.take_out(factory)

    # -- single events -----------------------------------------------------------------------------
    def at(self, event: object, when: object, catch_up: CatchUp, how: dict[str, Any]) -> Schedule:
        """Keep an event until its time."""
        check_catch_up(catch_up)
        replaying = caught.get()
        if replaying is None:
            refuse_in_transaction(self._attachment.attached, "publish_at", "Schedule after the with block.")
            self._attachment.check_open()
        kind, due = due_time(when, self._attachment.settings.clock.time())
        draft = self._drafter.draft(event, **how)
        if replaying is not None:
            replaying.append(event)
            return replayed(draft, kind, due, catch_up)
        engine = self._attachment.engine()
        schedule = add_event(engine.storage, draft, kind, due, catch_up)
        engine.timetable.changed()
        engine.stored()
        return schedule

    def schedules(self, source: str) -> Schedules:
        """The schedules of the log; what a person does is recorded as coming from `source`."""
        engine = self._attachment.engine()
        engine.settle()
        return Schedules(
            engine.storage,
            source=source,
            is_declared=engine.timetable.is_declared,
            changed=engine.timetable.changed,
            announce=engine.announce,
        )
