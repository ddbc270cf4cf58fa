"""Events that cause each other without an end are refused, and a long life is not taken for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Recorder, run
from delivery_stage import ONCE, Notes, audit, standing_still
from outbox_stage import insert

from eventbus import Context, EventBus, Retry, event
from eventbus.dispatch import MOST_NESTED
from eventbus.errors import CausationLoop
from eventbus.store.causes import KNOWN, MOST_CAUSES, WITHIN_SECONDS, Causes, last_turn
from eventbus.technical import HandlerFailed
from eventbus.testing import FakeClock


@event(name="loop.Ping")
class Ping:
    number: int = 0


@event(name="loop.Pong")
class Pong:
    number: int = 0


def back_and_forth(bus: EventBus, **how: Any) -> None:
    """Two handlers that cannot stop."""
    bus.subscribe("ping", Ping, handler=lambda ping, ctx: ctx.publish(Pong(ping.number + 1)), **how)
    bus.subscribe("pong", Pong, handler=lambda pong, ctx: ctx.publish(Ping(pong.number + 1)), **how)


def chained(bus: EventBus, count: int, after: str | None = None, step: Callable[[], object] = lambda: None) -> str:
    """Publish a chain of causes; returns the id of its last event."""
    for number in range(count):
        after = bus.publish(Ping(number), causation_id=after).id
        step()
    assert after is not None
    return after


# --- durable handlers -------------------------------------------------------------------------------------


def test_handlers_whose_events_cause_each_other_end_in_a_dead_letter_that_shows_the_cycle() -> None:
    with standing_still() as bus:
        back_and_forth(bus, retry=ONCE)
        bus.publish(Ping())
        bus.drain()
        assert bus.log.head == MOST_CAUSES
        (letter,) = bus.dead_letters.list()
    assert (letter.subscription, letter.position) == ("pong", MOST_CAUSES)
    assert "loop.Ping (position 999) -> loop.Pong (position 1000) -> loop.Ping" in (letter.error or "")


def test_a_loop_is_one_failed_attempt_after_the_other() -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        back_and_forth(bus, retry=Retry(attempts=3, backoff=lambda failures, jitter: 60.0))
        bus.publish(Ping())
        for attempts in (1, 2, 3):
            bus.drain()
            assert bus.status(MOST_CAUSES)["pong"].attempts == attempts
            clock.advance(60)
        assert bus.status(MOST_CAUSES)["pong"] == "dead"
        assert bus.log.head == MOST_CAUSES


def plain(bus: EventBus, ping: Ping, ctx: Context) -> object:
    return ctx.publish(Ping(ping.number + 1))


def direct(bus: EventBus, ping: Ping, ctx: Context) -> object:
    return bus.publish(Ping(ping.number + 1))


def in_a_transaction(bus: EventBus, ping: Ping, ctx: Context) -> None:
    with bus.transaction() as tx:
        tx.publish(Ping(ping.number + 1))


async def on_a_loop(bus: EventBus, ping: Ping, ctx: Context) -> None:
    await bus.publish_async(Ping(ping.number + 1))


async def many_on_a_loop(bus: EventBus, ping: Ping, ctx: Context) -> None:
    await bus.publish_many_async([Ping(ping.number + 1)])


def submitted(bus: EventBus, ping: Ping, ctx: Context) -> None:
    bus.submit(Ping(ping.number + 1)).result()


@pytest.mark.parametrize(
    ("way", "transactional"),
    [(plain, True)] + [(way, False) for way in (plain, direct, in_a_transaction, on_a_loop, many_on_a_loop, submitted)],
)
def test_each_way_to_publish_counts(way: Callable[..., Any], transactional: bool) -> None:
    with standing_still() as bus:

        def handle(ping: Ping, ctx: Context) -> Any:
            return way(bus, ping, ctx)

        chained(bus, MOST_CAUSES - 5)
        bus.subscribe("ping", Ping, handler=handle, retry=ONCE, transactional=transactional, after=MOST_CAUSES - 6)
        bus.drain()
        assert bus.log.head == MOST_CAUSES
        assert "CausationLoop" in str(bus.status(MOST_CAUSES)["ping"].error)


def test_the_dead_letter_of_a_loop_can_be_dealt_with() -> None:
    with standing_still() as bus:
        chained(bus, MOST_CAUSES)
        back_and_forth(bus, retry=ONCE, after=MOST_CAUSES - 1)
        bus.drain()
        bus.dead_letters.retry(MOST_CAUSES)
        bus.drain()
        bus.dead_letters.discard(MOST_CAUSES, reason="a loop")
        assert [type(each).__name__ for each in audit(bus)] == ["DeadLetterRetried", "DeadLetterDiscarded"]


# --- what is counted --------------------------------------------------------------------------------------


def test_the_error_carries_the_facts_and_nothing_is_stored() -> None:
    with standing_still() as bus:
        last = chained(bus, MOST_CAUSES)
        with pytest.raises(CausationLoop) as caught:
            bus.publish(Ping(), causation_id=last)
        assert bus.log.head == MOST_CAUSES
    error = caught.value
    assert (error.type_name, error.causes, error.stored) == ("loop.Ping", MOST_CAUSES, "not stored")
    assert error.cycle == (("loop.Ping", last, MOST_CAUSES),)


def test_what_shares_the_commit_of_a_loop_is_stored() -> None:
    async def main(bus: EventBus) -> list[Any]:
        last = chained(bus, MOST_CAUSES)
        publishing = [bus.publish_async(Pong(1)), bus.publish_async(Ping(), causation_id=last)]
        return await asyncio.gather(*publishing, return_exceptions=True)

    with standing_still() as bus:
        stored, refused = run(main(bus))
        assert stored.position == MOST_CAUSES + 1
        assert isinstance(refused, CausationLoop)


def test_a_process_that_takes_a_step_now_and_then_lives_for_ever() -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        step = WITHIN_SECONDS / MOST_CAUSES * 1.01
        chained(bus, 3 * MOST_CAUSES, step=lambda: clock.advance(step))
        assert bus.log.head == 3 * MOST_CAUSES


def test_a_series_whose_cause_is_the_event_that_began_it_may_be_as_long_as_it_likes() -> None:
    def next_page(ping: Ping, ctx: Context) -> None:
        if ping.number <= MOST_CAUSES:
            ctx.publish(Ping(ping.number + 1), causation_id=ctx.envelope.correlation_id)

    with standing_still() as bus:
        bus.subscribe("pages", Ping, handler=next_page, retry=ONCE)
        first = bus.publish(Ping(0))
        bus.drain()
        assert bus.log.head == MOST_CAUSES + 2
        assert {each.causation_id for each in bus.log.read(after=1)} == {first.id}
        assert {each.correlation_id for each in bus.log.read()} == {first.id}


def test_the_log_remembers_what_a_process_does_not(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db", durability="process") as bus:
        last = chained(bus, MOST_CAUSES - 1)
    with standing_still(tmp_path / "log.db", durability="process") as bus:
        last = chained(bus, 1, after=last)
        with pytest.raises(CausationLoop):
            chained(bus, 1, after=last)


def test_publishing_again_with_its_key_is_no_loop() -> None:
    with standing_still() as bus:
        last = chained(bus, MOST_CAUSES - 1)
        first = bus.publish(Pong(), causation_id=last, idempotency_key="pong")
        assert bus.publish(Pong(), causation_id=first.id, idempotency_key="pong").duplicate


def test_a_cause_that_is_not_in_the_log_is_a_beginning() -> None:
    with standing_still() as bus:
        assert bus.publish(Ping(), causation_id="elsewhere").position == 1


def test_what_is_remembered_is_bounded() -> None:
    causes = Causes()
    for number in range(KNOWN + 10):
        causes.keep(str(number), 1)
    assert len(causes._lengths) == KNOWN


def test_of_a_chain_the_last_turn_is_shown_and_not_the_way_to_it() -> None:
    links = [(name, str(number), number) for number, name in enumerate("XABCABC", 1)]
    assert [name for name, _, _ in last_turn(links, "A")] == ["A", "B", "C"]
    assert last_turn(links, "Z") == tuple(links)
    long = CausationLoop("A", 30, tuple((f"T{number}", "", number) for number in range(1, 31)), "soon")
    assert "what comes round is ... -> T21 (position 21) -> " in str(long)


# --- live handlers ----------------------------------------------------------------------------------------


def publish(bus: EventBus) -> None:
    bus.publish(Ping())


def publish_many(bus: EventBus) -> None:
    bus.publish_many([Ping()])


def transact(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.publish(Ping())


def emit(bus: EventBus) -> None:
    bus.emit(Ping())


def through(frames: int, call: Callable[[], None]) -> None:
    """Call something the way an app's own layers do."""
    if frames:
        through(frames - 1, call)
    else:
        call()


