"""Taking in one event from outside, within a write transaction that somebody else begins and ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

import attrs

from eventbus import ordering
from eventbus.clock import from_iso, iso
from eventbus.errors import EventDefinitionError, IdempotencyConflict, InboxFull, SequenceConflict
from eventbus.events import EventType
from eventbus.inbox.ingested import Ingested, Order
from eventbus.ordering import Gap
from eventbus.store import inbox, letters, reading, subscriptions
from eventbus.store.drafts import Appended, Draft
from eventbus.store.inbox import BufferedRow, SenderRow
from eventbus.store.storage import Storage
from eventbus.technical import SequenceSkipped

MOST_BUFFERED = 10_000  # events of one source and stream that may wait: an ingest has to bring them in one commit
GAPS = "eventbus.gaps"  # the subscription whose dead letters are gaps that a person decides about


class Intake:
    """Takes in events, and gives up numbers; `record` makes a draft of a technical event."""

    def __init__(self, storage: Storage, record: Callable[[object], Draft]) -> None:
        self._storage, self._record = storage, record
        self._unloaded: dict[int, EventType] = {}

    # -- one event ---------------------------------------------------------------------------------
    def take(
        self, connection: sqlite3.Connection, draft: Draft, order: Order | None
    ) -> tuple[Ingested, list[Appended]]:
        """Store an event, have it wait, or drop it; returns also what is in the log by that, duplicates included.

        Raises IdempotencyConflict, SequenceConflict and InboxFull: roll back then.
        """
        source_id = self._storage.names.source_id(connection, draft.source)
        waits = self._same(connection, source_id, draft)
        if order is not None:
            return self._take_in_order(connection, self._sender(connection, source_id, draft, order), draft, order)
        if waits:
            return self._waiting(connection, draft), []
        appended = self._append(connection, [draft])
        return _told(appended), appended

    def _take_in_order(
        self, connection: sqlite3.Connection, row: SenderRow, draft: Draft, order: Order
    ) -> tuple[Ingested, list[Appended]]:
        number, changed = order.number, _with_policy(row, order)
        found = inbox.with_number(connection, row.id, number) if number > row.expected else None
        skipped = number < row.expected and inbox.was_skipped(connection, row.id, number)
        match ordering.judge(
            number, first=row.first, expected=row.expected, buffered=found is not None, skipped=skipped
        ):
            case "store":
                return self._deliver(connection, changed, draft)
            case "buffer":
                return self._keep(connection, changed, draft, number), []
            case "buffered" if found is not None and found.key != draft.key:
                raise _conflict(draft, number, found.key)
            case "buffered":
                ingested = self._waiting(connection, draft)
            case verdict:
                ingested = self._passed(connection, draft, number, verdict)
        if changed != row:
            self._settle(connection, changed)
        return ingested, []

    def _same(self, connection: sqlite3.Connection, source_id: int, draft: Draft) -> bool:
        """Whether it waits already, under whatever number; IdempotencyConflict if that has other content."""
        waits = inbox.with_key(connection, source_id, cast("str", draft.key))
        if waits is not None and waits.digest != draft.digest():
            raise IdempotencyConflict(waits.key, None, buffered=True)
        return waits is not None

    def _waiting(self, connection: sqlite3.Connection, draft: Draft) -> Ingested:
        """It waits; and if it is in the log as well, only its number does."""
        known = self._storage.appender.find(connection, draft)
        return Ingested("buffered") if known is None else Ingested("duplicate", known)

    def _sender(self, connection: sqlite3.Connection, source_id: int, draft: Draft, order: Order) -> SenderRow:
        row = inbox.find(connection, source_id, draft.stream or "")
        if row is not None:
            return row
        first = order.number if order.first == "any" else 1 if order.first is None else order.first
        return inbox.add(connection, source_id, draft.stream or "", first)

    def _deliver(self, connection: sqlite3.Connection, row: SenderRow, draft: Draft) -> tuple[Ingested, list[Appended]]:
        (appended,) = self._append(connection, [draft])
        row, released = self._release(connection, attrs.evolve(row, expected=row.expected + 1))
        self._settle(connection, row)
        everything = [appended, *released]
        return _told(everything), everything

    def _keep(self, connection: sqlite3.Connection, row: SenderRow, draft: Draft, number: int) -> Ingested:
        """Have it wait, also if it is in the log already: its number has to be passed."""
        ingested = self._waiting(connection, draft)
        if row.buffered >= MOST_BUFFERED:
            gap = ordering.gap(row.expected, inbox.ahead(connection, row.id, row.expected))
            assert gap is not None
            raise InboxFull(draft.source, draft.stream, gap.first, gap.last, MOST_BUFFERED)
        now = iso(self._storage.clock.time())
        type_id = self._storage.names.type_id(connection, draft.type)
        event = BufferedRow(
            number=number,
            key=cast("str", draft.key),
            event_id=draft.id,
            type_id=type_id,
            digest=draft.digest(),
            correlation_id=draft.correlation_id,
            causation_id=draft.causation_id,
            metadata=draft.metadata,
            received_at=now,
            payload=draft.payload,
            source_id=row.source_id,
        )
        inbox.buffer(connection, row.id, event)
        self._settle(connection, attrs.evolve(row, buffered=row.buffered + 1, since=row.since or now))
        return ingested

    def _passed(self, connection: sqlite3.Connection, draft: Draft, number: int, verdict: str) -> Ingested:
        """What carries a number that was passed: a duplicate, or too late, or not the event that had the number."""
        known = self._storage.appender.find(connection, draft)
        if known is not None:
            return Ingested("duplicate", known)
        if verdict == "late":
            return Ingested("late")
        raise _conflict(draft, number, None)

    # -- giving up ---------------------------------------------------------------------------------
    def give_up(
        self,
        connection: sqlite3.Connection,
        row: SenderRow,
        up_to: int | None,
        reason: str,
        *,
        who: str | None = None,
        cause: int | None = None,
    ) -> list[Appended]:
        """Go on without what is missing up to a number (None: up to the first that waits), with a record of it.

        `cause`: the position of the event that the records follow from.
        """
        everything: list[Appended] = []
        while True:
            gap = ordering.gap(row.expected, inbox.ahead(connection, row.id, row.expected))
            if gap is None or (up_to is not None and gap.first > up_to):
                break
            everything += self._skipped(connection, row, gap, reason, who=who, cause=cause)
            row, released = self._release(connection, attrs.evolve(row, expected=gap.last + 1))
            everything += released
            if up_to is None:
                break
        self._settle(connection, row)
        return everything

    def asked(self, connection: sqlite3.Connection, row: SenderRow, position: int | None, last: int | None) -> None:
        """A person decides about what is missing up to `last`; the event at `position` says so. None: nobody does."""
        self._settle(connection, attrs.evolve(row, asked=position, asked_to=last))

    def _skipped(
        self,
        connection: sqlite3.Connection,
        row: SenderRow,
        gap: Gap,
        reason: str,
        *,
        who: str | None = None,
        cause: int | None = None,
    ) -> list[Appended]:
        source = self._storage.names.source_named(row.source_id)
        draft = self._record(SequenceSkipped(source, row.stream or None, gap.first, gap.last, reason, who))
        asked = None if cause is None else reading.one(connection, cause)
        if asked is not None:
            draft.causation_id = draft.correlation_id = asked[1]
        appended = self._append(connection, [draft])
        inbox.skip(connection, row.id, gap, appended[0].receipt.position)
        return appended

    def _release(self, connection: sqlite3.Connection, row: SenderRow) -> tuple[SenderRow, list[Appended]]:
        """Store what has waited for the number before the one that is expected now."""
        if not row.buffered:
            return row, []
        end = ordering.run(row.expected, inbox.ahead(connection, row.id, row.expected))
        events = inbox.take(connection, row.id, row.expected, end)
        drafts = [self._stored_form(row, event) for event in events]
        try:
            appended = self._append(connection, drafts)
        except IdempotencyConflict:
            appended = self._one_by_one(connection, row, events, drafts)
        row = attrs.evolve(row, expected=end, buffered=row.buffered - len(events))
        return attrs.evolve(row, since=inbox.earliest(connection, row.id)) if events else row, appended

    def _one_by_one(
        self, connection: sqlite3.Connection, row: SenderRow, events: Sequence[BufferedRow], drafts: Sequence[Draft]
    ) -> list[Appended]:
        """An id of theirs was published meanwhile, for something else: that one is given up, the others go on."""
        everything: list[Appended] = []
        for event, draft in zip(events, drafts, strict=True):
            try:
                everything += self._append(connection, [draft])
            except IdempotencyConflict:
                everything += self._skipped(connection, row, Gap(event.number, event.number), "conflict")
        return everything

    # -- rows and drafts ---------------------------------------------------------------------------
    def _settle(self, connection: sqlite3.Connection, row: SenderRow) -> None:
        """Write a row, with when its policy is due, and whether a person has still to decide."""
        if row.asked is not None and row.asked_to is not None and row.expected > row.asked_to:
            _look_again(connection, row.asked, iso(self._storage.clock.time()))
            row = attrs.evolve(row, asked=None, asked_to=None)
        since = None if row.since is None else _seconds(row.since)
        due = ordering.deadline(since, row.gap_timeout, row.on_gap, asked=row.asked is not None)
        inbox.save(connection, attrs.evolve(row, due=None if due is None else iso(due)))

    def _append(self, connection: sqlite3.Connection, drafts: Sequence[Draft]) -> list[Appended]:
        return self._storage.appender.append(connection, drafts, iso(self._storage.clock.time()))

    def _stored_form(self, row: SenderRow, event: BufferedRow) -> Draft:
        """A draft of what was checked and encoded when it arrived; its class need not be loaded any more."""
        names = self._storage.names
        found = self._type(event.type_id)
        return Draft(
            event=None,
            type=found,
            payload=event.payload,
            id=event.event_id,
            source=names.source_named(event.source_id),
            stream=row.stream or None,
            key=event.key,
            metadata=event.metadata,
            correlation_id=event.correlation_id,
            causation_id=event.causation_id,
            known_id=True,
            unbounded=True,  # as if it had come in its turn
        )

    def _type(self, type_id: int) -> EventType:
        known = self._storage.names.type_named(type_id)
        try:
            loaded = self._storage.names.vocabulary.find(known.name, known.version)
        except EventDefinitionError:  # two classes have its name; neither is needed to store it
            loaded = None
        if loaded is not None:
            return loaded
        if type_id not in self._unloaded:
            nothing: Any = None  # no codec: nothing of it is written or read
            self._unloaded[type_id] = EventType(
                known.name, known.version, known.kind, None, object, known.bases, "", fill=None, codec=nothing
            )
        return self._unloaded[type_id]


def _conflict(draft: Draft, number: int, other: str | None) -> SequenceConflict:
    return SequenceConflict(draft.source, draft.stream, number, cast("str", draft.key), other)


def _told(appended: Sequence[Appended]) -> Ingested:
    """The first is what was ingested; those with a key after it had waited, those without are records."""
    receipt = appended[0].receipt
    released = [each.receipt for each in appended[1:] if each.draft.key is not None and each.row is not None]
    return Ingested("duplicate" if receipt.duplicate else "stored", receipt, tuple(released))


def _with_policy(row: SenderRow, order: Order) -> SenderRow:
    if order.on_gap is not None:
        return attrs.evolve(row, on_gap=order.on_gap, gap_timeout=order.gap_timeout)
    if order.gap_timeout is not None:
        return attrs.evolve(row, gap_timeout=order.gap_timeout)
    return row


def _seconds(text: str) -> float:
    moment: datetime = from_iso(text)
    return moment.timestamp()


def _look_again(connection: sqlite3.Connection, position: int, now: str) -> None:
    """The gap that a person was asked about is no more: its dead letter is tried again, and finds that out."""
    for row in subscriptions.named(connection, GAPS):
        for letter in letters.dead(connection, row.id, after=position - 1, limit=1):
            if letter.position == position:
                letters.revive(connection, row.id, position, now)
                subscriptions.changed(connection, row.id, now)
