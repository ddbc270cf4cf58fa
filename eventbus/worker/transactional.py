"""Handlers whose effects and cursor are one commit: batches in a transaction on the guest connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from eventbus.clock import Clock, iso
from eventbus.delivery import Failed, Item, Left, Outcome
from eventbus.errors import EventBusError, TransactionTimeout
from eventbus.store import subscriptions
from eventbus.store.drafts import Appended
from eventbus.store.guest import Guest
from eventbus.store.storage import Storage
from eventbus.store.transaction import still_there
from eventbus.store.trouble import translate
from eventbus.worker.batches import Batch, Desk, InARow, Items, RolledBack, in_time
from eventbus.worker.job import Job
from eventbus.worker.lane import CLAIM, Lane


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
        self._announce, self._report, self._stopping = announce, report, stopping
        self._desk = Desk(storage, clock, draft, stopping)

    def run(self, job: Job) -> None:
        """Run a job to its end, or up to the first failure: the cursor must not pass what is not recorded."""
        try:
            alone = self._run_rows(job) if job.rows else False
            if alone is not None:
                self._run_items(job, alone=alone)
        except EventBusError as trouble:
            job.trouble = trouble
        for item in job.items:
            if item.position not in job.reported:
                self._report(job, item, Left())

    def _may_go_on(self, job: Job) -> bool:
        return not (self._stopping() or job.lane.paused)

    def _run_rows(self, job: Job) -> bool | None:
        """As far as there is nothing to say. Returns whether the items that are left are to run one by one.

        None if nothing more is to be run.
        """
        under_way = job.begin()
        if under_way is None:
            return None
        rows = InARow(self._desk, job, under_way)
        try:
            while job.done < len(job.rows) and self._may_go_on(job):
                if not self._commit(job.lane, rows):
                    job.unfold()
                    return False
        except RolledBack as failed:
            job.unfold()
            first = job.items[0]
            if failed.position != first.position:
                return True  # the events before it succeeded and were rolled back with it
            self._report(job, first, failed.outcome)
        finally:
            under_way.current = None
        return None

    def _run_items(self, job: Job, *, alone: bool) -> None:
        left = list(job.items)
        while left and self._may_go_on(job):
            batch = left[:1] if alone else left
            try:
                done = self._commit(job.lane, Items(self._desk, job, batch, self._report))
                left = left[done:]
            except RolledBack as failed:
                if failed.position == batch[0].position or len(batch) == 1:
                    self._report(job, batch[0], failed.outcome)
                    break
                # The events before it succeeded and were rolled back with it: run them again, one by one.
                alone = True

    def _commit(self, lane: Lane, batch: Batch) -> int:
        """Run events in one transaction, as many as fit into its time; returns how many."""
        storage = self._storage
        with storage.turnstile.turn():
            guest = storage.begin_guest(lane.work.tables, synced=lane.work.synced, delivering=True)
            appended: list[Appended] = []
            try:
                count = batch.handle(guest, appended)
                if count:
                    self._advance(guest, lane, batch.cursor, count)
                stored = still_there(guest, appended)
                storage.commit_guest(guest)
            except BaseException as error:
                storage.roll_back_guest(guest)
                # A foreign key may be looked at when committing, and the time may run out then.
                if isinstance(error, sqlite3.IntegrityError | TransactionTimeout):
                    failure = Failed(in_time(lane, guest, error), self._clock.time(), 0.0)
                    raise RolledBack(batch.last, failure) from error
                if isinstance(error, sqlite3.Error):
                    raise translate(storage.path, error, during="write") from error
                raise
        batch.stored()
        if stored:
            self._announce(stored)
        return count

    def _advance(self, guest: Guest, lane: Lane, cursor: int, handled: int) -> None:
        with guest.ours():
            subscriptions.advance(
                guest.connection,
                lane.row.id,
                lane.name,
                lane.epoch,
                cursor=cursor,
                claim=max(lane.claim, cursor + CLAIM),
                handled=handled,
                now=iso(self._clock.time()),
            )
