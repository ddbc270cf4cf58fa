"""Which types of events nobody here waits for: publishing one wakes nobody, so that idle subscriptions cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventbus.events import TypeName
from eventbus.store.drafts import Appended
from eventbus.worker.lane import Lane
from eventbus.worker.work import Work


class Heeding:
    """What the lanes of a process heed. Until it is known of a type that they do not, they do.

    It changes in the pump's turn; whoever publishes asks it, after the commit. A lane that comes makes it begin anew
    before the log is read for that lane, so that an event is either found there or wakes the pump.
    """

    def __init__(self) -> None:
        self._ignored: frozenset[int] = frozenset()
        self._is_deserted = False

    def begin_anew(self) -> None:
        """Take it that everything is heeded: lanes have changed."""
        self._ignored, self._is_deserted = frozenset(), False

    def desert(self) -> None:
        """There is no lane: nothing is heeded, known or not."""
        self._is_deserted = True

    def learn(self, lanes: Iterable[Lane], types: Mapping[int, TypeName]) -> None:
        """Look through all lanes there are, and all types that are known."""
        heeded: set[int] = set()
        for lane in lanes:
            if _watches_the_end(lane.work):
                heeded.update(types)
                break
            lane.matching.resolve(types)
            heeded.update(lane.matching.since)
        self._ignored = frozenset(types.keys() - heeded)

    def ignores(self, appended: Iterable[Appended]) -> bool:
        """True if no lane here waits for any of these."""
        ignored = self._ignored
        if not self._is_deserted:
            for each in appended:  # no generator: Ctrl-C in one that ends is nobody's to handle
                if each.row is not None and each.row[2] not in ignored:
                    return False
        return True


def _watches_the_end(work: Work) -> bool:
    """A projection that is filled anew takes its place when it is at the end of the log, whatever is there."""
    return bool(getattr(work, "building", False))
