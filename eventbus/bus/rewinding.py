"""`bus.subscriptions[...].rewind`: a new run of a subscription, recorded as an event."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from eventbus import technical
from eventbus.clock import iso
from eventbus.engine import Engine
from eventbus.errors import EventBusError
from eventbus.store import append, rewinding, stored_types, subscriptions
from eventbus.store.drafts import Draft
from eventbus.store.rewinding import Rewind
from eventbus.store.subscriptions import SubscriptionRow

After = int | datetime


def rewind(
    engine: Engine, row_id: int, after: After, draft: Callable[[Any], Draft], *, who: str | None, reason: str | None
) -> Rewind:
    """Begin a new run, in one commit with the event that says so."""
    from eventbus.people import user

    with engine.storage.writing() as connection:
        row = _current(connection, row_id)
        known = list(stored_types.types(connection).values())
        position = position_of(connection, row, after)
        planned = rewinding.plan(connection, row, position, known)
        now = iso(engine.clock.time())
        rewinding.begin(connection, row, position, known, now)
        told = technical.SubscriptionRewound(
            subscription=row.name,
            after=position,
            cursor=planned.cursor,
            events=planned.events,
            run=planned.run,
            who=who or user(),
            why=reason,
        )
        appended = engine.storage.appender.append(connection, [draft(told)], now)
    engine.pump.roster.begin_anew(row_id)
    engine.announce(appended)
    return planned


def preview(connection: sqlite3.Connection, row_id: int, after: After) -> Rewind:
    """What a rewind would do; changes nothing."""
    row = _current(connection, row_id)
    return rewinding.plan(connection, row, position_of(connection, row, after), stored_types.types(connection).values())


def position_of(connection: sqlite3.Connection, row: SubscriptionRow, after: After) -> int:
    """The position that is meant; EventBusError for one that the subscription has not passed."""
    position: int | None
    if isinstance(after, datetime):
        if after.tzinfo is None:
            raise EventBusError("after= is an aware datetime.", hint="Write datetime.now(UTC) - timedelta(hours=1).")
        position = rewinding.before(connection, iso(after.timestamp()))
        if position is None:
            raise EventBusError("The log has no event of that time or later.", stored="not stored")
    elif isinstance(after, bool) or not isinstance(cast("object", after), int) or after < 0:
        raise EventBusError(f"after= is a position of at least 0, or a datetime, not {after!r}.", stored="not stored")
    else:
        position = after
    head = append.head(connection)
    if position > head:
        raise EventBusError(f"after={position}, but the log ends at position {head}.", stored="not stored")
    if position > row.cursor:
        raise EventBusError(
            f"{row.name!r} is at position {row.cursor}: a rewind goes back, and {position} is still to come.",
            stored="not stored",
        )
    return position


def _current(connection: sqlite3.Connection, row_id: int) -> SubscriptionRow:
    row = subscriptions.with_id(connection, row_id)
    if row is None:
        raise EventBusError("The subscription was forgotten meanwhile.", stored="not stored")
    return subscriptions.with_backfill(row)
