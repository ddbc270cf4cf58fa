"""What the killed processes publish and handle: each event follows from its key, so that anybody can say it again.

Files beside the log hear of what must outlive a SIGKILL: a line that was written stays, whatever becomes of its writer.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from zlib import crc32

from eventbus import Context, EventBus, Projection, Retry, Table, Transaction, event, handles
from eventbus.errors import BusClosed, EventBusError
from eventbus.retry import fixed

ACCOUNTS = 12
AGAIN = fixed(0.0)  # retries are due at once: what is tested is that they happen, not when


@event(stream="account-{account}")
class Deposited:
    """The everyday event; `key` says which of all."""

    key: str
    account: int
    amount: int


@event(stream="poison-{vial}")
class Spilled:
    """Number 3 of each vial is a poison that no attempt survives; those behind it are held."""

    vial: str
    number: int


@event(stream="order-{key}")
class Ordered:
    """Published together with a row of the app's own."""

    key: str


@event
class Noted:
    """What handlers publish; `by` is the subscription."""

    by: str
    position: int


def deposited(key: str) -> Deposited:
    """The deposit with this key."""
    number = crc32(key.encode())
    return Deposited(key, number % ACCOUNTS, number % 1000)


def vial(key: str) -> list[Spilled]:
    """Six events of one stream, the third of them a poison."""
    return [Spilled(key, number) for number in range(1, 7)]


class Diary:
    """A file of lines, each written whole by one call and signed by its process; what is in it survives that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *fields: object) -> None:
        """Add one line."""
        os.write(self._file, ("\t".join(map(str, (*fields, os.getpid()))) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def lines(path: Path) -> list[list[str]]:
    """The fields of each line of a diary that is whole."""
    if not path.exists():
        return []
    return [line.split("\t") for line in path.read_text("utf-8").split("\n")[:-1]]


class Balances(Projection):
    """What the log says each account has."""

    balances = Table("account INTEGER PRIMARY KEY, deposits INTEGER NOT NULL, total INTEGER NOT NULL, digest INTEGER")

    @handles(Deposited)
    def deposited(self, e: Deposited, tx: Transaction) -> None:
        """Add it; the digest depends on the order as well."""
        tx.execute(
            f"INSERT INTO {self.balances} VALUES (?, 1, ?, ?) ON CONFLICT (account) DO UPDATE SET"
            " deposits = deposits + 1, total = total + excluded.total,"
            " digest = (digest * 31 + excluded.digest) % 1000003",
            (e.account, e.amount, e.amount),
        )


def rebuild(bus: EventBus) -> None:
    """Rebuild the projection, up to the close; it gives up too where five kills in a row met it in one event."""
    try:
        bus.projections[Balances].rebuild()
    except BusClosed:
        return
    except EventBusError as error:
        if "The process ended while the handler ran" not in str(error):
            raise


class Fails:
    """Fails each event's first attempt in this process where its amount says so."""

    def __init__(self, every: int) -> None:
        self._every, self._failed = every, set[int]()
        self._lock = threading.Lock()

    def at(self, event: Deposited, position: int) -> None:
        """Raise if it is to fail now."""
        with self._lock:
            if event.amount % self._every == 0 and position not in self._failed:
                self._failed.add(position)
                raise RuntimeError("not the first time")


def declare(bus: EventBus, folder: Path, *, attempts: int = 25) -> list[Diary]:
    """All kinds of handlers; those with effects outside the file note them in diaries, which are returned.

    `attempts`: of the poisoned one.
    """
    diaries = {name: Diary(folder / f"{name}.txt") for name in ("plain", "async", "poisoned")}
    often = Retry(attempts=None, backoff=AGAIN)
    fails = {name: Fails(every) for name, every in (("plain", 7), ("async", 11), ("ledger", 13))}

    @bus.subscribe("plain", Deposited, after=0, retry=often)
    def plain(e: Deposited, ctx: Context) -> None:
        fails["plain"].at(e, ctx.envelope.position)
        diaries["plain"].write(ctx.envelope.position, ctx.envelope.stream, ctx.envelope.sequence)
        if e.amount % 5 == 0:
            ctx.publish(Noted("plain", ctx.envelope.position))

    @bus.subscribe("async", Deposited, after=0, retry=often)
    async def later(e: Deposited, ctx: Context) -> None:
        fails["async"].at(e, ctx.envelope.position)
        diaries["async"].write(ctx.envelope.position, ctx.envelope.stream, ctx.envelope.sequence)

    @bus.subscribe("ledger", Deposited, after=0, retry=often, transactional=True)
    def ledger(e: Deposited, ctx: Context) -> None:
        ctx.tx.execute(
            "INSERT INTO ledger (position, account, amount) VALUES (?, ?, ?)",
            (ctx.envelope.position, e.account, e.amount),
        )
        fails["ledger"].at(e, ctx.envelope.position)
        if e.amount % 3 == 0:
            ctx.publish(Noted("ledger", ctx.envelope.position))

    @bus.subscribe("one_by_one", Ordered, after=0, order_by="log", retry=often, transactional=True)
    def one_by_one(e: Ordered, ctx: Context) -> None:
        ctx.tx.execute("INSERT INTO shipped (position, key) VALUES (?, ?)", (ctx.envelope.position, e.key))

    @bus.subscribe("poisoned", Spilled, after=0, retry=Retry(attempts=attempts, backoff=AGAIN))
    def poisoned(e: Spilled, ctx: Context) -> None:
        if e.number == 3:
            raise ValueError(f"poison in {e.vial}")
        diaries["poisoned"].write(ctx.envelope.position, ctx.envelope.stream, ctx.envelope.sequence)

    bus.project(Balances)
    return list(diaries.values())


APP_TABLES = (
    "CREATE TABLE IF NOT EXISTS ledger (rowid INTEGER PRIMARY KEY, position INTEGER, account INTEGER, amount INTEGER)",
    "CREATE TABLE IF NOT EXISTS shipped (rowid INTEGER PRIMARY KEY, position INTEGER, key TEXT)",
    "CREATE TABLE IF NOT EXISTS orders (rowid INTEGER PRIMARY KEY, key TEXT, id TEXT)",
)


def make_app_tables(bus: EventBus) -> None:
    """The app's own tables, in the log's file."""
    with bus.transaction() as tx:
        for statement in APP_TABLES:
            tx.execute(statement)
