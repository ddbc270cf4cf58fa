"""What is asked for: what a log could not hold is not there, and what makes no sense is refused in our own words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from delivery_stage import Counted, failing, standing_still

from eventbus import EventBus, EventBusError, Retry

HUGE = 10**30
HALF = "\ud800"  # half of a surrogate pair, which UTF-8 cannot carry


@pytest.fixture
def bus() -> Iterator[EventBus]:
    """A bus with one dead letter, at position 1."""
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=Retry(attempts=1))
        bus.publish(Counted(1))
        bus.drain()
        yield bus


@pytest.mark.parametrize("which", [HUGE, -HUGE, HALF, "nothing"])
def test_what_a_log_could_not_hold_is_not_there(bus: EventBus, which: Any) -> None:
    assert bus.log.get(which) is None
    assert bus.dead_letters.get(which) is None
    assert bus.schedules.get(str(which)) is None
    assert which not in bus.subscriptions if isinstance(which, str) else True
    for ask in (bus.status, bus.dead_letters.retry, lambda which: bus.dead_letters.get(1, str(which))):
        with pytest.raises(EventBusError):
            ask(which)


REFUSED: dict[str, tuple[Callable[[EventBus, Any], object], str, list[Any]]] = {
    "the event of a dead letter": (
        lambda bus, which: bus.dead_letters.get(which),
        "A dead letter is named by",
        [None, 1.5, b"1", object(), Counted],
    ),
    "dead letters by type": (
        lambda bus, value: bus.dead_letters.list(type=value),
        "type= takes event classes, names and patterns",
        [3, 1.5, object(), [3], b"Placed"],
    ),
    "dead letters by error": (
        lambda bus, value: bus.dead_letters.list(error=value),
        "error= is a text",
        [3, HUGE, HALF, ("Oops",)],
    ),
    "dead letters by text": (lambda bus, value: bus.dead_letters.list(text=value), "text= is a text", [3, HUGE, HALF]),
    "dead letters by subscription": (
        lambda bus, value: bus.dead_letters.list(subscription=value),
        "subscription= is a text",
        [3, HUGE, HALF],
    ),
    "so many dead letters": (
        lambda bus, value: bus.dead_letters.list(limit=value),
        "limit= is",
        [HUGE, -1, True, "1", None],
    ),
    "so many schedules": (lambda bus, value: bus.schedules.list(limit=value), "limit= is", [HUGE, -1, True, "1", None]),
    "so many events": (lambda bus, value: bus.log.read(limit=value), "limit= is", [HUGE, -1, True, "1"]),
    "events after": (lambda bus, value: bus.log.read(after=value), "after= is", [HUGE, -1, True, "1", None]),
    "events until": (lambda bus, value: bus.log.read(until=value), "until= is", [HUGE, -1, True, "1"]),
    "events of a stream": (lambda bus, value: bus.log.read(stream=value), "stream= is a text", [HUGE, HALF, b"a"]),
    "a sender": (lambda bus, value: bus.inbox.list(value), "source= is a text", [HUGE, HALF, b"a"]),
    "a reason": (lambda bus, value: bus.subscriptions["stock"].pause(value), "reason= is a text", [HUGE, HALF, 3]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_in_words_of_our_own(bus: EventBus, what: str) -> None:
    ask, why, values = REFUSED[what]
    for value in values:
        with pytest.raises(EventBusError, match=why):
            ask(bus, value)


@pytest.mark.parametrize("verb", ["list", "retry", "discard"])
def test_a_filter_of_dead_letters_that_is_misspelt_lets_nothing_through(bus: EventBus, verb: str) -> None:
    how = {"reason": "a test"} if verb == "discard" else {}
    with pytest.raises(TypeError, match="no filter 'typ' of dead letters; there are: subscription, type, error"):
        getattr(bus.dead_letters, verb)(typ="shop.*", **how)
    assert len(bus.dead_letters.list()) == 1
