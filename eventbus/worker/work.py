"""What a lane runs: a subscription's handler or a projection, behind one small face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

from eventbus.breaker import Breaker
from eventbus.events import Envelope
from eventbus.handlers import Context
from eventbus.placement import Via
from eventbus.retry import Retry
from eventbus.threads import is_ctrl_c

Kind = Literal["plain", "async", "transactional"]
Wants = Literal["nothing", "context", "transaction"]


@attrs.frozen(eq=False)
class Handler:
    """The function for events of one class, None where they are not for it, and what it takes beside the event."""

    function: Callable[..., Any] | None
    wants: Wants


class Work(Protocol):
    """The contract between the pump and what it runs."""

    @property
    def kind(self) -> Kind:
        """How it wants to be run."""
        ...

    @property
    def retry(self) -> Retry | None:
        """What follows a failure; None: stop at the failing event and report it."""
        ...

    @property
    def via(self) -> Via | None:
        """Where to run it, if not on the bus's own threads."""
        ...

    @property
    def tables(self) -> frozenset[str] | None:
        """The only tables it may touch, None for all of the app's."""
        ...

    @property
    def synced(self) -> bool:
        """Whether its commits follow the bus's durability: projections can be made again, so theirs need not."""
        ...

    @property
    def key_of(self) -> Callable[[Envelope], str | None] | None:
        """The order key of an event; None where the whole log is one order and a failure stops it."""
        ...

    @property
    def concurrency(self) -> int:
        """How many order keys it works on at once."""
        ...

    @property
    def batch(self) -> int | None:
        """How many events `call` takes at most, as a list; None where it takes one."""
        ...

    @property
    def timeout(self) -> float | None:
        """After so many seconds a handler is overdue; None is never."""
        ...

    @property
    def breaker(self) -> Breaker | None:
        """What keeps it from a downstream that fails."""
        ...

    @property
    def is_own(self) -> bool:
        """Whether it is the bus's own and asks a person by failing: there is no mistake for a traceback to find."""
        ...

    @property
    def in_a_row(self) -> bool:
        """Whether it takes events from their rows, one after the other on one thread: no key is the app's to tell."""
        ...

    def handler_of(self, cls: type) -> Handler:
        """What `call` runs for the events of one class, to be called many times in a row."""
        ...

    @property
    def call(self) -> Callable[[Any, Context], Any]:
        """Run the handler, for one event or a list of them; returns an awaitable when `kind` is "async"."""
        ...


def order_key(work: Work, envelope: Envelope) -> tuple[str | None, BaseException | None]:
    """The order key of an event, or what kept the app's own function from telling it."""
    if work.key_of is None:
        return None, None
    try:
        return work.key_of(envelope), None
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return None, error
