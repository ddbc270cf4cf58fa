"""From a declared subscription to its row and its work: definitions may drift, but never silently."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any, cast

import attrs

from eventbus.delivery import Item
from eventbus.errors import EventDefinitionError
from eventbus.events import Envelope, Vocabulary, event_type
from eventbus.handlers import Context, SubscriptionDeclaration, Target, lasting_name
from eventbus.placement import Via
from eventbus.retry import Retry
from eventbus.store import append, subscriptions
from eventbus.store.subscriptions import Match, NewSubscription, SubscriptionRow, is_other_version
from eventbus.worker.delivering import delivering
from eventbus.worker.work import Handler, Kind, Wants

LONGEST_KEY = 1000  # characters of an order key

_log = logging.getLogger("eventbus.worker")


class SubscriptionWork:
    """A subscription's handler as the pump runs it; implements `worker.work.Work`."""

    tables: frozenset[str] | None = None
    synced = True

    def __init__(self, declaration: SubscriptionDeclaration, publish: Callable[..., Any]) -> None:
        callee = declaration.callee
        self.declaration = declaration
        self.publish = publish  # makes drafts with the source of the bus it was declared on
        self.kind: Kind = "transactional" if declaration.transactional else "async" if callee.is_async else "plain"
        self.retry: Retry | None = declaration.retry
        self.via: Via | None = declaration.via
        self.concurrency, self.batch = declaration.concurrency, declaration.batch
        self.timeout, self.breaker = declaration.timeout, declaration.breaker
        self.is_own = declaration.is_own
        self.key_of: Callable[[Envelope], str | None] | None = _key_of(declaration)
        self.order_by = _order_text(declaration)
        self.in_a_row = _is_in_a_row(declaration)
        self._callee = callee
        self._meant: dict[type, bool] = {}

    def call(self, event: object, context: Context) -> Any:
        """Run the handler. It never gets a version it does not name, whenever the class of that was loaded."""
        if self.batch is not None:
            events = cast("list[object]", event)
            event = [each for each in events if self._is_meant(each)]
            meant = bool(event)
        else:
            meant = self._is_meant(event)
        if meant:
            return self._callee(event, context)
        return _nothing() if self.kind == "async" else None

    def handler_of(self, cls: type) -> Handler:
        """The declared function itself; none for a version that it does not name."""
        wants: Wants = "context" if self._callee.wants_context else "nothing"
        return Handler(self._callee.function if self._means(cls) else None, wants)

    def _is_meant(self, event: object) -> bool:
        return self._means(type(event))

    def _means(self, cls: type) -> bool:
        meant = self._meant.get(cls)
        if meant is None:
            meant = self._meant[cls] = not is_other_version(self._matches(), event_type(cls))
        return meant

    def _matches(self) -> tuple[Match, ...]:
        return tuple(
            Match(target, "pattern", 0)
            if isinstance(target, str)
            else Match(event_type(target).name, "base", 0, version=event_type(target).version)
            for target in self.declaration.targets
        )


async def _nothing() -> None:
    """What is awaited instead of a handler that the event is not for."""


def settle(
    connection: sqlite3.Connection, declaration: SubscriptionDeclaration, vocabulary: Vocabulary, now: str
) -> SubscriptionRow:
    """Record a subscription, or bring its row in line, in the open write transaction.

    A new one starts after the head that this transaction sees, so that `after="now"` has one meaning. A
    class that an existing one names for the first time counts from now on, or with `backfill` from where
    the subscription began. A class whose version has changed goes on where the one before it was. Another
    `order_by` takes effect where it is taken over (`worker.reordering`).
    """
    head = append.head(connection)
    rows = subscriptions.named(connection, declaration.name)
    targets = list(dict.fromkeys(_target(target, vocabulary, declaration) for target in declaration.targets))
    if not rows:
        start = head if declaration.after == "now" else _within(declaration, head)
        matches = tuple(attrs.evolve(match, since=start) for match in targets)
        new = NewSubscription(declaration.name, "subscription", start, matches, _order_text(declaration))
        row_id = subscriptions.add(connection, new, now)
    else:
        row = rows[-1]
        if row.role != "subscription":
            raise EventDefinitionError(f"{declaration.name!r} is the name of a {row.role} in this log already.")
        changed = attrs.evolve(row, types=_drifted(row, targets, head, declaration.backfill))
        if changed != row:
            subscriptions.redefine(connection, changed, now)
        row_id = row.id
    settled = subscriptions.with_id(connection, row_id)
    assert settled is not None
    breaker = None if declaration.breaker is None else declaration.breaker.name or declaration.name
    if settled.breaker != breaker:
        subscriptions.guard(connection, row_id, breaker)
        settled = attrs.evolve(settled, breaker=breaker)
    return settled


