"""`bus.log`: reading what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import cast

import attrs

from eventbus.asking import check_text, check_whole
from eventbus.clock import iso
from eventbus.engine import Engine
from eventbus.errors import EventBusError
from eventbus.events import Envelope, event_type
from eventbus.store import reading
from eventbus.store.reading import PAGE, Selection
from eventbus.store.subscriptions import Match


class LogView:
    """The log as an app reads it; every read sees whole commits only."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    @property
    def head(self) -> int:
        """The last position, 0 when the log is empty."""
        with self._engine().storage.reading() as connection:
            return reading.last_position(connection)

    def get(self, which: str | int) -> Envelope | None:
        """The event with this id or position, None if there is none."""
        _check_which(which)
        storage = self._engine().storage
        with storage.reading() as connection:
            row = reading.one(connection, which)
        return None if row is None else Envelope(row, storage.names)

    def read(
        self,
        after: int = 0,
        until: int | None = None,
        stream: str | None = None,
        types: object = None,
        since: datetime | None = None,
        limit: int | None = None,
        backward: bool = False,
    ) -> Iterator[Envelope]:
        """Events in order of position, from `after` (excluded) to `until` (included).

        `types`: an event class (its subclasses are included), a name or pattern, or several of them. A class
        stands for its name: events of all versions are read, for `envelope.version` to tell apart.
        `since`: an aware datetime. Pages are read as they are needed; nothing stays locked in between.
        """
        check_whole("after", after)
        for name, number in (("until", until), ("limit", limit)):
            if number is not None:
                check_whole(name, number)
        check_text("stream", stream)
        matches = _matches(types)
        selection = Selection(after, until, stream, None, _since(since), backward)
        return self._pages(selection, matches, limit)

    def _pages(self, selection: Selection, matches: list[Match] | None, limit: int | None) -> Iterator[Envelope]:
        storage = self._engine().storage
        left, size = limit, PAGE
        if selection.until is None:  # the end is looked up once: reading a log that grows comes to an end
            with storage.reading() as connection:
                selection = attrs.evolve(selection, until=reading.last_position(connection))
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            with storage.reading() as connection:
                storage.names.refresh(connection)
                rows = reading.page(connection, self._typed(selection, matches), wanted)
            yield from storage.names.envelopes(rows)
            if len(rows) < wanted:
                return
            size = reading.page_size(rows, wanted)
            selection = selection.beyond(rows[-1][0], rows[-1][4])
            left = None if left is None else left - len(rows)

    def _typed(self, selection: Selection, matches: list[Match] | None) -> Selection:
        if matches is None:
            return selection
        types = self._engine().storage.names.types()
        ids = tuple(i for i, name in types.items() if any(m.covers(name.name, name.kind, name.bases) for m in matches))
        return attrs.evolve(selection, type_ids=ids)


def _matches(types: object) -> list[Match] | None:
    if types is None:
        return None
    several = isinstance(types, list | tuple | set | frozenset)
    wanted: list[object] = list(cast("Iterable[object]", types)) if several else [types]
    matches: list[Match] = []
    for each in wanted:
        if isinstance(each, str):
            matches.append(Match(each, "pattern", 0))
        elif isinstance(each, type):
            matches.append(Match(event_type(cast("type[object]", each)).name, "base", 0))
        else:
            raise EventBusError(f"types= takes event classes, names and patterns, not {each!r}.")
    return matches


def _check_which(which: object) -> None:
    if isinstance(which, bool) or not isinstance(which, str | int):
        raise EventBusError(f"get takes an event's id or position, not {which!r}.")


def _since(since: object) -> str | None:
    if since is None:
        return None
    if not isinstance(since, datetime) or since.tzinfo is None:
        raise EventBusError("since= is an aware datetime.", hint="Write datetime.now(UTC) - timedelta(hours=1).")
    return iso(since.timestamp())
