"""What delivery tells of itself: technical events, emitted and never stored.

Anyone can `bus.on` them, a UI, an alert, telemetry; they are built only when somebody listens.
"""

from __future__ import annotations

from eventbus.events import event


@event(name="eventbus.HandlerFailed", kind="technical")
class HandlerFailed:
    """A live handler raised; nobody else was stopped by it. `place` is where the event was published."""

    handler: str
    event_type: str
    event_id: str | None
    error: str
    place: str | None


@event(name="eventbus.DeliveryHandled", kind="technical")
class DeliveryHandled:
    """A subscription's handler returned, and that is recorded."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int


@event(name="eventbus.DeliveryRetrying", kind="technical")
class DeliveryRetrying:
    """A handler failed and will be tried again at `due`, seconds since 1970 UTC."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    error: str
    due: float


@event(name="eventbus.DeliveryDead", kind="technical")
class DeliveryDead:
    """A delivery is out of attempts and waits for a person."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    error: str


@event(name="eventbus.DeliveryHeld", kind="technical")
class DeliveryHeld:
    """A delivery waits behind a retrying or dead one of the same order key."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    order_key: str


@event(name="eventbus.DeliveryWaiting", kind="technical")
class DeliveryWaiting:
    """A delivery waits for its event's class, which is not loaded here; no attempt is used up."""

    subscription: str
    event_id: str
    event_type: str
    position: int


@event(name="eventbus.ProjectionStopped", kind="technical")
class ProjectionStopped:
    """A projection failed on an event and stays there until its code has changed."""

    projection: str
    event_id: str
    event_type: str
    position: int
    error: str


@event(name="eventbus.ProjectionSwapped", kind="technical")
class ProjectionSwapped:
    """Readers see a newly built generation of a projection from now on."""

    projection: str
    generation: int
