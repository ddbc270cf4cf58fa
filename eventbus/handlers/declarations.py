"""What declarations are made of, and the lightest of them: a live handler."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.handlers.callee import inspect_handler, qualified_name

if TYPE_CHECKING:
    from eventbus.events import Envelope
    from eventbus.placement import Via

Target: TypeAlias = type[Any] | str
"""An event class, a base class of events, or a pattern on the type's name such as "shop.*"."""

OrderBy: TypeAlias = "Literal['stream', 'log'] | Callable[[Envelope], str | None] | None"
"""Which events wait for each other: those of a stream, all of the log, none, or those with the same key."""

Refused: TypeAlias = Callable[[EventBusError], object]
"""Told when the log refuses a declaration after the call that made it has returned."""

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
        if type(self.priority) is not int:
            raise EventDefinitionError(f"The priority of {name} must be a whole number, not {self.priority!r}.")
        if self.via is not None and not callable(self.via):
            raise EventDefinitionError(f"via= of {name} must be a callable that takes a thunk, not {self.via!r}.")
        if self.weak:
            object.__setattr__(self, "_held", weakly(self._held))

    @property
    def handler(self) -> Callable[..., Any] | None:
        """The function as it was given; None once a weak one is gone."""
        return self._held() if self.weak else self._held


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
