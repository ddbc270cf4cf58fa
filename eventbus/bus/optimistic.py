"""`bus.optimistic`: a window shows a change at once, and takes it back if nothing comes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eventbus.bus.attaching import Attachment
from eventbus.bus.changing import Change, Optimistic
from eventbus.bus.following import DeliveryStatus, Following
from eventbus.bus.judging import Undone, Verdict, judge
from eventbus.bus.log_view import LogView
from eventbus.bus.readers import name_of
from eventbus.bus.transacting import refuse_in_transaction
from eventbus.delivery import in_words
from eventbus.dispatch import LiveFailure
from eventbus.engine import Engine
from eventbus.errors import BusClosed, EventBusError
from eventbus.events import Envelope, Receipt
from eventbus.handlers import LiveDeclaration, Target, qualified_name
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


class _Watched:
    """What is known of one change whose event is stored."""

    def __init__(self, change: Change, receipt: Receipt, how: OptimisticOptions) -> None:
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
        change = Change(event, rollback, options.get("confirm"), options.get("via"))
        apply()
        try:
            if targets:
                waker = LiveDeclaration(tuple(targets), self._woken, 0, False, None)
                change.wakers.append(self._attachment.live.connect(waker))
            future = self._submit(event, **publish)
        except BaseException as error:
            self._settle(change, Undone("not stored", error=in_words(error)), None)
            raise
        future.add_done_callback(lambda done: self._stored(change, done, options))
        return Optimistic(change)

    def _stored(self, change: Change, future: Future[Receipt], options: OptimisticOptions) -> None:
        error = future.exception()
        if error is not None:
            self._settle(change, Undone("not stored", error=in_words(error)), None)
            return
        change.receipt = receipt = future.result()
        if not (receipt.position and change.is_open):  # a replay stores nothing; or it was closed meanwhile
            change.end()
            return
        change.engine = self._attachment.attached
        with self._lock:
            self._open.append(_Watched(change, receipt, options))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="eventbus-optimistic", daemon=True)
                self._thread.start()
        self._wake()

    def _woken(self, event: object) -> None:
        """What may undo a change was published here."""
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
            self._open = [each for each in self._open if each.change.is_open]
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
    def _settle(self, change: Change, verdict: Verdict, engine: Engine | None) -> None:
        """Once: note what has become of it, and call what the app gave for that."""
        if not change.settle(verdict):
            return
        if isinstance(verdict, Undone):
            self._call(change, change.rollback, lambda: change.rollback(verdict), engine)
        elif change.confirm is not None:
            self._call(change, change.confirm, change.confirm, engine)
        else:
            change.end()

    def _call(self, change: Change, named: object, call: Callable[[], object], engine: Engine | None) -> None:
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
                change.end()

        if change.via is not None:
            try:
                change.via(thunk)
            except Exception as error:  # the window is gone
                self._report(change, named, error)
            finally:
                change.end()
        elif engine is None:
            then_end()
        else:
            engine.later(then_end)

    def _report(self, change: Change, named: object, error: BaseException) -> None:
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
