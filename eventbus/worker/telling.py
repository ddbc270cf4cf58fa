"""What goes wrong in delivery, in the app's own log file: nobody has to look for it to hear of it."""

from __future__ import annotations

import logging

from eventbus.delivery import Failed, Unloaded
from eventbus.worker.lane import Lane
from eventbus.worker.recording import Effect

_log = logging.getLogger("eventbus.delivery")


def tell(lane: Lane, effect: Effect) -> None:
    """WARNING for what is tried again, ERROR with its traceback for what waits for a person now."""
    if effect.row is None:
        return
    envelope = effect.item.envelope
    what = f"{lane.name!r}, {envelope.type!r} at position {envelope.position}"
    match effect.outcome:
        case Failed() as failed if effect.row.state == "retrying":
            _log.warning("%s: attempt %d failed and is repeated: %r", what, effect.item.attempt, failed.line())
        case Failed() as failed:
            stopped = "stops here" if lane.work.retry is None else f"is dead after attempt {effect.item.attempt}"
            _log.error("%s: %s", what, stopped, exc_info=failed.error)
        case Unloaded() if envelope.type not in lane.missed:
            lane.missed.add(envelope.type)
            _log.warning("%s: waits, for %s", what, effect.row.error)
        case _:
            return
