"""`bus.subscriptions` and `bus.projections`: what reads the log, looked at and acted upon by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs

from eventbus.asking import check_text
from eventbus.breaker import CLOSED, BreakerStatus
from eventbus.bus.pausing import change
from eventbus.bus.replaying import Replayed, replay
from eventbus.bus.rewinding import After, preview, rewind
from eventbus.bus.transacting import refuse_in_transaction, refuse_on_a_loop
from eventbus.clock import from_iso
from eventbus.engine import Engine
from eventbus.errors import EventBusError, WouldDeadlock
from eventbus.events import Envelope
from eventbus.outbox import SUBSCRIPTION as REFUSED_ROWS
from eventbus.projections import Projection
from eventbus.projections.rebuilding import Progress, Rebuilds
from eventbus.store import breakers, deliveries, overview, subscriptions
from eventbus.store.deliveries import DeliveryState
from eventbus.store.drafts import Draft
from eventbus.store.rewinding import Rewind
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.delivering import handled_here

V = TypeVar("V", bound="Subscription")

AFTERWARDS = "Do it after the with block."


@attrs.frozen
class Lag:
    """How far a subscription is behind."""

    events: int
    seconds: float


class Subscription:
    """One named reader of the log."""

    def __init__(self, engine: Engine, name: str, draft: Callable[[Any], Draft]) -> None:
        self._engine, self.name, self._draft = engine, name, draft

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    @property
    def row(self) -> SubscriptionRow:
        """Its row as it is now: cursor, state, what it listens to."""
        with self._engine.storage.reading() as connection:
            return self._shown(connection)

    def _shown(self, connection: Any) -> SubscriptionRow:
        rows = subscriptions.named(connection, self.name)
        shown = [row for row in rows if row.state != "building"] or rows
        if not shown:
            raise EventBusError(f"There is no subscription {self.name!r} in this log any more.")
        return shown[-1]

    @property
    def state(self) -> str:
        """ "active", "paused", or "orphan" where no handler is declared for it in this process.

        A projection that is declared with new tables is "building" until they are shown, or "failed" where
        that stopped at an event.
        """
        with self._engine.storage.reading() as connection:
            row = self._shown(connection)
            if row.state != "active" or self._engine.definitions.owner(row.id) or self.name == REFUSED_ROWS:
                return row.state
            successor = self._engine.definitions.successor(connection, row)
            if successor is None:
                return "orphan"
            return "building" if deliveries.stop(connection, successor.id) is None else "failed"

    @property
    def owner(self) -> str | None:
        """The process that delivers it, as "pid 123"; None if no process has delivered it or all have closed.

        One that was killed is named until another takes over.
        """
        with self._engine.storage.reading() as connection:
            return subscriptions.owner(connection, self.row.id)

    @property
    def lag(self) -> Lag:
        """How far it is behind: in `events`, and in `seconds`, the age of the oldest one it has still to handle.

        To come, tried again or waiting for its class; dead letters and what is held behind them wait for a person.
        """
        with self._engine.storage.reading() as connection:
            row = self._shown(connection)
            found = overview.lag_of(connection, self._engine.definitions.successor(connection, row) or row)
        since = None if found.oldest is None else from_iso(found.oldest).timestamp()
        return Lag(found.events, 0.0 if since is None else max(self._engine.clock.time() - since, 0.0))

    @property
    def last_error(self) -> str | None:
        """What the last delivery said that failed and is not settled, in one line."""
        with self._engine.storage.reading() as connection:
            row = self._shown(connection)
            return deliveries.last_error(connection, (self._engine.definitions.successor(connection, row) or row).id)

    @property
    def reason(self) -> str | None:
        """Why it is paused, or "failed", where that is known; None while it is neither."""
        row = self.row
        return row.state_reason if row.state in subscriptions.STANDING else None

    @property
    def breaker(self) -> BreakerStatus | None:
        """Where its circuit breaker stands; None if it has none. An open one leaves `state` as it is."""
        with self._engine.storage.reading() as connection:
            name = self._shown(connection).breaker
            circuit = None if name is None else breakers.one(connection, name)
        return None if name is None else BreakerStatus.of(name, circuit or CLOSED, self._engine.clock.time())

    @property
    def cursor(self) -> int:
        """Up to this position everything is handled, or has a delivery that is retrying, held or dead."""
        return self.row.cursor

    @property
    def counts(self) -> dict[DeliveryState, int]:
        """How many deliveries are retrying, held, dead or waiting for their class; of tables that are being filled."""
        with self._engine.storage.reading() as connection:
            row = self._shown(connection)
            row = self._engine.definitions.successor(connection, row) or row
            return deliveries.counts(connection, row.id)

    def pause(self, reason: str | None = None, *, who: str | None = None) -> bool:
        """Deliver nothing to it until `resume`; nothing is lost. What its handler is doing is finished.

        It is recorded with `who` (the user of this machine unless told) and `reason`. False if it was so already.
        """
        check_text("reason", reason)
        refuse_in_transaction(self._engine, "pause", AFTERWARDS)
        return change(self._engine, self._shown, "paused", self._draft, who=who, reason=reason)

    def resume(self, reason: str | None = None, *, who: str | None = None) -> bool:
        """Go on where it was paused; recorded as `pause` is. False if it was not paused."""
        refuse_in_transaction(self._engine, "resume", AFTERWARDS)
        return change(self._engine, self._shown, "resumed", self._draft, who=who, reason=reason)

    def rewind(
        self, *, after: After, reason: str | None = None, who: str | None = None, dry_run: bool = False
    ) -> Rewind:
        """Deliver again what comes after a position, or what was recorded since an aware datetime, in a new run.

        It clears its deliveries after that (retrying, held, dead, waiting) and the results of steps, and is recorded
        with `who` (the user of this machine unless told) and `reason`. What its handler publishes in the new run are
        new events. Returns what is done; `dry_run`: what would be, and nothing is changed.
        """
        refuse_in_transaction(self._engine, "rewind", AFTERWARDS)
        row = self.row
        if dry_run:
            with self._engine.storage.reading() as connection:
                return preview(connection, row.id, after)
        return rewind(self._engine, row.id, after, self._draft, who=who, reason=reason)

    def forget(self) -> None:
        """Remove it with its cursor and deliveries; subscribing again starts anew."""
        _refuse_where_it_would_wait(self._engine, "forget")
        with self._engine.storage.reading() as connection:
            rows = subscriptions.named(connection, self.name)
        definitions = {self._engine.definitions.owner(row.id) for row in rows}
        for definition in definitions:
            if definition is not None:
                self._engine.definitions.remove(definition)
        for row in rows:  # a projection may have several: one that readers see, and one that is being filled
            self._engine.pump.let_go(row.id)
        with self._engine.storage.writing() as connection:
            self._forget(connection)

    def _forget(self, connection: Any) -> None:
        for row in subscriptions.named(connection, self.name):
            subscriptions.forget(connection, row.id)

    def replay(self, envelopes: Iterator[Envelope]) -> Iterator[Replayed]:
        """Run its handler over events again; the cursor stays, `ctx.tx` is rolled back, publishes are caught."""
        refuse_in_transaction(self._engine, "replay", AFTERWARDS)
        refuse_on_a_loop("replay", "await asyncio.to_thread(...)")
        row = self.row
        work = self._engine.pump.roster.works().get(row.id)
        if work is None:
            raise EventBusError(f"No handler is declared for {self.name!r} in this process.")
        return replay(self._engine, row, work, envelopes)


class ProjectionView(Subscription):
    """One projection, by its name."""

    def __init__(self, engine: Engine, name: str, draft: Callable[[Any], Draft], rebuilds: Rebuilds) -> None:
        super().__init__(engine, name, draft)
        self._rebuilds = rebuilds

    def rebuild(self, progress: Progress | None = None) -> None:
        """Fill new tables from the whole log and swap them in; readers see the old ones until then.

        `progress(done, total)` is called with positions. A rebuild that runs already is joined. What was paused
        is paused again after it. Raises EventBusError if a handler fails: the old tables stay.
        """
        _refuse_where_it_would_wait(self._engine, "rebuild")
        self._rebuilds.rebuild(self.name, progress)

    def rewind(
        self, *, after: After, reason: str | None = None, who: str | None = None, dry_run: bool = False
    ) -> Rewind:
        """The same as `rebuild`, which begins at the beginning: `after` is 0."""
        if isinstance(after, bool) or after != 0:
            raise EventBusError(
                f"The projection {self.name!r} is rebuilt from the beginning of the log: after=0, not {after!r}.",
                stored="not stored",
            )
        planned = super().rewind(after=after, dry_run=True)
        if not dry_run:
            self.rebuild()
        return planned

    def _forget(self, connection: Any) -> None:
        self._rebuilds.forget(connection, self.name)


class Subscriptions(Mapping[Any, V], Generic[V]):
    """By name: those that are in the log, declared in this process or not."""

    def __init__(self, engine: Callable[[], Engine], make: Callable[[Engine, str], V], roles: frozenset[str]) -> None:
        self._engine, self._make, self._roles = engine, make, roles

    def _names(self) -> list[str]:
        engine = self._engine()
        engine.settle()
        with engine.storage.reading() as connection:
            rows = subscriptions.everyone(connection)
        return list(dict.fromkeys(row.name for row in rows if row.role in self._roles))

    def __getitem__(self, key: Any) -> V:
        name = name_of(key)
        names = self._names()
        if name not in names:
            kind = "projection" if "projection" in self._roles else "subscription"
            raise KeyError(f"no {kind} {name!r} in this log; there are: {', '.join(names) or 'none'}")
        return self._make(self._engine(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def _refuse_where_it_would_wait(engine: Engine, verb: str) -> None:
    """WouldDeadlock in a transaction, and in a handler: both would have to end first."""
    refuse_in_transaction(engine, verb, AFTERWARDS)
    if handled_here():
        raise WouldDeadlock(
            f"{verb} was called by a handler, which it would wait for.", hint=f"Call pause() and return; {verb} later."
        )


def name_of(key: object) -> str:
    """The name of a subscription or projection, given as such, as a projection class or an instance."""
    if isinstance(key, str):
        return key
    if isinstance(key, Projection) or (isinstance(key, type) and issubclass(key, Projection)):
        return key.name
    raise EventBusError(f"A subscription is named by a str or a projection class, not by {key!r}.")
