"""A change that is shown at once: confirmed when its event is handled, taken back when nothing comes of it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, Recorder
from delivery_stage import ONCE, Notes, failing, standing_still
from optimistic_stage import Ordered, Orders, Rejected, Reserved, Window, reject, reserve
from process_stage import HEAD, Child

from eventbus import Context, Envelope, EventBus, InvalidEvent, Retry
from eventbus.bus import Undone
from eventbus.errors import BusClosed, EventBusError, EventDefinitionError, WaitTimeout, WouldDeadlock
from eventbus.placement import queue as via_queue
from eventbus.technical import HandlerFailed


@pytest.fixture
def window() -> Window:
    return Window()


@pytest.fixture(params=["memory", "file"])
def bus(request: Any, tmp_path: Path) -> Iterator[EventBus]:
    with EventBus(tmp_path / "shop.db" if request.param == "file" else None) as bus:
        yield bus


# --- confirmed --------------------------------------------------------------------------------------------


def test_a_change_is_applied_before_its_event_is_stored_and_confirmed_when_that_is_handled(
    bus: EventBus, window: Window
) -> None:
    go_on = threading.Event()
    heads: list[int] = []
    bus.subscribe("stock", Ordered, handler=lambda ordered: go_on.wait(PATIENCE))
    bus.project(Orders)
    change = window.order(bus, apply=lambda: heads.append(bus.log.head), stream="orders", metadata={"user": "ada"})
    assert (heads, change.state, window.shown) == ([0], "applied", [])
    go_on.set()
    assert change.wait(PATIENCE) == change.state == "confirmed"
    assert (window.shown, change.why) == (["confirmed"], None)
    stored = bus.log.get(change.receipt.position)
    assert stored is not None
    assert (stored.stream, stored.metadata) == ("orders", {"user": "ada"})


def test_what_nobody_handles_is_confirmed_once_it_is_stored(bus: EventBus, window: Window) -> None:
    change = window.order(bus)
    assert change.wait(PATIENCE) == "confirmed"
    assert bus.log.head == 1


def test_only_the_subscriptions_that_are_named_count(bus: EventBus, window: Window) -> None:
    bus.project(Orders)
    bus.subscribe("mail", Ordered, handler=failing(), retry=ONCE)
    assert window.order(bus, subscriptions=[Orders]).wait(PATIENCE) == "confirmed"
    change = window.order(bus, Ordered("o-2"), subscriptions=["mail", Orders])
    assert (change.wait(PATIENCE), change.why.subscription) == ("rolled back", "mail")


def test_a_subscription_that_is_not_there_keeps_it_open_and_is_logged(
    bus: EventBus, window: Window, caplog: pytest.LogCaptureFixture
) -> None:
    change = window.order(bus, subscriptions=["stok"])
    bus.subscribe("stok", Ordered, handler=Notes(), after=0)
    bus.publish(Reserved("o-1"))
    assert change.wait(PATIENCE) == "confirmed"
    assert caplog.text.count("a change waits for stok") <= 1


def test_on_a_bus_that_is_drained_it_is_settled_by_the_drain(window: Window) -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
        change = window.order(bus)
        with pytest.raises(WaitTimeout, match="neither confirmed nor rolled back"):
            change.wait(0)
        while change.receipt is None:
            pass
        bus.drain()
        assert change.wait(PATIENCE) == "rolled back"


# --- rolled back ------------------------------------------------------------------------------------------


def test_a_change_whose_event_is_dead_lettered_is_rolled_back_once(bus: EventBus, window: Window) -> None:
    notes = failing()
    bus.subscribe("stock", Ordered, handler=notes, retry=Retry(attempts=3, backoff=lambda failures, jitter: 0.0))
    bus.subscribe("mail", Ordered, handler=failing(), retry=ONCE)
    bus.subscribe("fine", Ordered, handler=Notes())
    change = window.order(bus, subscriptions=["stock", "fine"])
    assert change.wait(PATIENCE) == "rolled back"
    assert change.why == window.why[0] == Undone("dead", error="Oops: no", subscription="stock")
    notes.fail = lambda event, ctx: None
    bus.dead_letters.retry(type="*")
    bus.drain()
    assert bus.status(change.receipt)["stock"] == "handled"
    assert (window.shown, change.state) == (["applied", "rolled back"], "rolled back")
    assert window.threads[0].name == "eventbus-teller"


def test_a_change_that_a_person_gives_up_is_rolled_back(window: Window) -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
        bus.publish_many([Ordered(), Ordered()])
        bus.drain()
        change = window.order(bus)
        while change.receipt is None:
            pass
        bus.drain()
        bus.dead_letters.discard(1, reason="no use", whole_key=True)
        bus.drain()
        assert (change.wait(PATIENCE), change.why.reason) == ("rolled back", "discarded")


def test_a_change_whose_event_is_refused_is_rolled_back_and_the_error_is_raised(bus: EventBus, window: Window) -> None:
    with pytest.raises(InvalidEvent):
        window.order(bus, Ordered(7))  # type: ignore[arg-type]
    assert window.shown == ["applied", "rolled back"]
    assert window.why[0].reason == "not stored"
    assert window.threads == [threading.current_thread()]


def test_a_change_whose_event_cannot_be_stored_is_rolled_back(bus: EventBus, window: Window) -> None:
    bus.publish(Ordered())
    change = window.order(bus, expected_version=0)
    assert change.wait(PATIENCE) == "rolled back"
    assert "WrongExpectedVersion" in str(change.why)
    assert (change.receipt, window.shown) == (None, ["applied", "rolled back"])


def test_where_applying_fails_nothing_is_published(bus: EventBus, window: Window) -> None:
    with pytest.raises(ZeroDivisionError):
        window.order(bus, apply=lambda: 1 / 0)
    assert (bus.log.head, window.shown) == (0, [])


# --- undone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("undone_by", [Rejected, (Rejected,), "shop.Rej*", [Reserved, "shop.Rejected"]])
def test_an_event_that_was_caused_by_it_undoes_it(
    bus: EventBus, window: Window, undone_by: Any, transactional: bool
) -> None:
    bus.subscribe("stock", Ordered, handler=reject, transactional=transactional)
    change = window.order(bus, undone_by=undone_by)
    assert change.wait(PATIENCE) == "rolled back"
    assert change.why.by.event == Rejected("o-1")
    assert window.shown == ["applied", "rolled back"]


def test_it_may_be_caused_by_what_it_has_caused_and_the_change_is_not_confirmed_before(
    bus: EventBus, window: Window
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def think(reserved: Reserved, ctx: Context) -> None:
        reached.set()
        assert go_on.wait(PATIENCE)
        reject(reserved, ctx)

    bus.subscribe("stock", Ordered, handler=reserve)
    bus.subscribe("credit", Reserved, handler=think)
    change = window.order(bus, undone_by=Rejected)
    assert reached.wait(PATIENCE)
    with pytest.raises(WaitTimeout):
        change.wait(0.2)
    go_on.set()
    assert change.wait(PATIENCE) == "rolled back"


def test_it_is_confirmed_when_all_that_followed_is_handled(bus: EventBus, window: Window) -> None:
    bus.subscribe("stock", Ordered, handler=reserve)
    bus.subscribe("credit", Reserved, handler=Notes())
    assert window.order(bus, undone_by=Rejected).wait(PATIENCE) == "confirmed"


def test_an_event_that_has_nothing_to_do_with_it_does_not_undo_it(bus: EventBus, window: Window) -> None:
    go_on = threading.Event()
    bus.subscribe("stock", Ordered, handler=lambda ordered: go_on.wait(PATIENCE))
    change = window.order(bus, undone_by=Rejected)
    bus.publish(Rejected("o-1"))
    go_on.set()
    assert change.wait(PATIENCE) == "confirmed"


def test_undoes_says_which_event_undoes_it(bus: EventBus, window: Window) -> None:
    bus.subscribe("stock", Ordered, handler=lambda ordered: threading.Event().wait(0))
    bus.subscriptions["stock"].pause()

    def of_mine(undo: Envelope) -> bool:
        return bool(undo.event.order_id == "o-1")

    change = window.order(bus, undone_by=Rejected, undoes=of_mine)
    bus.publish(Rejected("o-2"))
    with pytest.raises(WaitTimeout):
        change.wait(0.2)
    bus.publish(Rejected("o-1"))
    assert (change.wait(PATIENCE), change.why.by.event) == ("rolled back", Rejected("o-1"))


def test_undoes_that_fails_undoes_nothing(bus: EventBus, window: Window, caplog: pytest.LogCaptureFixture) -> None:
    bus.subscribe("stock", Ordered, handler=reject)
    change = window.order(bus, undone_by=Rejected, undoes=lambda undo: 1 / 0)  # type: ignore[arg-type, return-value]
    assert change.wait(PATIENCE) == "confirmed"
    assert "undoes= failed on" in caplog.text


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"undone_by": [7]}, EventDefinitionError),
        ({"undoes": lambda undo: True}, EventBusError),
        ({"subscriptions": [7]}, EventBusError),
    ],
)
def test_what_is_misspelled_is_refused_before_anything_is_applied(
    bus: EventBus, window: Window, how: dict[str, Any], error: type[EventBusError]
) -> None:
    with pytest.raises(error):
        window.order(bus, **how)
    assert (window.shown, bus.log.head) == ([], 0)


def test_a_keyword_that_is_none_is_refused_by_name(bus: EventBus, window: Window) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'undone'"):
        window.order(bus, undone=Rejected)
    assert window.shown == []


# --- where it runs, and what goes wrong there ---------------------------------------------------------------


def test_via_says_where_it_is_taken_back(bus: EventBus, window: Window) -> None:
    thunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
    change = window.order(bus, via=via_queue(thunks))
    assert (change.wait(PATIENCE), window.shown) == ("rolled back", ["applied"])
    thunks.get(timeout=PATIENCE)()
    assert window.threads == [threading.current_thread()]


def no_window(thunk: Any) -> None:
    raise EventBusError("The window is gone.")


@pytest.mark.parametrize("via", [None, lambda thunk: thunk(), no_window])
def test_a_rollback_that_fails_is_told_as_a_live_handlers_failure(bus: EventBus, window: Window, via: Any) -> None:
    told = Recorder()
    bus.on(HandlerFailed, handler=told)
    bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)

    def rollback(why: Undone) -> None:
        raise SystemExit(3)

    change = window.order(bus, rollback=rollback, via=via)
    assert change.wait(PATIENCE) == "rolled back"
    (failed,) = told.heard(1)
    assert failed.handler.endswith("rollback")
    assert failed.event_id == change.receipt.id
    assert ("window is gone" if via is no_window else "SystemExit: 3") in failed.error


def test_with_errors_raise_it_raises_from_the_end(window: Window) -> None:
    def rollback(why: Undone) -> None:
        raise ZeroDivisionError

    bus = EventBus(errors="raise")
    bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
    bus.start()
    window.order(bus, rollback=rollback).wait(PATIENCE)
    with pytest.raises(ZeroDivisionError):
        bus.close()


# --- the end, and other processes -----------------------------------------------------------------------------

REFUSE = (
    HEAD
    + """
