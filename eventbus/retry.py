"""What happens after a handler failed: again after a while, or give up. Rules only, no clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias, cast

import attrs

from eventbus.errors import EventDefinitionError
from eventbus.threads import is_ctrl_c

__all__ = [
    "Again",
    "Backoff",
    "Discard",
    "GiveUp",
    "Jitter",
    "Pause",
    "Reaction",
    "Retry",
    "RetryLater",
    "Verdict",
    "exponential",
    "fixed",
    "steps",
]

Jitter: TypeAlias = Callable[[float], float]
"""A random number of seconds between 0 and the given upper bound, both included."""

Backoff: TypeAlias = Callable[[int, Jitter], float]
"""How many seconds to wait after failure number n (from 1); any function of this shape will do."""

Reaction: TypeAlias = Literal["retry", "dead", "discard", "pause"]
"""What follows an exception: try again, dead letter at once, drop the delivery, or pause the subscription."""

_Kind: TypeAlias = Literal["retry", "dead", "discard", "pause", "outage"]

_GRAVEST_FIRST: tuple[_Kind, ...] = ("pause", "dead", "retry", "outage", "discard")
_REACTIONS = ("retry", "dead", "discard", "pause")

LONGEST_WAIT = 10 * 365 * 86400.0
"""Seconds. A due time is stored as a date, and dates end in the year 9999."""

_log = logging.getLogger("eventbus.retry")


class RetryLater(Exception):
    """Raised by a handler to be tried again in `seconds`, without using up an attempt."""

    seconds: float = math.nan  # of a subclass that has not called __init__

    def __init__(self, seconds: float) -> None:
        self.seconds = _seconds("RetryLater(seconds)", seconds)
        super().__init__(seconds)

    def __str__(self) -> str:
        return f"again in {self.seconds:g} s"


@attrs.frozen
class Again:
    """Try again after `seconds`; `counts` is False when the failure uses up no attempt."""

    seconds: float
    counts: bool


@attrs.frozen
class GiveUp:
    """The attempts are used up, or there was only to be one: a dead letter."""


@attrs.frozen
class Discard:
    """Not worth another attempt, nor a person's time: counted, told, and gone."""


@attrs.frozen
class Pause:
    """No event would fare better: the subscription stops, with this delivery first."""


Verdict: TypeAlias = Again | GiveUp | Discard | Pause


@attrs.frozen(repr=False)
class _Exponential:
    first: float
    factor: float
    cap: float

    def __repr__(self) -> str:
        return f"exponential(first={self.first:g}, factor={self.factor:g}, cap={self.cap:g})"

    def __call__(self, failure: int, jitter: Jitter) -> float:
        try:
            upper = self.first * self.factor ** (failure - 1)
        except OverflowError:  # subscriptions with attempts=None get here after a thousand failures
            upper = self.cap
        return jitter(min(self.cap, upper))


@attrs.frozen(repr=False)
class _Steps:
    seconds: tuple[float, ...]

    def __repr__(self) -> str:
        return f"steps({', '.join(f'{each:g}' for each in self.seconds)})"

    def __call__(self, failure: int, jitter: Jitter) -> float:
        return self.seconds[min(failure, len(self.seconds)) - 1]


def exponential(first: float = 1.0, factor: float = 2.0, cap: float = 300.0) -> Backoff:
    """Wait at random up to `first` seconds, then up to `factor` times as long, never above `cap` seconds.

    This is "full jitter" of the AWS Architecture Blog, "Exponential Backoff And Jitter" (2015): many
    clients that failed at the same moment do not come back at the same moment.
    """
    _seconds("exponential(first=...)", first, above=0.0)
    _seconds("exponential(cap=...)", cap, above=0.0)
    if not (is_whole(factor) or isinstance(factor, float)) or not 1 <= factor < math.inf:
        raise EventDefinitionError(f"exponential(factor=...) must be a number of at least 1, not {factor!r}.")
    return _Exponential(float(first), float(factor), float(cap))


def fixed(seconds: float) -> Backoff:
    """Wait exactly `seconds` after every failure."""
    return _Steps((_seconds("fixed(seconds)", seconds),))


def steps(*seconds: float) -> Backoff:
    """Wait the given seconds one after the other; the last of them from then on."""
    if not seconds:
        raise EventDefinitionError("steps() needs at least one number of seconds, as in steps(1, 5, 30).")
    return _Steps(tuple(_seconds("steps(...)", each) for each in seconds))


