"""The ways an event gets into the log: here, on a loop, in the background."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eventbus.bus.attaching import Attachment
from eventbus.bus.catching import caught
from eventbus.bus.transacting import refuse_in_transaction
from eventbus.dispatch import Place, caller, nesting
from eventbus.engine import Engine
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.events import Receipt, is_event
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Appended, Draft
from eventbus.store.transaction import open_transaction
from eventbus.store.writer import Request
from eventbus.threads import Batches, off_the_loop

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    _Submitted = tuple[Draft, Future[Receipt], Place | None]

_INSTEAD = "Use tx.publish(...): it is stored with the transaction, or not at all."


class Publishing:
    """Publishes for one bus."""

    def __init__(self, attachment: Attachment, source: str) -> None:
        settings = attachment.settings
        self._attachment = attachment
        self.drafter = Drafter(attachment.vocabulary, settings.clock, source=source, max_payload=settings.max_payload)
        attachment.finish = self.flush
        attachment.source = source
        attachment.publish_now = self._publish_now
        self._submitted: Batches[_Submitted] = Batches("eventbus-submit", self._store_submitted)

    def _publish_now(self, event: object, **how: Any) -> str:
        return self.publish(event, **how).id

    # -- on this thread ----------------------------------------------------------------------------
    def publish(self, event: object, *options: Any, **how: Any) -> Receipt:
        """Store one event and tell of it; `options` in the order in which `draft` takes them."""
        if caught.get() is not None:
            return _catch([event])[0]
        if open_transaction.get() is not None:
            refuse_in_transaction(self._attachment.attached, "publish", _INSTEAD)
        engine = self._attachment.engine()
        draft = self.drafter.draft(event, *options, **how)
        nesting.refuse_deeper(draft.type.name)
        appended = engine.writer.store((draft,))
        if engine.is_heard((draft.type.cls,)):
            self.tell_all(appended)
        return appended[0].receipt

    def publish_many(self, given: Iterable[object], keys: Sequence[str] | None, **how: Any) -> list[Receipt]:
        """Store events in one commit and tell of them."""
        events = _listed(given, "publish")
        if caught.get() is not None:
            return _catch(events)
        refuse_in_transaction(self._attachment.attached, "publish_many", _INSTEAD)
        drafts = self._drafts(events, keys, how)
        if drafts:
            nesting.refuse_deeper(drafts[0].type.name)
        engine = self._attachment.engine()
        appended = engine.writer.store(drafts) if drafts else []
        self.tell_all(appended)
        return [each.receipt for each in appended]

    def tell_all(self, appended: list[Appended]) -> None:
        """Call the live handlers of what was stored, in order; with errors="raise" their failures raise."""
        failures: list[BaseException] = []
        engine = self._attachment.attached
        if engine is None or not engine.is_heard({each.draft.type.cls for each in appended}):
            return
        for each in appended:
            before = len(nesting.told)
            try:
                nesting.enter((each.draft.type.name, each.receipt.id, each.receipt.position))
                failures.extend(engine.tell(each))
            finally:
                del nesting.told[before:]
        self._attachment.raise_if_asked(failures)

    # -- on a loop ---------------------------------------------------------------------------------
    async def publish_async(self, event: object, **how: Any) -> Receipt:
        """Store one event by the writer thread and await its handlers."""
        if caught.get() is not None:
            return _catch([event])[0]
        refuse_in_transaction(self._attachment.attached, "publish_async", _INSTEAD)
        return (await self._store_and_tell([self.drafter.draft(event, **how)]))[0]

    async def publish_many_async(
        self, given: Iterable[object], keys: Sequence[str] | None, **how: Any
    ) -> list[Receipt]:
        """Store events in one commit by the writer thread and await their handlers."""
        events = _listed(given, "publish_async")
        if caught.get() is not None:
            return _catch(events)
        refuse_in_transaction(self._attachment.attached, "publish_many_async", _INSTEAD)
        drafts = self._drafts(events, keys, how)
        return await self._store_and_tell(drafts) if drafts else []

    async def _store_and_tell(self, drafts: list[Draft]) -> list[Receipt]:
        engine = self._attachment.attached
        if engine is None:
            engine = await off_the_loop(self._attachment.engine, "open")
        engine.check()
        appended = await _stored(engine, drafts)
        await self.tell_all_async(engine, appended)
        return [each.receipt for each in appended]

    async def tell_all_async(self, engine: Engine, appended: list[Appended]) -> None:
        """Call and await the live handlers of what was stored, in order; those left by a cancelled task hear later."""
        from asyncio import CancelledError

        failures: list[BaseException] = []
        for told, each in enumerate(appended):
            try:
                failures += await engine.tell_async(each)
            except CancelledError:
                engine.tell_later(appended[told + 1 :])
                raise
        self._attachment.raise_if_asked(failures)

    # -- in the background -------------------------------------------------------------------------
    def submit(self, event: object, **how: Any) -> Future[Receipt]:
        """Check an event here, store it elsewhere."""
        from eventbus.bus.submitted import Submitted

        future = Submitted(lambda: self._attachment.attached)
        if caught.get() is not None:
            future.set_result(_catch([event])[0])
            return future
        refuse_in_transaction(self._attachment.attached, "submit", _INSTEAD)
        self._attachment.check_open()
        draft = self.drafter.draft(event, **how)
        future.set_running_or_notify_cancel()  # from here on it can be stored, so it cannot be cancelled
        self._submitted.put((draft, future, caller()))
        return future

    def flush(self, timeout: float | None) -> bool:
        """Wait until everything submitted so far is stored; False after `timeout` seconds."""
        return self._submitted.flush(timeout)

    def _store_submitted(self, batch: list[_Submitted]) -> None:
        """On the submitting thread: open the log if need be, and queue for the next group commit."""
        try:
            engine = self._attachment.engine()
        except Exception as error:
            for _, future, _ in batch:
                future.set_exception(error)
            return
        for draft, future, place in batch:
            request = Request([draft], lambda: None)
            request.done = _settler(engine, request, future, place)
            engine.writer.queue(request)
        engine.writer.flush(None)

    def _drafts(self, events: list[object], keys: Sequence[str] | None, how: dict[str, Any]) -> list[Draft]:
        """Check all of them before anything is stored; the expected version is that before the first."""
        if keys is not None and not _fits(keys, len(events)):
            raise EventBusError(
                f"idempotency_keys= takes a list with one key for each of the {len(events)} events.",
                stored="not stored",
            )
        return self.drafter.draft_all(events, keys, **how)


def _fits(keys: object, number: int) -> bool:
    """Whether there is a key for each event, in an order: a set has none, and an iterator is gone once read."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        return False
    return len(keys) == number  # pyright: ignore[reportUnknownArgumentType] - each is looked at by itself


