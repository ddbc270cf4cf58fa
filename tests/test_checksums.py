"""A row that is not what was stored is never handed out as if it were: by reading, by delivery, by a projection."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import ONCE, Counted, Notes, accounted, standing_still

from eventbus import Context, EventBus, Projection, Retry, Table, Transaction, event, handles
from eventbus.errors import EventBusError, InvalidEvent, LogCorrupt
from eventbus.store import reading
from eventbus.store.reading import Selection
from eventbus.technical import DeliveryDead


@event(name="sums.Placed", stream="order-{order_id}")
class Placed:
    order_id: str
    number: int = 0


def damaged(path: Path, column: str, value: Any, position: int = 2) -> None:
    """Change one column of an event as a bad disk would: nobody's checksum is brought in line."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        changed = connection.execute(
            f"UPDATE eventbus_events SET {column} = {'CAST(? AS TEXT)' if isinstance(value, bytes) else '?'}"
            " WHERE position = ?",
            (value, position),
        )
        assert changed.rowcount == 1


def written(path: Path) -> None:
    with standing_still(path) as bus:
        for number in (1, 2, 3):
            bus.publish(Placed("a", number), metadata={"by": "me"}, correlation_id="c", causation_id="b")


DAMAGE = [
    ("payload", '{"order_id":"a","number":7}'),
    ("payload", b'{"order_id":"a","number":\xb2}'),
    ("payload", 7),
    ("id", "another"),
    ("type_id", 99),
    ("stream", "order-b"),
    ("sequence", 9),
    ("time", "2026-01-01T00:00:01.000000Z"),
    ("source_id", 9),
    ("correlation_id", "x"),
    ("causation_id", None),
    ("metadata", '{"by":"you"}'),
    ("metadata", b'{"by":"m\xff"}'),
    ("codec", "avro"),
    ("payload_crc", 5),
    ("header_crc", 5),
]


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_a_damaged_event_is_told_with_its_position_and_the_others_are_read(
    tmp_path: Path, column: str, value: Any
) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, column, value)
    with EventBus(path, delivery="manual") as bus:
        for envelope in bus.log.read():
            for look in (lambda e: e.event, lambda e: e.payload, lambda e: e.metadata):
                if envelope.position != 2:
                    assert look(envelope)
                    continue
                with pytest.raises(LogCorrupt) as caught:
                    look(envelope)
                assert (caught.value.position, caught.value.path) == (2, str(path))
                assert "salvage" in caught.value.hint
        got = bus.log.get(2)
        assert got is not None
        with pytest.raises(LogCorrupt, match="position 2"):
            _ = got.event


def test_an_erased_payload_leaves_a_row_that_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, "payload", None)
    with EventBus(path, delivery="manual") as bus:
        got = bus.log.get(2)
        assert got is not None
        assert (got.payload, got.metadata) == (None, {"by": "me"})
        with pytest.raises(EventBusError, match="erased"):
            _ = got.event


def test_what_this_process_published_and_what_it_reads_back_are_both_whole() -> None:
    with EventBus(delivery="manual", errors="raise") as bus:
        heard: list[dict[str, Any]] = []
        bus.on(Counted)(lambda counted, ctx: heard.append(ctx.envelope.metadata))
        bus.publish(Counted(1), metadata={"by": "\N{SNOWMAN}"})
        assert [envelope.metadata for envelope in bus.log.read()] == heard == [{"by": "\N{SNOWMAN}"}]


@pytest.mark.parametrize(("column", "value"), [DAMAGE[0], DAMAGE[1], DAMAGE[6], DAMAGE[12]])
def test_a_damaged_event_becomes_a_dead_letter_at_once_and_holds_its_key(
    tmp_path: Path, column: str, value: Any
) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, column, value)
    with standing_still(path) as bus:
        told: list[DeliveryDead] = []
        bus.on(DeliveryDead)(told.append)
        notes = Notes()
        bus.subscribe("orders", Placed, after=0, retry=Retry(attempts=None))(notes)
        bus.publish(Placed("b", 4))
        bus.drain()
        assert notes.numbers == [1, 4]
        (dead,) = bus.dead_letters.list()
        assert dead.position == 2
        assert "LogCorrupt" in str(dead.error)
        assert dead.held == 1
        assert [each.position for each in told] == [2]
        assert accounted(bus, "orders") == 4


def test_a_person_can_give_a_damaged_delivery_another_payload_or_go_on_without_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *DAMAGE[0])
    damaged(path, *DAMAGE[0], position=3)
    with standing_still(path) as bus:
        notes = Notes()
        bus.subscribe("orders", Placed, after=0, retry=ONCE)(notes)
        bus.drain()
        bus.dead_letters.edit(2, Placed("a", 22))
        bus.dead_letters.retry(2)
        bus.drain()
        assert notes.numbers == [1, 22]
        bus.dead_letters.discard(3, reason="it cannot be read")
        bus.publish(Placed("a", 4))
        bus.drain()
        assert notes.numbers == [1, 22, 4]
        assert list(bus.dead_letters.list()) == []


@pytest.mark.parametrize("damage", [DAMAGE[0], DAMAGE[1], DAMAGE[2], ("payload", "7"), ("payload", "{")])
def test_what_is_damaged_says_nothing_of_the_fields_that_an_edit_may_have(
    tmp_path: Path, damage: tuple[str, Any]
) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *damage)
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, after=0, retry=ONCE)(Notes())
        bus.drain()
        assert bus.dead_letters.edit(2, {"order_id": "a", "number": 22}).edited == '{"order_id":"a","number":22}'
        with pytest.raises(InvalidEvent, match="colour"):
            bus.dead_letters.edit(2, {"order_id": "a", "colour": "red"})


