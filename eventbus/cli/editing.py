"""What `eventbus dead edit` would make of a dead letter: the same checks as the act's own, without touching the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventbus.cli.spelling import gist, spelled
from eventbus.errors import EventBusError
from eventbus.store.viewing import DeadLetter

if TYPE_CHECKING:
    from eventbus.bus import EventBus


def edited(letter: DeadLetter, text: str, app_bus: EventBus | None) -> str:
    """The payload that is delivered once it is edited: checked against the event's class if the app is there.

    Raises EventBusError: InvalidEvent, UnknownEvent, and for a projection's or one without its event.
    """
    from eventbus.bus import EventBus
    from eventbus.dead_letters.editing import EDITED, edited_payload, refuse_projection
    from eventbus.events import Vocabulary

    refuse_projection(letter.subscription.name, letter.subscription.role, EDITED)
    if letter.event is None:
        raise EventBusError(
            f"The event at position {letter.delivery.position} is gone from the log.", stored="not stored"
        )
    stored = letter.event.payload
    asked = EventBus() if app_bus is None else app_bus  # which opens nothing
    return edited_payload(
        letter.event.type.name,
        letter.event.type.version,
        stored if isinstance(stored, str | bytes) else None,
        text,
        check="later" if app_bus is None else "now",
        find=Vocabulary().find,
        most=asked.max_payload,
    )


def in_force(letter: DeadLetter) -> str:
    """What its handler is given now: an edit, or what the log has."""
    if letter.delivery.payload is not None:
        return spelled(letter.delivery.payload)
    return "" if letter.event is None else gist(letter.event, None)


def refuse_projections(letters: Sequence[DeadLetter]) -> None:
    """EventBusError if one of them is a projection's: that leaves no event out."""
    from eventbus.dead_letters.editing import DISCARDED, refuse_projection

    for letter in letters:
        refuse_projection(letter.subscription.name, letter.subscription.role, DISCARDED)
