"""Where an event from outside may be ingested, how that may end, and what is refused before anything is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Recorder, run
from delivery_stage import standing_still
from inbox_stage import SOURCE, Moved, Noted, send

from eventbus import EventBus, EventBusError
from eventbus.errors import WouldDeadlock
from eventbus.store.turnstile import Turn


@pytest.fixture
def bus() -> Iterator[EventBus]:
    with standing_still() as made:
        yield made


# --- where it may be called ---------------------------------------------------------------------------------


def test_on_a_loop_async_handlers_are_awaited(bus: EventBus) -> None:
    heard: list[int] = []

    @bus.on(Moved)
    async def note(moved: Moved) -> None:
        await asyncio.sleep(0)
        heard.append(moved.number)

    async def main() -> list[str]:
        states = []
        for number in (2, 1, 2):
            ingested = await bus.ingest_async(Moved("a", number), source=SOURCE, id=f"a{number}", sequence=number)
            states.append(ingested.state)
        return states

    assert run(main()) == ["buffered", "stored", "duplicate"]
    assert heard == [1, 2]


def test_on_a_loop_ingest_works_as_publish_does(bus: EventBus) -> None:
    async def main() -> str:
        return send(bus, 1).state

    assert run(main()) == "stored"


def test_an_ingest_that_was_cancelled_is_stored_once_and_live_handlers_hear_of_it(bus: EventBus) -> None:
    heard = Recorder()
    bus.on(Moved, handler=heard)
    bus.publish(Noted("open"))
    turnstile, turn = bus._attachment.engine().storage.turnstile, Turn()

    async def main() -> None:
        assert turnstile.try_enter(turn)
        ingesting = asyncio.ensure_future(bus.ingest_async(Moved("a", 1), source=SOURCE, id="a1", sequence=1))
        await asyncio.sleep(0)
        ingesting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ingesting
        turnstile.leave(turn)
        assert await asyncio.to_thread(heard.heard, 1) == [Moved("a", 1)]

    run(main())
    assert send(bus, 1).state == "duplicate"


def test_inside_a_transaction_it_is_refused_and_names_tx(bus: EventBus) -> None:
    with bus.transaction(), pytest.raises(WouldDeadlock, match=r"tx\.publish"):
        send(bus, 1)

    async def main() -> None:
        async with bus.transaction():
            with pytest.raises(WouldDeadlock, match=r"tx\.publish"):
                await bus.ingest_async(Moved("a", 1), source=SOURCE, id="a1")

    run(main())
    assert bus.log.head == 0


def test_a_durable_handler_may_ingest_and_a_replay_of_it_stores_nothing(bus: EventBus) -> None:
    def poll(noted: Noted) -> None:
        bus.ingest(Moved("a", 1), source=SOURCE, id="a1", sequence=1)

    bus.subscribe("poll", Noted, handler=poll, after=0)
    asked = bus.publish(Noted("go"))
    assert bus.drain() == 1
    moved = bus.log.get(2)
    assert moved is not None
    assert moved.causation_id == asked.id
    (replayed,) = bus.subscriptions["poll"].replay(bus.log.read(types=Noted))
    assert (replayed.published, replayed.error, bus.log.head) == ([Moved("a", 1)], None, 2)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"id": ""}, "id="),
        ({"source": "a\0"}, "source="),
        ({"sequence": -1}, "sequence="),
        ({"sequence": True}, "sequence="),
        ({"sequence": 2**63}, "sequence="),
        ({"sequence": 0}, "first=0"),
        ({"sequence": 1, "first": "now"}, "first="),
        ({"first": 1}, "sequence="),
        ({"on_gap": "wait"}, "sequence="),
        ({"gap_timeout": 1.0}, "sequence="),
        ({"sequence": 1, "on_gap": "skip"}, "gap_timeout="),
        ({"sequence": 1, "on_gap": "stop", "gap_timeout": 1}, "on_gap="),
        ({"sequence": 1, "on_gap": "skip", "gap_timeout": -1}, "gap_timeout="),
        ({"sequence": 1, "on_gap": "skip", "gap_timeout": float("nan")}, "gap_timeout="),
        ({"sequence": 1, "on_gap": "skip", "gap_timeout": float("inf")}, "gap_timeout="),
        ({"sequence": 1, "on_gap": "skip", "gap_timeout": True}, "gap_timeout="),
        ({"metadata": ["a"]}, "metadata"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused_at_the_door(tmp_path: Path, how: dict[str, Any], says: str) -> None:
    bus = EventBus(tmp_path / "log.db")
    with pytest.raises(EventBusError, match=says) as caught:
        bus.ingest(Noted("a"), **{"source": "mail", "id": "17", **how})
    assert caught.value.stored == "not stored"
    assert not (tmp_path / "log.db").exists()


def test_a_keyword_that_there_is_not_is_a_type_error(bus: EventBus) -> None:
    with pytest.raises(TypeError, match="expected_version"):
        bus.ingest(Noted("a"), source="mail", id="17", expected_version=0)  # type: ignore[call-arg]
