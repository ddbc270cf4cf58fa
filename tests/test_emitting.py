"""What is asked once for a class and not at each emit still holds at each emit."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from bus_stage import PATIENCE, Paid, Placed, Tick, elsewhere
from delivery_stage import standing_still

from eventbus import EventBus
from eventbus.dispatch import MOST_NESTED, nesting, running
from eventbus.errors import BusClosed, CausationLoop, EventDefinitionError, ForkedBus


def in_a_child(work: Callable[[], object]) -> str:
    """What `work` returns or raises in a forked process, in words."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            told = str(work())
        except BaseException as error:
            told = type(error).__name__
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def heard() -> list[object]:
    return []


@pytest.fixture
def bus(heard: list[object]) -> Any:
    """A bus that has emitted before."""
    with standing_still() as bus:
        bus.on(Placed, handler=heard.append)
        bus.emit(Placed())
        bus.emit(Placed())
        heard.clear()
        yield bus


def test_a_bus_that_was_closed_emits_no_more(bus, heard):
    bus.close()
    with pytest.raises(BusClosed):
        bus.emit(Placed())
    assert heard == []


def test_a_handler_that_closes_the_bus_is_the_last_emit_of_it(bus, heard):
    bus.on(Placed, handler=lambda placed: bus.close(), priority=1)
    bus.emit(Placed(1))
    with pytest.raises(BusClosed):
        bus.emit(Placed(2))
    assert heard == [Placed(1)]


@needs_fork
def test_the_child_of_a_fork_does_not_emit_on_its_parents_bus(bus, heard):
    assert in_a_child(lambda: bus.emit(Placed())) == ForkedBus.__name__
    bus.emit(Placed(1))
    assert heard == [Placed(1)]


def test_who_comes_and_goes_between_two_emits_is_heard_of_at_the_next(bus, heard):
    first: list[object] = []
    registration = bus.on(Placed, handler=first.append, priority=1)
    bus.emit(Placed(1))
    registration.close()
    bus.emit(Placed(2))
    bus.signal(Placed).connect(first.append, weak=False)
    bus.emit(Placed(3))
    with bus.signal(Placed).muted():
        bus.emit(Placed(4))
    bus.off(heard.append)
    bus.emit(Placed(5))
    assert heard == [Placed(1), Placed(2), Placed(3)]
    assert first == [Placed(1), Placed(3), Placed(5)]


def test_who_goes_while_an_event_is_told_is_not_called_and_the_others_are(bus, heard):
    gone: list[object] = []
    bus.on(Placed, handler=lambda placed: going.close(), priority=2)
    going = bus.on(Placed, handler=gone.append, priority=1)
    bus.emit(Placed(1))
    assert (gone, heard) == ([], [Placed(1)])


def test_a_weak_handler_that_is_collected_is_not_called(bus, heard):
    class Window:
        def draw(self, placed: Placed) -> None:
            heard.append("drawn")

    window = Window()
    bus.on(Placed, handler=window.draw, weak=True)
    bus.emit(Placed(1))
    del window
    gc.collect()
    bus.emit(Placed(2))
    bus.emit(Placed(3))
    assert heard == [Placed(1), "drawn", Placed(2), Placed(3)]


def test_a_class_that_nobody_hears_yet_is_heard_by_the_first_who_comes(bus, heard):
    bus.emit(Paid(1))
    bus.emit(Paid(2))
    bus.on(Paid, handler=heard.append)
    bus.emit(Paid(3))
    assert heard == [Paid(3)]


def test_what_is_no_event_is_refused_each_time(bus):
    for _ in range(2):
        with pytest.raises(EventDefinitionError):
            bus.emit("placed")


def test_a_failing_handler_stops_no_other_and_is_told_of_each_time(heard):
    def fail(placed: Placed) -> None:
        raise ValueError(f"broken {placed.number}")

    with standing_still(errors="raise") as bus:
        bus.on(Placed, handler=fail, priority=1)
        bus.on(Placed, handler=heard.append)
        for number in range(3):
            with pytest.raises(ValueError, match=f"broken {number}"):
                bus.emit(Placed(number))
        bus.on(Placed, handler=lambda placed: fail(placed))
        with pytest.raises(ExceptionGroup) as caught:
            bus.emit(Placed(3))
    assert [str(each) for each in caught.value.exceptions] == ["broken 3", "broken 3"]
    assert heard == [Placed(number) for number in range(4)]


