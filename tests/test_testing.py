import threading
import uuid
from datetime import UTC, datetime

import pytest

from eventbus import Context, EventBus, InvalidEvent, WaitTimeout, event
from eventbus.clock import Bell, Deadline
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.testing import FakeClock, context


@event(name="test.OrderPlaced", stream="order-{order_id}")
class OrderPlaced:
    order_id: str
    total: float = 1.0


@event
class Invoiced:
    order_id: str


class Sleeper:
    """A thread that waits for a bell on a clock; `heard` is what its wait returned."""

    def __init__(self, clock: FakeClock, bell: Bell, timeout: float | None) -> None:
        self.heard: bool | None = None
        self._thread = threading.Thread(target=self._sleep, args=(clock, bell, timeout), daemon=True)
        self._thread.start()
        if timeout is not None:
            while not any(each.bell is bell for each in clock._sleepers):
                self._thread.join(0)

    def _sleep(self, clock: FakeClock, bell: Bell, timeout: float | None) -> None:
        self.heard = clock.wait(bell, timeout)

    def awake(self) -> bool | None:
        self._thread.join(60)
        return self.heard


# --- the clock ---------------------------------------------------------------------------------------------


def test_time_stands_still_until_it_is_advanced():
    clock = FakeClock(1000.0)
    before = clock.monotonic()
    assert (clock.time(), clock.time()) == (1000.0, 1000.0)
    clock.advance(2.5)
    assert clock.time() == 1002.5
    assert clock.monotonic() - before == 2.5


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_it_only_moves_forward(seconds):
    with pytest.raises(ValueError, match="forward"):
        FakeClock().advance(seconds)


def test_ids_are_uuid7_increase_and_repeat():
    def make() -> list[str]:
        clock = FakeClock()
        ids = [clock.new_id() for _ in range(100)]
        clock.advance(0.001)
        return [*ids, clock.new_id()]

    ids = make()
    assert ids == sorted(set(ids)) == make()
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert uuid.UUID(ids[0]).int >> 80 == 1767225600_000


def test_clocks_of_different_seeds_make_different_ids():
    assert FakeClock(seed=1).new_id() != FakeClock(seed=2).new_id()


