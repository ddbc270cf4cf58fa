"""People deal with dead letters from two processes while a third delivers: nothing is lost, doubled or reordered."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from eventbus import Context, EventBus, Retry, event

EVENTS, KEYS, ACTIONS = 400, 8, 60
PEOPLE = f"""
import random, sys
from eventbus import EventBus
from eventbus.errors import EventBusError
bus, choice = EventBus(sys.argv[1], delivery="manual"), random.Random(int(sys.argv[2]))
for _ in range({ACTIONS}):
    for letter in bus.dead_letters.list(limit=5):
        try:
            match choice.randrange(4):
                case 0: bus.dead_letters.discard(letter, reason="void")
                case 1: bus.dead_letters.discard(letter, reason="void", whole_key=True)
                case _: bus.dead_letters.retry(letter)
        except EventBusError as error:  # somebody else was faster
            assert "no dead letter" in str(error), error
bus.close()
"""


@event(name="letters.Placed", stream="order-{order}")
class Placed:
    order: int
    number: int


class Flaky:
    """Fails for one event in six, until it is mended; what it handled is in the app's own table."""

    def __init__(self) -> None:
        self.chance, self.mended, self.handled = random.Random(1), False, list[tuple[int, int]]()

    def __call__(self, placed: Placed, ctx: Context) -> None:
        if not self.mended and self.chance.random() < 1 / 6:
            raise ValueError("no")
        self.handled.append((placed.order, placed.number))

    def in_transaction(self, placed: Placed, ctx: Context) -> None:
        self(placed, ctx)
        ctx.tx.execute("INSERT INTO handled (key, number) VALUES (?, ?)", (placed.order, placed.number))


def table(bus: EventBus) -> None:
    connection = bus.connect()
    connection.execute("CREATE TABLE handled (id INTEGER PRIMARY KEY, key INTEGER, number INTEGER)")
    connection.close()


def run_it(path: Path, flaky: Flaky, handler: Callable[..., Any], transactional: bool, order_by: Any) -> dict[str, int]:
    """Everybody at once, then all that is left; what the subscription's row has counted."""
    with EventBus(path, durability="process") as bus:
        table(bus)
        retry = Retry(attempts=1)
        bus.subscribe("s", Placed, handler=handler, retry=retry, transactional=transactional, order_by=order_by)
        people = [subprocess.Popen([sys.executable, "-c", PEOPLE, str(path), str(seed)]) for seed in (1, 2)]
        for number in range(EVENTS):
            bus.publish(Placed(number % KEYS, number))
        assert [person.wait(120) for person in people] == [0, 0]
        flaky.mended = True
        bus.drain(timeout=60)
        while bus.dead_letters.retry():
            bus.drain(timeout=60)
        assert bus.subscriptions["s"].counts == {}
        rows = bus.query("SELECT key, number FROM handled ORDER BY id")
        if transactional:
            flaky.handled = [(row["key"], row["number"]) for row in rows]
        return bus.query("SELECT handled, discarded FROM eventbus_subscriptions")[0]


@pytest.mark.parametrize("order_by", ["stream", "log"])
@pytest.mark.parametrize("transactional", [False, True])
def test_what_people_do_while_it_is_delivered_keeps_the_order_and_the_count(
    tmp_path: Path, transactional: bool, order_by: Literal["stream", "log"]
) -> None:
    flaky = Flaky()
    handler = flaky.in_transaction if transactional else flaky
    counted = run_it(tmp_path / "log.db", flaky, handler, transactional, order_by)
    assert counted["handled"] == len(flaky.handled) == len(set(flaky.handled))
    assert counted["handled"] + counted["discarded"] == EVENTS
    orders = defaultdict[int, list[int]](list)
    for key, number in flaky.handled:
        orders[key if order_by == "stream" else 0].append(number)
    assert all(numbers == sorted(numbers) for numbers in orders.values())