def test_an_exit_goes_on_through_emit_once_all_were_called(bus, heard):
    def leave(placed: Placed) -> None:
        raise SystemExit(3)

    bus.on(Placed, handler=leave, priority=1)
    for number in range(2):
        with pytest.raises(SystemExit):
            bus.emit(Placed(number))
    assert heard == [Placed(0), Placed(1)]
    assert (running, nesting.told) == ([], [])


def test_a_plain_function_that_returns_a_coroutine_is_run_by_the_loop(bus):
    done = threading.Event()

    async def save(placed: Placed) -> None:
        done.set()

    bus.on(Placed, handler=lambda placed: save(placed))
    bus.on(Placed, handler=lambda placed: "what a handler returns is nobody's business")
    bus.emit(Placed(1))
    assert done.wait(PATIENCE)
    done.clear()
    bus.emit(Placed(2))
    assert done.wait(PATIENCE)


# --- how deep ---------------------------------------------------------------------------------------------


def round_and_round(
    bus: EventBus, begin: Callable[[], object], ways: dict[type, Callable[[], object]]
) -> tuple[list[type], CausationLoop]:
    """Handlers that go round for ever; what was told, the outermost first, and what ended it."""
    told: list[type] = []
    refused: list[CausationLoop] = []

    def go_on(placed: object) -> None:
        told.append(type(placed))
        try:
            ways[type(placed)]()
        except CausationLoop as error:
            refused.append(error)

    registration = bus.on(*ways, handler=go_on)
    try:
        begin()
    finally:
        registration.close()
    (error,) = refused
    return told, error


@pytest.mark.parametrize("verb", ["emit", "publish"])
def test_what_is_emitted_and_what_is_published_count_alike(verb):
    with standing_still() as bus:
        for cls in (Placed, Paid):
            bus.emit(cls())  # from now on it is ready
        ways = {Placed: lambda: bus.emit(Paid()), Paid: lambda: getattr(bus, verb)(Placed())}
        for _ in range(2):
            told, error = round_and_round(bus, ways[Paid], ways)
            assert told == [Placed, Paid] * (MOST_NESTED // 2)
            assert error.causes == MOST_NESTED
            assert [name.rpartition(".")[2] for name, _, _ in error.cycle] == ["Placed", "Paid"]
    assert (running, nesting.told) == ([], [])


def test_the_first_counts_that_was_emitted_whatever_is_nested_in_it():
    with standing_still() as bus:
        bus.emit(Placed())
        again = {Placed: lambda: bus.publish(Paid()), Paid: lambda: bus.publish(Paid())}
        told, error = round_and_round(bus, lambda: bus.emit(Placed()), again)
        assert told == [Placed, *[Paid] * (MOST_NESTED - 1)]
        assert error.causes == MOST_NESTED


def test_what_another_thread_emits_meanwhile_does_not_count_here(bus, heard):
    inside, go_on = threading.Event(), threading.Event()

    def wait(paid: Paid) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    def tick() -> None:
        bus.emit(Tick())

    bus.on(Paid, handler=wait)
    bus.emit(Placed(1))
    thread = threading.Thread(target=bus.emit, args=(Paid(),))
    thread.start()
    try:
        assert inside.wait(PATIENCE)
        bus.emit(Placed(2))
        told, _ = elsewhere(lambda: round_and_round(bus, tick, {Tick: tick}))
    finally:
        go_on.set()
        thread.join(PATIENCE)
    assert told == [Tick] * MOST_NESTED
    assert heard == [Placed(1), Placed(2)]
    assert running == []


@needs_fork
def test_a_child_forked_by_a_handler_begins_anew(bus, heard):
    told: list[str] = []

    def fork(placed: Placed) -> None:
        told.append(in_a_child(lambda: running))

    bus.on(Placed, handler=fork)
    bus.emit(Placed(1))  # now it is ready
    bus.on(Paid, handler=lambda paid: bus.emit(Placed(2)))
    elsewhere(lambda: bus.emit(Paid()))
    bus.emit(Placed(3))
    assert told == ["[]", "[]", str([Placed])]
