"""Delivery against a model: order per key, exactly-once in the file, accounts that add up, whatever happens.

What the process meets at random, one rule each; the kinds of subscriptions are the table in delivery_kinds.py.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from delivery_kinds import KINDS, Drop, Echoed, Happened, Kind, Rare, Stop
from delivery_model import ATTEMPTS, PAUSE, Delivery, Model, Seen, World
from delivery_stage import Oops
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventbus import Context, EventBus, Retry
from eventbus.events import event_type, vocabulary
from eventbus.retry import fixed
from eventbus.testing import FakeClock

RETRY = Retry(attempts=ATTEMPTS, backoff=fixed(PAUSE), outage=(ConnectionError,), on={Drop: "discard", Stop: "pause"})
MOST_ADDED = 2

# A stream, and how its attempts end. Few that die or pause, or they would block all.
FATES = [(0, "well")] * 5 + [(1, "well")] * 2 + [(2, "well"), (9, "well"), (0, "drop"), (0, "pause"), (0, "outage")]
STREAMS = st.sampled_from(["a", "b", "c", None])
Event = tuple[str | None, tuple[int, str]]
EVENTS = st.lists(st.tuples(STREAMS, st.sampled_from(FATES)), min_size=1, max_size=4)
ACTIONS = st.tuples(st.integers(0, 20), st.sampled_from(["retry", "edit", "discard", "discard the key"]))
_DELIVERIES = (
    "SELECT d.position, d.state, d.attempts, d.due, d.order_key FROM eventbus_deliveries d"
    " JOIN eventbus_subscriptions s ON s.id = d.subscription_id WHERE s.name = ?"
)
_COUNTERS = "SELECT cursor, ahead, handled, discarded FROM eventbus_subscriptions WHERE name = ?"


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path, self.copies = Path(self.folder.name) / "log.db", 0
        self.clock = FakeClock()
        self.kinds = dict(KINDS)
        self.models = {name: Model(kind.key_of) for name, kind in KINDS.items()}
        self.done: dict[str, list[int]] = {name: [] for name in KINDS}
        self.events: list[tuple[Delivery, str | None, int]] = []  # with stream and position
        self.outage, self.calm, self.loaded = False, frozenset[int](), False
        self.calls_until_death: int | None = None
        self.bus = self.open()

    def another_bus(self) -> EventBus:
        return EventBus(self.path, clock=self.clock, delivery="manual", durability="process")

    def open(self) -> EventBus:
        vocabulary._loaded.pop(("model.Rare", 1), None)  # as if its module had not been imported here
        self.loaded = False
        bus = self.another_bus()
        for name in self.kinds:
            self.subscribe(bus, name, "now")
        bus.start()
        return bus

    def subscribe(self, bus: EventBus, name: str, after: Any) -> None:
        kind = self.kinds[name]
        bus.subscribe(name, kind.target, handler=self.handler(name, kind), retry=RETRY, after=after, **kind.how)

    def handler(self, name: str, kind: Kind) -> Callable[[Any, Context], None]:
        def handle(happened: Any, ctx: Context) -> None:
            if kind.transactional:
                ctx.tx.execute("INSERT INTO effects (kind, number) VALUES (?, ?)", (name, happened.number))
            self.die_at_some_call()
            if happened.ends == "pause" and happened.number not in self.calm:
                raise Stop("please")
            if happened.ends == "outage" and self.outage:
                raise ConnectionError("nobody there")
            if happened.ends == "drop":
                raise Drop("never")
            if ctx.attempt <= happened.fails:
                raise Oops(f"attempt {ctx.attempt}")
            if kind.echoes:
                ctx.publish(Echoed(name, happened.number))
            if not kind.transactional and self.calls_until_death != 0:
                self.done[name].append(happened.number)

        return self.of_lists(name, handle) if kind.how.get("batch") else handle

    def of_lists(self, name: str, handle: Callable[[Any, Context], None]) -> Callable[[Any, Context], None]:
        """All of a list or none of it: what is done is noted once nothing of it has failed."""

        def handle_list(events: list[Any], ctx: Context) -> None:
            before = len(self.done[name])
            try:
                for each in events:
                    handle(each, ctx)
            except BaseException:
                del self.done[name][before:]
                raise

        return handle_list

    def die_at_some_call(self) -> None:
        """What is in the files at this moment is what a process that dies now leaves behind."""
        if self.calls_until_death:
            self.calls_until_death -= 1
            if self.calls_until_death == 0:
                self.copy()

    def copy(self) -> None:
        self.copies += 1
        copy = self.path.with_name(f"log{self.copies}.db")
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copy(f"{self.path}{suffix}", f"{copy}{suffix}")
        self.left_behind = copy

    def teardown(self) -> None:
        try:
            self.each_status_says_so()
        finally:
            vocabulary.remember(event_type(Rare))
            self.bus.close()
            self.folder.cleanup()

    @property
    def world(self) -> World:
        return World(self.clock.time(), self.outage, self.calm, self.loaded)

    # -- what is published -------------------------------------------------------------------------
    @initialize()
    def table(self) -> None:
        with self.bus.transaction() as tx:
            tx.execute("CREATE TABLE effects (id INTEGER PRIMARY KEY, kind TEXT, number INTEGER)")

    def store(self, bus: EventBus, delivery: Delivery, stream: str | None) -> None:
        cls = Rare if delivery.rare else Happened
        receipt = bus.publish(cls(delivery.number, delivery.fails, delivery.ends), stream=stream)
        self.events.append((delivery, stream, receipt.position))
        for name, kind in self.kinds.items():
            if kind.rare or not delivery.rare:
                self.models[name].publish(delivery, stream)

    @rule(events=EVENTS)
    def publish(self, events: list[Event]) -> None:
        for stream, (fails, ends) in events:
            self.store(self.bus, Delivery(len(self.events) + 1, fails, ends), stream)

    @rule(events=EVENTS)
    def publish_and_deliver(self, events: list[Event]) -> None:
        self.publish(events)
        self.deliver_after(0)

    @rule(stream=STREAMS)
    def publish_through_another_bus(self, stream: str | None) -> None:
        with self.another_bus() as other:
            self.store(other, Delivery(len(self.events) + 1), stream)

    @rule(stream=STREAMS, restart=st.booleans())
    def publish_what_few_know(self, stream: str | None, restart: bool) -> None:
        self.store(self.bus, Delivery(len(self.events) + 1, rare=True), stream)
        self.load_the_rare_class()
        if restart:
            self.restart()

    # -- what is delivered -------------------------------------------------------------------------
    @rule(seconds=st.sampled_from([0, PAUSE / 2, PAUSE, PAUSE]))
    def deliver_after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        before = self.handled()
        stopped = [name for name, model in self.models.items() if model.drain(self.world)]
        count = self.bus.drain()
        for name in stopped:
            self.agree(name, crashed=False)
            assert self.models[name].paused
        assert count == self.handled() - before

    @rule()
    def deliver_until_all_retries_are_over(self) -> None:
        for _ in range(2 * ATTEMPTS):
            self.deliver_after(PAUSE)

    def handled(self) -> int:
        return sum(len(model.in_state("handled")) for model in self.models.values())

    # -- what befalls the process ------------------------------------------------------------------
    @rule()
    def restart(self) -> None:
        self.bus.close()
        self.bus = self.open()

    @rule()
    def die_idle(self) -> None:
        self.copy()
        self.go_on_with_what_is_left()

    @rule(calls=st.integers(1, 12), seconds=st.sampled_from([0, PAUSE]))
    def die_while_handling(self, calls: int, seconds: float) -> None:
        self.clock.advance(seconds)
        self.calls_until_death = calls
        self.bus.drain()
        died, self.calls_until_death = self.calls_until_death == 0, None
        if not died:
            self.copy()
        for model in self.models.values():
            model.drain(self.world)
        self.go_on_with_what_is_left()
        for name, model in self.models.items():
            self.agree(name, crashed=died)
            handled = set(model.in_state("handled"))
            self.done[name] = [number for number in self.done[name] if number in handled]

    def go_on_with_what_is_left(self) -> None:
        self.bus.close()
        self.path = self.left_behind
        self.bus = self.open()

    def agree(self, name: str, *, crashed: bool) -> None:
        self.models[name].agree(self.seen(name), self.clock.time(), crashed=crashed)
        self.models[name].paused = self.bus.subscriptions[name].state == "paused"

    # -- what people do ----------------------------------------------------------------------------
    @rule(stream=st.sampled_from(["a", "b"]), behind=EVENTS, dealt=st.lists(ACTIONS, max_size=4))
    def one_dies_and_others_are_held(self, stream: str, behind: list[Event], dealt: list[tuple[int, str]]) -> None:
        self.publish([(stream, (9, "well")), *((stream, fate) for _, fate in behind)])
        self.deliver_until_all_retries_are_over()
        for which, action in dealt:
            self.deal_with_a_dead_letter(which, action)

    @precondition(lambda self: any(model.in_state("dead") for model in self.models.values()))
    @rule(dealt=st.lists(ACTIONS, min_size=1, max_size=4))
    def deal_with_dead_letters(self, dealt: list[tuple[int, str]]) -> None:
        for which, action in dealt:
            self.deal_with_a_dead_letter(which, action)

    def deal_with_a_dead_letter(self, which: int, action: str) -> None:
        letters = self.bus.dead_letters.list(limit=1000)
        if not letters:
            return
        letter = letters[which % len(letters)]
        name, at = letter.subscription, letter.position
        number = self.number_at(at)
        if action == "edit":
            self.bus.dead_letters.edit(letter, {"number": number, "fails": 0, "ends": "well"}, subscription=name)
            self.models[name].change(number, fails=0, ends="well")
        if action in ("edit", "retry"):
            self.bus.dead_letters.retry(letter, subscription=name)
            self.models[name].change(number, state="to come", attempts=0, due=self.clock.time())
            return
        whole_key = action == "discard the key"
        behind = self.held_behind(name, at) if whole_key else []
        assert letter.held == len(self.held_behind(name, at))
        self.bus.dead_letters.discard(letter, subscription=name, reason="void", whole_key=whole_key)
        for gone in (number, *behind):
            self.models[name].change(gone, state="discarded")

    def held_behind(self, name: str, at: int) -> list[int]:
        rows = {row["position"]: row for row in self.bus.query(_DELIVERIES, (name,))}
        key = rows[at]["order_key"]
        held = [row for row in rows.values() if row["state"] == "held" and row["position"] > at]
        return [self.number_at(row["position"]) for row in held if key is not None and row["order_key"] == key]

    @rule(name=st.sampled_from(sorted(KINDS)))
    def pause_or_resume(self, name: str) -> None:
        model, subscription = self.models[name], self.bus.subscriptions[name]
        if model.paused:
            subscription.resume()
        else:
            subscription.pause()
        model.paused = not model.paused

    @precondition(lambda self: any(model.paused for model in self.models.values()))
    @rule()
    def resume_all_and_mend_what_paused_them(self) -> None:
        self.calm |= {delivery.number for delivery, _, _ in self.events}
        for name, model in self.models.items():
            if model.paused:
                self.pause_or_resume(name)

    @rule(events=EVENTS, name=st.sampled_from(sorted(KINDS)))
    def pause_for_a_while(self, name: str, events: list[Event]) -> None:
        self.pause_or_resume(name)
        self.publish_and_deliver(events)
        if self.models[name].paused:
            self.pause_or_resume(name)

    @rule()
    def the_outage_begins_or_ends(self) -> None:
        self.outage = not self.outage

    @rule()
    def load_the_rare_class(self) -> None:
        vocabulary.remember(event_type(Rare))
        self.loaded = True

    @precondition(lambda self: len(self.kinds) < len(KINDS) + MOST_ADDED)
    @rule(like=st.sampled_from(sorted(KINDS)), after=st.sampled_from(["now", 0]))
    def add_a_subscription(self, like: str, after: Any) -> None:
        name = f"{like}, added {len(self.kinds)}"
        kind = self.kinds[name] = KINDS[like]
        model = self.models[name] = Model(kind.key_of)
        self.done[name] = []
        for delivery, stream, _ in self.events if after == 0 else ():
            if kind.rare or not delivery.rare:
                model.publish(delivery, stream)
        self.subscribe(self.bus, name, after)
        self.deliver_after(0)

    # -- what holds --------------------------------------------------------------------------------
    def number_at(self, position: int) -> int:
        return next(delivery.number for delivery, _, at in self.events if at == position)

    def seen(self, name: str) -> dict[int, Seen]:
        """Where each delivery stands, as the tables say."""
        rows = {row["position"]: row for row in self.bus.query(_DELIVERIES, (name,))}
        (counters,) = self.bus.query(_COUNTERS, (name,))
        ahead = json.loads(counters["ahead"])
        found = {}
        for delivery, _, position in self.events:
            row = rows.get(position)
            if row is None:
                found[delivery.number] = Seen(
                    "done" if position <= counters["cursor"] or position in ahead else "to come"
                )
            elif row["state"] == "retrying":
                due = datetime.fromisoformat(row["due"]).timestamp()
                later = due if due > self.clock.time() else None
                is_first = row["attempts"] == 0 and later is None
                found[delivery.number] = Seen("to come") if is_first else Seen("retrying", row["attempts"], later)
            else:
                word = {"held": "to come", "waiting": "unloaded"}.get(row["state"], row["state"])
                found[delivery.number] = Seen(word, row["attempts"])
        return found

    @invariant()
    def each_delivery_stands_where_the_model_says(self) -> None:
        now = self.clock.time()
        for name, model in self.models.items():
            seen = self.seen(name)
            assert {each.number: seen[each.number] for each in model.all()} == {
                each.number: each.seen(now) for each in model.all()
            }, name

    @invariant()
    def the_accounts_add_up(self) -> None:
        for name, model in self.models.items():
            (row,) = self.bus.query(_COUNTERS, (name,))
            assert row["handled"] == len(model.in_state("handled")), name
            assert row["discarded"] == len(model.in_state("dropped", "discarded")), name

    @invariant()
    def each_key_is_in_order_and_effects_in_the_file_happened_exactly_once(self) -> None:
        rows = self.bus.query("SELECT kind, number FROM effects ORDER BY id") if self.events else []
        for name, model in self.models.items():
            done = self.done[name]
            if self.kinds[name].transactional:
                done = [row["number"] for row in rows if row["kind"] == name]
            assert sorted(done) == model.in_state("handled"), name
            for queue in model.queues.values():
                mine = {each.number for each in queue.line}
                in_this_key = [number for number in done if number in mine]
                assert in_this_key == sorted(in_this_key), name

    @invariant()
    def what_handlers_publish_is_there_exactly_once(self) -> None:
        echoes = [json.loads(envelope.payload or "") for envelope in self.bus.log.read(types="echo.*")]
        handled = [
            (n, number)
            for n, kind in self.kinds.items()
            if kind.echoes
            for number in self.models[n].in_state("handled")
        ]
        assert Counter((echo["by"], echo["number"]) for echo in echoes) == Counter(handled)

    def each_status_says_so(self) -> None:
        words = {"dropped": {"handled"}, "unloaded": {"waiting"}, "to come": {"waiting", "held", "retrying"}}
        for delivery, _, position in self.events:
            statuses = self.bus.status(position)
            for name, model in self.models.items():
                for each in model.all():
                    if each.number == delivery.number:
                        assert statuses[name] in words.get(each.state, {each.state}), (name, each, statuses[name])


DeliveryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
test_delivery_does_what_the_model_does = DeliveryMachine.TestCase
