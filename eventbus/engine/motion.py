"""What moves events on in one process: the pump, the timetable, and the alarm that wakes them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from eventbus.delivery import Item
from eventbus.engine.observing import candidates, describe
from eventbus.errors import EventBusError
from eventbus.scheduler import AlarmClock
from eventbus.schedules import Timetable
from eventbus.store.drafter import derive_id
from eventbus.store.drafts import Draft
from eventbus.worker.lane import Lane
from eventbus.worker.pump import Pump
from eventbus.worker.recording import Effect

if TYPE_CHECKING:
    from eventbus.clock import Deadline
    from eventbus.engine.engine import Engine

_log = logging.getLogger("eventbus.engine")


class Motion:
    """The part of an engine that a process which only publishes never needs, and never loads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._alarm = AlarmClock(engine.ring, engine.clock)
        self.pump = Pump(
            engine.storage,
            engine.clock,
            engine.loop,
            bell=engine.bell,
            neighbours=engine.neighbours,
            draft=_draft_for,
            announce=engine.announce,
            observe=self._observe,
            emit=engine.emit_technical,
            alarm=self._alarm.set,
            between=engine.look_around,
            at_rest=self._alarm.rest,
        )
        self.pump.roster.gone = engine.definitions.rebuilt_elsewhere
        self.timetable = Timetable(
            engine.storage, engine.vocabulary, ring=engine.ring, announce=engine.announce, emit=engine.emit_technical
        )
        engine.between.append(self.timetable.look)
        self.pump.companions.append(self.timetable)

    def _observe(self, lane: Lane, effect: Effect) -> None:
        if not self._engine.is_heard(candidates(effect)):
            return
        for each in effect.each():
            event = describe(lane, each)
            if event is not None:
                self._engine.emit_technical(event)

    def stop(self, deadline: Deadline) -> None:
        """Finish what runs; what is not done by the deadline is left for the next start."""
        try:
            left = self.pump.stop(deadline)
        except Exception as error:  # nothing is lost: what is not recorded is done again, by whoever comes next
            _log.warning("what was handled last is not recorded, or its claim not given back: %s", error)
            return
        if left:
            told = ", ".join(left)
            _log.warning("handlers still ran after %g s; what they do is not recorded: %s", deadline.seconds, told)

    def close(self) -> None:
        """Be woken no more."""
        self._alarm.close()


def _draft_for(lane: Lane, item: Item, event: object, **how: Any) -> Draft:
    """A draft of what a subscription's handler publishes: its id derives from what is handled."""
    publish = getattr(lane.work, "publish", None)
    if publish is None:
        raise EventBusError(
            f"The projection {lane.name!r} cannot publish.",
            stored="not stored",
            hint="A rebuild would publish again; subscribe a handler for that.",
        )
    draft: Draft = publish(event, cause=item.envelope, **how)
    if not draft.known_id:
        nth = sum(1 for earlier in item.drafts if earlier.type.name == draft.type.name)
        draft.id = derive_id(lane.name, lane.row.run, item.envelope.id, draft.type.name, nth)
        draft.known_id = True
    return draft
