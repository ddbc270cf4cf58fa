"""Delivery against a model of forty lines: order per key, at least once, nothing lost from the accounts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from delivery_stage import Oops, standing_still
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventbus import Context, EventBus, Retry, event
from eventbus.retry import fixed
from eventbus.testing import FakeClock

ATTEMPTS, PAUSE = 3, 10.0


@event(name="model.Happened")
class Happened:
    """Something whose first `fails` attempts fail."""

    number: int
    fails: int


@attrs.define
class Delivery:
    number: int
    key: object
    fails: int
    attempts: int = 0
    due: float = 0.0
    state: str = "to come"


class Model:
    """One subscription as it ought to be."""

    def __init__(self, key_of: Callable[[int, str | None], object]) -> None:
        self.key_of = key_of
        self.deliveries: list[Delivery] = []
        self.calls: list[tuple[int, int]] = []
        self.paused = False

    def publish(self, number: int, stream: str | None, fails: int) -> None:
        self.deliveries.append(Delivery(number, self.key_of(number, stream), fails))

    def drain(self, now: float) -> int:
        """Try what is first of its key and due, until nothing is; returns how many were handled."""
        handled, stopped = 0, set[object]()
        for delivery in () if self.paused else self.deliveries:
            if delivery.state == "handled" or delivery.key in stopped:
                continue
            if delivery.state != "dead" and delivery.due <= now:
                handled += self.attempt(delivery, now)
            if delivery.state != "handled":
                stopped.add(delivery.key)
        return handled

    def attempt(self, delivery: Delivery, now: float) -> bool:
        delivery.attempts += 1
        self.calls.append((delivery.number, delivery.attempts))
        if delivery.attempts > delivery.fails:
            delivery.state = "handled"
        elif delivery.attempts == ATTEMPTS:
            delivery.state = "dead"
        else:
            delivery.state, delivery.due = "retrying", now + PAUSE
        return delivery.state == "handled"


ORDERS: dict[str, tuple[Any, Callable[[int, str | None], object]]] = {
    "stream": ("stream", lambda number, stream: stream or number),
    "alone": (None, lambda number, stream: number),
    "log": ("log", lambda number, stream: "the log"),
    "parity": (lambda envelope: str(envelope.event.number % 2), lambda number, stream: number % 2),
    "transactional": ("stream", lambda number, stream: stream or number),
}


# A stream, and how many attempts fail: none, some, or more than there are. Few that die, or they would block all.
EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([0, 0, 0, 1, 1, 1, 2, 2, 9])),
    min_size=1,
    max_size=4,
)


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.models = {name: Model(key_of) for name, (_, key_of) in ORDERS.items()}
        self.calls: dict[str, list[tuple[int, int]]] = {name: [] for name in ORDERS}
        self.published = 0
        self.bus = self.open()

    def open(self) -> EventBus:
        bus = standing_still(Path(self.folder.name) / "log.db", self.clock, durability="process")
        for name, (order_by, _) in ORDERS.items():
            bus.subscribe(
                name,
                Happened,
                handler=self.handler(name),
                order_by=order_by,
                retry=Retry(attempts=ATTEMPTS, backoff=fixed(PAUSE)),
                transactional=name == "transactional",
            )
        bus.start()
        return bus

    def handler(self, name: str) -> Callable[[Happened, Context], None]:
        def handle(happened: Happened, ctx: Context) -> None:
            if name == "transactional":
                ctx.tx.execute("INSERT INTO effects VALUES (?)", (happened.number,))
            self.calls[name].append((happened.number, ctx.attempt))
            if ctx.attempt <= happened.fails:
                raise Oops(f"attempt {ctx.attempt}")

        return handle

    def teardown(self) -> None:
        self.bus.close()
        self.folder.cleanup()

    # -- what happens ------------------------------------------------------------------------------
    @initialize()
    def table(self) -> None:
        with self.bus.transaction() as tx:
            tx.execute("CREATE TABLE effects (number INTEGER)")

    @rule(events=EVENTS)
    def publish(self, events: list[tuple[str | None, int]]) -> None:
        for stream, fails in events:
            self.published += 1
            self.bus.publish(Happened(self.published, fails), stream=stream)
            for model in self.models.values():
                model.publish(self.published, stream, fails)

    @rule(seconds=st.sampled_from([0, PAUSE / 2, PAUSE, PAUSE]))
    def deliver_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        expected = sum(model.drain(self.clock.time()) for model in self.models.values())
        assert self.bus.drain() == expected

    @rule(events=EVENTS)
    def publish_and_deliver(self, events: list[tuple[str | None, int]]) -> None:
        self.publish(events)
        self.deliver_after(0)

    @rule()
    def deliver_until_all_retries_are_over(self) -> None:
        for _ in range(2 * ATTEMPTS):
            self.deliver_after(PAUSE)

    @rule()
    def restart(self) -> None:
        self.bus.close()
        self.bus = self.open()

    @rule(name=st.sampled_from(sorted(ORDERS)), events=EVENTS)
    def pause_for_a_while(self, name: str, events: list[tuple[str | None, int]]) -> None:
        model, subscription = self.models[name], self.bus.subscriptions[name]
        subscription.pause()
        model.paused = True
        self.publish_and_deliver(events)
        subscription.resume()
        model.paused = False

    # -- what holds --------------------------------------------------------------------------------
    @invariant()
    def each_key_is_in_order(self) -> None:
        for name, model in self.models.items():
            keys = {delivery.number: delivery.key for delivery in model.deliveries}
            for key in set(keys.values()):
                mine = [call for call in self.calls[name] if keys[call[0]] == key]
                if name == "transactional":  # a batch that is rolled back runs its events again, one by one
                    mine = sorted(set(mine))
                assert mine == [call for call in model.calls if keys[call[0]] == key]

    @invariant()
    def each_delivery_stands_where_the_model_says(self) -> None:
        words = {"waiting": "to come", "held": "to come"}
        statuses = [self.bus.status(position) for position in range(1, self.published + 1)]
        for name, model in self.models.items():
            assert [words.get(s[name], s[name]) for s in statuses] == [d.state for d in model.deliveries]

    @invariant()
    def the_accounts_add_up(self) -> None:
        for name, model in self.models.items():
            subscription = self.bus.subscriptions[name]
            states = [delivery.state for delivery in model.deliveries]
            assert subscription.row.handled == states.count("handled")
            parked = sum(subscription.counts.values())
            assert parked >= states.count("dead") + states.count("retrying")
            beyond = self.published - subscription.cursor
            stuck = name == "log" and parked  # in strict order the cursor stands before what stopped it
            assert subscription.row.handled + parked + beyond - bool(stuck) == self.published

    @invariant()
    @precondition(lambda self: self.published)
    def effects_in_the_file_happened_exactly_once(self) -> None:
        done = [d.number for d in self.models["transactional"].deliveries if d.state == "handled"]
        rows = self.bus.query("SELECT number FROM effects ORDER BY number")
        assert [row["number"] for row in rows] == done


DeliveryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
test_delivery_does_what_the_model_does = DeliveryMachine.TestCase
