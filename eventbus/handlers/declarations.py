"""What can be declared, as values: a live handler, a subscription, a projection, a schedule."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import attrs

from eventbus.breaker import Breaker
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.handlers.callee import Callee, inspect_factory, inspect_handler, qualified_name
from eventbus.recurrence import Recurrence, as_cron, as_every
from eventbus.retry import Retry, is_seconds, is_whole

if TYPE_CHECKING:
    from eventbus.events import Envelope
    from eventbus.placement import Via

Target: TypeAlias = type[Any] | str
"""An event class, a base class of events, or a pattern on the type's name such as "shop.*"."""

OrderBy: TypeAlias = "Literal['stream', 'log'] | Callable[[Envelope], str | None] | None"
"""Which events wait for each other: those of a stream, all of the log, none, or those with the same key."""

Refused: TypeAlias = Callable[[EventBusError], object]
"""Told when the log refuses a declaration after the call that made it has returned."""

MOST_AT_ONCE = 256
"""The largest concurrency=: each sync handler that runs has a thread."""

LARGEST_BATCH = 500
"""The largest batch=: so many events are read ahead."""

LONGEST_NAME = 200
"""Characters. A subscription's name is a key in the log and a word in listings."""


def check_targets(targets: tuple[object, ...], example: str) -> None:
    """EventDefinitionError unless each is a class or a pattern, and there is one."""
    if not targets:
        raise EventDefinitionError("No event class is named.", hint=f"Write {example}.")
    for target in targets:
        if not isinstance(target, str) and not inspect.isclass(target):
            raise EventDefinitionError(
                f"{target!r} is neither an event class nor a pattern such as 'shop.*'.", hint=f"Write {example}."
            )
        if target == "":
            raise EventDefinitionError("An empty pattern matches no event.", hint="'*' matches all but technical ones.")


def _refuse_what_is_never_published(target: Target) -> None:
    """Any class can be the base of an event class, but not these: somebody has forgotten @event."""
    if isinstance(target, str) or target is object:
        return
    if target.__module__ == "builtins" or "__dataclass_fields__" in vars(target):
        raise EventDefinitionError(
            f"{target.__qualname__} is no event class, so its handler would never be called.",
            hint="Decorate the class with @event instead of @dataclass.",
        )


@attrs.frozen(eq=False)
class LiveDeclaration:
    """A handler to be called in this process for the events that this process publishes.

    A weak one is held weakly here too, so that a declaration never keeps it alive.
    """

    targets: tuple[Target, ...]
    _held: Callable[..., Any] = attrs.field(alias="handler", repr=False)
    priority: int = 0
    weak: bool = False
    via: Via | None = None

    def __attrs_post_init__(self) -> None:
        check_targets(self.targets, "@bus.on(OrderPlaced)")
        for target in self.targets:
            _refuse_what_is_never_published(target)
        name = inspect_handler(self._held).qualified
        if not is_whole(self.priority):
            raise EventDefinitionError(f"The priority of {name} must be a whole number, not {self.priority!r}.")
        if self.via is not None and not callable(self.via):
            raise EventDefinitionError(f"via= of {name} must be a callable that takes a thunk, not {self.via!r}.")
        if self.weak:
            object.__setattr__(self, "_held", weakly(self._held))

    @property
    def handler(self) -> Callable[..., Any] | None:
        """The function as it was given; None once a weak one is gone."""
        return self._held() if self.weak else self._held


@attrs.frozen(eq=False)
class SubscriptionDeclaration:
    """A handler with a name and a cursor in the log."""

    name: str
    targets: tuple[Target, ...]
    handler: Callable[..., Any]
    retry: Retry = attrs.field(factory=Retry)
    order_by: OrderBy = "stream"
    after: Literal["now"] | int = "now"
    transactional: bool = False
    via: Via | None = None
    backfill: bool = False
    concurrency: int = attrs.field(default=1, kw_only=True)
    batch: int | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    breaker: Breaker | None = attrs.field(default=None, kw_only=True)
    refused: Refused | None = attrs.field(default=None, kw_only=True, repr=False)
    callee: Callee = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_name(self.name)
        check_targets(self.targets, '@bus.subscribe("invoices", OrderPlaced)')
        object.__setattr__(self, "callee", inspect_handler(self.handler))
        self._check_options()

    def _check_options(self) -> None:
        if not _is_retry(self.retry):
            self._refuse(f"retry= must be a Retry, not {self.retry!r}")
        if self.order_by not in ("stream", "log", None) and not callable(self.order_by):
            self._refuse(f"order_by= is 'stream', 'log', None or a function of the envelope, not {self.order_by!r}")
        if self.after != "now" and not (is_whole(self.after) and self.after >= 0):
            self._refuse(f"after= is 'now', 0 (from the beginning) or a position, not {self.after!r}")
        if self.via is not None and not callable(self.via):
            self._refuse(f"via= must be a callable that takes a thunk, not {self.via!r}")
        if self.transactional and self.callee.is_async:
            self._refuse("a transactional handler is a plain def: awaiting would keep the log locked")
        if self.via is not None and self.callee.is_async:
            self._refuse("via= takes plain handlers to another thread; an async one runs on the bus's loop")
        if self.transactional and self.via is not None:
            self._refuse("a transactional handler runs where its transaction is and cannot be sent elsewhere by via=")
        self._check_pace()

    def _check_pace(self) -> None:
        if not is_whole(self.concurrency) or not 1 <= self.concurrency <= MOST_AT_ONCE:
            self._refuse(f"concurrency= is a whole number from 1 to {MOST_AT_ONCE}, not {self.concurrency!r}")
        if self.concurrency > 1 and self.order_by == "log":
            self._refuse("order_by='log' means one event after the other, and concurrency= several at once")
        if self.concurrency > 1 and self.transactional:
            self._refuse("transactional handlers take turns, since one writes at a time: concurrency= gains nothing")
        if self.concurrency > 1 and self.via is not None:
            self._refuse("via= runs one event after the other elsewhere, and concurrency= several at once")
        if self.batch is not None and not (is_whole(self.batch) and 1 <= self.batch <= LARGEST_BATCH):
            self._refuse(f"batch= is a whole number from 1 to {LARGEST_BATCH}, not {self.batch!r}")
        if self.timeout is not None and not is_seconds(self.timeout):
            self._refuse(f"timeout= is a number of seconds above 0, not {self.timeout!r}")
        if self.timeout is not None and self.transactional:
            self._refuse("a transactional handler has the time of its transaction, which is revoked after 5 s")
        if self.breaker is not None and not _is_breaker(self.breaker):
            self._refuse(f"breaker= must be a Breaker, not {self.breaker!r}")

    def _refuse(self, why: str) -> None:
        raise EventDefinitionError(f"Subscription {self.name!r} ({self.callee.qualified}): {why}.")