def _drifted(row: SubscriptionRow, targets: list[Match], head: int, backfill: bool) -> tuple[Match, ...]:
    """The matches of an existing subscription, each with the position since when it counts."""
    known = {(match.match, match.how, match.version): match for match in row.types}
    kept = {(each.match, each.how, each.version): each for each in targets}.keys() & known.keys()
    gone = [match for key, match in known.items() if key not in kept]
    matches: list[Match] = []
    for target in targets:
        key = (target.match, target.how, target.version)
        before = next((match for match in gone if (match.match, match.how) == key[:2]), None)
        if key in kept:
            matches.append(known[key])
        elif before is not None:  # not a class that is new: the same, as its version is now
            gone.remove(before)
            matches.append(attrs.evolve(before, version=target.version))
        else:
            matches.append(_added(row, target, head, backfill))
    for match in gone:
        _log.warning("%s: no longer subscribed to %s; what of it was not delivered yet will not be", row.name, match)
    return tuple(matches)


def _added(row: SubscriptionRow, target: Match, head: int, backfill: bool) -> Match:
    if backfill:
        _log.info("%s: %s is new to this subscription; it is read from its beginning", row.name, target)
        return attrs.evolve(target, since=row.start, is_to_come=True)
    # Another version of a type that is read already: up to the cursor it was passed over, and is not beyond.
    since = row.cursor if any((each.match, each.how) == (target.match, target.how) for each in row.types) else head
    _log.warning("%s: %s is new to this subscription; it counts from position %d on", row.name, target, since + 1)
    return attrs.evolve(target, since=since)


def _target(target: Target, vocabulary: Vocabulary, declaration: SubscriptionDeclaration) -> Match:
    """What it listens to, from the beginning of the log."""
    if isinstance(target, str):
        return Match(target, "pattern", 0)
    try:
        met = vocabulary.meet(target)
    except EventDefinitionError as error:
        raise EventDefinitionError(
            f"Subscription {declaration.name!r}: {error.what}",
            hint="A durable subscription names event classes (their subclasses are included) or patterns.",
        ) from error
    return Match(met.name, "base", 0, version=met.version)


def _within(declaration: SubscriptionDeclaration, head: int) -> int:
    after = int(declaration.after)
    if after > head:
        raise EventDefinitionError(
            f"Subscription {declaration.name!r}: after={after}, but the log ends at position {head}.",
            hint='Use after="now" for events to come.',
        )
    return after


def _order_text(declaration: SubscriptionDeclaration) -> str:
    order_by = declaration.order_by
    if callable(order_by):
        return f"function {lasting_name(order_by)}"
    return order_by or "none"


def _key_of(declaration: SubscriptionDeclaration) -> Callable[[Envelope], str | None] | None:
    order_by = declaration.order_by
    if order_by == "log":
        return None
    if order_by == "stream":
        return _stream
    if order_by is None:
        return _alone
    return _checked(declaration.name, order_by)


def _is_in_a_row(declaration: SubscriptionDeclaration) -> bool:
    if declaration.callee.is_async or declaration.via is not None or callable(declaration.order_by):
        return False
    return declaration.concurrency == 1 and declaration.batch is None and declaration.timeout is None


def _stream(envelope: Envelope) -> str | None:
    return envelope.stream


def _alone(envelope: Envelope) -> str | None:
    return None


def _checked(name: str, order_by: Callable[[Envelope], object]) -> Callable[[Envelope], str | None]:
    """The app's own function; what it returns has to be usable as a key."""

    def key_of(envelope: Envelope) -> str | None:
        item = Item(envelope, envelope.position, None, running=True)
        token = delivering.set(item)
        try:
            key = order_by(envelope)
        finally:
            item.running = False
            delivering.reset(token)
        if key is None:
            return None
        if not isinstance(key, str):
            raise EventDefinitionError(f"order_by= of {name!r} returns a str or None, not {type(key).__name__}.")
        if (problem := _unusable(key)) is not None:
            raise EventDefinitionError(
                f"order_by= of {name!r} returned {key[:40]!r}, which cannot be a key: it {problem}."
            )
        return key

    return key_of


def _unusable(key: str) -> str | None:
    """What keeps SQLite from storing a key and comparing it afterwards."""
    if len(key) > LONGEST_KEY:
        return f"has {len(key)} characters, and {LONGEST_KEY} are allowed"
    if "\0" in key:
        return "contains a NUL"
    if any("\ud800" <= character <= "\udfff" for character in key):
        return "contains half of a surrogate pair"
    return None
