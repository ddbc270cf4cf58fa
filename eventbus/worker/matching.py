"""Which stored events a subscription means: by type, by base class, by pattern, each since a position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventbus.events import TypeName
from eventbus.store.subscriptions import Match, concerning, is_other_version


class Matching:
    """The matches of one subscription, resolved to the integers that events carry."""

    def __init__(self, matches: tuple[Match, ...]) -> None:
        self._matches = matches
        self._known: Mapping[int, TypeName] | None = None
        self.since: dict[int, int] = {}  # type id -> events after this position count
        self._seen: dict[int, tuple[int, int]] = {}  # type id -> events after and up to these were delivered before
        self.has_others = False  # there are recorded versions that were not named, of types that were

    def resolve(self, types: Mapping[int, TypeName]) -> None:
        """Look at the types again if there are new ones."""
        if types is self._known:
            return
        self._known = types
        self.since, self._seen = {}, {}
        self.has_others = any(self.is_other(name) for name in types.values())
        for type_id, name in types.items():
            matches = concerning(self._matches, name)
            seen = [match for match in matches if match.seen]
            if matches:
                self.since[type_id] = min(match.since for match in matches)
            if seen:
                self._seen[type_id] = min(match.since for match in seen), max(match.seen for match in seen)

    def is_other(self, name: TypeName) -> bool:
        """True for another version of a type that was named: not for the handler if both classes are loaded.

        What could be upcast to a version that was named would count as of that version here.
        """
        return is_other_version(self._matches, name)

    def concerns(self, type_id: int, position: int) -> bool:
        """True if an event of this type at this position is one for the subscription, delivered before or not."""
        since = self.since.get(type_id)
        return since is not None and position > since

    def was_seen(self, type_id: int, position: int) -> bool:
        """True if it was delivered before the cursor was moved back for others."""
        after, until = self._seen.get(type_id, (0, 0))
        return after < position <= until

    def means_all(self, types: Iterable[int], first: int) -> bool:
        """True if all events of these types from the position `first` on are to be delivered."""
        return not self._seen and all(self.since[type_id] < first for type_id in types)

    def means(self, type_id: int, position: int) -> bool:
        """True if an event of this type at this position is to be delivered."""
        return self.concerns(type_id, position) and not self.was_seen(type_id, position)
