"""Publishing from many threads at once, and on both sides of a fork."""

import os
import threading

import pytest
from bus_stage import PATIENCE, Placed, at_once

from eventbus import EventBus
from eventbus.errors import ForkedBus


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise")
    yield made
    made.close()


def test_threads_publishing_at_once_leave_no_holes(bus):
    def work(number: int) -> None:
        for n in range(20):
            bus.publish(Placed(n), stream=f"order-{number % 3}")

    at_once(*[lambda number=number: work(number) for number in range(12)])
    envelopes = list(bus.log.read())
    assert [each.position for each in envelopes] == list(range(1, 241))
    for stream in ("order-0", "order-1", "order-2"):
        sequences = [each.sequence for each in envelopes if each.stream == stream]
        assert sequences == list(range(1, 81))


def test_what_a_thread_published_it_can_read_at_once(bus):
    def work() -> None:
        for n in range(20):
            assert bus.log.get(bus.publish(Placed(n)).id).event == Placed(n)

    at_once(*[work] * 4)


def test_recorded_shows_what_threads_published_at_once_in_the_order_of_the_log(bus, monkeypatch):
    engine = bus._attachment.engine()
    note, second_noted = engine.note, threading.Event()

    def note_the_first_one_late(appended) -> None:
        if appended[0].receipt.position == 1:
            second_noted.wait(PATIENCE)
        note(appended)
        if appended[0].receipt.position == 2:
            second_noted.set()

    monkeypatch.setattr(engine, "note", note_the_first_one_late)
    with bus.recorded() as seen:
        at_once(*[lambda number=number: bus.publish(Placed(number)) for number in range(2)])
    assert seen == [each.event for each in bus.log.read()]


# --- fork --------------------------------------------------------------------------------------------------


def in_a_child(work) -> str:
    """What `work` returns in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, str(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    "use",
    [
        lambda bus: bus.publish(Placed()),
        lambda bus: bus.submit(Placed()),
        lambda bus: bus.emit(Placed()),
        lambda bus: bus.log.head,
        lambda bus: bus.transaction().__enter__(),
        lambda bus: bus.drain(),
    ],
    ids=["publish", "submit", "emit", "read", "transaction", "drain"],
)
def test_a_fork_may_not_use_its_parents_bus(bus, use):
    bus.publish(Placed())
    assert in_a_child(lambda: use(bus)).startswith(ForkedBus.__name__)
    assert bus.publish(Placed()).position == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_may_not_use_what_its_parent_took_from_the_bus_either(bus):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed())
    orders, storage = bus.subscriptions["orders"], bus._attachment.engine().storage
    uses = [
        lambda: orders.pause(),
        lambda: orders.state,
        lambda: storage.query("SELECT 1", ()),
        lambda: storage.writing().__enter__(),
        lambda: storage.begin_guest(None, synced=True),
    ]
    for use in uses:
        assert in_a_child(use).startswith(ForkedBus.__name__)
    assert (orders.state, bus.publish(Placed()).position) == ("active", 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_can_make_a_bus_of_its_own_on_the_same_file(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:  # no thread is inside SQLite when it forks
        bus.publish(Placed(1))

        def child() -> str:
            bus.close()
            with EventBus(tmp_path / "shop.db", delivery="manual") as own:
                return f"{own.publish(Placed(2)).position} {own.submit(Placed(3)).result(10).position}"

        assert in_a_child(child) == "2 3"
        assert bus.publish(Placed(4)).position == 4
        assert [each.event.number for each in bus.log.read()] == [1, 2, 3, 4]
