"""What a transactional handler does in one transaction: items, or events in a row from their rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import attrs

from eventbus.clock import Clock, iso
from eventbus.delivery import Bundle, Failed, Handled, Item, Outcome, Unloaded
from eventbus.errors import HandlerTimeout
from eventbus.events import Envelope, Row
from eventbus.handlers import Context, handling
from eventbus.store.drafts import Appended
from eventbus.store.guarded import TRANSACTION_SECONDS
from eventbus.store.guest import Guest
from eventbus.store.storage import Storage
from eventbus.store.transaction import Transaction, open_transaction
from eventbus.store.trouble import is_out_of_order
from eventbus.worker.attempts import Attempt, ending, raise_interrupt, refuse_coroutine
from eventbus.worker.delivering import Current, Underway, delivering
from eventbus.worker.job import Job
from eventbus.worker.lane import Lane
from eventbus.worker.recording import settle
from eventbus.worker.straight import Way, Ways

BATCH_SECONDS = 0.05  # how long a batch may keep the log locked before it commits


class RolledBack(Exception):
    """The handler did not succeed with the event at `position`."""

    def __init__(self, position: int, outcome: Outcome) -> None:
        self.position, self.outcome = position, outcome


class Batch(Protocol):
    """The contract between a transaction and what is done in it."""

    @property
    def last(self) -> int:
        """The last position that was, or is to be, handled in it."""
        ...

    @property
    def cursor(self) -> int:
        """Where the subscription is once it is committed."""
        ...

    def handle(self, guest: Guest, appended: list[Appended]) -> int:
        """Handle what fits into its time; returns how many. Raises RolledBack at the first that fails."""
        ...

    def stored(self) -> None:
        """It is committed."""
        ...


@attrs.frozen
class Desk:
    """What all batches of a process need."""

    storage: Storage
    clock: Clock
    draft: Callable[..., Any]
    stopping: Callable[[], bool]


class Items:
    """Deliveries that were looked at before; `report` hears of them once they are stored."""

    def __init__(
        self, desk: Desk, job: Job, items: Sequence[Item], report: Callable[[Job, Item, Outcome], None]
    ) -> None:
        self._desk, self._job, self._items, self._report = desk, job, items, report
        self._outcomes: list[tuple[Item, Outcome]] = []
        self.last = items[-1].position

    @property
    def cursor(self) -> int:
        lane, last = self._job.lane, self._outcomes[-1][0]
        return max(lane.cursor, last.position) if lane.strict or not last.parked else lane.cursor

    def handle(self, guest: Guest, appended: list[Appended]) -> int:
        lane, items, until = self._job.lane, self._items, self._desk.clock.monotonic() + BATCH_SECONDS
        now = iso(self._desk.clock.time())
        most = lane.work.batch or 1
        for start in range(0, len(items), most):
            chunk = list(items[start : start + most])
            self._try(guest, chunk[0] if lane.work.batch is None else Bundle.of(chunk), appended)
            for item in chunk:
                with guest.ours():
                    released = settle(guest.connection, lane, item, now)
                self._outcomes.append((item, Handled(recorded=True, released=released)))
            if self._desk.clock.monotonic() >= until:
                break
        return len(self._outcomes)

    def stored(self) -> None:
        for item, outcome in self._outcomes:
            self._report(self._job, item, outcome)

    def _try(self, guest: Guest, item: Item, appended: list[Appended]) -> None:
        """Run the handler for one event, or a list of them."""
        lane, desk = self._job.lane, self._desk
        publisher = Publisher(desk, guest, lane, appended)
        publisher.item = item
        transaction = Transaction(guest, publisher)
        token = open_transaction.set(transaction)
        context = Context(
            item.envelope,
            attempt=item.attempt,
            publish=transaction.publish,
            transaction=transaction,
            stopping=desk.stopping,
            envelopes=[each.envelope for each in item.items] if isinstance(item, Bundle) else None,
        )
        try:
            with Attempt(item, desk.clock) as attempt:
                result = lane.work.call(attempt.event(), context)
                if inspect.iscoroutine(result):
                    refuse_coroutine(lane.name, result, "it would keep the log locked")
                guest.check()
        finally:
            open_transaction.reset(token)
            transaction.is_open = False
        _judge(lane, guest, item.position, attempt.outcome)


class InARow:
    """The rows of a job, from the first that is not done: with nothing to say of any of them but that it is done."""

    def __init__(self, desk: Desk, job: Job, under_way: Underway) -> None:
        self._desk, self._job, self._under_way = desk, job, under_way
        self._ways = Ways(desk.storage.names, job.lane.work)
        self._whole = desk.storage.names.whole_from(job.rows)  # what is not is looked at by itself
        self._count = 0
        self._began = 0.0  # the event that is handled; monotonic

    @property
    def last(self) -> int:
        """The last position that was, or is to be, handled in it."""
        return int(self._job.rows[self._job.done + max(0, self._count - 1)][0])

    @property
    def cursor(self) -> int:
        return max(self._job.lane.cursor, self.last)

    def handle(self, guest: Guest, appended: list[Appended]) -> int:
        self._count = 0
        transaction = Transaction(guest, publisher := Publisher(self._desk, guest, self._job.lane, appended))
        connection = guest.connection
        shared = self._job.lane.work.tables is not None  # by all events: a projection is told nothing of a single one
        tokens = (
            handling.set(None),
            delivering.set(self._under_way if shared else None),
            open_transaction.set(transaction if shared else None),
        )
        try:
            for row, way, event in self._events():
                self._under_way.current = publisher.envelope = current = Current(row, self._under_way, event)
                publisher.item = None
                handling.set(current)
                try:
                    if shared:
                        result = way[1](event, transaction)
                    else:
                        result = self._call(way, current, event, Transaction(guest, publisher))
                    if result is not None and inspect.iscoroutine(result):
                        refuse_coroutine(self._job.lane.name, result, "it would keep the log locked")
                    if not connection.in_transaction or guest.overdue:
                        guest.check()
                except BaseException as error:
                    self._fail(guest, current, error)
        finally:
            transaction.is_open = False
            handling.reset(tokens[0])
            delivering.reset(tokens[1])
            open_transaction.reset(tokens[2])
        return self._count

    def stored(self) -> None:
        self._job.done += self._count

    def _events(self) -> Iterator[tuple[Row, Way, Any]]:
        """As far as there is nothing to say, or no time left; what comes then is looked at by itself."""
        lane, ways, stopping = self._job.lane, self._ways, self._desk.stopping
        monotonic = self._desk.clock.monotonic
        self._began = monotonic()
        until = self._began + BATCH_SECONDS
        for row in self._job.rows[self._job.done : self._whole]:
            way = ways[row[2]]
            if way is None:
                return
            try:
                event = way[0](row[11])
            except Exception:  # its envelope says what that means
                return
            yield row, way, event
            self._count += 1  # whoever took it has come back for the next
            self._began = monotonic()
            if self._began >= until or lane.paused or stopping():
                return

    def _call(self, way: Way, current: Current, event: Any, transaction: Transaction) -> object:
        """Call a handler of the app's: what it is given is of this event, and over with it."""
        delivering.set(current)
        open_transaction.set(transaction)
        try:
            if way[2] == "nothing":
                return way[1](event)
            return way[1](event, Context(current, transaction.publish, transaction, self._desk.stopping))
        finally:
            transaction.is_open = False

    def _fail(self, guest: Guest, current: Current, error: BaseException) -> None:
        seconds = self._desk.clock.monotonic() - self._began
        outcome = ending(current, error, self._desk.clock.time() - seconds, seconds)
        _judge(self._job.lane, guest, current.position, outcome)


