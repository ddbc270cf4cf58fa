"""Following one event: what has become of it for each subscription, and waiting until it is done."""

from __future__ import annotations

import math
import sqlite3
from datetime import datetime
from functools import partial
from typing import Any

from eventbus.asking import check_seconds
from eventbus.clock import Deadline, from_iso
from eventbus.delivery import sentence
from eventbus.engine import Engine
from eventbus.errors import EventBusError, WaitTimeout, WouldDeadlock
from eventbus.events import Receipt
from eventbus.store import deliveries, letters, reading, subscriptions
from eventbus.store.lockfile import is_delivered
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.threads import off_the_loop
from eventbus.worker.delivering import handled_here
from eventbus.worker.matching import Matching

POLL = 0.5  # seconds between looks at the file while waiting for what another process delivers

SETTLED = frozenset({"handled", "discarded", "dead", "held", "not_applicable"})


class DeliveryStatus(str):
    """What has become of an event for one subscription, as a word with facts.

    The word is "handled", "discarded", "waiting", "retrying", "held", "dead" or "not_applicable"; `due`
    says when a retry comes, `attempts` and `error` what happened so far; `final` that waiting longer changes nothing.
    """

    due: datetime | None
    attempts: int
    error: str | None
    final: bool

    def __new__(
        cls,
        state: str,
        *,
        due: datetime | None = None,
        attempts: int = 0,
        error: str | None = None,
        final: bool | None = None,
    ) -> DeliveryStatus:
        self = super().__new__(cls, state)
        self.due, self.attempts, self.error = due, attempts, error
        self.final = state in SETTLED if final is None else final
        return self

    @property
    def state(self) -> str:
        """The word itself."""
        return str(self)


