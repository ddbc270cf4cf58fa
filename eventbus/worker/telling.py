"""What goes wrong in delivery, in the app's own log file: nobody has to look for it to hear of it."""

from __future__ import annotations

import logging

from eventbus.delivery import Failed, Unloaded
from eventbus.store.deliveries import DeliveryRow
from eventbus.worker.lane import Lane
from eventbus.worker.recording import Effect

_log = logging.getLogger("eventbus.delivery")


def tell(lane: Lane, effect: Effect) -> None:
    """WARNING for what is tried again or given up, ERROR with its traceback for what waits for a person now.

    What the bus's own subscriptions refuse has no traceback: it would lead to no mistake.
    """
    if effect.row is None and effect.discarded is None:
        return
    envelope = effect.item.envelope
    what = f"{lane.name!r}, {envelope.type!r} at position {envelope.position}"
    match effect.outcome, effect.row:
        case Failed() as failed, None:
            _log.warning(
                "%s: attempt %d failed, and the event is discarded: %r", what, effect.item.attempt, failed.line()
            )
        case Failed() as failed, _ if effect.pauses is not None:
            _log.error("%s: the subscription is paused", what, exc_info=failed.error)
        case Failed() as failed, DeliveryRow(state="retrying"):
            _log.warning("%s: attempt %d failed and is repeated: %r", what, effect.item.attempt, failed.line())
        case Failed() as failed, _:
            stopped = "stops here" if lane.work.retry is None else f"is dead after attempt {effect.item.attempt}"
            if lane.work.is_own:
                _log.error("%s: %s: %r", what, stopped, failed.line())
            else:
                _log.error("%s: %s", what, stopped, exc_info=failed.error)
        case Unloaded(), DeliveryRow(error=error) if envelope.type not in lane.missed:
            lane.missed.add(envelope.type)
            _log.warning("%s: waits, for %s", what, error)
        case _:
            return
