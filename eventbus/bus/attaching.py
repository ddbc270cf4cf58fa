"""A bus and its engine: opened or joined on first use, shared with other buses on the same file."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from eventbus.asking import check_seconds
from eventbus.bus import engines
from eventbus.bus.declaring import Declared
from eventbus.clock import Deadline
from eventbus.dispatch import Live, LiveFailure, Place, is_exit, raisable, scheduled
from eventbus.engine import Engine, Settings, run_all
from eventbus.errors import BusClosed, EventDefinitionError, ForkedBus, WaitTimeout, WouldDeadlock
from eventbus.events import Envelope, Vocabulary
from eventbus.handlers import Context, Registration
from eventbus.later import Later
from eventbus.store.location import Location
from eventbus.threads import Batches
from eventbus.worker.delivering import delivering, handled_here
from eventbus.worker.loop import BusLoop

if TYPE_CHECKING:
    import sqlite_utils

    from eventbus.bus.outboxes import OutboxesRead
    from eventbus.dead_letters import Alerts, DeadLetters
    from eventbus.handlers import ProjectionDeclaration, SubscriptionDeclaration
    from eventbus.projections.rebuilding import Rebuilds
    from eventbus.technical import HandlerFailed

_log = logging.getLogger("eventbus.bus")

_known: weakref.WeakSet[Attachment] = weakref.WeakSet()

EXIT_SECONDS = 2.0  # what handlers get to finish when the interpreter exits without a close


class Attachment:
    """One bus's side: its live handlers and declarations, and the engine once there is one."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        settings: Settings,
        *,
        adopt: bool,
        migrations: sqlite_utils.Migrations | None,
    ) -> None:
        self.settings, self.vocabulary = settings, Vocabulary()
        self._path, self._adopt, self._migrations = path, adopt, migrations
        self._lock = threading.RLock()
        self._declared = Declared(self.vocabulary)
        self._failures: list[Exception] = []
        self._pid = os.getpid()
        self._is_migrating = False
        self.attached: Engine | None = None
        self.closed = False
        self.live = Live(vocabulary=self.vocabulary, spawn=self._spawn, failed=self.failed)
        self._begin: Callable[[], object] = lambda: None
        self.source = "eventbus"
        self._outboxes = Later(self._make_outboxes)
        self._alerts: Alerts | None = None
        self._own_loop = BusLoop()  # for what is emitted before a file is opened
        self._teller: Batches[Callable[[], object]] = Batches("eventbus-teller", run_all)
        self._joined: list[Callable[[Engine], object]] = []  # told of the engine, once there is one
        self._left: list[Callable[[Engine], object]] = []  # and when it goes on without this bus
        self.finish: Callable[[float], object] = lambda seconds: None  # what has to be stored before the end
        self.watches: list[Callable[[Engine], Callable[[], bool]]] = []  # each makes what is looked at once a round
        self._looks: list[Callable[[], bool]] = []
        self.hurry: Callable[[], object] = lambda: None  # what is looked at once a second is looked at now
        _known.add(self)

    # -- the engine --------------------------------------------------------------------------------
    def engine(self) -> Engine:
        """The engine, opened or joined if need be. Raises BusClosed, ForkedBus or a LogError."""
        engine = self.attached
        if engine is None or self.closed:
            self.check_open()
            with self._lock:
                engine = self.attached or self._attach()
        engine.check()
        return engine

    def when_attached(self, joined: Callable[[Engine], object], left: Callable[[Engine], object]) -> None:
        """Call `joined` once there is an engine, which may be now, and `left` when it goes on without this bus."""
        with self._lock:
            self._joined.append(joined)
            self._left.append(left)
            if self.attached is not None:
                joined(self.attached)

    def check_open(self) -> None:
        """Raise BusClosed or ForkedBus; opens nothing."""
        if self.closed and (self.attached is None or self.attached.storage.closed or not delivering.get()):
            raise BusClosed
        if os.getpid() != self._pid:
            raise ForkedBus(self._pid)

    def _attach(self) -> Engine:
        if self._is_migrating:  # on the same thread: others wait for the lock
            raise WouldDeadlock(
                "A migration uses the bus it belongs to, which is open only once the migrations are done.",
                hint="Use the db that the migration is given, and publish when the bus is open.",
            )
        engine = engines.enter(Location.of(self._path), self._join, self._open)
        engine.hearers.append(self)
        self._declared.give_to(engine)
        self._begin = partial(self._begin_delivering, engine)
        engine.when_moving(self._begin)
        for joined in self._joined:
            joined(engine)
        self.attached = engine
        return engine

    def _begin_delivering(self, engine: Engine) -> None:
        """What goes on beside the deliveries; a process that only publishes loads nothing of it."""
        engine.rebuilds(_make_rebuilds)
        self._outboxes().give_to(engine, self.source)
        self._looks = [watch(engine) for watch in self.watches]
        engine.between.extend(self._looks)

    def _open(self) -> Engine:
        engine = Engine(Location.of(self._path), self.settings, self.vocabulary, adopt=self._adopt)
        self._migrate(engine, new=True)
        return engine

    def _join(self, engine: Engine) -> None:
        """Use the engine that has the file open already; its settings have to be ours."""
        if engine.settings != self.settings:
            raise EventDefinitionError(
                f"Another EventBus of this process has {engine.storage.path} open with other settings.",
                hint="Give both the same durability, delivery, errors, max_payload and clock.",
            )
        self.vocabulary.join(engine.vocabulary)
        self._migrate(engine, new=False)

    def _migrate(self, engine: Engine, *, new: bool) -> None:
        try:
            if self._migrations is not None:
                from eventbus.store.migrating import migrate

                self._is_migrating = True
                migrate(engine.storage, self._migrations)
        except BaseException:
            if new:
                engine.close(0)
            raise
        finally:
            self._is_migrating = False

    @property
    def rebuilds(self) -> Rebuilds:
        """The projections of the engine."""
        return self.engine().rebuilds(_make_rebuilds)

    def _make_outboxes(self) -> OutboxesRead:
        from eventbus.bus.outboxes import OutboxesRead

        return OutboxesRead(self.settings.clock)

    def dead_letters(self, source: str) -> DeadLetters:
        """The dead letters of the log; what a person does is recorded as coming from `source`."""
        from eventbus.dead_letters import Alerts, DeadLetters

        engine = self.engine()
        engine.settle()
        with self._lock:
            if self._alerts is None:
                self._alerts = Alerts(engine.storage, engine.emit_technical)
                engine.between.append(self._alerts.look)
        return DeadLetters(
            engine.storage,
            source=source,
            max_payload=self.settings.max_payload,
            changed=engine.pump.roster.reload,
            announce=engine.announce,
            emit=engine.emit_technical,
            alerts=self._alerts,
        )

    def read_outbox(self, path: str | os.PathLike[str] | None, *, poll: float | None, name: str | None) -> Registration:
        """Have the outbox of another file moved, too, or the own one's looked at more often."""
        from eventbus.bus.outboxes import same_file

        self.check_open()
        return self._outboxes().read(None if same_file(path, self._path) else path, poll=poll, name=name)

    # -- declarations ------------------------------------------------------------------------------
    def define(
        self, declaration: SubscriptionDeclaration | ProjectionDeclaration, publish: Callable[..., Any]
    ) -> Registration:
        """Have a subscription or projection recorded before the next publish; one of its name is replaced.

        On a loop, and inside another log's transaction, nothing may wait for the file: whoever publishes next does.
        """
        self.check_open()
        return self._declared.define(declaration, publish)

    # -- live handlers -----------------------------------------------------------------------------
    def hears(self, cls: type) -> bool:
        """Whether this bus has a live handler for the class."""
        return self.live.hears(cls)

    def hear(
        self, event: object, envelope: Envelope | Callable[[], Envelope], place: Place | None = None
    ) -> list[BaseException]:
        """Call its live handlers here."""
        return self.live.tell(event, envelope, self.context, place)

    def keep(self, failures: Sequence[BaseException]) -> None:
        """With errors="raise": what failed where no publish could raise it raises from `drain` or `close`."""
        if self.settings.errors == "raise":
            self._failures.extend(raisable(each) for each in failures)

    async def hear_async(self, event: object, envelope: Envelope) -> list[BaseException]:
        """Call its live handlers here, and await the async ones."""
        return await self.live.tell_async(event, envelope, self.context)

    def context(self, envelope: Envelope) -> Context:
        """What a live handler is told: what it publishes is stored at once, caused by this event."""
        return Context(envelope, publish=self._publish_now, stopping=lambda: self.closed)

    def _publish_now(self, event: object, **how: Any) -> str:
        assert self.publish_now is not None
        return self.publish_now(event, **how)

    publish_now: Callable[..., str] | None = None

    def _spawn(self, coroutine: Any) -> Any:
        if self.attached is None:  # events are emitted, and no file has been opened yet
            self.check_open()
            return self._own_loop.spawn(coroutine)
        return self.engine().loop.spawn(coroutine)

    def failed(self, failure: LiveFailure) -> None:
        """Tell of a live handler that failed, after it was logged."""
        if failure.scheduled:
            self.keep([failure.error])
        from eventbus.engine.emitting import emitted
        from eventbus.technical import HandlerFailed

        # Of what fails on this very event nothing is told: that would go round for ever.
        if isinstance(failure.event, HandlerFailed):
            return
        engine = self.attached
        hearers = [self] if engine is None else engine.hearers
        if not any(hearer.hears(HandlerFailed) for hearer in hearers):
            return
        failed = _told(failure, self.vocabulary)
        if engine is not None:
            engine.emit_technical(failed)
        else:  # events are emitted, and no file has been opened yet
            self._teller.put(lambda: self.keep(self.hear(failed, lambda: emitted(failed, self.settings.clock))))

    def raise_if_asked(self, failures: Sequence[BaseException]) -> None:
        """With errors="raise": raise what live handlers raised, several as a group. An exit is raised always."""
        for error in failures:
            if is_exit(error):
                raise error
        if not failures or self.settings.errors != "raise":
            return
        errors = [raisable(each) for each in failures]
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup("several live handlers failed", errors)

    # -- running -----------------------------------------------------------------------------------
    def start(self) -> None:
        """Open, record what is declared, and deliver unless delivery is manual."""
        engine = self.engine()
        engine.settle()
        if self.settings.delivery == "thread":
            engine.pump.start()

    def drain(self, timeout: float | None) -> int:
        """Handle all that is due, and raise what scheduled live handlers raised."""
        check_seconds(timeout)
        if handled_here():
            raise WouldDeadlock("drain was called by a handler, which it would wait for.", hint="Publish and return.")
        engine = self.engine()
        engine.settle()
        pump = engine.pump
        self.hurry()
        deadline = None if timeout is None else Deadline(engine.clock, timeout)
        self._outboxes().look_now()
        handled = pump.drain(deadline)
        on_loop = self.settings.errors == "raise" and not scheduled.get()
        joined = not on_loop or self._own_loop.join(None if deadline is None else deadline.left())
        if not (joined and engine.join_live(deadline, on_loop=on_loop)):
            raise WaitTimeout("Not all live handlers returned", timeout or 0.0)
        self._raise_scheduled()
        return handled

    def _raise_scheduled(self) -> None:
        failures, self._failures = self._failures, []
        self.raise_if_asked(failures)

    def close(self, timeout: float | None) -> None:
        """Leave the engine; the last bus to leave closes it."""
        check_seconds(timeout)
        if handled_here():
            raise WouldDeadlock(
                "close was called by a handler, which it would wait for.", hint="Close when it is done."
            )
        if os.getpid() != self._pid:
            self.closed = True
            return
        deadline = Deadline(self.settings.clock, timeout)
        if not self.closed:
            self.finish(deadline.left())
        with self._lock:
            if self.closed:
                return
            self.closed = True
            engine = self.attached
        self._teller.join(deadline.left())
        self._own_loop.join(deadline.left())
        self._own_loop.cancel()
        self._own_loop.close()
        if engine is not None:
            self._leave(engine, deadline.left())
        self._raise_scheduled()

    def _leave(self, engine: Engine, timeout: float) -> None:
        engine.never_mind(self._begin)
        for look in self._looks:
            engine.between.remove(look)
        if engines.leave(engine):
            engine.close(timeout)
        else:
            self._declared.take_from(engine)
            if self._outboxes.is_made:
                self._outboxes().leave()
            for left in self._left:
                left(engine)
        if self in engine.hearers:
            engine.hearers.remove(self)
        if self._alerts is not None:
            engine.between.remove(self._alerts.look)


