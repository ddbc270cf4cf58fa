"""A person in another process deals with a dead letter while its owner is about to park what is behind it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from cli_stage import run
from delivery_stage import ONCE, Notes, standing_still

from eventbus import EventBus, Retry, event
from eventbus.events import Envelope

CRASH = """
import os, signal, sys
from eventbus import EventBus, Retry
from test_dead_letters_elsewhere import Sold, shop_of
bus = EventBus(sys.argv[1], delivery="manual")

def handle(sold):
    if sold.shop == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("no")

bus.subscribe("s", Sold, handler=handle, retry=Retry(attempts=1), order_by=shop_of)
bus.publish(Sold("a"))
bus.drain()
bus.publish_many([Sold("b"), Sold("a")])
bus.drain()
"""

DIE = """
import os, sys
from eventbus import EventBus, Retry
from test_dead_letters_elsewhere import Sold
bus = EventBus(sys.argv[1], delivery="manual")
bus.subscribe("s", Sold, handler=lambda sold: os._exit(7), retry=Retry(attempts=2))
if not bus.log.head:
    bus.publish(Sold("a"))
bus.drain()
"""


@event(name="elsewhere.Sold")
class Sold:
    shop: str


def shop_of(envelope: Envelope) -> str:
    return str(envelope.event.shop)


def test_what_a_crash_left_behind_a_dead_letter_goes_on_though_that_is_discarded_while_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    crashed = subprocess.run([sys.executable, "-c", CRASH, str(path)], cwd=Path(__file__).parent, check=False)
    assert crashed.returncode == -signal.SIGKILL
    discards: list[int] = []

    def shop_of_and_discard(envelope: Envelope) -> str:
        if not discards:
            command = [sys.executable, "-m", "eventbus", "dead", "discard", str(path), "1", "--reason", "void", "--yes"]
            discards.append(subprocess.run(command, capture_output=True, check=False).returncode)
        return shop_of(envelope)

    shop_of_and_discard.__qualname__ = shop_of.__qualname__  # another order would be brought about under the write lock
    notes = Notes()
    with standing_still(path) as bus:
        bus.subscribe("s", Sold, handler=notes, retry=ONCE, order_by=shop_of_and_discard)
        bus.drain()
        bus.drain()
        assert discards == [0]
        assert [bus.status(position)["s"] for position in (1, 2, 3)] == ["discarded", "handled", "handled"]
        assert bus.subscriptions["s"].counts == {}


def test_every_attempt_that_a_process_ended_in_is_shown_with_the_time_it_began(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for _ in range(3):  # the first time nobody knows which of the claimed events it was, and no attempt is counted
        died = subprocess.run([sys.executable, "-c", DIE, str(path)], cwd=Path(__file__).parent, check=False)
        assert died.returncode == 7
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("s", Sold, handler=Notes(), retry=Retry(attempts=2))
        bus.drain()
        letter = bus.dead_letters.get(1)
    assert letter is not None
    first, second = letter.failures
    assert (first.attempt, first.seconds, first.error_type) == (1, None, None)
    assert (second.attempt, second.seconds, second.error_type) == (2, None, "EventBusError")
    assert first.started_at < second.started_at < letter.since.isoformat()
    lines = run("dead", "show", path, "1").lines
    assert [line[:10] for line in lines if line.endswith("its process ended")] == ["Attempt 1,", "Attempt 2,"]
    assert not any("None" in line for line in lines)


def test_an_attempt_that_did_not_begin_or_was_handled_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", DIE, str(path)], cwd=Path(__file__).parent, check=False)
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("s", Sold, handler=Notes(), retry=Retry(attempts=2))
        bus.drain()
        assert bus.status(1)["s"] == "handled"
        assert bus.query("SELECT * FROM eventbus_attempts") == []
