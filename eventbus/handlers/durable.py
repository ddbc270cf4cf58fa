"""Declarations of readers of the log: a subscription and a projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from eventbus.breaker import Breaker
from eventbus.errors import EventDefinitionError
from eventbus.handlers.callee import Callee, inspect_handler
from eventbus.handlers.declarations import OrderBy, Refused, Target, check_name, check_targets
from eventbus.retry import Retry, is_seconds, is_whole

if TYPE_CHECKING:
    from eventbus.placement import Via

MOST_AT_ONCE = 256
"""The largest concurrency=: each sync handler that runs has a thread."""

LARGEST_BATCH = 500
"""The largest batch=: so many events are read ahead."""


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
    is_own: bool = attrs.field(default=False, kw_only=True, repr=False)  # of the bus itself, which asks a person
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


def _is_breaker(value: object) -> bool:
    return isinstance(value, Breaker)


def _is_retry(value: object) -> bool:
    return isinstance(value, Retry)
