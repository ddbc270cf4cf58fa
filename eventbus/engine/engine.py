"""One engine per file and process: what every EventBus on that file shares.

It opens the file on first use, stores what is published, delivers, and tells live handlers. A second
EventBus on the same file joins it, and the live handlers of both hear.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal, Protocol, TypeVar, cast

import attrs

from eventbus.clock import Clock, Deadline
from eventbus.delivery import Item
from eventbus.dispatch import Place
from eventbus.engine.definitions import Definitions
from eventbus.engine.emitting import emitted
from eventbus.engine.observing import candidates, describe
from eventbus.errors import BusClosed, EventBusError, ForkedBus
from eventbus.events import Envelope, Vocabulary
from eventbus.scheduler import AlarmClock
from eventbus.schedules import Timetable
from eventbus.store.append import Appended, Draft
from eventbus.store.drafter import derive_id
from eventbus.store.location import Location
from eventbus.store.storage import LAST_SECONDS, Durability, Storage
from eventbus.store.writer import Request, Writer
from eventbus.threads import Batches
from eventbus.worker.attempts import delivering
from eventbus.worker.lane import Lane
from eventbus.worker.loop import BusLoop
from eventbus.worker.pump import Pump
from eventbus.worker.recording import Effect

Delivery = Literal["thread", "manual"]

R = TypeVar("R")

_log = logging.getLogger("eventbus.engine")


@attrs.frozen
class Settings:
    """What two buses on one file have to agree on."""

    durability: Durability
    delivery: Delivery
    errors: Literal["log", "raise"]
    max_payload: int
    clock: Clock = attrs.field(eq=id)


class Hearer(Protocol):
    """A bus, as the engine sees it: somebody with live handlers."""

    def hears(self, cls: type) -> bool:
        """Whether anybody listens to this class."""
        ...

    def hear(
        self, event: object, envelope: Envelope | Callable[[], Envelope], place: Place | None = None
    ) -> list[BaseException]:
        """Call the live handlers here; returns what failed. `place`: where it was published, if not on this stack."""
        ...

    def keep(self, failures: list[BaseException]) -> None:
        """Take failures that no publish can raise any more."""
        ...

    async def hear_async(self, event: object, envelope: Envelope) -> list[BaseException]:
        """The same, awaiting the async ones."""
        ...


class Engine:
    """The open log, its writer and its pump."""

    def __init__(self, location: Location, settings: Settings, vocabulary: Vocabulary, *, adopt: bool) -> None:
        self.settings, self.vocabulary, self.clock = settings, vocabulary, settings.clock
        self.pid = os.getpid()
        self.storage = Storage(
            location, durability=settings.durability, adopt=adopt, clock=settings.clock, vocabulary=vocabulary
        )
        self.hearers: list[Hearer] = []
        self.recorders: list[Callable[[Appended], None]] = []
        self.between: list[Callable[[], bool]] = []  # what other rooms do once a round
        self.loop = BusLoop()
        self.writer = Writer(self.storage, self._committed, prepare=self.settle)
        self._teller: Batches[Callable[[], object]] = Batches("eventbus-teller", run_all)
        self.closed, self.users = False, 0
        self._rebuilds: Any = None
        self._outboxes: Any = None
        self._alarm = AlarmClock(self._ring, settings.clock)
        self.pump = Pump(
            self.storage,
            settings.clock,
            self.loop,
            draft=_draft_for,
            announce=self.announce,
            observe=self._observe,
            emit=self.emit_technical,
            alarm=self._alarm.set,
            between=self._between,
            at_rest=self._alarm.rest,
        )
        self.definitions = Definitions(self.storage, self.pump, settings.clock)
        self.pump.roster.gone = self.definitions.rebuilt_elsewhere
        self.timetable = Timetable(
            self.storage, vocabulary, ring=self._ring, announce=self.announce, emit=self.emit_technical
        )
        self.between.append(self.timetable.look)
        self.pump.companions.append(self.timetable)

    def check(self) -> None:
        """Raise BusClosed or ForkedBus where the engine cannot be used.

        While it closes, the handlers that still run may use it: they are to be finished, not to fail.
        """
        if self.closed and (self.storage.closed or not delivering.get()):
            raise BusClosed
        if os.getpid() != self.pid:
            raise ForkedBus(self.pid)

    def rebuilds(self, make: Callable[[Engine], R]) -> R:
        """What rebuilds projections here, made once for all buses on the file."""
        if self._rebuilds is None:
            self._rebuilds = make(self)
        return cast("R", self._rebuilds)

    def outboxes(self, make: Callable[[Engine], R]) -> R:
        """What moves rows of outboxes into the log, made once for all buses on the file; it has a `close`."""
        if self._outboxes is None:
            self._outboxes = make(self)
        return cast("R", self._outboxes)

    def settle(self) -> None:
        """Record what was declared since; EventDefinitionError for what cannot be."""
        self.definitions.settle()
        self.timetable.settle()

    def _between(self) -> bool:
        self.definitions.settle_quietly()
        moved = [each() for each in list(self.between)]  # all of them, not up to the first that moved
        return any(moved)

    # -- after a commit ----------------------------------------------------------------------------
    def _ring(self) -> None:
        self.pump.bell.ring()

    def stored(self) -> None:
        """Events were committed: have this process look at the log, and the others."""
        self._ring()
        self.pump.neighbours.wake()

    def _committed(self, requests: Sequence[Request]) -> None:
        self.stored()
        if self.recorders:
            for request in requests:
                self.note(request.appended)

    def note(self, appended: Sequence[Appended]) -> None:
        """Let `bus.recorded()` see what was stored."""
        for each in appended if self.recorders else ():
            if each.row is not None:
                for recorder in list(self.recorders):
                    recorder(each)

    def _hearing(self, cls: type) -> list[Hearer]:
        return [hearer for hearer in self.hearers if hearer.hears(cls)]

    def tell(self, appended: Appended) -> list[BaseException]:
        """Call the live handlers of a stored event here; returns what failed."""
        hearing = self._hearing(appended.draft.type.cls)
        if not hearing or appended.row is None:
            return []
        envelope = Envelope.around(appended.draft.event, appended.row, self.storage.names)
        return [error for hearer in hearing for error in hearer.hear(appended.draft.event, envelope)]

    async def tell_async(self, appended: Appended) -> list[BaseException]:
        """The same on a loop; async handlers are awaited."""
        hearing = self._hearing(appended.draft.type.cls)
        if not hearing or appended.row is None:
            return []
        envelope = Envelope.around(appended.draft.event, appended.row, self.storage.names)
        return [error for hearer in hearing for error in await hearer.hear_async(appended.draft.event, envelope)]

    def announce(self, appended: Sequence[Appended]) -> None:
        """Tell of events that handlers published."""
        self.note(appended)
        self.stored()
        self.tell_later(appended)

    def tell_later(self, appended: Sequence[Appended]) -> None:
        """Tell of events in commit order on the dispatch thread: whoever published them has gone on."""
        for each in appended:
            if self._hearing(each.draft.type.cls):
                self.later(lambda each=each: self.tell_elsewhere(each, None))  # type: ignore[misc]

    def tell_elsewhere(self, appended: Appended, place: Place | None) -> None:
        """Call the live handlers here, away from the publisher; `place` is where that was."""
        if appended.row is not None:
            envelope = Envelope.around(appended.draft.event, appended.row, self.storage.names)
            for hearer in self._hearing(appended.draft.type.cls):
                hearer.keep(hearer.hear(appended.draft.event, envelope, place))

    def later(self, thunk: Callable[[], object]) -> None:
        """Run something on the dispatch thread, in order."""
        self._teller.put(thunk)

    @property
    def is_telling_here(self) -> bool:
        """True on the dispatch thread: what comes after it there cannot be waited for."""
        return self._teller.is_here

    def emit_technical(self, event: object) -> None:
        """Tell those who listen, on the dispatch thread."""
        if self._hearing(type(event)):
            self.later(lambda: self._tell_technical(event))

    def _tell_technical(self, event: object) -> None:
        for hearer in self._hearing(type(event)):
            hearer.keep(hearer.hear(event, lambda: emitted(event, self.clock)))

    def _observe(self, lane: Lane, effect: Effect) -> None:
        if not any(hearer.hears(cls) for cls in candidates(effect) for hearer in self.hearers):
            return
        event = describe(lane, effect)
        if event is not None:
            self.emit_technical(event)

    # -- the end -----------------------------------------------------------------------------------
    def join_live(self, deadline: Deadline | None, *, on_loop: bool) -> bool:
        """Wait for live handlers on the dispatch thread, and on the bus's loop; False after the deadline."""
        if not self._teller.join(None if deadline is None else deadline.left()):
            return False
        return not on_loop or self.loop.join(None if deadline is None else deadline.left())

    def close(self, timeout: float) -> None:
        """Finish what runs, within `timeout` seconds, and close the file; later calls do nothing."""
        if self.closed:
            return
        deadline = Deadline(self.clock, timeout)
        self.storage.hurry(deadline)
        with ExitStack() as steps:  # each is taken whatever becomes of the others, the last one here first
            steps.callback(self.storage.close)
            if self._outboxes is not None:
                steps.callback(self._outboxes.close)
            steps.callback(lambda: self.loop.close(max(LAST_SECONDS, deadline.left(1.0))))
            steps.callback(self.loop.cancel)
            steps.callback(lambda: self.join_live(deadline, on_loop=True))
            steps.callback(lambda: self._stop_delivering(deadline))
            steps.callback(self._alarm.close)
            try:
                self.writer.join(deadline.left())
            finally:
                self.closed = True

    def _stop_delivering(self, deadline: Deadline) -> None:
        try:
            finished = self.pump.stop(deadline)
        except Exception as error:  # nothing is lost: what is not recorded is done again, by whoever comes next
            _log.warning("what was handled last is not recorded, or its claim not given back: %s", error)
            return
        if not finished:
            _log.warning("some handlers still ran after %g s; what they do is not recorded", deadline.seconds)


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


def run_all(thunks: list[Callable[[], object]]) -> None:
    """Call each; one that fails is logged."""
    for thunk in thunks:
        try:
            thunk()
        except BaseException:  # a handler may also call sys.exit()
            _log.exception("telling live handlers failed")
