"""Passing over events of a version that the handler does not name, while their own class is loaded as well.

Where it is not loaded, the class was changed in place: such an event waits for it like any other.
"""

from __future__ import annotations

from collections import deque

from eventbus.errors import EventDefinitionError
from eventbus.events import TypeName
from eventbus.store.names import NameBook
from eventbus.worker.lane import Lane
from eventbus.worker.matching import Matching


def is_loaded(names: NameBook, type_: TypeName) -> bool:
    """Whether there is a class for a recorded type."""
    try:
        return names.vocabulary.find(type_.name, type_.version) is not None
    except EventDefinitionError:  # there are two: trying the event says so
        return True


def is_passed(matching: Matching, names: NameBook, type_: TypeName) -> bool:
    """Whether events of a recorded type are not for the handler, now that the classes of both versions are loaded."""
    return matching.is_other(type_) and is_loaded(names, type_)


def pass_over(lane: Lane, names: NameBook) -> bool:
    """Take what is not for its handler out of what is ready; True if there was any."""
    if not lane.matching.has_others or lane.stuck_at is not None:
        return False
    found: dict[int, bool] = {}

    def passed(type_id: int) -> bool:
        if type_id not in found:
            found[type_id] = is_passed(lane.matching, names, names.type_named(type_id))
        return found[type_id]

    before = len(lane.ready) + len(lane.rows)
    last = lane.rows.last if lane.rows else lane.ready[-1].position if lane.ready else 0
    lane.rows.keep(lambda row: not passed(row[2]))
    lane.ready = deque(item for item in lane.ready if not passed(item.envelope.type_id))
    if len(lane.ready) + len(lane.rows) == before:
        return False
    lane.passed = last
    return True
