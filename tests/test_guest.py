"""User SQL inside a transaction of the bus: everything for the app's own tables, nothing that ends or leaves it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_utils

from eventbus.clock import SystemClock
from eventbus.errors import EventBusError
from eventbus.store import checkpoint
from eventbus.store.connection import connect
from eventbus.store.guest import Guest
from eventbus.store.location import Location
from eventbus.store.opening import open_log


@pytest.fixture(params=["file", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location.of(tmp_path / "events.db" if request.param == "file" else None)


@pytest.fixture
def writer(location: Location) -> Iterator[sqlite3.Connection]:
    """The bus's own connection, that sees what is committed."""
    with closing(open_log(location, adopt=False, clock=SystemClock())) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, total REAL)")
        connection.execute("CREATE TABLE audit (line TEXT)")
        yield connection


@pytest.fixture
def guest(location: Location, writer: sqlite3.Connection) -> Iterator[Guest]:
    with closing(Guest(location, SystemClock())) as guest:
        yield guest


def orders(writer: sqlite3.Connection) -> list[str]:
    return [order for (order,) in writer.execute("SELECT id FROM orders ORDER BY id")]


def insert(guest: Guest, order: str) -> None:
    guest.connection.execute("INSERT INTO orders VALUES (?, 1.0)", (order,))


# --- beginning and ending -------------------------------------------------------------------------------


