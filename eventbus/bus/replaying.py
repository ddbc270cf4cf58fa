"""Replay: a subscription's handler over stored events again, changing nothing in the log."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from eventbus.bus.catching import caught
from eventbus.engine import Engine
from eventbus.events import Envelope
from eventbus.handlers import Context, Steps, handling, returned
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.store.transaction import Transaction, open_transaction
from eventbus.worker.matching import Matching
from eventbus.worker.passing import is_passed
from eventbus.worker.shelves import ReplayShelf
from eventbus.worker.work import Work


@attrs.frozen
class Replayed:
    """One event that was handled again: what its handler wanted to publish, and how it failed."""

    envelope: Envelope
    published: list[Any]
    error: BaseException | None = None


def replay(engine: Engine, row: SubscriptionRow, work: Work, envelopes: Iterator[Envelope]) -> Iterator[Replayed]:
    """Hand events to a handler again, in log order; the cursor and the deliveries stay as they are.

    What it writes through `ctx.tx` is rolled back and what it publishes is caught. Steps whose
    result is kept are not run, and none is kept. Effects outside the file are real.
    """
    matching = Matching(row.types)
    for envelope in envelopes:
        matching.resolve(engine.storage.names.types())
        if not matching.concerns(envelope.type_id, envelope.position):
            continue
        if not is_passed(matching, engine.storage.names, engine.storage.names.type_named(envelope.type_id)):
            published: list[Any] = []
            try:
                _run(engine, row, work, envelope, published)
            except (Exception, SystemExit) as error:
                yield Replayed(envelope, published, error)
            else:
                yield Replayed(envelope, published)


def _run(engine: Engine, row: SubscriptionRow, work: Work, envelope: Envelope, published: list[Any]) -> None:
    tokens = handling.set(envelope), caught.set(published)
    try:
        if work.kind == "transactional":
            _run_in_transaction(engine, work, envelope, published)
            return
        steps = Steps(ReplayShelf(engine.storage, row.id, envelope.position))
        context = Context(envelope, is_replay=True, publish=_catcher(published), steps=steps)
        result = work.call(_given(work, envelope), context)
        if inspect.iscoroutine(result):
            engine.loop.spawn(result).result()
        returned(context)
    finally:
        handling.reset(tokens[0])
        caught.reset(tokens[1])


def _run_in_transaction(engine: Engine, work: Work, envelope: Envelope, published: list[Any]) -> None:
    with engine.storage.turnstile.turn():
        guest = engine.storage.begin_guest(work.tables, synced=False)
        transaction = Transaction(guest, _catcher(published))
        token = open_transaction.set(transaction)
        try:
            publish = transaction.publish
            work.call(
                _given(work, envelope), Context(envelope, is_replay=True, publish=publish, transaction=transaction)
            )
        finally:
            open_transaction.reset(token)
            transaction.is_open = False
            engine.storage.roll_back_guest(guest)


def _given(work: Work, envelope: Envelope) -> Any:
    """What its handler takes: the event, or a list."""
    return envelope.event if work.batch is None else [envelope.event]


def _catcher(published: list[Any]) -> Callable[..., str]:
    def catch(event: object, **how: Any) -> str:
        published.append(event)
        return f"replayed-{len(published)}"

    return catch
