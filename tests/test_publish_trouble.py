"""What publishing says when the disk fails: stored, not stored, or in doubt; and that trying again is safe."""

import asyncio
import os

import pytest
from bus_stage import PATIENCE, Faulty, Paid, Placed, run

from eventbus import EventBus, PublishInDoubt
from eventbus.errors import LogBusy, LogFull, LogIOError, LogReplaced
from eventbus.store import connection as connections


@pytest.fixture
def disk(monkeypatch):
    """The connections of what is opened from here on; tell its `fails` when to fail and how."""

    class Disk(Faulty):
        pass

    plain = connections.connect_as

    def connect_as(kind, location, **how):
        return plain(Disk if kind is connections.sqlite3.Connection else kind, location, **how)

    monkeypatch.setattr(connections, "connect_as", connect_as)
    return Disk


@pytest.fixture
def bus(tmp_path, disk):
    made = EventBus(tmp_path / "shop.db", delivery="manual")
    made.publish(Placed(0))
    yield made
    disk.fails = lambda sql: None
    made.close()


def at(start: str, name: str):
    return lambda sql: name if sql.startswith(start) else None


def test_a_commit_that_fails_leaves_the_publish_in_doubt_with_its_key(bus, disk):
    heard = []
    bus.on(Placed, handler=heard.append)
    disk.fails = at("COMMIT", "SQLITE_IOERR_FSYNC")
    with pytest.raises(PublishInDoubt) as caught:
        bus.publish(Placed(1), idempotency_key="mine")
    assert (caught.value.idempotency_key, caught.value.stored) == ("mine", "in doubt")
    assert "mine" in str(caught.value)
    assert isinstance(caught.value.__cause__, LogIOError)
    assert heard == []


def test_without_a_key_the_doubt_names_the_id_and_publishing_again_with_it_is_safe(bus, disk):
    disk.fails = at("COMMIT", "SQLITE_IOERR_FSYNC")
    with pytest.raises(PublishInDoubt) as caught:
        bus.publish(Placed(1))
    disk.fails = lambda sql: None
    key = caught.value.idempotency_key
    receipts = [bus.publish(Placed(1), idempotency_key=key) for _ in range(2)]
    assert [each.duplicate for each in receipts] == [False, True]
    assert [each.event for each in bus.log.read()] == [Placed(0), Placed(1)]


def test_in_doubt_is_told_on_a_loop_and_by_a_future_as_well(bus, disk):
    disk.fails = at("COMMIT", "SQLITE_IOERR_FSYNC")

    async def main() -> None:
        results = await asyncio.gather(
            *[bus.publish_async(Placed(n), idempotency_key=f"k{n}") for n in range(3)], return_exceptions=True
        )
        assert [each.idempotency_key for each in results if isinstance(each, PublishInDoubt)] == ["k0", "k1", "k2"]

    run(main())
    with pytest.raises(PublishInDoubt):
        bus.submit(Placed(1)).result(PATIENCE)


def test_of_many_in_doubt_each_key_is_named(bus, disk):
    disk.fails = at("COMMIT", "SQLITE_IOERR_FSYNC")
    with pytest.raises(PublishInDoubt):
        bus.publish_many([Placed(1), Placed(2)], idempotency_keys=["a", "b"])
    disk.fails = lambda sql: None
    receipts = bus.publish_many([Placed(1), Placed(2)], idempotency_keys=["a", "b"])
    assert [each.duplicate for each in receipts] == [False, False]


def test_an_error_before_the_commit_means_that_nothing_is_stored(bus, disk):
    disk.fails = at("INSERT INTO eventbus_events", "SQLITE_IOERR_WRITE")
    with pytest.raises(LogIOError) as caught:
        bus.publish(Placed(1))
    assert caught.value.stored == "not stored"
    disk.fails = at("INSERT INTO eventbus_events", "SQLITE_FULL")
    with pytest.raises(LogFull) as full:
        bus.publish(Placed(1))
    assert full.value.stored == "not stored"
    disk.fails = lambda sql: None
    assert bus.log.head == 1
    assert bus.publish(Placed(1)).position == 2


def test_a_failed_commit_takes_the_new_type_with_it_and_the_next_publish_adds_it_again(tmp_path, disk):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        assert bus.log.head == 0
        disk.fails = at("COMMIT", "SQLITE_IOERR_FSYNC")
        with pytest.raises(PublishInDoubt):
            bus.publish(Placed(1), stream="order-1")
        disk.fails = lambda sql: None
        receipt = bus.publish(Placed(1), stream="order-1")
        assert (receipt.position, receipt.sequence) == (1, 1)
        assert bus.log.get(1).event == Placed(1)


def test_a_lock_held_by_somebody_else_is_reported_as_such(bus, monkeypatch):
    monkeypatch.setattr("eventbus.store.storage._BEGIN_BUSY_SECONDS", 0.0)
    other = bus.connect()
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogBusy) as caught:
            bus.publish(Placed(1))
        assert caught.value.stored == "not stored"
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert bus.publish(Placed(1)).position == 2


