"""A live handler that failed, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from eventbus.errors import EventBusError

if TYPE_CHECKING:
    from eventbus.events import Envelope


@attrs.frozen(eq=False)
class LiveFailure:
    """Which handler failed, on which event, why, and where that event was published."""

    handler: str
    """ "module:Qualname"."""
    event: object
    envelope: Envelope | None
    """None when the event was emitted, not stored."""
    error: BaseException
    place: str | None
    """ "file:line in function"; None when no code of the app stood behind it."""
    scheduled: bool = False
    """True when it ran after the publisher had gone on, so that no return value can tell of it."""


def is_exit(error: BaseException) -> bool:
    """True for what ends a program: it goes on through a publish whose handler raised it, after all were called."""
    return isinstance(error, KeyboardInterrupt | SystemExit)


def raisable(error: BaseException) -> Exception:
    """A handler's error as it may be raised elsewhere; its exit or cancellation would be taken for the caller's."""
    if isinstance(error, Exception):
        return error
    wrapped = EventBusError(f"A live handler raised {type(error).__name__}.")
    wrapped.__cause__ = error
    return wrapped
