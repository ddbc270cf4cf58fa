"""Handlers whose effects and cursor are one commit: batches in a transaction on the guest connection."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from eventbus.clock import Clock, iso
from eventbus.delivery import Bundle, Failed, Handled, Item, Left, Outcome, Unloaded
from eventbus.errors import EventBusError, HandlerTimeout, TransactionTimeout
from eventbus.handlers import Context
from eventbus.store import subscriptions
from eventbus.store.append import Appended
from eventbus.store.guarded import TRANSACTION_SECONDS
from eventbus.store.guest import Guest
from eventbus.store.storage import Storage
from eventbus.store.transaction import Transaction, open_transaction, still_there
from eventbus.store.trouble import is_out_of_order, translate
from eventbus.worker.attempts import Attempt, raise_interrupt, refuse_coroutine
from eventbus.worker.job import Job
from eventbus.worker.lane import CLAIM, Lane
from eventbus.worker.recording import settle
from eventbus.worker.straight import unfold

BATCH_SECONDS = 0.05  # how long a batch may keep the log locked before it commits


class _RolledBack(Exception):
    """A handler of the batch did not succeed."""

    def __init__(self, item: Item, outcome: Outcome) -> None:
        self.item, self.outcome = item, outcome


class TransactionalRunner:
    """Runs jobs of transactional handlers and projections on the calling thread."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        draft: Callable[..., Any],
        announce: Callable[[list[Appended]], None],
        report: Callable[[Job, Item, Outcome], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._storage, self._clock = storage, clock
        self._draft, self._announce, self._report, self._stopping = draft, announce, report, stopping

    def run(self, job: Job) -> None:
        """Run a job to its end, or up to the first failure: the cursor must not pass what is not recorded."""
        if job.rows:
            unfold(job, self._storage.names)
        left, alone = list(job.items), False
        try:
            while left and not (self._stopping() or job.lane.paused):
                batch = left[:1] if alone else left
                try:
                    done = self._commit(job, batch)
                    left = left[done:]
                except _RolledBack as failed:
                    if failed.item is batch[0] or len(batch) == 1:
                        self._report(job, batch[0], failed.outcome)
                        left = left[1:]
                        break
                    # The events before it succeeded and were rolled back with it: run them again, one by one.
                    alone = True
        except EventBusError as trouble:
            job.trouble = trouble
        for item in left:
            self._report(job, item, Left())

    def _commit(self, job: Job, items: Sequence[Item]) -> int:
        """Run events in one transaction, as many as fit into its time; returns how many."""
        lane, storage = job.lane, self._storage
        with storage.turnstile.turn():
            guest = storage.begin_guest(lane.work.tables, synced=lane.work.synced, delivering=True)
            appended: list[Appended] = []
            try:
                outcomes = self._handle(lane, guest, items, appended)
                stored = still_there(guest, appended)
                storage.commit_guest(guest)
            except BaseException as error:
                storage.roll_back_guest(guest)
                # A foreign key may be looked at when committing, and the time may run out then.
                if isinstance(error, sqlite3.IntegrityError | TransactionTimeout):
                    failure = Failed(_in_time(lane, guest, error), self._clock.time(), 0.0)
                    raise _RolledBack(items[-1], failure) from error
                if isinstance(error, sqlite3.Error):
                    raise translate(storage.path, error, during="write") from error
                raise
        for item, outcome in outcomes:
            self._report(job, item, outcome)
        if stored:
            self._announce(stored)
        return len(outcomes)

    def _handle(
        self, lane: Lane, guest: Guest, items: Sequence[Item], appended: list[Appended]
    ) -> list[tuple[Item, Outcome]]:
        until = self._clock.monotonic() + BATCH_SECONDS
        outcomes: list[tuple[Item, Outcome]] = []
        now = iso(self._clock.time())
        most = lane.work.batch or 1
        for start in range(0, len(items), most):
            chunk = list(items[start : start + most])
            self._try(lane, guest, chunk[0] if lane.work.batch is None else Bundle.of(chunk), appended)
            for item in chunk:
                with guest.ours():
                    released = settle(guest.connection, lane, item, now)
                outcomes.append((item, Handled(recorded=True, released=released)))
            if self._clock.monotonic() >= until:
                break
        last = outcomes[-1][0]
        cursor = max(lane.cursor, last.position) if lane.strict or not last.parked else lane.cursor
        with guest.ours():
            subscriptions.advance(
                guest.connection,
                lane.row.id,
                lane.name,
                lane.epoch,
                cursor=cursor,
                claim=max(lane.claim, cursor + CLAIM),
                handled=len(outcomes),
                now=now,
            )
        return outcomes

    def _try(self, lane: Lane, guest: Guest, item: Item, appended: list[Appended]) -> None:
        """Run the handler for one event; raises _RolledBack unless it succeeded."""
        transaction = Transaction(guest, _Publisher(self._storage, guest, self._draft, lane, item, appended))
        token = open_transaction.set(transaction)
        context = Context(
            item.envelope,
            attempt=item.attempt,
            publish=transaction.publish,
            transaction=transaction,
            stopping=self._stopping,
            envelopes=[each.envelope for each in item.items] if isinstance(item, Bundle) else None,
        )
        try:
            with Attempt(item, self._clock) as attempt:
                result = lane.work.call(attempt.event(), context)
                if inspect.iscoroutine(result):
                    refuse_coroutine(lane.name, result, "it would keep the log locked")
                guest.check()
        finally:
            open_transaction.reset(token)
            transaction.is_open = False
        raise_interrupt(attempt.outcome)
        outcome = attempt.outcome
        if isinstance(outcome, Failed):
            outcome = attrs.evolve(outcome, error=_in_time(lane, guest, outcome.error))
            if is_out_of_order(outcome.error):
                raise outcome.error  # no fault of the event's: it waits until the file can be written again
        if isinstance(outcome, Failed | Unloaded):
            raise _RolledBack(item, outcome)


def _in_time(lane: Lane, guest: Guest, error: BaseException) -> BaseException:
    """The error of a handler; whatever it raised after its transaction was revoked came of that."""
    if not guest.overdue:
        return error
    timeout = HandlerTimeout(lane.name, TRANSACTION_SECONDS)
    timeout.__cause__ = error
    return timeout


class _Publisher:
    """`tx.publish` inside a handler: the event's id derives from what is handled."""

    def __init__(
        self,
        storage: Storage,
        guest: Guest,
        draft: Callable[..., Any],
        lane: Lane,
        item: Item,
        appended: list[Appended],
    ) -> None:
        self._storage, self._guest, self._draft = storage, guest, draft
        self._lane, self._item, self._appended = lane, item, appended

    def __call__(self, event: object, **how: Any) -> str:
        draft = self._draft(self._lane, self._item, event, **how)
        with self._guest.ours():
            found = self._storage.appender.append(self._guest.connection, [draft], iso(self._storage.clock.time()))
        self._item.drafts.append(draft)
        self._appended.extend(found)
        return found[0].receipt.id
