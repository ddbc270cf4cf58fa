"""One engine per file and process: what every EventBus on that file shares.

It opens the file on first use, stores what is published, delivers, and tells live handlers. A second
EventBus on the same file joins it, and the live handlers of both hear.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

import attrs

from eventbus.clock import Bell, Clock, Deadline
from eventbus.dispatch import Place
from eventbus.engine.definitions import Definitions
from eventbus.engine.emitting import emitted
from eventbus.errors import BusClosed, ForkedBus
from eventbus.events import Envelope, Vocabulary
from eventbus.store.drafts import Appended
from eventbus.store.location import Location
from eventbus.store.storage import LAST_SECONDS, Durability, Storage
from eventbus.store.writer import Request, Writer
from eventbus.threads import Batches
from eventbus.worker.delivering import delivering
from eventbus.worker.loop import BusLoop
from eventbus.worker.waking import Neighbours

if TYPE_CHECKING:
    from eventbus.engine.motion import Motion
    from eventbus.schedules import Timetable
    from eventbus.worker.pump import Pump

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
    """The open log and its writer; and what delivers, which is made when it is first needed."""

    def __init__(
        self, location: Location, settings: Settings, vocabulary: Vocabulary, *, adopt: bool, accept_loss: bool = False
    ) -> None:
        self.settings, self.vocabulary, self.clock = settings, vocabulary, settings.clock
        self.pid = os.getpid()
        how = {"adopt": adopt, "accept_loss": accept_loss}
        self.storage = Storage(
            location, durability=settings.durability, clock=settings.clock, vocabulary=vocabulary, **how
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
        self.bell = Bell()
        self.neighbours = Neighbours(self.storage, settings.clock, self.bell)
        self.definitions = Definitions(self.storage, settings.clock, ring=self.ring, roster=lambda: self.pump.roster)
        self._motion: Motion | None = None  # once all have joined it
        self._beginning = threading.RLock()
        self._begun: Motion | None = None
        self._joining: list[Callable[[], object]] = []

    def check(self) -> None:
        """Raise BusClosed or ForkedBus where the engine cannot be used.

        While it closes, the handlers that still run may use it: they are to be finished, not to fail.
        """
        if self.closed and (self.storage.closed or not delivering.get()):
            raise BusClosed
        if os.getpid() != self.pid:
            raise ForkedBus(self.pid)

    # -- delivering --------------------------------------------------------------------------------
    def _moving(self) -> Motion:
        if self._motion is not None:
            return self._motion
        with self._beginning:
            if self._begun is None:
                from eventbus.engine.motion import Motion

                self._begun = Motion(self)
                for join in self._joining:
                    join()
                self._motion = self._begun
            return self._begun

    def when_moving(self, join: Callable[[], object]) -> None:
        """Call this as soon as something is to be delivered here, which may be now."""
        with self._beginning:
            self._joining.append(join)
            if self._begun is not None:
                join()

    def never_mind(self, join: Callable[[], object]) -> None:
        """Do not call this any more."""
        with self._beginning:
            self._joining.remove(join)

    @property
    def pump(self) -> Pump:
        """What delivers."""
        return self._moving().pump

    @property
    def timetable(self) -> Timetable:
        """The schedules, as far as they are published here."""
        return self._moving().timetable

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
        if self._motion is not None:
            self._motion.timetable.settle()

    def look_around(self) -> bool:
        """What is done once a round, beside delivering; True if there was anything to do."""
        self.definitions.settle_quietly()
        moved = [each() for each in list(self.between)]  # all of them, not up to the first that moved
        return any(moved)

    # -- after a commit ----------------------------------------------------------------------------
    def ring(self) -> None:
        """Have this process look at the log."""
        self.bell.ring()

    def stored(self) -> None:
        """Events were committed: have this process look at the log, and the others."""
        self.bell.ring()
        self.neighbours.wake()

    def _heed(self, appended: Iterable[Appended]) -> None:
        """These were committed: have the others look at the log, and this process if it waits for one of them."""
        if self._motion is None:
            self.bell.ring()
        else:
            self._motion.pump.heed(appended)
        self.neighbours.wake()

    def _committed(self, requests: Sequence[Request]) -> None:
        self._heed([each for request in requests for each in request.appended])
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
        self._heed(appended)
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

    def is_heard(self, classes: Iterable[type]) -> bool:
        """Whether anybody listens to one of these."""
        for cls in classes:
            for hearer in self.hearers:
                if hearer.hears(cls):
                    return True
        return False

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
            steps.callback(self.neighbours.leave)  # also of a process that has only published
            if self._outboxes is not None:
                steps.callback(self._outboxes.close)
            steps.callback(lambda: self.loop.close(max(LAST_SECONDS, deadline.left(1.0))))
            steps.callback(self.loop.cancel)
            steps.callback(lambda: self.join_live(deadline, on_loop=True))
            with self._beginning:
                motion = self._begun
            if motion is not None:
                steps.callback(lambda: motion.stop(deadline))
                steps.callback(motion.close)
            try:
                self.writer.join(deadline.left())
            finally:
                self.closed = True


def run_all(thunks: list[Callable[[], object]]) -> None:
    """Call each; one that fails is logged."""
    for thunk in thunks:
        try:
            thunk()
        except BaseException:  # a handler may also call sys.exit()
            _log.exception("telling live handlers failed")