@attrs.frozen
class Retry:
    """How often and when a failed delivery is tried again.

    `attempts` counts the first one; None never gives up. `outage` names the exceptions that mean
    "not this event's fault": they are waited out without using up attempts. `on` says for classes of
    exceptions what follows instead of another attempt: "dead", "discard", "pause", or "retry" for a class
    below one of those. The most specific class counts; of an exception group the gravest of what is in it.
    """

    attempts: int | None = 5
    backoff: Backoff = attrs.field(factory=exponential)
    outage: tuple[type[BaseException], ...] = ()
    on: Mapping[type[BaseException], Reaction] = attrs.field(factory=dict[type[BaseException], Reaction], hash=False)

    def __attrs_post_init__(self) -> None:
        if self.attempts is not None and (not is_whole(self.attempts) or self.attempts < 1):
            raise EventDefinitionError(
                f"Retry(attempts=...) must be a whole number of at least 1, or None for no end, not {self.attempts!r}."
            )
        if not callable(self.backoff):
            raise EventDefinitionError(
                "Retry(backoff=...) must be exponential(...), fixed(...), steps(...) or a function of "
                f"(failure, jitter), not {self.backoff!r}."
            )
        if not is_exceptions(self.outage):
            raise EventDefinitionError(
                f"Retry(outage=...) must be a tuple of exception classes, (ConnectionError,), not {self.outage!r}."
            )
        self._check_on()

    def _check_on(self) -> None:
        if not _is_mapping(self.on) or not is_exceptions(tuple(self.on)):
            raise EventDefinitionError(
                f"Retry(on=...) must be a dict of exception classes, {{ValueError: 'dead'}}, not {self.on!r}."
            )
        for cls, reaction in self.on.items():
            if reaction not in _REACTIONS:
                raise EventDefinitionError(
                    f"Retry(on=...) says what follows {cls.__name__} as one of {_REACTIONS}, not {reaction!r}."
                )
            if cls in self.outage or cls is RetryLater:
                raise EventDefinitionError(f"Retry(on=...) names {cls.__name__}, which is waited out already.")
            if issubclass(cls, BaseExceptionGroup):
                raise EventDefinitionError(
                    f"Retry(on=...) names {cls.__name__}: what counts of a group is what is in it."
                )
        object.__setattr__(self, "on", dict(self.on))  # what the caller does with theirs changes nothing

    def after_failure(self, error: BaseException, attempt: int, jitter: Jitter, *, tries: int | None = None) -> Verdict:
        """What to do now that `attempt` (from 1) failed with `error`.

        `tries` is the number of times it ran, outages included: what the wait grows with during an
        outage, where `attempt` stands still.
        """
        match self._kind(error):
            case "outage":
                return self._wait_out(error, tries or attempt, jitter)
            case "discard":
                return Discard()
            case "pause":
                return Pause()
            case "retry" if self.attempts is None or attempt < self.attempts:
                return Again(self._wait(attempt, jitter), counts=True)
            case _:
                return GiveUp()

    def pauses(self, error: BaseException) -> bool:
        """True if nothing more is to be tried after this error."""
        return bool(self.on) and self._kind(error) == "pause"

    def _kind(self, error: BaseException) -> _Kind:
        """What follows an error: of a group, the gravest of what is in it."""
        kinds: set[_Kind] = {self._kind_of(type(leaf)) for leaf in leaves(error)}
        return min(kinds, key=_GRAVEST_FIRST.index)

    def _kind_of(self, cls: type[BaseException]) -> _Kind:
        for base in cls.__mro__:
            if (reaction := self.on.get(base)) is not None:
                return reaction
            if base is RetryLater or base in self.outage:
                return "outage"
        return "retry"

    def _wait_out(self, error: BaseException, failure: int, jitter: Jitter) -> Again:
        asked = [leaf.seconds for leaf in leaves(error) if isinstance(leaf, RetryLater)]
        waits = [seconds for seconds in asked if 0 <= seconds <= LONGEST_WAIT]  # a subclass may have set anything
        return Again(max(waits) if waits else self._wait(failure, jitter), counts=False)

    def _wait(self, failure: int, jitter: Jitter) -> float:
        try:
            return _seconds("A backoff", self.backoff(failure, jitter))
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            # The delivery must not be lost to a mistake in the app's own backoff.
            _log.exception("The backoff %r failed; the default backoff is used instead.", self.backoff)
            return _DEFAULT_BACKOFF(failure, jitter)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in an exception group (a TaskGroup raises them); an error alone is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for each in group.exceptions:
            yield from leaves(each)
    else:
        yield error


def is_whole(value: object) -> bool:
    """True for an int that is not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def is_exceptions(value: object) -> bool:
    """True for a tuple of exception classes."""
    if not isinstance(value, tuple):
        return False
    members = cast("tuple[object, ...]", value)
    return all(isinstance(each, type) and issubclass(each, BaseException) for each in members)


def is_seconds(value: object) -> bool:
    """True for a number of seconds above 0, at most ten years."""
    return (is_whole(value) or isinstance(value, float)) and 0 < cast("float", value) <= LONGEST_WAIT


def _seconds(what: str, value: float, above: float | None = None) -> float:
    number = is_whole(value) or isinstance(value, float)
    if not number or not 0 <= value <= LONGEST_WAIT or value == above:
        least = "0 or more" if above is None else f"more than {above:g}"
        raise EventDefinitionError(f"{what} takes seconds, {least} and at most ten years, not {value!r}.")
    return float(value)


_DEFAULT_BACKOFF = exponential()