def _make_rebuilds(engine: Engine) -> Rebuilds:
    from eventbus.projections.rebuilding import Rebuilds
    from eventbus.technical import ProjectionSwapped

    def swapped(name: str, generation: int) -> None:
        engine.emit_technical(ProjectionSwapped(name, generation))

    rebuilds = Rebuilds(engine.storage, engine.pump, engine.clock, fills=engine.definitions.belongs, swapped=swapped)
    engine.between.append(rebuilds.look)
    return rebuilds


def _told(failure: LiveFailure, vocabulary: Vocabulary) -> HandlerFailed:
    from eventbus.delivery import in_words
    from eventbus.technical import HandlerFailed

    return HandlerFailed(
        handler=failure.handler,
        event_type=vocabulary.meet(type(failure.event)).name,
        event_id=failure.envelope.id if failure.envelope is not None else None,
        error=in_words(failure.error),
        place=failure.place,
    )


@contextmanager
def after(error: BaseException | None) -> Generator[None, None, None]:
    """Around the close that ends a `with bus`: what its block raised already says more than what closing raises."""
    try:
        yield
    except Exception:
        if error is None:
            raise
        _log.exception("closing failed, after the with block had")


@atexit.register
def _close_all() -> None:
    for attachment in list(_known):
        if not attachment.closed:
            try:
                attachment.close(EXIT_SECONDS)
            except Exception:
                _log.exception("closing at exit failed")