from delivery_stage import ONCE, failing
from optimistic_stage import Ordered, reject
with EventBus(path) as bus:
    bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
    bus.drain()
    say("up")
    sys.stdin.readline()
"""
)
REJECT = REFUSE.replace("failing(), retry=ONCE", "reject")


@pytest.mark.parametrize(("text", "reason"), [(REFUSE, "dead"), (REJECT, "undone")])
def test_what_another_process_does_settles_it_too(tmp_path: Path, window: Window, text: str, reason: str) -> None:
    child = Child(text, tmp_path / "shop.db")
    assert child.says() == "up"
    with EventBus(tmp_path / "shop.db") as bus:
        change = window.order(bus, undone_by=Rejected)
        assert (change.wait(PATIENCE), change.why.reason) == ("rolled back", reason)
    child.end()


def test_a_change_that_is_closed_is_left_as_it_is(window: Window) -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Ordered, handler=failing(), retry=ONCE)
        change = window.order(bus, undone_by=Rejected)
        change.close()
        assert change.wait(PATIENCE) == "applied"
        bus.drain()
        assert bus.emit(Rejected("o-1")) is None
    assert window.shown == ["applied"]
    assert "Ordered applied" in repr(change)


def test_a_bus_that_closes_leaves_what_is_open(window: Window) -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Ordered, handler=Notes())
        change = window.order(bus)
        while change.receipt is None:
            pass
    assert change.wait(PATIENCE) == "applied"
    assert window.shown == ["applied"]
    with pytest.raises(BusClosed):
        window.order(bus)
    assert window.shown == ["applied"]


def test_the_thread_that_follows_goes_when_there_is_nothing_to_follow(bus: EventBus, window: Window) -> None:
    for _ in range(3):
        window.order(bus).wait(PATIENCE)
    thread = bus._optimism()._thread
    if thread is not None:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert bus._optimism()._open == []


def test_what_would_wait_for_itself_is_refused(bus: EventBus, window: Window) -> None:
    raised: list[BaseException] = []
    change = window.order(bus)
    change.wait(PATIENCE)

    def ask(reserved: Reserved) -> None:
        with pytest.raises(WouldDeadlock) as caught:
            change.wait()
        raised.append(caught.value)

    async def main() -> None:
        with pytest.raises(WouldDeadlock, match="to_thread"):
            change.wait()

    bus.on(Reserved, handler=ask)
    bus.submit(Reserved("o-1")).result(PATIENCE)
    asyncio.run(main())
    with bus.transaction(), pytest.raises(WouldDeadlock, match="after the with block"):
        window.order(bus)
    assert (len(raised), window.shown) == (1, ["applied", "confirmed"])
