"""Where the steps of a delivery are kept: in the log, and by a commit of their own."""

from __future__ import annotations

from typing import Any

from eventbus.clock import iso
from eventbus.delivery import Item
from eventbus.errors import LeaseLost
from eventbus.handlers import Kept
from eventbus.store import steps
from eventbus.store.steps import Owner, StepRow
from eventbus.store.storage import Storage
from eventbus.worker.job import Job


class LogShelf:
    """The steps of one delivery in the log; implements `handlers.stepping.Shelf`."""

    def __init__(self, storage: Storage, job: Job, item: Item) -> None:
        self._storage, self._job, self._item = storage, job, item

    def _owner(self) -> Owner:
        lane = self._job.lane  # another one, once the rows were read again while this runs
        return Owner(lane.row.id, lane.row.run, lane.epoch)

    def find(self, name: str) -> Kept | None:
        """What is kept of a step. WouldDeadlock or LeaseLost where nothing could be kept."""
        self._storage.refuse_waiting()
        self._item.has_steps = True
        with self._storage.reading() as connection:
            is_ours, row = steps.find(connection, self._owner(), self._item.position, name)
        if not is_ours:
            raise LeaseLost(self._job.lane.name)
        return None if row is None else Kept(row.result, row.finished_at)

    def keep(self, name: str, text: str | None, result: Any) -> None:
        """Keep the result of a step, by a commit that follows the bus's durability."""
        row = StepRow(name, text, iso(self._storage.clock.time()))
        with self._storage.writing() as connection:
            if not steps.keep(connection, self._owner(), self._item.position, row):
                raise LeaseLost(self._job.lane.name)


class ReplayShelf:
    """Looks into the log and leaves it as it is: a step whose result is kept does not run, others do."""

    def __init__(self, storage: Storage, subscription_id: int, position: int) -> None:
        self._storage, self._subscription_id, self._position = storage, subscription_id, position

    def find(self, name: str) -> Kept | None:
        """What is kept of a step."""
        with self._storage.reading() as connection:
            row = steps.look(connection, self._subscription_id, self._position, name)
        return None if row is None else Kept(row.result, row.finished_at)

    def keep(self, name: str, text: str | None, result: Any) -> None:
        """Nothing: replay changes nothing."""
