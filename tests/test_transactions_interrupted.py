"""Ctrl-C at any moment of a publish or a transaction: the bus goes on, for this thread and for the others."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any

import pytest
from bus_stage import Placed, elsewhere

from eventbus import EventBus

# A connection that Ctrl-C kept from being kept is closed by the collector; CPython 3.13 warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")


@pytest.fixture(params=["file", "memory"])
def bus(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[EventBus]:
    path = tmp_path / "shop.db" if request.param == "file" else None
    with EventBus(path, delivery="manual", durability="process") as bus:
        bus.publish(Placed(0))
        yield bus
    gc.collect()


def interrupted(action: Callable[[], object], nth: int) -> bool:
    """Run `action` with a Ctrl-C at its `nth` chance: as a function begins, or as one written in C returns.

    These are where CPython looks for signals. False if the action was over before.
    """
    left = nth

    def watch(frame: FrameType, happening: str, _: object) -> None:
        nonlocal left
        resumed = frame.f_code.co_flags & CO_GENERATOR and frame.f_lasti > 0  # its `finally` catches a real one
        if happening == "c_return" or (happening == "call" and not resumed):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    gc.disable()  # what others do when it runs is no chance of ours
    sys.setprofile(watch)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
        gc.enable()
    return False


def at_each_chance(action: Callable[[], object]) -> Iterator[int]:
    nth = 1
    while interrupted(action, nth):
        yield nth
        nth += 1


def test_a_publish_can_be_interrupted_anywhere(bus: EventBus) -> None:
    for nth in at_each_chance(lambda: bus.publish(Placed(1))):
        assert elsewhere(lambda: bus.publish(Placed(2))).position == bus.log.head, nth
    assert [each.position for each in bus.log.read()] == list(range(1, bus.log.head + 1))


def test_a_transaction_can_be_interrupted_anywhere(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE orders (number INTEGER)")

    def order() -> None:
        with bus.transaction() as tx:
            tx.execute("INSERT INTO orders VALUES (1)")
            tx.publish(Placed(1))

    for nth in at_each_chance(order):
        assert elsewhere(lambda: bus.publish(Placed(2))).position == bus.log.head, nth
        assert bus.publish(Placed(3)).position == bus.log.head, nth
    (rows,) = bus.query("SELECT count(*) AS n FROM orders")
    assert rows["n"] == sum(each.event == Placed(1) for each in bus.log.read())


def test_whoever_waits_in_line_is_let_in_whatever_interrupts_the_one_inside(bus: EventBus) -> None:
    turnstile = bus._attachment.engine().storage.turnstile

    def publish_before(other: threading.Thread) -> None:
        with bus.transaction():
            other.start()
            while not turnstile._waiting:
                pass

    chances = 0
    while True:
        chances += 1
        other = threading.Thread(target=lambda: bus.publish(Placed(1)), daemon=True)
        was_interrupted = interrupted(lambda other=other: publish_before(other), chances)  # type: ignore[misc]
        if other.ident is not None:
            other.join(20)
            assert not other.is_alive(), chances
        if not was_interrupted or chances > 400:
            break
