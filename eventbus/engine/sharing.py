"""Breakers that subscriptions share by name: one downstream, and so one setting."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventbus.breaker import Breaker
    from eventbus.worker.work import Work

_log = logging.getLogger("eventbus.delivery")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def warn_of_other_settings(
    name: str, works: Iterable[Work], others: Iterable[tuple[_Named, Mapping[int, Work]]]
) -> None:
    """Log whose breaker has the name of this subscription's, but other settings: each of them goes by its own."""
    for breaker in [work.breaker for work in works if work.breaker is not None]:
        for other, their_works in others:
            for theirs in [work.breaker for work in their_works.values() if work.breaker is not None]:
                shared = breaker.name or name
                if (theirs.name or other.name) == shared and _settings(theirs) != _settings(breaker):
                    _log.warning(
                        "the breaker %r is %s for %r, but %s for %r: give both the same settings, or another name",
                        shared, _shown(theirs), other.name, _shown(breaker), name,
                    )  # fmt: skip
                    return


def _settings(breaker: Breaker) -> tuple[object, ...]:
    return breaker.failures, breaker.seconds, frozenset(breaker.on)


def _shown(breaker: Breaker) -> str:
    on = ", ".join(each.__name__ for each in breaker.on)
    return f"Breaker(failures={breaker.failures}, seconds={breaker.seconds:g}, on=({on}))"