def test_a_transaction_whose_commit_fails_says_so_and_the_next_one_works(bus, monkeypatch):
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        tx.execute("CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    heard = []
    bus.on(Placed, handler=heard.append)
    monkeypatch.setattr("eventbus.store.guest.Guest.commit", _failing_commit)
    with pytest.raises(LogIOError) as caught, bus.transaction() as tx:
        tx.publish(Placed(1))
    assert caught.value.stored == "in doubt"
    monkeypatch.undo()
    assert heard == []
    with bus.transaction() as tx:
        tx.publish(Placed(2))
    assert heard == [Placed(2)]


def _failing_commit(guest: object) -> None:
    raise LogIOError("shop.db", "could not commit: disk I/O error.", stored="in doubt")


def _broken(*arguments: object, **options: object) -> None:
    raise LogIOError("shop.db", "could not open: unable to open database file.")


def moved(path):
    path.rename(path.with_name("elsewhere.db"))


def deleted(path):
    path.unlink()


def without_its_wal(path):
    path.with_name(path.name + "-wal").unlink()


def replaced(path):
    other = path.with_name("other.db")
    EventBus(other).log.read()
    other.touch()
    os.replace(other, path)


@pytest.mark.parametrize("lose", [moved, deleted, without_its_wal, replaced])
def test_nothing_is_acknowledged_once_the_file_is_another(tmp_path, lose):
    path = tmp_path / "shop.db"
    bus = EventBus(path, delivery="manual")
    heard = []
    bus.on(Placed, handler=heard.append)
    bus.publish(Placed(1))
    lose(path)
    with pytest.raises(LogReplaced) as caught:
        bus.publish_many([Placed(2), Placed(3)])
    assert caught.value.stored == "in doubt"
    for again in (lambda: bus.publish(Placed(4)), lambda: bus.submit(Placed(5)).result(PATIENCE)):
        with pytest.raises(LogReplaced) as caught:
            again()
        assert caught.value.stored == "not stored"
    with pytest.raises(LogReplaced), bus.transaction() as tx:
        tx.publish(Placed(6))
    assert heard == [Placed(1)]
    bus.close()


def test_a_transaction_is_not_acknowledged_either_and_all_goes_on_where_the_file_is_put_back(tmp_path):
    path, away = tmp_path / "shop.db", tmp_path / "away.db"
    bus = EventBus(path, delivery="manual")
    bus.publish(Placed(1))

    def publish_and_move() -> None:
        with bus.transaction() as tx:
            tx.publish(Placed(2))
            path.rename(away)

    with pytest.raises(LogReplaced) as caught:
        publish_and_move()
    assert caught.value.stored == "in doubt"
    with pytest.raises(LogReplaced):
        run(bus.publish_async(Placed(3)))
    away.rename(path)
    assert bus.publish(Placed(4)).position == 3
    assert [each.event for each in bus.log.read()] == [Placed(1), Placed(2), Placed(4)]
    bus.close()


def test_each_publish_of_a_group_commit_hears_that_the_file_was_moved(tmp_path):
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    bus.publish(Placed(1))

    async def publish_together() -> list[object]:
        moved(tmp_path / "shop.db")
        return await asyncio.gather(*[bus.publish_async(Placed(n)) for n in range(3)], return_exceptions=True)

    assert [type(each) for each in run(publish_together())] == [LogReplaced] * 3
    bus.close()


def test_what_is_committed_is_reported_as_stored_whatever_fails_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("eventbus.store.checkpoint.ENOUGH_FRAMES", 8)  # every commit is followed by a checkpoint
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    monkeypatch.setattr("eventbus.store.readers.connect", _broken)
    assert bus.publish(Placed(1)).position == 1
    with bus.transaction() as tx:
        tx.publish(Paid(2))
        monkeypatch.setattr("eventbus.store.names.NameBook.refresh", _broken)
    monkeypatch.undo()
    assert [each.event for each in bus.log.read()] == [Placed(1), Paid(2)]
    bus.close()


def test_closing_closes_all_connections_even_if_the_last_checkpoint_fails(tmp_path, monkeypatch):
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    bus.publish(Placed(1))
    monkeypatch.setattr("eventbus.store.readers.connect", _broken)
    bus.close()
    assert {each.name for each in tmp_path.iterdir()} == {"shop.db", "shop.db-witness"}


def test_closing_while_somebody_else_writes_closes_all_and_waits_no_longer_than_it_was_told(tmp_path):
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed(1))
    bus.drain()
    other = bus.connect()
    other.execute("BEGIN IMMEDIATE")
    bus.close(timeout=0)
    other.execute("ROLLBACK")
    other.close()
    assert {each.name for each in tmp_path.iterdir()} == {"shop.db", "shop.db-lock", "shop.db-witness"}


def test_an_unexpected_error_before_storing_reaches_everybody_who_waits_for_the_writer(bus, monkeypatch):
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(bus._attachment.engine().definitions, "settle", broken)
    with pytest.raises(RuntimeError, match="broken"):
        bus.submit(Placed(1)).result(PATIENCE)
    with pytest.raises(RuntimeError, match="broken"):
        run(bus.publish_async(Placed(2)))
    monkeypatch.undo()
    assert bus.publish(Placed(3)).position == 2
