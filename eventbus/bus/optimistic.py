"""`bus.optimistic`: a window shows a change at once, and takes it back if nothing comes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eventbus.bus.attaching import Attachment
from eventbus.bus.following import DeliveryStatus, Following, check_timeout
from eventbus.bus.judging import State, Undone, Verdict, judge
from eventbus.bus.log_view import LogView
from eventbus.bus.readers import name_of
from eventbus.bus.transacting import refuse_in_transaction, refuse_on_a_loop
from eventbus.delivery import message
from eventbus.dispatch import LiveFailure
from eventbus.engine import Engine
from eventbus.errors import BusClosed, EventBusError, WaitTimeout, WouldDeadlock
from eventbus.events import Envelope, Receipt
from eventbus.handlers import LiveDeclaration, Registration, Target, qualified_name
from eventbus.handlers.declarations import check_targets
from eventbus.store import causes
from eventbus.store.drafter import PublishOptions, check_options
from eventbus.threads import is_ctrl_c

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eventbus.placement import Via

POLL = 0.5  # seconds between looks at the log where nothing here tells that another process has delivered
REST = 0.02  # seconds between two looks at least: a busy bus has news thousands of times a second
MOST_FOLLOWING = 1000  # events that followed, of which it is looked whether they are done

_log = logging.getLogger("eventbus.bus")


class OptimisticOptions(PublishOptions, total=False):
    """The keywords of `bus.optimistic` beside apply= and rollback=: those of `publish`, and its own."""

    undone_by: Target | Sequence[Target]
    undoes: Callable[[Envelope], bool] | None
    subscriptions: Sequence[object] | None
    confirm: Callable[[], object] | None
    via: Via | None


class Optimistic:
    """A change that was applied before its event was handled: its `state`, the `receipt` once there is one, and,
    when it is rolled back, `why`. It is followed until it is settled, or closed, or the bus is."""

    def __init__(self, event: object, via: Via | None) -> None:
        self.event = event
        self.state: State = "applied"
        self.receipt: Receipt | None = None
        self.why: Undone | None = None
        self._via = via
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._callbacks: tuple[Callable[[Undone], object], Callable[[], object] | None] | None = None
        self._wakers: list[Registration] = []
        self._is_over = threading.Event()

    def __repr__(self) -> str:
        return f"<Optimistic {type(self.event).__name__} {self.state}>"

    def wait(self, timeout: float | None = 5.0) -> State:
        """Block until it is "confirmed" or "rolled back", at most `timeout` seconds; "applied" once it was closed.

        What is called on the bus's own thread has run by then. Raises WaitTimeout, and WouldDeadlock on a loop.
        """
        refuse_on_a_loop("wait", "await asyncio.to_thread(change.wait)")
        check_timeout(timeout)
        if self._engine is not None and self._engine.is_telling_here:
            raise WouldDeadlock("wait was called by a live handler, and waits for its end.", hint="Use confirm=.")
        if not self._is_over.wait(timeout):
            raise WaitTimeout("A change was neither confirmed nor rolled back", timeout or 0.0)
        return self.state

    def close(self) -> None:
        """Follow it no more: it stays as it is, and nothing is called any more."""
        with self._lock:
            self._callbacks = None
        self._end()

    def _end(self) -> None:
        for each in self._wakers:
            each.close()
        self._wakers.clear()
        self._is_over.set()


class _Watched:
    """What is known of one change whose event is stored."""

    def __init__(self, change: Optimistic, receipt: Receipt, how: OptimisticOptions) -> None:
        self.change, self.receipt = change, receipt
        self.targets = _targets(how)
        self._undoes = how.get("undoes")
        names = how.get("subscriptions")
        self.names = None if names is None else [name_of(each) for each in names]
        self._followed: list[int] = []
        self._done: set[int] = set()
        self._seen = receipt.position
        self._is_warned = False

    def look(self, engine: Engine) -> Verdict | None:
        """What has become of it. Statuses are read before what they may have led to."""
        following = Following(engine)
        while True:
            own = self._counted(following.status(self.receipt.position))
            open_ones = [self._counted(following.status(each)) for each in self._followed if each not in self._done]
            if not self.targets:
                return judge(own, (), None)
            followed = self._following(engine)
            if followed == self._followed:
                return judge(own, open_ones, self._undo(engine))
            self._followed = followed
            if (undo := self._undo(engine)) is not None:
                return judge(own, open_ones, undo)

    def _counted(self, statuses: Mapping[str, DeliveryStatus]) -> Mapping[str, DeliveryStatus]:
        if self.names is None:
            return statuses
        missing = [name for name in self.names if name not in statuses]
        if missing and not self._is_warned:
            self._is_warned = True
            _log.warning("a change waits for %s, of which this log knows nothing", ", ".join(missing))
        return {name: statuses.get(name, DeliveryStatus("waiting")) for name in self.names}

    def _following(self, engine: Engine) -> list[int]:
        with engine.storage.reading() as connection:
            return causes.following(connection, self.receipt.id, MOST_FOLLOWING)[1:]

    def _undo(self, engine: Engine) -> Envelope | None:
        """The first event since the last look that undoes it."""
        log = LogView(lambda: engine)
        head = log.head
        after, self._seen = self._seen, max(head, self._seen)
        for envelope in log.read(after=after, until=head, types=self.targets):
            if self._is_undone_by(engine, envelope):
                return envelope
        return None

    def _is_undone_by(self, engine: Engine, envelope: Envelope) -> bool:
        if self._undoes is not None:
            try:
                return bool(self._undoes(envelope))
            except Exception:
                _log.exception("undoes= failed on %r, which is taken for no undoing", envelope)
                return False
        with engine.storage.reading() as connection:
            chain = causes.chain(connection, envelope.id, causes.MOST_CAUSES)
        return any(event_id == self.receipt.id for _, event_id, _ in chain)


class Optimism:
    """The open changes of one bus, followed on a thread that is there while there are any."""

    def __init__(self, attachment: Attachment, submit: Callable[..., Future[Receipt]]) -> None:
        self._attachment, self._submit = attachment, submit
        self._lock = threading.Lock()
        self._open: list[_Watched] = []
        self._thread: threading.Thread | None = None
        self._pause = threading.Event()  # never set

    def begin(
        self, event: object, apply: Callable[[], object], rollback: Callable[[Undone], object], how: OptimisticOptions
    ) -> Optimistic:
        """Apply a change, publish its event, and follow it. What `apply` raises is raised: nothing is published."""
        refuse_in_transaction(self._attachment.attached, "optimistic", "Call it after the with block.")
        self._attachment.check_open()
        publish: dict[str, Any] = {**how}
        own = ("undone_by", "undoes", "subscriptions", "confirm", "via")
        options: Any = {name: publish.pop(name) for name in own if name in publish}
        check_options("optimistic", publish)
        targets = _targets(options)
        [name_of(each) for each in options.get("subscriptions") or ()]
        change = Optimistic(event, options.get("via"))
        change._callbacks = rollback, options.get("confirm")
        apply()
        try:
            if targets:
                waker = LiveDeclaration(tuple(targets), lambda _: self._wake(), 0, False, None)
                change._wakers.append(self._attachment.live.connect(waker))
            future = self._submit(event, **publish)
        except BaseException as error:
            self._settle(change, Undone("not stored", error=_said(error)), None)
            raise
        future.add_done_callback(lambda done: self._stored(change, done, options))
        return change

    def _stored(self, change: Optimistic, future: Future[Receipt], options: OptimisticOptions) -> None:
        error = future.exception()
        if error is not None:
            self._settle(change, Undone("not stored", error=_said(error)), None)
            return
        change.receipt = receipt = future.result()
        if not receipt.position or change._callbacks is None:  # a replay stores nothing; or it was closed meanwhile
            change._end()
            return
        change._engine = self._attachment.attached
        with self._lock:
            self._open.append(_Watched(change, receipt, options))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="eventbus-optimistic", daemon=True)
                self._thread.start()
        self._wake()

    def _wake(self) -> None:
        if self._attachment.attached is not None:
            self._attachment.attached.pump.progress.change()

    # -- on the thread -----------------------------------------------------------------------------
    def _run(self) -> None:
        while self._look():
            self._pause.wait(REST)

    def _look(self) -> bool:
        """Look at all that is open, and wait for news; False once nothing is."""
        engine = self._attachment.attached
        with self._lock:
            self._open = [each for each in self._open if each.change._callbacks is not None]
            if not self._open or engine is None:
                self._thread = None
                return False
            watched = list(self._open)
        version = engine.pump.progress.version
        settled = [self._look_at(each, engine) for each in watched]
        if not any(settled):
            engine.pump.progress.wait(version, POLL)
        return True

    def _look_at(self, watched: _Watched, engine: Engine) -> bool:
        """True if it is settled, or cannot be followed any more."""
        change = watched.change
        try:
            engine.check()
            verdict = watched.look(engine)
        except Exception as error:
            if not isinstance(error, BusClosed) and not engine.closed:
                _log.exception("%r is followed no more", change)
            change.close()
            return True
        if verdict is not None:
            self._settle(change, verdict, engine)
        return verdict is not None

    # -- the end of one ----------------------------------------------------------------------------
    def _settle(self, change: Optimistic, verdict: Verdict, engine: Engine | None) -> None:
        """Once: note what has become of it, and call what the app gave for that."""
        with change._lock:
            callbacks, change._callbacks = change._callbacks, None
            if callbacks is None:
                return
            if isinstance(verdict, Undone):
                change.state, change.why = "rolled back", verdict
            else:
                change.state = verdict
        rollback, confirm = callbacks
        if isinstance(verdict, Undone):
            self._call(change, rollback, lambda: rollback(verdict), engine)
        elif confirm is not None:
            self._call(change, confirm, confirm, engine)
        else:
            change._end()

    def _call(self, change: Optimistic, named: object, call: Callable[[], object], engine: Engine | None) -> None:
        """Where `via` says, else on the dispatch thread, which is where this runs if there is no `engine`."""

        def thunk() -> None:
            try:
                call()
            except BaseException as error:
                self._report(change, named, error)
                if is_ctrl_c(error):
                    raise

        def then_end() -> None:
            try:
                thunk()
            finally:
                change._end()

        if change._via is None:
            (then_end if engine is None else lambda: engine.later(then_end))()
            return
        try:
            change._via(thunk)
        except Exception as error:  # the window is gone
            self._report(change, named, error)
        finally:
            change._end()

    def _report(self, change: Optimistic, named: object, error: BaseException) -> None:
        """As for a live handler: logged, told as HandlerFailed, and with errors="raise" raised from drain or close."""
        handler = qualified_name(named)
        _log.error("%s failed on %r", handler, change, exc_info=error)
        envelope = None
        if change.receipt is not None and self._attachment.attached is not None:
            try:
                envelope = LogView(self._attachment.engine).get(change.receipt.position)
            except EventBusError:
                _log.debug("the event of %r cannot be read any more", change, exc_info=True)
        self._attachment.failed(LiveFailure(handler, change.event, envelope, error, None, scheduled=True))


def _targets(options: OptimisticOptions) -> list[Target]:
    given = options.get("undone_by", ())
    targets: list[Target] = [given] if isinstance(given, str | type) else list(given)
    if targets:
        check_targets(tuple(targets), "undone_by=OrderRejected")
    elif options.get("undoes") is not None:
        raise EventBusError("undoes= says which of the events of undone_by= undo it.", hint="Name their classes.")
    return targets


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {message(error)}"