@pytest.mark.parametrize("verb", [publish, publish_many, transact, emit])
def test_a_live_handler_that_publishes_its_own_event_ends_before_the_stack_does(verb: Callable[..., None]) -> None:
    told, raised = Recorder(), []

    def handle(ping: Ping) -> None:
        try:
            through(7, lambda: verb(bus))
        except BaseException as error:
            raised.append(error)
            raise

    with standing_still() as bus:
        bus.on(HandlerFailed, handler=told)
        bus.on(Ping, handler=handle)
        verb(bus)
        (failed,) = told.heard(1)
        assert [type(each) for each in raised] == [CausationLoop]
        assert "what comes round is" in failed.error
        assert bus.log.head == (0 if verb is emit else MOST_NESTED)
        verb(bus)  # the bus is as good as before
        assert len(raised) == 2


def test_with_errors_raise_the_loop_is_raised_by_the_first_publish() -> None:
    with standing_still(errors="raise") as bus:
        bus.on(Ping, handler=lambda ping: publish(bus))
        with pytest.raises(CausationLoop, match="each published by a live handler of the one before it"):
            publish(bus)


def test_async_live_handlers_end_as_durable_ones_do() -> None:
    async def handle(ping: Ping) -> None:
        await bus.publish_async(Ping())

    async def main() -> None:
        await bus.publish_async(Ping())

    with standing_still() as bus:
        bus.on(Ping, handler=handle)
        run(main())
        assert bus.log.head == MOST_CAUSES