def _listed(given: Iterable[object], instead: str) -> list[object]:
    """The events that were given, unless it is one alone."""
    if is_event(given) or not hasattr(type(given), "__iter__"):
        raise EventDefinitionError(
            f"{instead.replace('publish', 'publish_many')} takes a list of events, not {given!r:.80}.",
            stored="not stored",
            hint=f"For one event use {instead}.",
        )
    return list(given)


async def _stored(engine: Engine, drafts: list[Draft]) -> list[Appended]:
    """Have drafts stored by the writer thread."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if future.cancelled():  # what is stored is stored, and those who listen hear of it
            engine.tell_later(request.appended)
        else:
            future.set_result(None)

    def done() -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # the loop was closed
            engine.tell_later(request.appended)

    request = Request(drafts, done)
    engine.writer.queue(request)
    try:
        await future
    except asyncio.CancelledError:
        if not future.cancelled():
            engine.tell_later(request.appended)
        raise
    return request.result()


def _settler(engine: Engine, request: Request, future: Future[Receipt], place: Place | None) -> Any:
    """What the writer calls: tell live handlers on the dispatch thread, then settle the future."""

    def finish() -> None:
        try:
            for each in request.appended:
                engine.tell_elsewhere(each, place)
        finally:
            future.set_result(request.appended[0].receipt)

    def done() -> None:
        if request.error is not None:
            future.set_exception(request.error)
        else:
            engine.later(finish)

    return done


def _catch(events: list[object]) -> list[Receipt]:
    """What a replayed handler publishes: kept for whoever replays, not stored."""
    published = caught.get()
    assert published is not None
    published.extend(events)
    return [Receipt(f"replayed-{len(published)}", 0, None, None) for _ in events]