def test_what_is_committed_is_kept_and_what_is_rolled_back_is_not(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    insert(guest, "kept")
    guest.commit()
    guest.begin(None)
    insert(guest, "undone")
    guest.rollback()
    assert orders(writer) == ["kept"]


ENDINGS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "COMMIT": lambda c: c.execute("COMMIT"),
    "END": lambda c: c.execute("END"),
    "ROLLBACK": lambda c: c.execute("ROLLBACK"),
    "BEGIN": lambda c: c.execute("BEGIN"),
    "the bus's own COMMIT, letter by letter": lambda c: c.execute("COMMIT /* eventbus */"),
    "commit()": lambda c: c.commit(),
    "rollback()": lambda c: c.rollback(),
    "close()": lambda c: c.close(),
    "with": lambda c: c.__enter__() and c.__exit__(None, None, None),
    "executescript": lambda c: c.executescript("INSERT INTO audit VALUES (1); COMMIT"),
    "a cursor's executescript": lambda c: c.cursor().executescript("COMMIT"),
    "a plain cursor": lambda c: c.cursor(sqlite3.Cursor).execute("COMMIT"),
    "ATTACH": lambda c: c.execute("ATTACH ':memory:' AS other"),
    "PRAGMA": lambda c: c.execute("PRAGMA journal_mode = DELETE"),
    "set_authorizer": lambda c: c.set_authorizer(None),
    "deserialize": lambda c: c.deserialize(b""),
    "VACUUM": lambda c: c.execute("VACUUM"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_user_sql_cannot_end_or_leave_the_transaction(guest: Guest, writer: sqlite3.Connection, ending: str) -> None:
    guest.begin(None)
    insert(guest, "first")
    guest.commit()  # the bus's own COMMIT has been prepared by now
    guest.begin(None)
    insert(guest, "second")
    with pytest.raises((EventBusError, sqlite3.OperationalError)):
        ENDINGS[ending](guest.connection)
    guest.check()
    guest.rollback()
    assert orders(writer) == ["first"]
    assert writer.execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_an_error_in_a_with_block_of_the_connection_goes_on_as_it_is(guest: Guest) -> None:
    guest.begin(None)
    with pytest.raises(ZeroDivisionError), guest.connection:
        raise ZeroDivisionError
    guest.check()


def test_a_refusal_says_what_and_why(guest: Guest) -> None:
    guest.begin(None)
    with pytest.raises(EventBusError, match=r"'COMMIT' was refused: the bus commits or rolls back"):
        guest.connection.execute("COMMIT")


def test_executescript_stays_in_the_transaction(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    guest.connection.executescript(
        "INSERT INTO orders VALUES ('a;b', 1); -- one; two\nCREATE TRIGGER t AFTER INSERT ON orders "
        "BEGIN INSERT INTO audit VALUES (new.id); SELECT 1; END; INSERT INTO orders VALUES ('c', 1)"
    )
    assert guest.connection.execute("SELECT line FROM audit").fetchall() == [("c",)]
    guest.rollback()
    assert orders(writer) == []


def test_savepoints_are_the_users(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    insert(guest, "kept")
    guest.connection.execute("SAVEPOINT mine")
    insert(guest, "undone")
    guest.connection.execute("ROLLBACK TO mine")
    guest.connection.execute("RELEASE mine")
    guest.commit()
    assert orders(writer) == ["kept"]


def test_nothing_commits_by_itself_after_insert_or_rollback(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    insert(guest, "first")
    with pytest.raises(sqlite3.IntegrityError):
        guest.connection.execute("INSERT OR ROLLBACK INTO orders VALUES ('first', 2)")
    for statement in (guest.connection.execute, guest.connection.cursor().execute):
        with pytest.raises(EventBusError, match="rolled back by a statement in it"):
            statement("INSERT INTO orders VALUES ('stray', 3)")
    with pytest.raises(EventBusError, match="rolled back"):
        guest.commit()
    guest.rollback()
    assert orders(writer) == []
    guest.begin(None)
    insert(guest, "next")
    guest.commit()
    assert orders(writer) == ["next"]


def test_a_connection_kept_beyond_its_transaction_does_nothing(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    insert(guest, "first")
    connection = guest.connection
    guest.commit()
    for sql in ("INSERT INTO orders VALUES (?, 1.0)", "SELECT ?", "SAVEPOINT x -- ?"):
        with pytest.raises(EventBusError, match="over"):
            connection.execute(sql, ("late",))
    assert orders(writer) == ["first"]


def test_cursors_end_with_their_transaction_so_that_checkpoints_get_through(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(connect(here, writable=False)) as reader,
        closing(Guest(here, SystemClock())) as guest,
    ):
        guest.begin(None)
        guest.connection.execute("CREATE TABLE orders (id)")
        guest.connection.executemany("INSERT INTO orders VALUES (?)", [(number,) for number in range(5_000)])
        unread = guest.connection.execute("SELECT id FROM orders")
        assert unread.fetchone() == (0,)
        guest.commit()
        writer.execute("INSERT INTO orders VALUES (1)")
        assert checkpoint.run(writer, reader).complete
        with pytest.raises(sqlite3.ProgrammingError):
            unread.fetchone()


def test_a_deferred_foreign_key_is_told_at_the_commit_and_can_be_rolled_back(
    guest: Guest, writer: sqlite3.Connection
) -> None:
    with guest.ours():
        guest.connection.execute("PRAGMA foreign_keys = ON")
    guest.begin(None)
    guest.connection.execute("CREATE TABLE lines (order_id TEXT REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)")
    guest.connection.execute("INSERT INTO lines VALUES ('nowhere')")
    with pytest.raises(sqlite3.IntegrityError):
        guest.commit()
    guest.rollback()
    assert writer.execute("SELECT count(*) FROM sqlite_master WHERE name = 'lines'").fetchone() == (0,)


def test_what_a_user_sets_on_the_connection_ends_with_the_transaction(guest: Guest) -> None:
    guest.begin(None)
    guest.connection.row_factory = sqlite3.Row
    guest.commit()
    guest.begin(None)
    assert guest.connection.execute("SELECT 1").fetchone() == (1,)


# --- the app's transaction ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO eventbus_sources (name) VALUES ('mine')",
        "insert into EventBus_Sources (name) values ('mine')",
        "UPDATE eventbus_log SET incarnation = 9",
        "DELETE FROM eventbus_events",
        "DROP TABLE eventbus_keys",
        "ALTER TABLE eventbus_keys ADD COLUMN mine",
        "CREATE TABLE eventbus_mine (a)",
        "CREATE TEMP TABLE eventbus_events (a)",
        "CREATE INDEX mine ON eventbus_events (time)",
        "CREATE TRIGGER mine AFTER INSERT ON eventbus_events BEGIN SELECT 1; END",
        "CREATE TEMP TRIGGER mine AFTER INSERT ON eventbus_events BEGIN SELECT 1; END",
        "DROP INDEX eventbus_events_stream",
        "DROP VIEW eventbus_lag",
        "SAVEPOINT eventbus_mine",
    ],
)
def test_the_buss_own_tables_are_not_the_apps_to_change(guest: Guest, sql: str) -> None:
    guest.begin(None)
    with pytest.raises(EventBusError, match="the bus's own"):
        guest.connection.execute(sql)


def test_a_trigger_of_the_app_cannot_reach_the_buss_tables(guest: Guest) -> None:
    guest.begin(None)
    guest.connection.execute(
        "CREATE TRIGGER sly AFTER INSERT ON orders BEGIN INSERT INTO eventbus_sources (name) VALUES ('x'); END"
    )
    with pytest.raises(EventBusError, match="the bus's own"):
        insert(guest, "first")


def test_a_blob_of_the_buss_own_tables_cannot_be_opened(guest: Guest) -> None:
    guest.begin(None)
    with pytest.raises(EventBusError, match="the bus's own"):
        guest.connection.blobopen("eventbus_events", "payload", 1)
    guest.connection.execute("INSERT INTO audit VALUES (zeroblob(3))")
    with guest.connection.blobopen("audit", "line", 1) as blob:
        blob.write(b"abc")
    assert guest.connection.execute("SELECT line FROM audit").fetchone() == (b"abc",)


def test_the_buss_tables_may_be_read_in_the_apps_transaction(guest: Guest) -> None:
    guest.begin(None)
    assert guest.connection.execute("SELECT count(*) FROM eventbus_events").fetchone() == (0,)


def test_the_buss_own_statements_pass_and_the_same_text_from_a_user_does_not(
    guest: Guest, writer: sqlite3.Connection
) -> None:
    sql = "INSERT INTO eventbus_sources (name) VALUES (?)"
    guest.begin(None)
    with guest.ours():
        guest.connection.execute(sql, ("ours",))
        guest.connection.executemany(sql, [("ours too",)])
    with pytest.raises(EventBusError, match="the bus's own"):
        guest.connection.execute(sql, ("not ours",))
    guest.commit()
    assert writer.execute("SELECT name FROM eventbus_sources ORDER BY name").fetchall() == [("ours",), ("ours too",)]


def test_sqlite_utils_works_in_the_transaction(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(None)
    db = sqlite_utils.Database(guest.connection, execute_plugins=False)
    posts = db.table("posts")
    posts.create({"id": int, "title": str}, pk="id")
    posts.insert({"id": 1, "title": "hello world"})
    posts.upsert({"id": 1, "title": "hello again"}, pk="id")
    with db.atomic():
        posts.insert_all([{"id": number, "title": f"number {number}"} for number in range(2, 300)])
    with pytest.raises(sqlite3.IntegrityError), db.atomic():
        posts.insert_all([{"id": 999, "title": "undone"}, {"id": 999, "title": "twice"}])
    posts.enable_fts(["title"], create_triggers=True)
    posts.add_column("stars", int)
    posts.create_index(["title"])
    posts.transform(rename={"stars": "points"})
    assert [row["title"] for row in posts.search("hello")] == ["hello again"]
    assert next(iter(db.query("SELECT count(*) AS n FROM posts")))["n"] == 299
    assert {"posts", "orders"} <= set(db.table_names())
    guest.rollback()
    assert writer.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'posts%'").fetchone() == (0,)


def test_sqlite_utils_migrations_run_in_the_transaction(guest: Guest, writer: sqlite3.Connection) -> None:
    migrations = sqlite_utils.Migrations("app")

    @migrations()
    def first(db: sqlite_utils.Database) -> None:
        db.table("customers").create({"id": int}, pk="id")

    for _ in range(2):
        guest.begin(None)
        migrations.apply(sqlite_utils.Database(guest.connection, execute_plugins=False))
        guest.commit()
    assert writer.execute("SELECT count(*) FROM customers").fetchone() == (0,)


# --- a projection's transaction -------------------------------------------------------------------------


OWN = frozenset({"orders"})


def test_a_projection_reads_and_writes_its_own_tables(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(OWN)
    guest.connection.execute(
        "INSERT INTO orders VALUES ('a', 1) ON CONFLICT (id) DO UPDATE SET total = total + excluded.total"
    )
    db = sqlite_utils.Database(guest.connection, execute_plugins=False)
    db.table("orders").upsert({"id": "b", "total": 2.0}, pk="id")
    with db.atomic():
        guest.connection.execute("UPDATE orders SET total = (SELECT max(total) FROM orders) WHERE id = 'a'")
    assert guest.connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    guest.commit()
    assert orders(writer) == ["a", "b"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT line FROM audit",
        "SELECT count(*) FROM audit",
        "SELECT id FROM orders WHERE id IN (SELECT line FROM audit)",
        "INSERT INTO audit VALUES ('x')",
        "SELECT count(*) FROM eventbus_events",
        "INSERT INTO orders SELECT id, 1 FROM eventbus_events",
        "CREATE TABLE more (a)",
        "CREATE TEMP TABLE orders (a)",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD COLUMN more",
        "CREATE INDEX more ON orders (total)",
        "COMMIT",
    ],
)
def test_a_projection_can_do_nothing_else(guest: Guest, sql: str) -> None:
    guest.begin(OWN)
    with pytest.raises(EventBusError, match="refused"):
        guest.connection.execute(sql)


def test_a_projection_is_not_helped_by_what_an_app_prepared_before(guest: Guest) -> None:
    sql = "INSERT INTO audit VALUES ('x')"
    guest.begin(None)
    guest.connection.execute(sql)
    guest.commit()
    guest.begin(OWN)
    with pytest.raises(EventBusError, match="own tables only"):
        guest.connection.execute(sql)


def test_the_bus_makes_a_projections_tables_in_its_transaction(guest: Guest, writer: sqlite3.Connection) -> None:
    guest.begin(frozenset({"sales__1"}))
    with guest.ours():
        guest.connection.execute("CREATE TABLE sales__1 (a)")
    guest.connection.execute("INSERT INTO sales__1 VALUES (1)")
    guest.commit()
    assert writer.execute("SELECT * FROM sales__1").fetchall() == [(1,)]
