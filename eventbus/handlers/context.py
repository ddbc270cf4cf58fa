"""What a handler is told beside the event."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from eventbus.errors import EventBusError

if TYPE_CHECKING:
    from eventbus.events import Envelope
    from eventbus.handlers.stepping import Steps
    from eventbus.store.transaction import Transaction

P = ParamSpec("P")
R = TypeVar("R")

handling: ContextVar[Envelope | None] = ContextVar("eventbus_handling", default=None)
"""The stored event whose handler runs here: what is published meanwhile is caused by it."""


def _never() -> bool:
    return False


class Context:
    """What a handler may want to know beside the event: its `envelope`, which `attempt` this is (from 1),
    whether it `is_replay`; `publish`, which makes this event the cause of the new one; and `step`.

    One that takes a list has the `envelopes` of all; the last of them is `envelope`, the cause of what it publishes.
    """

    __slots__ = (
        "_envelopes",
        "_publish",
        "_steps",
        "_stopping",
        "_transaction",
        "attempt",
        "envelope",
        "is_replay",
    )

    def __init__(
        self,
        envelope: Envelope,
        publish: Callable[..., str],
        transaction: Transaction | None = None,
        stopping: Callable[[], bool] = _never,
        *,
        attempt: int = 1,
        is_replay: bool = False,
        steps: Steps | Callable[[], Steps] | None = None,
        envelopes: Sequence[Envelope] | None = None,
    ) -> None:
        self.envelope = envelope
        self._envelopes = envelopes
        self.attempt = attempt
        self.is_replay = is_replay
        self._publish = publish
        self._transaction = transaction
        self._stopping = stopping
        self._steps = steps

    @property
    def envelopes(self) -> tuple[Envelope, ...]:
        """Those of all events that the handler was given."""
        return (self.envelope,) if self._envelopes is None else tuple(self._envelopes)

    @property
    def stopping(self) -> bool:
        """True once the bus is closing: a long handler should come to an end."""
        return self._stopping()

    @property
    def tx(self) -> Transaction:
        """The transaction that holds this handler's effects; EventBusError unless it is transactional."""
        if self._transaction is None:
            raise EventBusError(
                "This handler has no transaction of its own.",
                hint="Subscribe it with transactional=True to use ctx.tx.",
            )
        return self._transaction

    def publish(
        self,
        event: object,
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        causation_id: str | None = None,
    ) -> str:
        """Publish an event caused by the one being handled, unless `causation_id` names another; returns its id."""
        return self._publish(
            event, stream=stream, expected_version=expected_version, metadata=metadata, causation_id=causation_id
        )

    @overload
    def step(
        self, name: str, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def step(self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args, **kwargs)`, keep its result under `name`, and return it; a retry gets it without running `fn`.

        An async `fn` is awaited: `await ctx.step(...)`; an attempt whose handler forgets that fails. The result is
        stored before this returns, and comes back as the return annotation of `fn` says, or as plain JSON values.
        Raises EventDefinitionError before `fn` runs, for a name used twice, for a result that could not come back
        equal, and for an async `fn` where no loop runs, as in a plain def; InvalidStep after it ran.
        """
        if self._steps is None:
            what = "transactional" if self._transaction else "live" if self._envelopes is None else "batch"
            raise EventBusError(
                f"A {what} handler has no steps; {name!r} was not run.",
                hint="Give steps to a subscription without transactional=True and batch=.",
            )
        if callable(self._steps):  # few handlers have any
            self._steps = self._steps()
        return self._steps.run(name, fn, args, kwargs)

    def __repr__(self) -> str:
        return f"<Context of {self.envelope!r}, attempt {self.attempt}>"


def returned(context: Context) -> None:
    """Its handler has returned: EventDefinitionError if a step of it was never awaited."""
    steps = context._steps  # pyright: ignore[reportPrivateUsage]
    if steps is not None and not callable(steps):
        steps.end()
