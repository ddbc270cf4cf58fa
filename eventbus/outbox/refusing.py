"""What cannot become an event: recorded in the log, and tried again when a person says so.

The record is an ordinary event of an ordinary subscription with one attempt, so all that is there for dead letters
works: `retry` once the class is loaded, `edit` to mend it, `discard` to give it up.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any

import attrs
import msgspec

from eventbus.delivery import in_words
from eventbus.errors import EventBusError, InvalidEvent
from eventbus.events import Envelope
from eventbus.handlers import Context, Refused, SubscriptionDeclaration
from eventbus.outbox.reading import draft_of, event_of
from eventbus.retry import Retry
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Draft
from eventbus.store.outbox import OutboxRow
from eventbus.store.storage import Storage
from eventbus.technical import OutboxRefused
from eventbus.worker import subscribing
from eventbus.worker.subscribing import SubscriptionWork
from eventbus.worker.work import Work

SUBSCRIPTION = "eventbus.outbox"

_JSON = ("payload", "metadata")
_KEPT = 16 << 20  # characters, or bytes, of a column that are recorded
_ROOM = 1 << 30  # bytes a record may have: it holds what is too large for an event


class Refusals:
    """The subscription of one log in this process; implements `engine.Definition`."""

    name = qualified = SUBSCRIPTION
    refused: Refused | None = None

    def __init__(self, storage: Storage, max_payload: int) -> None:
        self._storage, self._max_payload = storage, max_payload
        self._declaration = SubscriptionDeclaration(
            SUBSCRIPTION, (OutboxRefused,), self._try_again, retry=Retry(attempts=1), order_by=None, is_own=True
        )
        self._work = SubscriptionWork(self._declaration, self._draft_again)

    def settle(self, connection: sqlite3.Connection, now: str) -> dict[int, Work]:
        """Bring its row in line, or make it: it begins after the head that this transaction sees."""
        row = subscribing.settle(connection, self._declaration, self._storage.names.vocabulary, now)
        return {row.id: self._work}

    def drafter(self, source: str, max_payload: int) -> Drafter:
        """Makes drafts of events from a source."""
        return Drafter(self._storage.names.vocabulary, self._storage.clock, source=source, max_payload=max_payload)

    def record(self, row: OutboxRow, source: str, path: str | None, error: BaseException) -> Draft:
        """The event that stands for a refused row."""
        reason = error.what if isinstance(error, EventBusError) else in_words(error)
        drafter = self.drafter(source, _ROOM)
        columns = {name: _storable(value, is_json=name in _JSON) for name, value in attrs.asdict(row).items()}
        position = columns.pop("position")
        # JSON as values where there are some: a person who mends them has no quotes to escape.
        values = {name: _value(columns[name]) for name in _JSON}
        try:
            return drafter.draft(OutboxRefused(path, position, source, reason, **{**columns, **values}))
        except InvalidEvent:  # JSON that no event may carry, such as one nested too deep
            return drafter.draft(OutboxRefused(path, position, source, reason, **columns))

    def _try_again(self, refused: OutboxRefused, ctx: Context) -> None:
        """At once, as this process may know better than the one that refused it; then whenever a person says so."""
        ctx.publish(event_of(_row_of(refused), self._storage.names.vocabulary, self._max_payload))

    def _draft_again(self, event: object, *, cause: Envelope, **_: Any) -> Draft:
        """Of what `_try_again` publishes, with all else that the row says."""
        refused: OutboxRefused = cause.event
        drafter = self.drafter(refused.source, self._max_payload)
        return draft_of(_row_of(refused), event, drafter, self._max_payload, cause)


def _row_of(refused: OutboxRefused) -> OutboxRow:
    columns = {name: getattr(refused, name) for name in attrs.fields_dict(OutboxRow) if name != "position"}
    return OutboxRow(refused.row, **columns)


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        return text


def _storable(value: Any, *, is_json: bool = False) -> Any:
    """What a column held, as JSON can say it; what it cannot say is a list, which nothing takes for a value."""
    if isinstance(value, str):
        return value[:_KEPT] if _is_text(value) else ["bytes", value.encode("utf-8", "surrogateescape")[:_KEPT].hex()]
    if isinstance(value, bytes):
        text = value.decode("utf-8", "surrogateescape")
        return _storable(text) if is_json else ["bytes", value[:_KEPT].hex()]
    if isinstance(value, float) and not math.isfinite(value):
        return ["number", repr(value)]
    return value


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\udc80" <= each <= "\udcff" for each in value)
