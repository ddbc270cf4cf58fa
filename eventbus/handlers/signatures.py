"""How type checkers see handlers: the decorators that `on`, `subscribe` and `handles` return.

A decorator is generic in the event, and takes a function of the event or of the event and a Context. What it returns
has the function's own parameters and result, so unit tests call a handler plainly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeVar, overload

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from eventbus.breaker import Breaker
    from eventbus.handlers.context import Context
    from eventbus.handlers.declarations import OrderBy
    from eventbus.placement import Via
    from eventbus.retry import Retry
    from eventbus.store.transaction import Transaction

E = TypeVar("E")
Entra = TypeVar("Entra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


if TYPE_CHECKING:
    Handles: TypeAlias = Callable[[E], object] | Callable[[E, Context], object]
    """What `handler=` takes: a function of the event, or of the event and a context; def or async def."""


class ContextOptional(Protocol[Entra, R_co]):
    """A handler that can be called with and without a context."""

    @overload
    def __call__(self, event: Entra, /) -> R_co: ...
    @overload
    def __call__(self, event: Entra, context: Context, /) -> R_co: ...


class Handler(Protocol[E]):
    """A decorator for handlers of the event E, def or async def; it returns the function unchanged."""

    @overload
    def __call__(self, function: ContextOptional[E, R], /) -> ContextOptional[E, R]: ...
    @overload
    def __call__(self, function: Callable[[E], R], /) -> Callable[[E], R]: ...
    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...


class ProjectionHandler(Protocol[E]):
    """A decorator for a projection's methods, which take the event and the transaction."""

    def __call__(self, method: Callable[[S, E, Transaction], R], /) -> Callable[[S, E, Transaction], R]: ...


class LiveOptions(TypedDict, total=False):
    """Options of `on`."""

    priority: int
    weak: bool
    via: Via | None


class SubscriptionOptions(TypedDict, total=False):
    """Options of `subscribe`."""

    retry: Retry
    order_by: OrderBy
    after: Literal["now"] | int
    transactional: bool
    via: Via | None
    backfill: bool
    concurrency: int
    timeout: float | None
    breaker: Breaker | None
