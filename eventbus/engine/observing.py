"""From an outcome that was recorded to the technical event that tells of it."""

from __future__ import annotations

from eventbus import technical
from eventbus.delivery import Behind, Careful, Failed, Handled, Left, NotMeant, Overdue, Unloaded
from eventbus.worker.lane import Lane
from eventbus.worker.recording import Effect

_CLASSES: dict[type, tuple[type, ...]] = {
    Handled: (technical.DeliveryHandled,),
    Failed: (
        technical.DeliveryRetrying,
        technical.DeliveryDead,
        technical.DeliveryDiscarded,
        technical.SubscriptionPaused,
        technical.ProjectionStopped,
    ),
    Overdue: (),  # HandlerOverdue is told of as soon as it is seen
    Behind: (technical.DeliveryHeld,),
    Careful: (technical.DeliveryHeld,),
    Unloaded: (technical.DeliveryWaiting,),
    NotMeant: (),
    Left: (),
}


def candidates(effect: Effect) -> tuple[type, ...]:
    """The classes one of which would tell of it: nobody listens to them, nothing is built."""
    return _CLASSES[type(effect.outcome)]


def describe(lane: Lane, effect: Effect) -> object | None:
    """The technical event that tells of an outcome; None for one that is nobody's business."""
    envelope, item = effect.item.envelope, effect.item
    what = (lane.name, envelope.id, envelope.type, envelope.position)
    match effect.outcome:
        case Handled():
            return technical.DeliveryHandled(*what, attempt=item.attempt)
        case Failed() as failed if lane.row.role == "projection":
            return technical.ProjectionStopped(*what, error=failed.line())
        case Failed() as failed if effect.discarded is not None:
            return technical.DeliveryDiscarded(*what, attempt=item.attempt, error=failed.line())
        case Failed() as failed if effect.pauses is not None:
            return technical.SubscriptionPaused(*what, error=failed.line())
        case Failed() as failed if effect.due is not None:
            return technical.DeliveryRetrying(*what, attempt=item.attempt, error=failed.line(), due=effect.due)
        case Failed() as failed:
            return technical.DeliveryDead(*what, attempt=item.attempt, error=failed.line())
        case Unloaded():
            return technical.DeliveryWaiting(*what)
        case _:
            held = effect.row is not None and effect.row.state == "held"
            return technical.DeliveryHeld(*what, order_key=item.key or "") if held else None
