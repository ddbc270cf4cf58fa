"""Alerts: told once when dead letters pile up or grow old, and again only after they were dealt with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import attrs

from eventbus import technical
from eventbus.asking import check_text
from eventbus.clock import iso
from eventbus.errors import EventBusError
from eventbus.handlers import Registration
from eventbus.store import letters, subscriptions
from eventbus.store.storage import Storage

_log = logging.getLogger("eventbus.dead_letters")

EVERY = 1.0  # seconds between two looks


@attrs.define(eq=False)
class _Alert:
    count: int | None
    age: float | None
    subscription: str | None
    crossed: set[str] = attrs.field(factory=set[str])  # the subscriptions that it was told of
    was_looked_at: bool = False


class Alerts:
    """The thresholds of one log in this process; `look` is called in each of the pump's rounds."""

    def __init__(self, storage: Storage, emit: Callable[[object], None]) -> None:
        self._storage, self._emit = storage, emit
        self._alerts: list[_Alert] = []
        self._next = 0.0

    def add(self, *, count: int | None, age: float | None, subscription: str | None) -> Registration:
        """Tell of it when a subscription has `count` dead letters, or one that went wrong `age` seconds ago."""
        _check(count, age)
        check_text("subscription", subscription)
        alert = _Alert(count, age, subscription)
        self._alerts.append(alert)
        self._next = 0.0
        return Registration(lambda: self._alerts.remove(alert))

    def look(self) -> bool:
        """Tell of what has crossed its threshold since the last look; never anything for the pump to do."""
        now = self._storage.clock.monotonic()
        if self._alerts and now >= self._next:
            self._next = now + EVERY
            with self._storage.reading() as connection:
                piles = [(row.name, *letters.pile(connection, row.id)) for row in subscriptions.everyone(connection)]
            for alert in list(self._alerts):
                self._judge(alert, piles)
        return False

    def _judge(self, alert: _Alert, piles: list[tuple[str, int, str | None]]) -> None:
        self._warn_once(alert, {name for name, _, _ in piles})
        then = None if alert.age is None else iso(self._storage.clock.time() - alert.age)
        for name, count, oldest in piles:
            if alert.subscription not in (None, name):
                continue
            crossed: tuple[Literal["count", "age"], float] | None = None
            if alert.count is not None and count >= alert.count:
                crossed = ("count", alert.count)
            elif alert.age is not None and then is not None and oldest is not None and oldest <= then:
                crossed = ("age", alert.age)
            if crossed is None:
                alert.crossed.discard(name)
            elif name not in alert.crossed:
                alert.crossed.add(name)
                self._emit(technical.DeadLettersAlert(name, count, oldest or "", *crossed))

    def _warn_once(self, alert: _Alert, known: set[str]) -> None:
        """Of a name that nobody has; the bus's own subscriptions are made when there is something to ask."""
        name, was_looked_at = alert.subscription, alert.was_looked_at
        alert.was_looked_at = True
        if name is not None and name not in known and not name.startswith("eventbus.") and not was_looked_at:
            _log.warning("an alert waits for %r, of which this log knows nothing", name)


def _check(count: object, age: object) -> None:
    if count is None and age is None:
        raise EventBusError("An alert needs a threshold: count= or age=.")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise EventBusError(f"count= is a whole number of at least 1, not {count!r}.")
    if age is not None and (isinstance(age, bool) or not isinstance(age, int | float) or not age > 0):
        raise EventBusError(f"age= is a number of seconds above 0, not {age!r}.")