@attrs.frozen(eq=False)
class ProjectionDeclaration:
    """A read model, as an instance."""

    projection: Any
    refused: Refused | None = attrs.field(default=None, kw_only=True, repr=False)


CatchUp: TypeAlias = Literal["all", "latest", "skip"]
"""What becomes of the runs of a schedule that came while nobody was there."""


@attrs.frozen(eq=False)
class ScheduleDeclaration:
    """Events that are made and published again and again; `cron` or `every` says when."""

    factory: Callable[..., Any]
    cron: Any = None
    every: Any = None
    timezone: Any = None
    catch_up: CatchUp = "latest"
    name: str = ""
    refused: Refused | None = attrs.field(default=None, kw_only=True, repr=False)
    recurrence: Recurrence = attrs.field(init=False, repr=False)
    qualified: str = attrs.field(init=False, repr=False)
    _wants_time: bool = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        qualified = qualified_name(self.factory)
        object.__setattr__(self, "qualified", qualified)
        object.__setattr__(self, "_wants_time", inspect_factory(self.factory))
        if not self.name and "<lambda>" in qualified:
            raise EventDefinitionError(f"The schedule of {qualified} needs a name=, under which it is kept.")
        object.__setattr__(self, "name", self.name or qualified)
        check_name(self.name, "a schedule")
        check_catch_up(self.catch_up)
        if (self.cron is None) == (self.every is None):
            raise EventDefinitionError(
                f"The schedule {self.name!r} recurs by cron= or every=.", hint='Write every=60, or cron="0 7 * * *".'
            )
        if self.cron is None and self.timezone is not None:
            raise EventDefinitionError(f"The schedule {self.name!r}: timezone= is for cron=; seconds know no zone.")
        recurrence = as_every(self.every) if self.cron is None else as_cron(self.cron, self.timezone)
        object.__setattr__(self, "recurrence", recurrence)

    def make(self, run: float) -> Any:
        """Call the factory for the run at `run`, seconds since 1970 UTC."""
        if not self._wants_time:
            return self.factory()
        zone = self.recurrence.timezone
        return self.factory(datetime.fromtimestamp(run, UTC if zone in (None, "UTC") else ZoneInfo(zone)))


Declaration: TypeAlias = LiveDeclaration | SubscriptionDeclaration | ProjectionDeclaration | ScheduleDeclaration


def _is_breaker(value: object) -> bool:
    return isinstance(value, Breaker)


def _is_retry(value: object) -> bool:
    return isinstance(value, Retry)


def check_catch_up(catch_up: object) -> None:
    """EventDefinitionError unless it is one of the three."""
    if catch_up not in ("all", "latest", "skip"):
        raise EventDefinitionError(f"catch_up= is 'all', 'latest' or 'skip', not {catch_up!r}.")


def check_name(name: object, what: str = "a subscription") -> None:
    """EventDefinitionError unless it can name a subscription, or a schedule."""
    if not isinstance(name, str):
        if what == "a schedule":
            raise EventDefinitionError(f"name= is a string, not {name!r}.")
        raise EventDefinitionError(
            f"A subscription's name comes first, as a string, not {name!r}.",
            hint='Write @bus.subscribe("invoices", OrderPlaced).',
        )
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise EventDefinitionError(
            f"{name!r} cannot name {what}: 1 to {LONGEST_NAME} printable characters, no space at the ends."
        )


def weakly(handler: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    """A weak reference to a function, or to the object of a bound method."""
    try:
        return weakref.WeakMethod(handler) if inspect.ismethod(handler) else weakref.ref(handler)
    except TypeError:
        name = qualified_name(handler)
        raise EventDefinitionError(f"{name} cannot be referred to weakly.", hint="Leave weak=False.") from None
