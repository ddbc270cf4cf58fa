"""How events from outside get into the log: checked, stored with those that had waited for them, and told of."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from eventbus.bus.attaching import Attachment
from eventbus.bus.catching import caught
from eventbus.bus.transacting import refuse_in_transaction
from eventbus.engine import Engine
from eventbus.errors import BusClosed, EventBusError, InvalidEvent, LogError, LogReplaced, PublishInDoubt
from eventbus.events import Receipt, event_type
from eventbus.handlers import SubscriptionDeclaration
from eventbus.inbox import GapWatch, Inbox, Ingested, IngestOptions, Intake, Order
from eventbus.later import Later
from eventbus.store.drafter import Drafter, derive_id, trouble_with_name
from eventbus.store.drafts import Appended, Draft
from eventbus.threads import off_the_loop

if TYPE_CHECKING:
    from eventbus.bus.publishing import Publishing

_log = logging.getLogger("eventbus.bus")

SENDER = "sender"  # where an ingested event's metadata keeps the sender's id and number
_INSTEAD = "Ingest before or after the with block; tx.publish(..., idempotency_key=...) stores with it."


class Ingesting:
    """Ingests for one bus."""

    def __init__(self, attachment: Attachment, publishing: Publishing) -> None:
        self._attachment, self._publishing = attachment, publishing
        self._intake = Later(lambda: Intake(attachment.engine().storage, self._record))
        self._watch: GapWatch | None = None

    # -- the rooms below, once there is an engine ----------------------------------------------------
    def _record(self, event: object) -> Draft:
        return self._publishing.drafter.draft(event)

    def watch(self, engine: Engine) -> Callable[[], bool]:
        """What looks after the gaps in each round, once there are rounds."""
        self._watch = GapWatch(
            engine.storage,
            Intake(engine.storage, self._record),
            record=self._record,
            declare=self._declare,
            tell=lambda appended: engine.announce(_with_events(engine, appended)),
        )
        return self._watch.look

    def _declare(self, declaration: SubscriptionDeclaration) -> None:
        with suppress(BusClosed):  # it is being closed; another bus on the file goes on, and declares it for itself
            self._attachment.define(declaration, self._publishing.drafter.draft)

    def hurry(self) -> None:
        """Have it look now, and not within a second."""
        if self._watch is not None:
            self._watch.hurry()

    def inbox(self) -> Inbox:
        """The senders of the log."""
        engine = self._attachment.engine()
        engine.settle()
        return Inbox(
            engine.storage, self._intake(), tell=lambda appended: engine.announce(_with_events(engine, appended))
        )

    # -- ingesting -----------------------------------------------------------------------------------
    def ingest(self, event: object, source: str, id: str, how: IngestOptions) -> Ingested:
        """Take in one event and tell of what is stored by that."""
        if caught.get() is not None:
            return _catch(event)
        refuse_in_transaction(self._attachment.attached, "ingest", _INSTEAD)
        draft, order = self._checked(event, source, id, how)
        engine = self._attachment.engine()
        ingested, appended = self._store(engine, draft, order)
        self._publishing.tell_all(appended)
        return ingested

    async def ingest_async(self, event: object, source: str, id: str, how: IngestOptions) -> Ingested:
        """Take in one event on a thread of ours and await the live handlers of what is stored by that."""
        if caught.get() is not None:
            return _catch(event)
        refuse_in_transaction(self._attachment.attached, "ingest_async", _INSTEAD)
        draft, order = self._checked(event, source, id, how)
        engine = self._attachment.attached
        if engine is None:
            engine = await off_the_loop(self._attachment.engine, "open")
        engine.check()
        ingested, appended = await self._store_elsewhere(engine, draft, order)
        await self._publishing.tell_all_async(engine, appended)
        return ingested

    async def _store_elsewhere(
        self, engine: Engine, draft: Draft, order: Order | None
    ) -> tuple[Ingested, list[Appended]]:
        """One whose task is cancelled is stored all the same, and those who listen hear of it."""
        import asyncio

        stored: deque[tuple[Ingested, list[Appended]]] = deque()
        abandoned = False

        def tell_later() -> None:
            with suppress(IndexError):  # the loop and the thread may both find out
                engine.tell_later(stored.pop()[1])

        def store() -> None:
            stored.append(self._store(engine, draft, order))
            if abandoned:
                tell_later()

        try:
            await off_the_loop(store)
        except asyncio.CancelledError:
            abandoned = True
            tell_later()
            raise
        return stored.pop()

    def _store(self, engine: Engine, draft: Draft, order: Order | None) -> tuple[Ingested, list[Appended]]:
        """One transaction; the events that live handlers can be told of come back."""
        engine.settle()
        engine.storage.turnstile.check()
        try:
            engine.storage.custody.room.check()
            with engine.storage.writing() as connection:
                ingested, appended = self._intake().take(connection, draft, order)
        except LogError as error:
            if error.stored == "in doubt" and not isinstance(error, LogReplaced):
                raise _in_doubt(draft, error) from error
            raise
        told = _with_events(engine, appended)
        if any(each.row is not None for each in appended):
            engine.stored()
        engine.note(told)
        return ingested, told

    def _checked(self, event: object, source: str, id: str, how: IngestOptions) -> tuple[Draft, Order | None]:
        """Everything that can be refused is refused here, before any lock is taken."""
        for name in how:
            if name not in IngestOptions.__annotations__:
                raise TypeError(f"ingest() got an unexpected keyword argument {name!r}")
        for name, value in (("source", source), ("id", id)):
            if (trouble := trouble_with_name(value)) is not None:
                raise EventBusError(f"{name}= {trouble}.", stored="not stored")
        order = Order.of(how)
        settings = self._attachment.settings
        drafter = Drafter(self._attachment.vocabulary, settings.clock, source=source, max_payload=settings.max_payload)
        draft = drafter.draft(
            event,
            stream=how.get("stream"),
            idempotency_key=id,
            id=event_id(source, id),
            metadata=self._metadata(event, id, order, how.get("metadata")),
            correlation_id=how.get("correlation_id"),
            causation_id=how.get("causation_id"),
        )
        draft.unbounded = True  # another log's history may come all at once
        return draft, order

    def _metadata(self, event: object, id: str, order: Order | None, given: Any) -> Any:
        if given is not None and not isinstance(given, Mapping):
            return given  # refused by whoever checks it
        own: dict[str, Any] = dict(given or {})  # pyright: ignore[reportUnknownArgumentType] - its keys are looked at later
        if SENDER in own:
            raise InvalidEvent(
                event_type(type(event)).name,
                f"metadata[{SENDER!r}]",
                "is where the bus keeps the sender's id and number",
            )
        from eventbus.clock import iso

        sender: dict[str, Any] = {"id": id}
        if order is not None:
            sender["sequence"] = order.number
        sender["received_at"] = iso(self._attachment.settings.clock.time())
        return {**own, SENDER: sender}


def event_id(source: str, id: str) -> str:
    """The id of an ingested event: the sender's if that is a UUID, which means one thing everywhere.

    Any other id is unique for its source only, so both make a UUID; the sender's is the idempotency key.
    """
    try:
        is_uuid = str(uuid.UUID(id)) == id.lower()
    except ValueError:
        is_uuid = False
    return id if is_uuid else derive_id("ingest", 0, source, id, 0)


def _with_events(engine: Engine, appended: Sequence[Appended]) -> list[Appended]:
    """Those that live handlers can be told of. What had waited was kept as it is stored: it is read again here."""
    told: list[Appended] = []
    for each in appended:
        if each.row is None:
            continue
        if each.draft.event is None:
            try:
                each.draft.event = engine.storage.names.decode(
                    engine.storage.names.type_named(each.row[2]), None, each.draft.payload
                )
            except EventBusError as error:  # its class is not loaded here any more, or does not fit
                _log.warning("position %d is stored, and no live handler hears of it: %s", each.row[0], error)
                continue
        told.append(each)
    return told


def _in_doubt(draft: Draft, error: LogError) -> PublishInDoubt:
    doubt = PublishInDoubt(draft.key or draft.id, error.what)
    doubt.hint = "Ingest it again with the same source= and id=: it will be stored exactly once."
    return doubt


def _catch(event: object) -> Ingested:
    """What a replayed handler ingests: kept for whoever replays, not stored."""
    published = caught.get()
    assert published is not None
    published.append(event)
    return Ingested("stored", Receipt(f"replayed-{len(published)}", 0, None, None))
