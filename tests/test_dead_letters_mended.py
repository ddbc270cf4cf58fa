"""Dead letters that a person edits or discards, and what is recorded of it."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import (
    ONCE,
    ORDERS,
    Counted,
    Notes,
    Oops,
    Placed,
    audit,
    failing,
    only,
    positions,
    standing_still,
    stuck,
)

from eventbus import Envelope, Projection, Table, Transaction, event, handles
from eventbus.errors import EventBusError, InvalidEvent, UnknownEvent
from eventbus.technical import DeadLetterDiscarded, DeadLetterEdited, DeadLetterRetried

# --- edit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("payload", [Placed("a", 9), {"order_id": "a", "number": 9}, '{"number": 9, "order_id": "a"}'])
def test_an_edit_is_what_the_handler_is_given_and_the_log_keeps_the_event(payload: Any, transactional: bool) -> None:
    notes = Notes(only(1))
    with stuck(standing_still(), notes, *ORDERS, transactional=transactional) as bus:
        before = bus.log.get(1)
        assert bus.dead_letters.edit(1, payload, reason="typo").payload == '{"order_id":"a","number":9}'
        assert bus.drain() == 0
        bus.dead_letters.retry(1)
        bus.drain()
        assert notes.events == [ORDERS[0], ORDERS[2], Placed("a", 9), ORDERS[1], ORDERS[3]] or transactional
        assert Placed("a", 9) in notes.events
        after = bus.log.get(1)
        assert before is not None
        assert after is not None
        assert after.payload == before.payload


def test_an_edit_keeps_its_order_key_whatever_the_new_payload_says() -> None:
    def by_order(envelope: Envelope) -> str:
        return str(envelope.event.order_id)

    notes = Notes(only(1))
    with stuck(standing_still(), notes, Placed("a", 1), Placed("a", 2), Placed("b", 3), order_by=by_order) as bus:
        bus.dead_letters.edit(1, Placed("b", 9), reason="the wrong order")
        bus.dead_letters.retry(1)
        (first,) = bus.query("SELECT order_key FROM eventbus_deliveries WHERE position = 1")
        assert first == {"order_key": "a"}
        bus.drain()
        assert notes.numbers[-2:] == [9, 2]


def test_an_edit_lasts_until_the_delivery_is_settled() -> None:
    notes = Notes(only(1, 9))
    with stuck(standing_still(), notes, Placed("a", 1)) as bus:
        bus.dead_letters.edit(1, Placed("a", 9))
        for _ in range(2):
            bus.dead_letters.retry(1)
            bus.drain()
        (letter,) = bus.dead_letters.list()
        assert (notes.numbers, letter.edited) == ([1, 9, 9], '{"order_id":"a","number":9}')


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"order_id": 5}, "order_id"),
        ({"number": 1}, "order_id"),
        ({"order_id": "a", "nmber": 9}, "nmber: there is no such field"),
        ("[1]", "no JSON object"),
        ("{", "no JSON object"),
        (Counted(1), "cannot become"),
        ({"order_id": "a" * (1 << 20)}, "max_payload"),
    ],
)
def test_an_edit_that_does_not_fit_the_class_is_refused(payload: Any, said: str) -> None:
    with stuck(standing_still(), failing(), Placed("a", 1)) as bus:
        with pytest.raises(InvalidEvent, match=said):
            bus.dead_letters.edit(1, payload)
        assert (audit(bus), bus.dead_letters.list()[0].edited) == ([], None)


def publish_of_a_class_that_goes_away(path: Path) -> None:
    @event(name="gone.Away")
    class Away:
        number: int

    with standing_still(path) as bus:
        bus.subscribe("stock", Away, handler=failing(), retry=ONCE)
        bus.publish(Away(1))
        bus.drain()


def test_an_edit_without_the_class_is_left_to_the_process_that_delivers_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "eventbus.delivery")  # a record of the failure would hold the class
    publish_of_a_class_that_goes_away(tmp_path / "log.db")
    gc.collect()
    with standing_still(tmp_path / "log.db") as bus:
        with pytest.raises(UnknownEvent):
            bus.dead_letters.edit(1, {"number": "one"})
        assert bus.dead_letters.edit(1, {"number": "one"}, check="later").payload == '{"number":"one"}'


def test_an_edit_that_turns_out_not_to_fit_is_a_failure_of_the_delivery() -> None:
    with stuck(standing_still(), failing(), Counted(1)) as bus:
        bus.dead_letters.edit(1, {"number": "one"}, check="later")
        bus.dead_letters.retry(1)
        bus.drain()
        (letter,) = bus.dead_letters.list(error=InvalidEvent)
        assert letter.position == 1


# --- discard --------------------------------------------------------------------------------------------


def test_a_discarded_one_is_counted_and_the_next_of_its_key_is_tried() -> None:
    notes = Notes(only(1))
    with stuck(standing_still(), notes, *ORDERS) as bus:
        assert positions(bus.dead_letters.discard(1, reason="never mind")) == [1]
        assert bus.drain() == 2
        assert notes.numbers == [1, 3, 2, 4]
        assert bus.query("SELECT handled, discarded FROM eventbus_subscriptions") == [{"handled": 3, "discarded": 1}]
        assert [str(bus.status(position)["stock"]) for position in (1, 2)] == ["discarded", "handled"]
        assert bus.query("SELECT count(*) AS n FROM eventbus_attempts") == [{"n": 0}]


def test_a_whole_key_is_discarded_with_all_that_is_held() -> None:
    notes = Notes(only(1))
    with stuck(standing_still(), notes, *ORDERS) as bus:
        assert positions(bus.dead_letters.discard(1, reason="never mind", whole_key=True)) == [1]
        bus.publish(Placed("a", 5))
        bus.drain()
        assert notes.numbers == [1, 3, 5]
        assert [each.position for each in audit(bus)] == [1, 2, 4]
        assert bus.query("SELECT handled, discarded FROM eventbus_subscriptions") == [{"handled": 2, "discarded": 3}]
        assert [str(bus.status(position)["stock"]) for position in (1, 2, 4)] == ["discarded"] * 3


@pytest.mark.parametrize("again", [False, True])
def test_in_strict_order_a_discarded_one_is_passed(tmp_path: Path, again: bool) -> None:
    notes, path = Notes(only(1)), tmp_path / "log.db"
    bus = stuck(standing_still(path), notes, *ORDERS, order_by="log")
    bus.dead_letters.discard(1, reason="never mind")
    if again:
        bus.close()
        bus = standing_still(path)
        bus.subscribe("stock", Placed, Counted, handler=notes, retry=ONCE, order_by="log")
    bus.drain()
    bus.close()
    assert notes.numbers == [1, 2, 3, 4]


def test_discarding_needs_to_be_told_which_and_why() -> None:
    with stuck(standing_still(), failing(), Counted(1)) as bus:
        with pytest.raises(EventBusError, match="Which"):
            bus.dead_letters.discard(reason="no")
        with pytest.raises(EventBusError, match="reason="):
            bus.dead_letters.discard(1, reason="")
        assert positions(bus.dead_letters.list()) == [1]


def test_a_projection_is_tried_again_but_leaves_nothing_out() -> None:
    class Totals(Projection):
        totals = Table("number INTEGER")
        broken = True

        @handles(Counted)
        def counted(self, counted: Counted, tx: Transaction) -> None:
            if self.broken:
                raise Oops("no")
            tx.execute(f"INSERT INTO {self.totals} VALUES (?)", (counted.number,))

    with standing_still() as bus:
        bus.project(Totals)
        bus.publish_many([Counted(1), Counted(2)])
        bus.drain()
        with pytest.raises(EventBusError, match="cannot leave an event out"):
            bus.dead_letters.discard(1, reason="no")
        with pytest.raises(EventBusError, match="cannot be given another event"):
            bus.dead_letters.edit(1, Counted(7))
        Totals.broken = False
        bus.dead_letters.retry(1)
        bus.drain()
        assert bus.query("SELECT number FROM totals") == [{"number": 1}, {"number": 2}]


# --- the record -----------------------------------------------------------------------------------------


def test_every_action_is_recorded_with_who_and_why_and_caused_by_the_event() -> None:
    with stuck(standing_still(), failing(), Placed("a", 1)) as bus:
        original = bus.log.get(1)
        assert original is not None
        about = ("stock", original.id, "Placed", 1)
        bus.dead_letters.edit(1, Placed("a", 2), reason="typo", who="ada")
        bus.dead_letters.retry(1, who="ada")
        bus.drain()
        bus.dead_letters.discard(1, reason="hopeless", who="grace")
        assert audit(bus) == [
            DeadLetterEdited(*about, who="ada", why="typo", payload='{"order_id":"a","number":2}'),
            DeadLetterRetried(*about, who="ada", why=None),
            DeadLetterDiscarded(*about, who="grace", why="hopeless", run=1),
        ]
        assert {each.causation_id for each in bus.log.read(after=1)} == {original.id}
        assert {each.kind for each in bus.log.read(after=1)} == {"technical"}


def test_the_user_of_the_machine_did_it_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "linus")
    with stuck(standing_still(), failing(), Counted(1)) as bus:
        bus.dead_letters.retry(1)
        assert audit(bus)[0].who == "linus"


def test_an_action_that_cannot_be_recorded_is_not_taken() -> None:
    with stuck(standing_still(), failing(), Counted(1)) as bus:
        with pytest.raises(InvalidEvent):
            bus.dead_letters.retry(1, reason="\ud800")
        assert positions(bus.dead_letters.list()) == [1]


def test_a_subscription_that_held_too_much_goes_on_to_the_end_once_it_is_mended_and_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventbus.worker.rounds.MOST_HELD", 3)
    notes = failing()
    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=notes, retry=ONCE)
        bus.publish_many([Placed("a", number) for number in range(9)])
        bus.drain()
        notes.fail = lambda event, ctx: None
        bus.dead_letters.retry()
        bus.subscriptions["orders"].resume()
        bus.drain()
        assert bus.subscriptions["orders"].state == "active"
        assert notes.numbers == [0, *range(9)]
