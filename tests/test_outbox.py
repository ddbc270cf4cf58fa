"""The outbox of the log's own file: what anybody inserts there becomes an event, in order, once."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bus_stage import Recorder
from delivery_stage import Notes, standing_still
from earlier import lay_out
from outbox_stage import ORDERED, Ordered, insert, insert_into, numbers, row, waiting
from test_several_processes import LONGEST

from eventbus import EventBus, event
from eventbus.clock import Bell, SystemClock
from eventbus.errors import EventBusError, StatementRefused
from eventbus.events import Envelope
from eventbus.store import outbox as store
from eventbus.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def bus(path: Path) -> Iterator[EventBus]:
    """A bus that delivers when it is told to, on a file that is there."""
    with standing_still(path, source="shop") as made:
        assert made.log.head == 0
        yield made


# --- what becomes of a row ----------------------------------------------------------------------------------


def test_two_columns_are_enough(bus: EventBus, path: Path) -> None:
    insert(path, row(7))
    bus.drain()
    (envelope,) = bus.log.read()
    assert envelope.event == Ordered("a", 7)
    assert (envelope.stream, envelope.sequence, envelope.source, envelope.metadata) == ("order-a", 1, "shop", {})
    assert waiting(path) == 0


def test_a_row_says_what_the_keywords_of_publish_say(bus: EventBus, path: Path) -> None:
    said = {"id": "id-1", "stream": "mine", "metadata": '{"user": "ada"}', "correlation_id": "c", "causation_id": "d"}
    insert(path, row(7, version=1, **said))
    bus.drain()
    envelope = bus.log.get("id-1")
    assert isinstance(envelope, Envelope)
    assert (envelope.stream, envelope.metadata) == ("mine", {"user": "ada"})
    assert (envelope.correlation_id, envelope.causation_id) == ("c", "d")


def test_the_defaults_are_an_id_and_the_time_as_the_log_spells_them(bus: EventBus, path: Path) -> None:
    insert(path, *(row(number) for number in range(50)))
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT id, created_at FROM eventbus_outbox").fetchall()
    assert len({id_ for id_, _ in found}) == 50
    for id_, created in found:
        assert [len(part) for part in id_.split("-")] == [8, 4, 4, 4, 12]
        assert id_[14] == "4"
        assert id_[19] in "89ab"
        assert len(created) == len("2026-01-01T00:00:00.000000Z")
    bus.drain()
    assert [envelope.id for envelope in bus.log.read()] == [id_ for id_, _ in found]


def test_without_a_version_a_row_is_of_the_newest_that_is_loaded(bus: EventBus, path: Path) -> None:
    @event(name="outbox.Weighed", version=1)
    class Pounds:
        weight: float

    @event(name="outbox.Weighed", version=2)
    class Weighed:
        weight: float

    insert(path, {"event_type": "outbox.Weighed", "payload": '{"weight": 1.0}'})
    insert(path, {"event_type": "outbox.Weighed", "payload": '{"weight": 1.0}', "version": 1})
    bus.drain()
    assert [type(envelope.event) for envelope in bus.log.read()] == [Weighed, Pounds]


def test_what_a_row_leaves_out_is_its_class_s_default(bus: EventBus, path: Path) -> None:
    insert(path, {"event_type": ORDERED, "payload": '{"order_id": "b"}'})
    bus.drain()
    assert [envelope.payload for envelope in bus.log.read()] == ['{"order_id":"b","number":0}']


def test_rows_come_in_their_order_and_in_bounded_pages(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    remove = store.remove

    def noting(connection: sqlite3.Connection, rows: list[store.OutboxRow]) -> None:
        sizes.append(len(rows))
        remove(connection, rows)

    monkeypatch.setattr(store, "remove", noting)
    insert(path, *(row(number, order_id=str(number % 7)) for number in range(10_000)))
    bus.on(Ordered, handler=(heard := Recorder()))
    bus.drain()
    assert numbers(bus) == list(range(10_000)) == [ordered.number for ordered in heard.events]
    assert max(sizes) == store.PAGE
    assert sum(sizes) == 10_000
    assert waiting(path) == 0


def test_a_page_holds_a_bounded_number_of_bytes(bus: EventBus, path: Path) -> None:
    big = "x" * (store.PAGE_BYTES // 3 - 1000)
    insert(path, *({"event_type": "outbox.Unknown", "payload": big} for _ in range(6)))
    with closing(sqlite3.connect(path)) as connection:
        assert len(store.page(connection)) == 4  # the first three come just below it
    bus.drain()
    assert waiting(path) == 0
    assert len(bus.dead_letters.list()) == 6


def test_the_same_event_again_is_dropped(bus: EventBus, path: Path) -> None:
    insert(path, row(7, id="id-1"))
    bus.drain()
    insert(path, row(7, id="id-1"), row(8))
    bus.drain()
    assert numbers(bus) == [7, 8]
    assert bus.dead_letters.list() == []


def test_what_is_rolled_back_never_was(bus: EventBus, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        insert_into(connection, [row(1)])
        bus_sees = bus.drain(), numbers(bus)
        connection.rollback()
        insert_into(connection, [row(2)])
        connection.commit()
    bus.drain()
    assert bus_sees == (0, [])
    assert numbers(bus) == [2]


def test_subscriptions_and_live_handlers_hear_of_it(bus: EventBus, path: Path) -> None:
    heard = Recorder()
    bus.on(Ordered, handler=heard)
    bus.subscribe("stock", Ordered, handler=(notes := Notes()))
    insert(path, row(1), row(2))
    with bus.recorded() as recorded:
        assert bus.drain() == 2
    assert heard.events == recorded == notes.events == [Ordered("a", 1), Ordered("a", 2)]


def test_a_subscription_that_was_declared_before_the_drain_hears_what_was_inserted_before_it(path: Path) -> None:
    with standing_still(path) as first:
        assert first.log.head == 0
    insert(path, row(1))
    with standing_still(path) as bus:
        bus.subscribe("stock", Ordered, handler=(notes := Notes()))
        bus.drain()
    assert notes.numbers == [1]


def test_whoever_drains_is_not_the_cause(bus: EventBus, path: Path) -> None:
    insert(path, row(1))

    @event(name="outbox.Asked")
    class Asked:
        pass

    bus.on(Asked, handler=lambda asked: bus.drain())
    bus.publish(Asked())
    (envelope,) = bus.log.read(types=ORDERED)
    assert (envelope.causation_id, envelope.correlation_id) == (None, envelope.id)


def test_an_empty_outbox_writes_nothing(bus: EventBus, path: Path) -> None:
    insert(path, row(1))
    bus.drain()
    with closing(sqlite3.connect(path)) as look:
        before = look.execute("PRAGMA data_version").fetchone()
        for _ in range(3):
            bus.drain()
        assert look.execute("PRAGMA data_version").fetchone() == before


# --- who may insert -----------------------------------------------------------------------------------------


def test_a_plain_connection_of_the_bus_may_insert_and_nothing_else(bus: EventBus, path: Path) -> None:
    with closing(bus.connect()) as connection:
        insert_into(connection, [row(1)])
        for sql in (
            "DELETE FROM eventbus_outbox",
            "UPDATE eventbus_outbox SET payload = '{}'",
            "DROP TABLE eventbus_outbox",
            "CREATE TRIGGER mine AFTER INSERT ON eventbus_outbox BEGIN SELECT 1; END",
            "INSERT INTO eventbus_outbox_moved VALUES ('a', 1, x'00')",
        ):
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                connection.execute(sql)
    bus.drain()
    assert numbers(bus) == [1]


def test_a_transaction_may_insert_and_nothing_else(bus: EventBus) -> None:
    with bus.transaction() as tx:
        insert_into(tx.connection, [row(1)])
        tx.db.table("eventbus_outbox").insert(row(2))
        for sql in ("DELETE FROM eventbus_outbox", "UPDATE eventbus_outbox SET payload = '{}'"):
            with pytest.raises(StatementRefused):
                tx.execute(sql)
        assert tx.execute("SELECT count(*) FROM eventbus_outbox").fetchone() == (2,)
    bus.drain()
    assert numbers(bus) == [1, 2]


def test_rows_of_a_transaction_that_is_taken_back_are_no_events(bus: EventBus) -> None:
    def changes_its_mind() -> None:
        with bus.transaction() as tx:
            insert_into(tx.connection, [row(1)])
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        changes_its_mind()
    bus.drain()
    assert bus.log.head == 0


def test_a_trigger_of_the_app_s_publishes(bus: EventBus, path: Path) -> None:
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE orders (id TEXT, number INTEGER)")
        tx.execute(
            "CREATE TRIGGER placed AFTER INSERT ON orders BEGIN INSERT INTO eventbus_outbox (event_type, payload)"
            f""" VALUES ('{ORDERED}', '{{"order_id": "' || new.id || '", "number": ' || new.number || '}}'); END"""
        )
        tx.execute("INSERT INTO orders VALUES ('a', 1)")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO orders VALUES ('a', 2)")
    bus.drain()
    assert numbers(bus) == [1, 2]


def test_a_log_in_memory_has_an_outbox_for_its_own_transactions() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Ordered, handler=(notes := Notes()))
        with bus.transaction() as tx:
            insert_into(tx.connection, [row(1), row(2)])
        assert bus.drain() == 2
    assert notes.numbers == [1, 2]


def test_a_file_that_was_adopted_has_one(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id TEXT)")
    with standing_still(path, adopt=True) as bus:
        assert bus.log.head == 0
        insert(path, row(1))
        bus.drain()
        assert numbers(bus) == [1]


def test_a_log_of_an_earlier_version_gets_one(path: Path) -> None:
    lay_out("version-1", path)
    with standing_still(path) as bus:
        before = bus.log.head
        insert(path, row(1))
        bus.drain()
        assert (numbers(bus), bus.log.head) == ([1], before + 1)


# --- when ---------------------------------------------------------------------------------------------------


class Ticks(SystemClock):
    """Notes how long the pump means to wait, and has it wait for the bell only."""

    def __init__(self) -> None:
        super().__init__()
        self.meant: set[float | None] = set()
        self.asked = threading.Event()

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        self.meant.add(timeout)
        self.asked.set()
        return super().wait(bell, None)


def test_a_bus_that_delivers_looks_by_itself(path: Path) -> None:
    with EventBus(path) as bus:
        heard = Recorder()
        bus.on(Ordered, handler=heard)
        insert(path, row(1))
        assert heard.heard(1) == [Ordered("a", 1)]


def test_an_idle_bus_wakes_once_a_second_unless_told_otherwise(path: Path) -> None:
    clock = Ticks()
    with EventBus(path, clock=clock):
        assert clock.asked.wait(LONGEST)
    assert clock.meant == {1.0}


def test_poll_says_how_often_it_looks(path: Path) -> None:
    clock = Ticks()
    bus = EventBus(path, clock=clock)
    bus.outbox(poll=0.05)
    with bus:
        assert clock.asked.wait(LONGEST)
    assert clock.meant == {0.05}


def test_poll_holds_until_it_is_closed(path: Path) -> None:
    with standing_still(path) as bus:
        pump = bus._attachment.engine().pump
        with bus.outbox(poll=0.05), bus.outbox(str(path), poll=0.5):
            assert pump.tick() == 0.05
        assert pump.tick() == 1.0


def test_a_transaction_of_this_process_is_looked_at_at_once(path: Path) -> None:
    with EventBus(path, clock=Ticks()) as bus:
        bus.subscribe("stock", Ordered, handler=(heard := Recorder()))
        bus.drain()
        with bus.transaction() as tx:
            insert_into(tx.connection, [row(1)])
        assert heard.heard(1) == [Ordered("a", 1)]


@pytest.mark.parametrize("poll", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_poll_that_is_no_time_is_refused(path: Path, poll: object) -> None:
    with pytest.raises(EventBusError, match="poll="):
        EventBus(path).outbox(poll=poll)  # type: ignore[arg-type]


def test_the_own_outbox_has_the_source_of_the_bus(path: Path) -> None:
    with pytest.raises(EventBusError, match="source="):
        EventBus(path).outbox(name="mine")


def test_what_changes_between_two_looks_is_read_again() -> None:
    from eventbus.outbox.doors import unchanged

    def at(position: int, payload: str = "{}") -> store.OutboxRow:
        return store.OutboxRow(position, f"id-{position}", ORDERED, None, payload, None, None, None, None, "")

    rows = [at(1), at(2), at(3), at(4)]
    assert unchanged(rows, rows) == rows
    assert unchanged(rows, [at(3), at(4), at(5)]) == [at(3), at(4)]
    assert unchanged(rows, [at(2), at(3, "changed"), at(4)]) == [at(2)]
    assert unchanged(rows, []) == []


def test_a_clock_that_stands_still_moves_what_is_there(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        assert bus.log.head == 0
        for number in range(3):
            insert(path, row(number))
            bus.drain()
        assert numbers(bus) == [0, 1, 2]