def test_a_list_leaves_out_the_damaged_event_only(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *DAMAGE[0])
    with standing_still(path) as bus:
        seen: list[int] = []
        bus.subscribe("orders", Placed, after=0, batch=10, order_by=None)(
            lambda orders: seen.extend(each.number for each in orders)
        )
        bus.drain()
        assert sorted(seen) == [1, 3]
        assert [each.position for each in bus.dead_letters.list()] == [2]


def test_a_subscription_in_the_order_of_the_log_stops_at_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *DAMAGE[0])
    with standing_still(path) as bus:
        notes = Notes()
        bus.subscribe("orders", Placed, after=0, order_by="log", retry=Retry(attempts=None))(notes)
        bus.drain()
        assert notes.numbers == [1]
        assert (bus.status(2)["orders"], bus.status(3)["orders"]) == ("dead", "held")


class Sales(Projection):
    sales = Table("number INTEGER PRIMARY KEY")

    @handles(Placed)
    def placed(self, placed: Placed, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.sales} VALUES (?)", (placed.number,))


def test_a_projection_stops_at_it_with_a_report(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *DAMAGE[0])
    with standing_still(path) as bus:
        bus.project(Sales)
        bus.drain()
        assert bus.query("SELECT number FROM sales") == [{"number": 1}]
        assert "LogCorrupt" in str(bus.projections[Sales].last_error)


def test_a_delivery_that_waits_and_is_damaged_meanwhile_ends_there_too(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    written(path)
    with standing_still(path) as bus:
        fails = [True]

        def handler(placed: Placed, ctx: Context) -> None:
            if fails[0] and placed.number == 2:
                raise ConnectionError

        bus.subscribe("orders", Placed, after=0, retry=Retry(attempts=None))(handler)
        bus.drain()
        assert bus.status(2)["orders"] == "retrying"
    fails[0] = False
    damaged(path, "type_id", 99)
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, after=0, retry=Retry(attempts=None))(handler)
        bus._attachment.settings.clock.advance(4000)  # type: ignore[attr-defined]
        bus.drain()
        (dead,) = bus.dead_letters.list()
        assert (dead.position, dead.envelope.type if dead.envelope else "") == (2, "(type 99)")


def test_a_circuit_breaker_takes_a_damaged_event_for_no_fault_of_the_downstream(tmp_path: Path) -> None:
    from eventbus import Breaker

    path = tmp_path / "shop.db"
    written(path)
    damaged(path, *DAMAGE[0])
    with standing_still(path) as bus:
        notes = Notes()
        bus.subscribe("orders", Placed, after=0, order_by=None, breaker=Breaker(failures=1))(notes)
        bus.drain()
        assert notes.numbers == [1, 3]


# --- many at once ---------------------------------------------------------------------------------------


def test_a_page_is_judged_as_each_of_its_events_is(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with standing_still(path) as bus:
        for number in range(3):
            bus.publish(Counted(number))
            bus.publish(Placed("a", number))
            bus.publish(Counted(number), metadata={"by": "\N{SNOWMAN}"})
            bus.publish(Counted(number), correlation_id="c")
            bus.publish(Placed("b", number), causation_id="b", metadata={"by": "me"})
        names = bus._attachment.engine().storage.names  # type: ignore[attr-defined]
        with closing(sqlite3.connect(path)) as connection:
            rows = reading.page(connection, Selection())
        assert names.whole_from(rows) == names.whole_from(rows, 7) == len(rows) == 15
        for number, row in enumerate(rows):
            for column, old in enumerate(row):
                for new in {None, 7, "x", f"{old}x", b"x"} - {old}:
                    changed = (*row[:column], new, *row[column + 1 :])
                    assert names.whole_from([*rows[:number], changed, *rows[number + 1 :]]) == number
                    assert row_trouble(names, changed) or changed[11] is None


def row_trouble(names: Any, row: Any) -> str | None:
    try:
        names.verify(row)
    except LogCorrupt as error:
        return error.what
    return None


@pytest.mark.parametrize("position", [1, 2, 700, 1199, 1200])
def test_one_damaged_event_among_many_is_the_only_one_that_is_not_handed_out(tmp_path: Path, position: int) -> None:
    path = tmp_path / "shop.db"
    with standing_still(path) as bus:
        bus.publish_many([Counted(number) for number in range(1, 1201)])
    damaged(path, "time", "2026-01-01T00:00:01.000000Z", position)
    others = [number for number in range(1, 1201) if number != position]
    with standing_still(path) as bus:
        read: list[int] = []
        for envelope in bus.log.read():
            if envelope.position == position:
                with pytest.raises(LogCorrupt):
                    _ = envelope.event
            else:
                read.append(envelope.event.number)
        assert read == others
        plain, within = Notes(), Notes()
        bus.subscribe("plain", Counted, after=0, order_by=None)(plain)
        bus.subscribe("within", Counted, after=0, order_by=None, transactional=True)(within)
        bus.drain()
        assert plain.numbers == within.numbers == others
        assert [(each.position, each.subscription) for each in bus.dead_letters.list()] == [
            (position, "plain"),
            (position, "within"),
        ]