def test_threads_get_different_ids():
    clock, ids = FakeClock(), []
    threads = [threading.Thread(target=lambda: ids.extend(clock.new_id() for _ in range(500))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 4_000


def test_jitter_is_always_half():
    assert FakeClock().jitter(3.0) == 1.5


def test_a_wait_ends_when_the_bell_rings():
    clock, bell = FakeClock(), Bell()
    sleeper = Sleeper(clock, bell, timeout=10)
    bell.ring()
    assert sleeper.awake() is True
    assert clock.time() == FakeClock().time()


def test_a_wait_ends_when_its_time_has_passed():
    clock, bell = FakeClock(), Bell()
    sleeper = Sleeper(clock, bell, timeout=100)
    clock.advance(40)
    clock.advance(59.9)
    assert sleeper.heard is None
    clock.advance(0.1)
    assert sleeper.awake() is False


def test_a_ring_at_the_moment_of_the_timeout_is_not_lost():
    clock, bell = FakeClock(), Bell()
    sleeper = Sleeper(clock, bell, timeout=1)
    clock.on_advance(bell.ring)
    clock.advance(1)
    assert sleeper.awake() or clock.wait(bell, 0)


def test_each_of_many_waits_ends_at_its_own_time():
    clock = FakeClock()
    sleepers = [Sleeper(clock, Bell(), timeout=seconds) for seconds in (100, 200, 300)]
    clock.advance(200)
    assert [sleepers[0].awake(), sleepers[1].awake(), sleepers[2].heard] == [False, False, None]
    clock.advance(100)
    assert sleepers[2].awake() is False


def test_a_wait_without_a_timeout_hears_only_the_bell():
    clock, bell = FakeClock(), Bell()
    sleeper = Sleeper(clock, bell, timeout=None)
    clock.advance(1_000_000)
    bell.ring()
    assert sleeper.awake() is True


def test_a_wait_of_no_time_only_looks():
    clock, bell = FakeClock(), Bell()
    assert clock.wait(bell, 0) is False
    bell.ring()
    assert clock.wait(bell, 0) is True
    assert clock.wait(bell, -1) is False


def test_a_deadline_ends_on_a_clock_that_stands_still_too():
    clock, bell = FakeClock(), Bell()
    deadline = Deadline(clock, 0.01)
    while left := deadline.left(0.005):
        assert left <= 0.005
        clock.wait(bell, left)
    assert clock.monotonic() == 0.0
    late = Deadline(clock, 3600)
    clock.advance(3600)
    assert late.left() == 0.0


def test_whoever_waits_for_a_handler_that_hangs_gets_an_answer_though_the_clock_stands_still(tmp_path):
    hanging, done = threading.Event(), threading.Event()
    with EventBus(tmp_path / "app.db", clock=FakeClock()) as bus:

        @bus.subscribe("slow", OrderPlaced)
        def slow(placed: OrderPlaced) -> None:
            hanging.set()
            done.wait()

        receipt = bus.publish(OrderPlaced("o-1"))
        hanging.wait()
        with pytest.raises(WaitTimeout):
            bus.wait_for(receipt, "slow", timeout=0.01)
        with pytest.raises(WaitTimeout):
            bus.drain(timeout=0.01)
        done.set()
        assert bus.wait_for(receipt, "slow") == "handled"


def test_callbacks_are_told_of_each_advance_until_they_are_taken_out():
    clock, told = FakeClock(0.0), []
    forget = clock.on_advance(lambda: told.append(clock.time()))
    clock.advance(1)
    clock.advance(2)
    forget()
    forget()
    clock.advance(3)
    assert told == [1.0, 3.0]


def test_a_callback_registered_twice_is_taken_out_once_each():
    clock, told = FakeClock(), []

    def callback() -> None:
        told.append("x")

    forget = clock.on_advance(callback)
    clock.on_advance(callback)
    forget()
    clock.advance(1)
    assert told == ["x"]


def test_a_callback_may_advance_and_take_itself_out():
    clock, told = FakeClock(0.0), []

    def once() -> None:
        forget()
        told.append(clock.time())
        clock.advance(5)

    forget = clock.on_advance(once)
    clock.advance(1)
    assert (told, clock.time()) == ([1.0], 6.0)


# --- the context -------------------------------------------------------------------------------------------


def test_a_handler_is_called_plainly_and_what_it_publishes_is_seen():
    def invoice(placed: OrderPlaced, ctx: Context) -> None:
        ctx.publish(Invoiced(placed.order_id))

    placed = OrderPlaced("o-1")
    ctx = context(placed)
    invoice(placed, ctx)
    assert ctx.published == [Invoiced("o-1")]


def test_the_envelope_is_that_of_a_first_event():
    placed = OrderPlaced("o-1", 2.5)
    envelope = context(placed).envelope
    assert envelope.event is placed
    assert (envelope.position, envelope.type, envelope.version, envelope.kind) == (1, "test.OrderPlaced", 1, "domain")
    assert (envelope.stream, envelope.sequence, envelope.source) == ("order-o-1", 1, "test")
    assert envelope.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert (envelope.correlation_id, envelope.causation_id, envelope.metadata) == (envelope.id, None, {})
    assert envelope.payload == '{"order_id":"o-1","total":2.5}'


def test_an_event_without_a_stream_has_no_sequence():
    envelope = context(Invoiced("o-1")).envelope
    assert (envelope.stream, envelope.sequence) == (None, None)
    with pytest.raises(EventDefinitionError, match="no sequence"):
        context(Invoiced("o-1"), sequence=3)


def test_everything_a_handler_may_ask_can_be_set():
    ctx = context(
        OrderPlaced("o-1"),
        position=7,
        stream="other",
        sequence=3,
        time=0.5,
        source="shop",
        correlation_id="root",
        causation_id="parent",
        metadata={"user": "ann"},
        attempt=4,
        is_replay=True,
        stopping=True,
    )
    envelope = ctx.envelope
    assert (envelope.position, envelope.stream, envelope.sequence) == (7, "other", 3)
    assert envelope.time == datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC)
    assert (envelope.source, envelope.correlation_id, envelope.causation_id) == ("shop", "root", "parent")
    assert envelope.metadata == {"user": "ann"}
    assert (ctx.attempt, ctx.is_replay, ctx.stopping) == (4, True, True)


def test_contexts_at_different_positions_have_different_ids_and_the_same_ones_repeat():
    placed = OrderPlaced("o-1")
    assert context(placed).envelope == context(placed).envelope
    assert context(placed, position=2).envelope.id > context(placed).envelope.id


def test_publishing_returns_ids_that_increase():
    ctx = context(OrderPlaced("o-1"))
    ids = [ctx.publish(Invoiced(str(number))) for number in range(5)]
    assert [ctx.envelope.id, *ids] == sorted({ctx.envelope.id, *ids})


def test_what_a_bus_would_refuse_to_publish_is_refused_here():
    ctx = context(OrderPlaced("o-1"))
    with pytest.raises(InvalidEvent):
        ctx.publish(OrderPlaced("o-1", float("nan")))
    with pytest.raises(EventDefinitionError):
        ctx.publish("not an event")
    assert ctx.published == []


def test_a_context_is_made_of_an_event():
    with pytest.raises(EventDefinitionError):
        context("not an event")
    with pytest.raises(InvalidEvent):
        context(OrderPlaced("o-1", float("nan")))


def test_a_context_without_a_transaction_says_so():
    with pytest.raises(EventBusError, match="transactional=True"):
        _ = context(OrderPlaced("o-1")).tx


def test_a_transaction_can_be_given():
    stand_in = object()
    assert context(OrderPlaced("o-1"), transaction=stand_in).tx is stand_in  # type: ignore[arg-type]
