"""Rows that can become no event: dead letters that a person can try again, mend and give up; the others go on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from bus_stage import Recorder
from cli_stage import run as run_program
from delivery_stage import Notes, standing_still
from outbox_stage import ORDERED, Ordered, insert, numbers, other_database, reasons, row, waiting
from test_several_processes import Child

from eventbus import EventBus, event
from eventbus.errors import InvalidEvent, UnknownEvent
from eventbus.outbox import SUBSCRIPTION
from eventbus.technical import DeadLettersAlert, DeliveryDead, OutboxRefused
from eventbus.testing import FakeClock

DRAIN = """
import sys
from eventbus import EventBus
with EventBus(sys.argv[1], delivery="manual") as bus:
    bus.drain()
"""
SMALL = 2000  # max_payload of the buses here


@event(name="outbox.Strange")
class Strange:
    number: int = 0

    def __attrs_post_init__(self) -> None:
        if self.number < 0:
            raise SystemExit("who wants this number?")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def bus(path: Path) -> Iterator[EventBus]:
    with standing_still(path, max_payload=SMALL) as made:
        assert made.log.head == 0
        yield made


def payload(text: object, event_type: str = ORDERED, **columns: Any) -> dict[str, Any]:
    return {"event_type": event_type, "payload": text, **columns}


REFUSED = {
    "an unknown type": (payload("{}", "outbox.Nobody"), "No event class is loaded for 'outbox.Nobody' version 1."),
    "an unknown version": (row(1, version=9), f"No event class is loaded for '{ORDERED}' version 9."),
    "no version": (row(1, version=0), f"{ORDERED}.version: is a int, not a whole number of at least 1."),
    "no type": (payload("{}", ""), "eventbus_outbox.event_type: is empty, not the name of an event class."),
    "an event of the bus's own": (
        payload("{}", "eventbus.OutboxRefused"),
        "eventbus.OutboxRefused: names that begin with eventbus. are the bus's own.",
    ),
    "no JSON": (payload("oops"), f"{ORDERED}.payload: is no JSON object"),
    "no object": (payload("[1]"), f"{ORDERED}.payload: is no JSON object"),
    "nothing": (payload(""), f"{ORDERED}.payload: is no JSON object"),
    "JSON that is cut off": (payload('{"order_id": "a'), f"{ORDERED}.payload: is no JSON object"),
    "a missing field": (payload("{}"), f"{ORDERED}: cannot be read: object missing required field"),
    "another type in a field": (payload('{"order_id": 7}'), f"{ORDERED}.order_id: cannot be read: expected `str`"),
    "a field that there is not": (
        payload('{"order_id": "a", "colour": 1}'),
        f"{ORDERED}.colour: there is no such field.",
    ),
    "too much": (row(1, "x" * SMALL), f"{ORDERED}.order_id: the payload has 2026 bytes, more than max_payload={SMALL}"),
    "far too much": (row(1, "x" * 9 * SMALL), f"{ORDERED}.payload: has 18026 bytes, which is far more than max"),
    "nested too deep": (payload("[" * 1999), f"{ORDERED}.payload: is no JSON object"),
    "metadata that is no JSON": (row(1, metadata="ada"), f"{ORDERED}.metadata: is no JSON object"),
    "metadata that is no object": (row(1, metadata='"ada"'), f"{ORDERED}.metadata: is no JSON object"),
    "an empty stream": (row(1, stream=""), f"{ORDERED}: stream must have 1 to 1000 characters, not 0."),
    "an id that is too long": (row(1, id="x" * 1001), f"{ORDERED}: id must have 1 to 1000 characters, not 1001."),
    "an empty correlation": (row(1, correlation_id=""), f"{ORDERED}.correlation_id: must have 1 to 1000"),
    "a class that wants to exit": (payload('{"number": -1}', "outbox.Strange"), "SystemExit: who wants"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_row_that_is_refused_is_a_dead_letter_and_those_around_it_are_moved(
    kind: str, bus: EventBus, path: Path
) -> None:
    refused, reason = REFUSED[kind]
    insert(path, row(1), refused, row(2))
    bus.drain()
    assert numbers(bus) == [1, 2]
    (letter,) = bus.dead_letters.list()
    assert (letter.subscription, letter.attempts, letter.held) == (SUBSCRIPTION, 1, 0)
    (said,) = reasons(bus)
    assert said.startswith(reason)
    assert said in (letter.error or "")
    assert waiting(path) == 0
    before = bus.log.head
    assert bus.drain() == 0
    assert bus.log.head == before


def test_what_is_refused_is_said_without_claiming_that_nothing_is_kept_and_without_a_traceback(
    bus: EventBus, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    insert(path, payload("oops"))
    bus.drain()
    (letter,) = bus.dead_letters.list()
    found = bus.dead_letters.get(letter)
    assert found is not None
    assert "Nothing was stored" not in f"{found.error} {found.failures}"
    (told,) = [record for record in caplog.records if record.name == "eventbus.delivery"]
    assert told.levelname == "ERROR"
    assert told.exc_info is None
    assert told.getMessage().endswith(f"is dead after attempt 1: {letter.error!r}")


def test_what_stands_for_a_row_says_all_that_was_in_it(bus: EventBus, path: Path) -> None:
    said = {"version": 3, "stream": "s", "id": "id-1", "correlation_id": "c", "causation_id": "d", "created_at": "then"}
    insert(path, payload('{"order_id": 7}', metadata='{"user": "ada"}', **said))
    insert(path, payload("oops"))
    bus.drain()
    first, second = (envelope.event for envelope in bus.log.read(types=OutboxRefused))
    assert first == OutboxRefused(
        None, 1, "shop", first.reason, ORDERED, payload={"order_id": 7}, metadata={"user": "ada"}, **said
    )
    assert (second.payload, second.row) == ("oops", 2)


def test_a_payload_that_no_event_may_hold_is_kept_as_text(bus: EventBus, path: Path) -> None:
    deep = '{"a": ' * 100 + "1" + "}" * 100
    insert(path, payload(deep))
    bus.drain()
    (envelope,) = bus.log.read(types=OutboxRefused)
    assert envelope.event.payload == deep


def test_an_id_that_stands_for_something_else_is_refused(bus: EventBus, path: Path) -> None:
    insert(path, row(1, id="id-1"))
    bus.drain()
    insert(path, row(2, id="id-1"), row(3))
    bus.drain()
    assert numbers(bus) == [1, 3]
    (letter,) = bus.dead_letters.list()
    assert letter.error is not None
    assert letter.error.startswith("IdempotencyConflict: The key or id 'id-1' was already used for other content")


def test_nobody_is_subscribed_until_something_is_refused(bus: EventBus, path: Path) -> None:
    insert(path, row(1))
    bus.drain()
    assert list(bus.subscriptions) == []
    insert(path, payload("oops"))
    bus.drain()
    assert list(bus.subscriptions) == [SUBSCRIPTION]
    assert bus.subscriptions[SUBSCRIPTION].state == "active"
    assert bus.subscriptions[SUBSCRIPTION].counts == {"dead": 1}


# --- what a person does -------------------------------------------------------------------------------------


def test_retry_publishes_it_once_its_class_is_loaded(bus: EventBus, path: Path) -> None:
    insert(path, payload('{"number": 1}', "outbox.Later", id="id-1", stream="late", metadata='{"user": "ada"}'))
    bus.drain()
    (letter,) = bus.dead_letters.list(error=UnknownEvent)

    @event(name="outbox.Later")
    class Later:
        number: int

    bus.subscribe("later", Later, handler=(notes := Notes()))
    bus.dead_letters.retry(letter)
    bus.drain()
    assert notes.events == [Later(1)]
    assert bus.dead_letters.list() == []
    envelope = bus.log.get("id-1")
    assert envelope is not None
    assert (envelope.stream, envelope.metadata, envelope.source) == ("late", {"user": "ada"}, "shop")
    assert envelope.causation_id == letter.envelope.id  # type: ignore[union-attr]


def test_edit_mends_the_payload(bus: EventBus, path: Path) -> None:
    insert(path, payload('{"order_id": 7}', id="id-1"))
    bus.drain()
    (letter,) = bus.dead_letters.list(error=InvalidEvent)
    assert letter.envelope is not None
    bus.dead_letters.edit(letter, attrs.evolve(letter.envelope.event, payload={"order_id": "7", "number": 7}))
    bus.dead_letters.retry(letter)
    bus.drain()
    assert [(envelope.id, envelope.event) for envelope in bus.log.read(types=ORDERED)] == [("id-1", Ordered("7", 7))]


def test_edit_gives_it_another_id(bus: EventBus, path: Path) -> None:
    insert(path, row(1, id="id-1"))
    bus.drain()
    insert(path, row(2, id="id-1"))
    bus.drain()
    (letter,) = bus.dead_letters.list()
    assert letter.envelope is not None
    bus.dead_letters.edit(letter, attrs.evolve(letter.envelope.event, id=None))
    bus.dead_letters.retry(letter)
    bus.drain()
    assert numbers(bus) == [1, 2]


def test_discard_gives_it_up(bus: EventBus, path: Path) -> None:
    insert(path, payload("oops"))
    bus.drain()
    bus.dead_letters.discard(subscription=SUBSCRIPTION, reason="nobody needs it")
    assert bus.dead_letters.list() == []
    assert bus.drain() == 0


def test_one_that_is_tried_again_too_soon_is_dead_again(bus: EventBus, path: Path) -> None:
    insert(path, payload("oops"))
    bus.drain()
    bus.dead_letters.retry(type=OutboxRefused)
    bus.drain()
    assert len(bus.dead_letters.list()) == 1


def test_the_program_lists_edits_and_retries_them(path: Path) -> None:
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == 0
        insert(path, payload('{"order_id": 7}'))
        bus.drain()
    (record,) = run_program("dead", "list", "--json", path).records
    assert (record["subscription"], record["event"]["type"]) == (SUBSCRIPTION, "eventbus.OutboxRefused")
    mended = json.dumps({**record["event"]["payload"], "payload": {"order_id": "7"}})
    for command in (["edit", "--payload", mended], ["retry"]):
        done = run_program("dead", command[0], path, "1", "--yes", *command[1:])
        assert (done.code, done.err) == (0, "")
    with EventBus(path, delivery="manual") as bus:  # the program's time is the machine's
        bus.drain()
        assert [envelope.event for envelope in bus.log.read(types=ORDERED)] == [Ordered("7")]


def test_the_program_takes_it_for_no_orphan(path: Path) -> None:
    with standing_still(path) as bus:
        assert bus.log.head == 0
        insert(path, payload("oops"))
        bus.drain()
    (record,) = run_program("subscriptions", path, "--bus", "eventbus:EventBus", "--json").records
    assert (record["name"], record["declared"], record["dead"]) == (SUBSCRIPTION, True, 1)


def test_it_is_told_of_as_any_other(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.dead_letters.alert(count=1)
        bus.on(DeadLettersAlert, handler=(alerts := Recorder()))
        bus.on(DeliveryDead, handler=(deaths := Recorder()))
        bus.on(OutboxRefused, handler=(refusals := Recorder()))
        insert(path, payload("oops"))
        bus.drain()
        clock.advance(2)
        bus.drain()
    assert [alert.subscription for alert in alerts.events] == [SUBSCRIPTION]
    assert [dead.subscription for dead in deaths.events] == [SUBSCRIPTION]
    assert [refused.payload for refused in refusals.events] == ["oops"]


def test_its_status_is_that_of_any_other_event(path: Path) -> None:
    with EventBus(path) as bus:
        bus.on(OutboxRefused, handler=(refusals := Recorder()))
        assert bus.log.head == 0
        insert(path, payload("oops"))
        refusals.heard(1)
        assert bus.wait_for(1, SUBSCRIPTION, timeout=20) == "dead"


# --- other processes, and the next one ----------------------------------------------------------------------


def test_after_a_restart_it_is_there_and_no_orphan(path: Path) -> None:
    with standing_still(path) as bus:
        assert bus.log.head == 0
        insert(path, payload('{"order_id": 7}'))
        bus.drain()
    with standing_still(path) as bus:
        assert bus.subscriptions[SUBSCRIPTION].state == "active"
        bus.dead_letters.retry(subscription=SUBSCRIPTION)
        bus.drain()
        assert len(bus.dead_letters.list()) == 1


def test_what_another_process_refused_is_delivered_here(path: Path) -> None:
    with standing_still(path) as bus:
        assert bus.log.head == 0
        insert(path, payload("oops"))
        Child(DRAIN, path).end()
        bus.drain()
        assert bus.subscriptions[SUBSCRIPTION].state == "active"
        assert len(bus.dead_letters.list()) == 1


def test_who_knows_the_class_publishes_what_another_process_refused(path: Path, tmp_path: Path) -> None:
    """The other one dies before it has tried the record of its refusal."""
    text = (
        "import os, sys\nfrom eventbus import EventBus\n"
        "bus = EventBus(sys.argv[1], delivery='manual')\nengine = bus._attachment.engine()\n"
        "engine.pump\nengine._outboxes.look()\nprint('refused', flush=True)\nsys.stdin.readline()\n"
    )
    with standing_still(path) as bus:
        assert bus.log.head == 0
        insert(path, row(1))
        child = Child(text, path)
        assert child.says() == "refused"
        child.kill()
        child._process.__exit__(None, None, None)
        assert numbers(bus) == []
        bus.drain()
        assert numbers(bus) == [1]
        assert bus.dead_letters.list() == []


def test_once_forgotten_it_begins_anew(bus: EventBus, path: Path) -> None:
    insert(path, payload("oops"))
    bus.drain()
    bus.subscriptions[SUBSCRIPTION].forget()
    assert bus.dead_letters.list() == []
    insert(path, payload("oops again"))
    bus.drain()
    assert [letter.envelope.event.payload for letter in bus.dead_letters.list()] == ["oops again"]  # type: ignore[union-attr]


def test_while_it_is_paused_rows_are_refused_all_the_same(bus: EventBus, path: Path) -> None:
    insert(path, payload("oops"))
    bus.drain()
    bus.subscriptions[SUBSCRIPTION].pause()
    insert(path, payload("oops again"), row(1))
    bus.drain()
    assert len(bus.dead_letters.list()) == 1
    assert numbers(bus) == [1]
    bus.subscriptions[SUBSCRIPTION].resume()
    bus.drain()
    assert len(bus.dead_letters.list()) == 2


# --- rows that only another application's table lets in -----------------------------------------------------

ODD = {
    "bytes": ({"payload": b'{"order_id": "a"}'}, None),
    "bytes that are no text": ({"payload": b"\xff\xfe"}, "payload: is no JSON object"),
    "a number": ({"payload": 7}, "payload: is a int, not the text of a JSON object"),
    "a number without an end": ({"payload": float("inf")}, "payload: is a float, not the text of a JSON object"),
    "nothing": ({"payload": None}, "payload: is missing, not the text of a JSON object"),
    "a version in words": ({"payload": '{"order_id": "a"}', "version": "two"}, "version: is a str, not a whole number"),
    "a type that is bytes": ({"event_type": b"\x00\x01"}, "event_type: is a bytes, not the name of an event class"),
    "an id that is bytes": ({"payload": '{"order_id": "a"}', "id": b"\xff"}, "id must be a str, not bytes"),
    "no id": ({"payload": '{"order_id": "a"}', "id": None}, None),
}
LOOSE = (
    "CREATE TABLE eventbus_outbox (position INTEGER PRIMARY KEY, id, event_type, version, payload, stream, metadata,"
    " correlation_id, causation_id, created_at)"
)


@pytest.mark.parametrize("kind", ODD)
def test_whatever_a_table_of_somebody_else_s_holds_is_moved_or_refused(
    kind: str, bus: EventBus, tmp_path: Path
) -> None:
    columns, reason = ODD[kind]
    other = other_database(tmp_path)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute(LOOSE)
    bus.outbox(other)
    insert(other, {"event_type": ORDERED, **columns}, row(2, id="id-2"))
    bus.drain()
    assert waiting(other) == 0
    assert numbers(bus) == ([0, 2] if reason is None else [2])
    assert [reason is not None and reason in said for said in reasons(bus)] == [True] * (reason is not None)
    assert len(bus.dead_letters.list()) == (reason is not None)


def test_text_that_is_not_utf_8_is_refused_and_kept(bus: EventBus, tmp_path: Path) -> None:
    other = other_database(tmp_path)
    bus.outbox(other)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute(
            "INSERT INTO eventbus_outbox (event_type, payload, stream)"
            " VALUES (?, CAST(x'7bff7d' AS TEXT), CAST(x'fe' AS TEXT))",
            (ORDERED,),
        )
    bus.drain()
    assert waiting(other) == 0
    (envelope,) = bus.log.read(types=OutboxRefused)
    assert (envelope.event.payload, envelope.event.stream) == (["bytes", "7bff7d"], ["bytes", "fe"])
    assert envelope.event.outbox == str(other)
