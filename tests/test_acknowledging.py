"""Nothing is told as stored before it was looked whether it is stored where the log is: every way there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, Paid, Placed, run

from eventbus import Context, EventBus, Retry
from eventbus.errors import LogReplaced


def in_a_transaction(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.publish(Placed(1))


async def on_a_loop(bus: EventBus) -> None:
    async with bus.transaction() as tx:
        tx.publish(Placed(1))


def from_the_outbox(bus: EventBus) -> None:
    bus.drain()


WAYS: dict[str, Callable[[EventBus], Any]] = {
    "publish": lambda bus: bus.publish(Placed(1)),
    "publish_many": lambda bus: bus.publish_many([Placed(1), Placed(2)]),
    "submit": lambda bus: bus.submit(Placed(1)).result(PATIENCE),
    "publish_async": lambda bus: run(bus.publish_async(Placed(1))),
    "publish_many_async": lambda bus: run(bus.publish_many_async([Placed(1)])),
    "transaction": in_a_transaction,
    "transaction on a loop": lambda bus: run(on_a_loop(bus)),
    "ingest": lambda bus: bus.ingest(Placed(1), source="web", id="1"),
    "publish_at": lambda bus: bus.publish_at(Placed(1), 10),
    "outbox": from_the_outbox,
    "retry of a dead letter": lambda bus: bus.dead_letters.retry(1),
    "edit of a dead letter": lambda bus: bus.dead_letters.edit(1, Placed(5)),
    "discard of a dead letter": lambda bus: bus.dead_letters.discard(1, reason="no"),
    "pause": lambda bus: bus.subscriptions["dead"].pause(),
    "rewind": lambda bus: bus.subscriptions["dead"].rewind(after=0),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_write_is_told_as_done_once_the_file_is_another(tmp_path: Path, way: str) -> None:
    path = tmp_path / "shop.db"
    bus = EventBus(path, delivery="manual")
    heard: list[Any] = []

    def fails(placed: Placed, ctx: Context) -> None:
        raise ValueError

    bus.subscribe("dead", Placed, retry=Retry(attempts=1))(fails)
    bus.publish(Placed(0))
    bus.drain()
    with bus.transaction() as tx:
        tx.execute("INSERT INTO eventbus_outbox (event_type, payload) VALUES ('stage.Paid', '{\"number\":7}')")
    bus.on(Placed, Paid)(heard.append)
    path.rename(tmp_path / "away.db")
    with pytest.raises(LogReplaced):
        WAYS[way](bus)
    assert heard == []
    bus.close()


def test_what_a_handler_publishes_is_not_told_either(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    bus = EventBus(path, delivery="manual")
    heard: list[Any] = []
    bus.on(Paid)(heard.append)

    @bus.subscribe("pay", Placed)
    def pay(placed: Placed, ctx: Context) -> None:
        ctx.publish(Paid(placed.number))
        path.rename(tmp_path / "away.db")

    bus.publish(Placed(1))
    with pytest.raises(LogReplaced):
        bus.drain()
    assert heard == []
    bus.close()