def _judge(lane: Lane, guest: Guest, position: int, outcome: Outcome) -> None:
    """Raise RolledBack unless it succeeded; KeyboardInterrupt for Ctrl-C, and what is no fault of the event's."""
    raise_interrupt(outcome)
    if isinstance(outcome, Failed):
        outcome = attrs.evolve(outcome, error=in_time(lane, guest, outcome.error))
        if is_out_of_order(outcome.error):
            raise outcome.error  # it waits until the file can be written again
    if isinstance(outcome, Failed | Unloaded):
        raise RolledBack(position, outcome)


def in_time(lane: Lane, guest: Guest, error: BaseException) -> BaseException:
    """The error of a handler; whatever it raised after its transaction was revoked came of that."""
    if not guest.overdue:
        return error
    timeout = HandlerTimeout(lane.name, TRANSACTION_SECONDS)
    timeout.__cause__ = error
    return timeout


class Publisher:
    """`tx.publish` inside a handler: the event's id derives from `item`, or the item of `envelope`."""

    item: Item | None
    envelope: Envelope

    def __init__(self, desk: Desk, guest: Guest, lane: Lane, appended: list[Appended]) -> None:
        self._desk, self._guest, self._lane, self._appended = desk, guest, lane, appended

    def __call__(self, event: object, **how: Any) -> str:
        item = self.item
        if item is None:
            item = self.item = self._lane.item(self.envelope)
        desk = self._desk
        draft = desk.draft(self._lane, item, event, **how)
        with self._guest.ours():
            now = iso(desk.clock.time())
            found = desk.storage.appender.append(self._guest.connection, [draft], now)
        item.drafts.append(draft)
        self._appended.extend(found)
        return found[0].receipt.id