class Following:
    """Answers about single events on one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def status(self, which: str | int | Receipt) -> dict[str, DeliveryStatus]:
        """The status of an event for every subscription and projection of the log, by name."""
        with self._engine.storage.reading() as connection:
            position, type_id = self._find(connection, which)
            self._engine.storage.names.refresh(connection)
            return {
                row.name: self._current(connection, row, position, type_id)
                for row in subscriptions.everyone(connection)
                if row.state != "building"
            }

    def look(self, which: str | int | Receipt, name: str) -> DeliveryStatus:
        """The status of an event for one subscription."""
        with self._engine.storage.reading() as connection:
            rows = [row for row in subscriptions.named(connection, name) if row.state != "building"]
            if not rows:
                raise EventBusError(f"There is no subscription {name!r} in this log.")
            position, type_id = self._find(connection, which)
            self._engine.storage.names.refresh(connection)
            return self._current(connection, rows[-1], position, type_id)

    def wait(self, which: str | int | Receipt, name: str, timeout: float | None) -> DeliveryStatus:
        """Block until it is settled; WaitTimeout after `timeout` seconds."""
        _refuse_own("wait_for", name)
        self._refuse_undelivered()
        progress, deadline = self._engine.pump.progress, self._deadline(timeout)
        while True:
            version = progress.version
            status = self.look(which, name)
            if status.final:
                return status
            left = deadline.left(POLL)
            if not left:
                raise self._late(which, name, status, deadline.seconds)
            progress.wait(version, left)

    async def wait_async(self, which: str | int | Receipt, name: str, timeout: float | None) -> DeliveryStatus:
        """The same without blocking the loop."""
        _refuse_own("wait_for_async", name)
        self._refuse_undelivered()
        progress, deadline = self._engine.pump.progress, self._deadline(timeout)
        while True:
            version = progress.version
            status = await off_the_loop(lambda: self.look(which, name))
            if status.final:
                return status
            left = deadline.left(POLL)
            if not left:
                raise await off_the_loop(partial(self._late, which, name, status, deadline.seconds))
            await progress.wait_async(version, left)

    def _late(self, which: str | int | Receipt, name: str, status: DeliveryStatus, timeout: float) -> WaitTimeout:
        position = which.position if isinstance(which, Receipt) else which
        hint = sentence(f"It is {status}, last error: {status.error}" if status.error else f"It is {status}")
        standing = self._standing(name)
        hint = f"{hint} {standing}" if standing else hint
        return WaitTimeout(f"Event {position} was not handled by {name!r}", timeout, hint)

    def _standing(self, name: str) -> str:
        """Why a subscription does not go on, if that is known, and what to do."""
        with self._engine.storage.reading() as connection:
            rows = [row for row in subscriptions.named(connection, name) if row.state != "building"]
            owner = subscriptions.owner(connection, rows[-1].id) if rows else None
        if rows and rows[-1].state in subscriptions.STANDING:
            reason = rows[-1].state_reason
            return sentence(f"The subscription is {rows[-1].state}" + (f": {reason}" if reason else "; resume() it"))
        if rows and self._engine.definitions.owner(rows[-1].id) is None:
            return self._undelivered(rows[-1].id, owner)
        return ""

    def _undelivered(self, row_id: int, owner: str | None) -> str:
        """Why nobody delivers what no handler is declared for here; "" if somebody does, or may."""
        none_here = "no handler is declared for it in this one"
        if owner is None:
            return f"No process delivers it, and {none_here}."
        path = self._engine.storage.location.path
        if path is not None and is_delivered(path, row_id) is False:
            return f"The process that delivered it ({owner}) has ended, and {none_here}."
        return ""

    def _deadline(self, timeout: float | None) -> Deadline:
        check_seconds(timeout)
        return Deadline(self._engine.clock, math.inf if timeout is None else timeout)

    def _refuse_undelivered(self) -> None:
        self._engine.check()
        if not self._engine.pump.started:
            raise EventBusError(
                "This bus delivers nothing by itself, so there is nothing to wait for.",
                hint="Call bus.drain() (or await bus.drain_async()), or enter it: with EventBus(...) as bus.",
            )

    def _find(self, connection: sqlite3.Connection, which: str | int | Receipt) -> tuple[int, int]:
        key = which.position if isinstance(which, Receipt) else which
        row = reading.one(connection, key)
        if row is None:
            raise EventBusError(f"There is no event {key!r} in this log.")
        return row[0], row[2]

    def _current(
        self, connection: sqlite3.Connection, row: SubscriptionRow, position: int, type_id: int
    ) -> DeliveryStatus:
        """Where the generation that readers see is filled no longer, what counts is the one that follows it."""
        status = self._status(connection, row, position, type_id)
        successor = self._engine.definitions.successor(connection, row)
        if status == "handled" or successor is None:
            return status
        status = self._status(connection, successor, position, type_id)
        if status != "handled":
            return status
        stop = deliveries.stop(connection, successor.id)  # handled, where no reader sees it
        return DeliveryStatus("waiting") if stop is None else DeliveryStatus("held", error=stop.error)

    def _status(
        self, connection: sqlite3.Connection, row: SubscriptionRow, position: int, type_id: int
    ) -> DeliveryStatus:
        row = subscriptions.with_backfill(row)
        matching = Matching(row.types)
        matching.resolve(self._engine.storage.names.types())
        delivery = deliveries.one(connection, row.id, position)
        if delivery is None:
            if position <= row.start or not matching.concerns(type_id, position):
                return DeliveryStatus("not_applicable")
            if position <= row.cursor or position in row.ahead or matching.was_seen(type_id, position):
                if self._was_discarded(connection, row, position):
                    return DeliveryStatus("discarded")
                other = matching.is_other(self._engine.storage.names.type_named(type_id))
                return DeliveryStatus("not_applicable" if other else "handled")
            return self._behind(connection, row)
        facts: dict[str, Any] = {"attempts": delivery.attempts, "error": delivery.error}
        if delivery.state == "retrying" and delivery.due is not None:
            return DeliveryStatus("retrying", due=from_iso(delivery.due), **facts)
        if delivery.state == "held" and delivery.order_key is not None:
            head = deliveries.head_of_key(connection, row.id, delivery.order_key)
            return DeliveryStatus("held", final=head is not None and head.state == "dead", **facts)
        return DeliveryStatus(delivery.state, **facts)

    def _was_discarded(self, connection: sqlite3.Connection, row: SubscriptionRow, position: int) -> bool:
        event = reading.one(connection, position)
        return event is not None and letters.was_discarded(connection, event[1], row)

    def _behind(self, connection: sqlite3.Connection, row: SubscriptionRow) -> DeliveryStatus:
        """Not reached yet; behind a dead delivery where the whole log is one order."""
        stop = deliveries.stop(connection, row.id) if row.order_by == "log" else None
        return DeliveryStatus("waiting") if stop is None else DeliveryStatus("held", error=stop.error)


def _refuse_own(verb: str, name: str) -> None:
    """WouldDeadlock in a handler of the very subscription: it handles nothing else before this one returns."""
    item = handled_here()
    if item is not None and item.subscription in ("", name):
        raise WouldDeadlock(
            f"{verb} was called by a handler of {name!r} itself, which would have to return first.",
            hint="Return, and let a handler of what it publishes go on: ctx.publish(...).",
        )
