"""When to stop asking a downstream that fails, and when to ask again: a circuit breaker's rules, without clock or disk.

The states are those of Michael Nygard, "Release It!" (2007): closed, open, half-open.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypeAlias

import attrs

from eventbus.clock import STEADY_SECONDS, waits_until
from eventbus.errors import EventDefinitionError, LogCorrupt
from eventbus.retry import RetryLater, is_exceptions, is_seconds, is_whole, leaves

__all__ = ["CLOSED", "Admits", "Breaker", "BreakerStatus", "Circuit", "CircuitState"]

CircuitState: TypeAlias = Literal["closed", "open", "half-open"]

Admits: TypeAlias = Literal["all", "probe", "none"]
"""What may be tried now: everything, one delivery to find out, or nothing."""


@attrs.frozen
class Breaker:
    """After so many `failures` in a row no delivery is tried for `seconds`; then one probes.

    What waits uses up no attempts. `on` says which exceptions count; RetryLater and LogCorrupt never do. Subscriptions
    whose breakers have one `name` share it: they use one downstream. Without a name it is the subscription's own.
    """

    failures: int = 5
    seconds: float = 30.0
    on: tuple[type[BaseException], ...] = (Exception,)
    name: str | None = None

    def __attrs_post_init__(self) -> None:
        if not is_whole(self.failures) or self.failures < 1:
            raise EventDefinitionError(
                f"Breaker(failures=...) must be a whole number of at least 1, not {self.failures!r}."
            )
        if not is_seconds(self.seconds):
            raise EventDefinitionError(
                f"Breaker(seconds=...) takes more than 0 seconds and at most ten years, not {self.seconds!r}."
            )
        if not is_exceptions(self.on) or not self.on:
            raise EventDefinitionError(
                f"Breaker(on=...) must be a tuple of exception classes, (ConnectionError,), not {self.on!r}."
            )
        if self.name is not None and not _is_name(self.name):
            raise EventDefinitionError(
                f"Breaker(name=...) must be 1 to 200 printable characters, or None, not {self.name!r}."
            )

    def counts(self, error: BaseException) -> bool:
        """True if this error is the downstream's; of an exception group, if any in it is."""
        return any(
            isinstance(leaf, self.on) and not isinstance(leaf, RetryLater | LogCorrupt) for leaf in leaves(error)
        )


@attrs.frozen
class Circuit:
    """Where a breaker stands; times are seconds since 1970 UTC."""

    state: CircuitState = "closed"
    failures: int = 0  # in a row
    since: float = 0.0  # when it came into its state
    until: float | None = None  # open: a delivery may probe then; half-open: another one may
    reason: str | None = None  # what the last failure said

    def due(self, now: float) -> float:
        """When it is to be looked at again; a clock that was set back makes it no later than it was meant to be."""
        if self.until is None:
            return now
        return waits_until(self.until, self.since, now)

    def set_right(self, now: float) -> Circuit:
        """As it should be once the clock was set back: its wait ends after as long as it was meant to take."""
        if self.until is None or self.since <= now + STEADY_SECONDS:
            return self
        return attrs.evolve(self, since=now, until=self.due(now))

    def admits(self, now: float) -> Admits:
        """What may be tried now."""
        if self.state == "closed":
            return "all"
        return "probe" if self.due(now) <= now else "none"

    def probing(self, breaker: Breaker, now: float) -> Circuit:
        """One delivery finds out; if nothing is heard of it, another one may."""
        return attrs.evolve(self, state="half-open", since=now, until=now + breaker.seconds)

    def after_success(self, now: float) -> Circuit:
        """A delivery was handled. While it is open that was begun before, and says nothing."""
        if self.state == "open":
            return self
        return Circuit(since=now) if self.failures else self

    def after_failure(self, breaker: Breaker, reason: str, now: float) -> Circuit:
        """A delivery failed with an error that counts."""
        if self.state == "open":
            return self
        failures = self.failures + 1
        if self.state == "half-open" or failures >= breaker.failures:
            return Circuit("open", failures, now, now + breaker.seconds, reason)
        return attrs.evolve(self, failures=failures, reason=reason)


CLOSED = Circuit()


@attrs.frozen
class BreakerStatus:
    """Where a breaker stands, for whoever looks: "closed", "open", or "half-open" while one delivery finds out.

    `failures`: how many in a row. `until`: when a delivery may find out, None while it is closed. `reason`: what the
    last failure said that counted.
    """

    name: str
    state: CircuitState
    failures: int
    until: datetime | None
    reason: str | None

    @classmethod
    def of(cls, name: str, circuit: Circuit, now: float) -> BreakerStatus:
        """That of a circuit, at `now` on the wall clock."""
        until = None if circuit.until is None else datetime.fromtimestamp(circuit.due(now), UTC)
        return cls(name, circuit.state, circuit.failures, until, circuit.reason)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 200 and value.isprintable()
