"""`handles`: which events a projection's method is for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from eventbus.errors import EventDefinitionError
from eventbus.handlers.callee import qualified_name
from eventbus.handlers.declarations import check_targets
from eventbus.handlers.signatures import ProjectionHandler

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@overload
def handles(a: type[A], /) -> ProjectionHandler[A]: ...
@overload
def handles(a: type[A], b: type[B], /) -> ProjectionHandler[A | B]: ...
@overload
def handles(a: type[A], b: type[B], c: type[C], /) -> ProjectionHandler[A | B | C]: ...
@overload
def handles(a: type[A], b: type[B], c: type[C], d: type[D], /) -> ProjectionHandler[A | B | C | D]: ...
@overload
def handles(*classes: type[Any]) -> ProjectionHandler[Any]: ...
def handles(*classes: type[Any]) -> ProjectionHandler[Any]:
    """Mark a projection's method (self, event, tx) as the one for these event classes.

    EventDefinitionError for what is not a class, and for a method that is async or takes something else.
    """
    example = "@handles(OrderPlaced)"
    check_targets(classes, example)
    if any(isinstance(each, str) for each in classes):
        raise EventDefinitionError("A projection's method is for classes, not for patterns.", hint=f"Write {example}.")

    def mark(method: Callable[..., Any], /) -> Callable[..., Any]:
        why = _unfit(method)
        if why is not None:
            raise EventDefinitionError(
                f"{qualified_name(method)} cannot be a projection's method: it {why}.",
                hint="Write def method(self, event, tx).",
            )
        method.__eventbus_handles__ = classes  # type: ignore[attr-defined]
        return method

    return mark


def _unfit(method: Callable[..., Any]) -> str | None:
    """Why it cannot be called as a projection's method, as half a sentence."""
    if not inspect.isfunction(method):
        return "is not a plain def"
    if inspect.iscoroutinefunction(method):
        return "is an async def, and runs inside a transaction that cannot wait"
    if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        return "is a generator: calling it would run nothing"
    signature = inspect.signature(method)
    try:
        signature.bind(None, None, None)
    except TypeError:
        return f"takes {signature}"
    return None