def test_nothing_waits_for_what_is_submitted_so_that_it_ends_as_well() -> None:
    futures: list[Any] = []

    def handle(ping: Ping) -> None:
        futures.append(bus.submit(Ping()))

    with standing_still() as bus:
        bus.on(Ping, handler=handle)
        handle(Ping())
        while futures[-1].exception() is None:
            pass
        assert isinstance(futures[-1].exception(), CausationLoop)
        assert bus.log.head == MOST_CAUSES


def test_a_chain_within_the_bounds_is_told_depth_first() -> None:
    notes = Notes()

    def handle(ping: Ping, ctx: Context) -> None:
        notes(ping, ctx)
        if ping.number < MOST_NESTED - 1:
            bus.publish(Ping(ping.number + 1))

    with standing_still(errors="raise") as bus:
        bus.on(Ping, handler=handle)
        bus.publish(Ping(0))
    assert notes.numbers == list(range(MOST_NESTED))


# --- what comes from outside ------------------------------------------------------------------------------


def test_a_row_of_the_outbox_that_ends_a_loop_is_a_dead_letter_and_stops_nobody(tmp_path: Path) -> None:
    notes = Notes()
    with standing_still(tmp_path / "log.db", durability="process") as bus:
        last = chained(bus, MOST_CAUSES)
        bus.subscribe("pong", Pong, handler=notes)
        insert(tmp_path / "log.db", {"event_type": "loop.Ping", "payload": "{}", "causation_id": last})
        bus.publish(Pong(7))
        bus.drain()
        assert notes.numbers == [7]
        (letter,) = bus.dead_letters.list()
        assert "CausationLoop" in (letter.error or "")


def test_what_waited_for_its_turn_may_end_as_long_a_chain_as_what_came_in_turn() -> None:
    with standing_still() as bus:
        last = chained(bus, MOST_CAUSES)
        for number in (2, 1):
            bus.ingest(Pong(number), source="there", id=f"{number}", stream="s", sequence=number, causation_id=last)
        assert [envelope.event.number for envelope in bus.log.read(types=Pong)] == [1, 2]
