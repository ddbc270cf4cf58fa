"""Live handlers come and go, also while an event is told, also through blinker."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from live_stage import Base, Counter, Express, Placed, Shipped, Stage

from eventbus.errors import EventDefinitionError
from eventbus.handlers import Registration


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


# --- coming and going -------------------------------------------------------------------------------------


def test_a_closed_registration_is_not_called_again(stage: Stage) -> None:
    seen: list[object] = []
    with stage.on(Placed, "shop.*", handler=seen.append) as registration:
        stage.emit(Placed(1))
    registration.close()
    assert registration.closed
    stage.emit(Placed(2))
    stage.emit(Shipped(3))
    assert seen == [Placed(1)]
    assert not stage.live.hears(Placed)


def test_closing_one_of_two_registrations_of_a_handler_leaves_the_other(stage: Stage) -> None:
    seen: list[object] = []
    first = stage.on(Placed, handler=seen.append)
    second = stage.on(Placed, handler=seen.append)
    first.close()
    stage.emit(Placed(1))
    second.close()
    stage.emit(Placed(2))
    assert seen == [Placed(1)]


def test_off_takes_a_handler_out_everywhere_methods_by_their_object(stage: Stage) -> None:
    counter, other, seen = Counter(), Counter(), list[object]()
    stage.on(Placed, "shop.*", handler=counter.add)
    stage.on(Base, handler=counter.add)
    stage.on(Placed, handler=other.add)
    stage.on(Placed, handler=seen.append)
    assert stage.live.off(counter.add)
    assert stage.live.off(seen.append)
    assert not stage.live.off(counter.add)
    stage.emit(Placed())
    stage.emit(Shipped())
    assert (counter.count, other.count, seen) == (0, 1, [])


def test_strong_is_the_default_and_weak_handlers_die_with_their_owner(stage: Stage) -> None:
    seen: list[str] = []

    class Owner:
        def handle(self, event: object) -> None:
            seen.append("weak")

    owner = Owner()
    stage.on(Placed, handler=owner.handle, weak=True)
    stage.on(Placed, handler=lambda e: seen.append("strong"))
    gc.collect()
    stage.emit(Placed())
    del owner
    gc.collect()
    stage.emit(Placed())
    assert seen == ["weak", "strong", "strong"]


def test_nobody_hears_once_the_only_weak_handler_is_gone(stage: Stage) -> None:
    counter = Counter()
    stage.on(Placed, handler=counter.add, weak=True)
    assert stage.live.hears(Placed)
    del counter
    gc.collect()
    assert not stage.live.hears(Placed)
    assert stage.emit(Placed()) == []


@pytest.mark.parametrize("weak_first", [False, True])
def test_a_handler_connected_weakly_and_strongly_lives_as_long_as_the_strong_connection(
    stage: Stage, weak_first: bool
) -> None:
    seen: list[object] = []

    def make() -> Registration:
        def handle(event: object) -> None:
            seen.append(event)

        first = stage.on(Placed, handler=handle, weak=weak_first)
        second = stage.on(Placed, handler=handle, weak=not weak_first)
        return second if weak_first else first

    strong = make()
    gc.collect()
    stage.emit(Placed(1))
    strong.close()
    gc.collect()
    stage.emit(Placed(2))
    assert seen == [Placed(1)]


def test_a_handler_may_take_itself_out_while_it_runs(stage: Stage) -> None:
    seen: list[str] = []

    def once(event: object) -> None:
        seen.append("once")
        registration.close()

    registration = stage.on(Placed, handler=once)
    stage.on(Placed, handler=lambda e: seen.append("next"))
    stage.emit(Placed())
    stage.emit(Placed())
    assert seen == ["once", "next", "next"]


@pytest.mark.parametrize("wants_context", [False, True])
def test_a_handler_taken_out_by_an_earlier_one_is_not_called_and_the_others_are(
    stage: Stage, wants_context: bool
) -> None:
    seen: list[str] = []
    if wants_context:
        stage.on(Placed, handler=lambda e, ctx: seen.append("context"), priority=20)
    stage.on(Placed, handler=lambda e: stage.live.off(second), priority=10)

    def second(event: object) -> None:
        seen.append("second")

    stage.on(Placed, handler=second)
    stage.on(Placed, handler=lambda e: seen.append("third"))
    stage.on(Placed, handler=lambda e: seen.append("fourth"))
    stage.publish(Placed())
    assert [name for name in seen if name != "context"] == ["third", "fourth"]


def test_a_handler_added_while_an_event_is_told_hears_the_next_one(stage: Stage) -> None:
    late: list[object] = []
    order: list[str] = []

    def add(event: object) -> None:
        order.append("add")
        stage.on(Placed, handler=late.append, priority=-1)

    stage.on(Placed, handler=add)
    stage.on(Placed, handler=lambda e: order.append("old"))
    stage.emit(Placed(1))
    assert (late, order) == ([], ["add", "old"])
    stage.emit(Placed(2))
    assert (late, order) == ([Placed(2)], ["add", "old", "add", "old"])


def test_coming_and_going_on_other_threads_never_costs_a_handler_an_event(stage: Stage) -> None:
    seen: list[object] = []
    stage.on(Placed, handler=seen.append)
    rounds, done = 300, threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            with stage.on(Base, handler=lambda e: None, priority=1):
                pass

    def tell() -> None:
        for number in range(rounds):
            stage.emit(Placed(number))

    movers = [threading.Thread(target=come_and_go) for _ in range(2)]
    tellers = [threading.Thread(target=tell) for _ in range(3)]
    for thread in movers + tellers:
        thread.start()
    for thread in tellers:
        thread.join()
    done.set()
    for thread in movers:
        thread.join()
    assert len(seen) == 3 * rounds
    assert not stage.failures


def test_one_handler_coming_and_going_on_many_threads_hears_whenever_it_is_registered(stage: Stage) -> None:
    heard: dict[int, int] = {}
    missed: list[int] = []

    def handle(event: Placed) -> None:
        heard[event.number] = heard.get(event.number, 0) + 1

    def come_and_go(thread: int) -> None:
        for number in range(thread * 1000, thread * 1000 + 200):
            with stage.on(Placed, handler=handle):
                stage.emit(Placed(number))
            if heard.get(number) != 1:
                missed.append(number)

    threads = [threading.Thread(target=come_and_go, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []
    assert not stage.live.hears(Placed)


# --- blinker's own face -----------------------------------------------------------------------------------


def test_who_connects_through_blinker_is_called_with_the_event(stage: Stage) -> None:
    seen: list[object] = []

    def receiver(event: object, **extra: object) -> None:
        seen.append(event)

    signal = stage.live.signal(Placed)
    assert signal.connect(receiver) is receiver
    stage.emit(Placed(1))
    stage.emit(Express(2))
    signal.disconnect(receiver)
    stage.emit(Placed(3))
    assert seen == [Placed(1), Express(2)]


def test_blinkers_receivers_are_weak_unless_they_say_otherwise(stage: Stage) -> None:
    seen: list[object] = []
    signal = stage.live.signal(Placed)
    signal.connect(lambda event: seen.append("weak"))
    signal.connect(lambda event: seen.append("strong"), weak=False)
    gc.collect()
    stage.emit(Placed())
    assert seen == ["strong"]


def test_blinkers_disconnect_takes_out_a_handler_of_the_bus(stage: Stage) -> None:
    seen: list[object] = []
    registration = stage.on(Placed, handler=seen.append)
    stage.live.signal(Placed).disconnect(seen.append)
    stage.emit(Placed())
    registration.close()
    assert seen == []


def test_connected_to_and_muted_work_as_in_blinker(stage: Stage) -> None:
    seen: list[str] = []
    signal = stage.live.signal(Placed)
    stage.on(Placed, handler=lambda e: seen.append("own"))
    stage.on(Base, handler=lambda e: seen.append("base"))
    with signal.connected_to(lambda e: seen.append("guest")):
        stage.emit(Placed())
        with signal.muted():
            stage.emit(Placed())
    stage.emit(Placed())
    assert seen == ["own", "base", "guest", "base", "own", "base"]


def test_blinker_can_send_to_handlers_of_the_bus(stage: Stage) -> None:
    seen: list[object] = []
    stage.on(Placed, handler=seen.append)
    signal = stage.live.signal(Placed)
    assert len(signal.send(Placed(1))) == 1
    assert seen == [Placed(1)]
    assert stage.live.signal(Placed) is signal


def test_a_receiver_for_one_sender_is_refused_because_events_have_none(stage: Stage) -> None:
    with pytest.raises(EventDefinitionError, match="sender"):
        stage.live.signal(Placed).connect(print, sender=Placed(1))


def test_an_async_receiver_of_blinker_runs_on_the_loop(stage: Stage) -> None:
    seen: list[object] = []

    async def receiver(event: object) -> None:
        seen.append(event)

    stage.live.signal(Placed).connect(receiver)
    stage.emit(Placed(1))
    stage.loop.wait()
    assert seen == [Placed(1)]


@pytest.mark.parametrize("given", [5, "stage.*", None])
def test_a_signal_is_that_of_a_class(stage: Stage, given: Any) -> None:
    with pytest.raises(EventDefinitionError, match="signal takes an event class, or a base of some, not"):
        stage.live.signal(given)
