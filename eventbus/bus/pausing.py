"""`bus.subscriptions[...].pause` and `resume`: recorded as events, in one commit with what they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from eventbus import technical
from eventbus.clock import iso
from eventbus.engine import Engine
from eventbus.people import user
from eventbus.store import subscriptions
from eventbus.store.drafts import Appended, Draft
from eventbus.store.subscriptions import SubscriptionRow

Action = Literal["paused", "resumed"]
_STATES: dict[str, subscriptions.State] = {"paused": "paused", "resumed": "active"}


def change(
    engine: Engine,
    shown: Callable[[Any], SubscriptionRow],
    action: Action,
    draft: Callable[[Any], Draft],
    *,
    who: str | None,
    reason: str | None,
) -> bool:
    """Pause or resume the row that is `shown`; False, and nothing is written, where it is so already."""
    appended: list[Appended] = []
    with engine.storage.writing() as connection:
        row = shown(connection)
        if _changes(row, action, reason):
            now = iso(engine.clock.time())
            kept = reason if action == "paused" else None
            subscriptions.set_state(connection, row.id, _STATES[action], kept, now)
            told = technical.SubscriptionChanged(row.name, action, who or user(), reason)
            appended = list(engine.storage.appender.append(connection, [draft(told)], now))
    engine.pump.roster.reload(row.id)
    engine.announce(appended)
    return bool(appended)


def _changes(row: SubscriptionRow, action: Action, reason: str | None) -> bool:
    if action == "resumed":
        return row.state in subscriptions.STANDING
    return (row.state, row.state_reason) != ("paused", reason)
