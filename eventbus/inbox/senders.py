"""`bus.inbox`: who sends numbered events, what is missing, what waits; and going on without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import attrs
import msgspec

from eventbus.asking import check_text, check_whole
from eventbus.clock import from_iso
from eventbus.errors import EventBusError
from eventbus.inbox.intake import Intake
from eventbus.ordering import Gap, Policy
from eventbus.people import user
from eventbus.store import inbox
from eventbus.store.drafts import Appended
from eventbus.store.inbox import SenderView, WaitingView
from eventbus.store.storage import Storage

LISTED = 100  # events that `waiting` returns unless told otherwise


@attrs.frozen
class Sender:
    """The numbers of one source and stream (None: of all that has no stream).

    `expected` is the next number, `missing` what those that are `buffered` wait for, `since` when the first of them
    arrived, `due` when `on_gap` is followed, `gap_event` the position of the SequenceGap that a person decides about.
    `is_overdue`: whether `gap_timeout` (seconds) is over.
    """

    source: str
    stream: str | None
    expected: int
    buffered: int
    missing: Gap | None
    since: datetime | None
    on_gap: Policy
    gap_timeout: float | None
    due: datetime | None
    gap_event: int | None
    is_overdue: bool


@attrs.frozen
class Waiting:
    """An event that waits for those before it, in the form in which it will be stored."""

    number: int
    id: str
    type: str
    version: int
    received_at: datetime
    metadata: dict[str, Any]
    payload: str


# Within the class, "list" is its method.
Senders: TypeAlias = list[Sender]
AllWaiting: TypeAlias = list[Waiting]


class Inbox:
    """The senders of one log that number their events, by source and stream."""

    def __init__(self, storage: Storage, intake: Intake, tell: Callable[[Sequence[Appended]], object]) -> None:
        self._storage, self._intake, self._tell = storage, intake, tell

    def __repr__(self) -> str:
        return f"<Inbox of {self._storage.path}>"

    def __iter__(self) -> Iterator[Sender]:
        return iter(self.list())

    def list(self, source: str | None = None, *, gaps: bool = False) -> Senders:
        """The senders, of one source or all; with `gaps`, those of whose numbers something is missing."""
        check_text("source", source)
        with self._storage.reading() as connection:
            found = inbox.senders(connection, source, gaps=gaps)
        now = self._storage.clock.time()
        return [_sender(view, now) for view in found]

    def get(self, source: str, stream: str | None = None) -> Sender | None:
        """One of them; None if it has sent nothing yet that had a number."""
        return next((each for each in self.list(source) if each.stream == stream), None)

    def waiting(self, source: str, stream: str | None = None, *, limit: int = LISTED) -> AllWaiting:
        """What waits, by number, at most `limit`."""
        check_text("source", source)
        check_text("stream", stream)
        check_whole("limit", limit)
        with self._storage.reading() as connection:
            return [_waiting(view) for view in inbox.waiting(connection, source, stream, limit)]

    def skip(self, source: str, stream: str | None = None, *, reason: str, who: str | None = None) -> Gap:
        """Go on without what is missing: store what waits behind it, after a SequenceSkipped that says who and why.

        Returns the numbers that were given up. EventBusError if nothing is missing.
        """
        check_text("source", source)
        if not reason:
            raise EventBusError("Skipping needs a reason=, which is recorded.", stored="not stored")
        with self._storage.writing() as connection:
            view = next((each for each in inbox.senders(connection, source, gaps=True) if each.stream == stream), None)
            if view is None or view.missing is None:
                raise EventBusError(
                    "Nothing is missing there.", stored="not stored", hint="list(gaps=True) shows what is."
                )
            source_id = self._storage.names.source_id(connection, source)
            row = inbox.find(connection, source_id, stream or "")
            assert row is not None
            appended = self._intake.give_up(connection, row, None, reason, who=who or user())
        self._tell(appended)
        return view.missing


def _sender(view: SenderView, now: float) -> Sender:
    since = None if view.since is None else from_iso(view.since)
    late = since is not None and view.gap_timeout is not None and since.timestamp() + view.gap_timeout <= now
    return Sender(
        source=view.source,
        stream=view.stream,
        expected=view.expected,
        buffered=view.buffered,
        missing=view.missing,
        since=since,
        on_gap=view.on_gap,
        gap_timeout=view.gap_timeout,
        due=None if view.due is None else from_iso(view.due),
        gap_event=view.asked,
        is_overdue=late,
    )


def _waiting(view: WaitingView) -> Waiting:
    return Waiting(
        number=view.number,
        id=view.id,
        type=view.type,
        version=view.version,
        received_at=from_iso(view.received_at),
        metadata=msgspec.json.decode(view.metadata) if view.metadata else {},
        payload=view.payload,
    )
