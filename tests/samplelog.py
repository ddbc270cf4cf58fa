"""A log written by hand, with SQL only, as a customer's file that no app of ours is there for."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

from sums import sum_again

from eventbus.clock import iso
from eventbus.store.schema import APPLICATION_ID, DDL, SCHEMA_VERSION

_ADD_EVENT = """INSERT INTO eventbus_events (id, type_id, stream, sequence, time, source_id, correlation_id,
causation_id, metadata, codec, payload, payload_crc, header_crc) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, 0, 0)"""


class SampleLog:
    """Writes what a test needs, and leaves the file as a bus does that was closed: without a -wal."""

    def __init__(self, path: Path) -> None:
        self.open(path)
        self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(DDL)
        self.db.execute(
            "INSERT INTO eventbus_log (id, log_id, incarnation, schema_version, created_at)"
            " VALUES (1, 'sample', 1, ?, ?)",
            (SCHEMA_VERSION, iso(self.now - 9000)),
        )
        self.db.execute("INSERT INTO eventbus_sources (name) VALUES ('shop')")

    def open(self, path: Path) -> None:
        """Go on with a log that is there."""
        self.path = path
        self.now = time.time()
        self.db = sqlite3.connect(path, isolation_level=None)

    def type(self, name: str, *, version: int = 1, kind: str = "domain", bases: tuple[str, ...] = ()) -> int:
        """The id of a type, added if need be."""
        self.db.execute(
            "INSERT OR IGNORE INTO eventbus_types (name, version, kind, bases) VALUES (?, ?, ?, ?)",
            (name, version, kind, json.dumps(bases)),
        )
        found = self.db.execute("SELECT id FROM eventbus_types WHERE name = ? AND version = ?", (name, version))
        return int(found.fetchone()[0])

    def event(
        self,
        type_name: str,
        stream: str | None = None,
        payload: object = None,
        *,
        ago: float = 60.0,
        raw: str | bytes | None = None,
        cause: int | None = None,
        metadata: object = None,
        codec: str | None = None,
    ) -> int:
        """Append an event recorded `ago` seconds before now; returns its position."""
        type_id = self.type(type_name)
        (sequence,) = self.db.execute(
            "SELECT coalesce(max(sequence), 0) + 1 FROM eventbus_events WHERE stream = ?", (stream,)
        ).fetchone()
        text = raw if raw is not None else json.dumps(payload if payload is not None else {})
        row = (
            f"{self.head() + 1:08x}-0000-7000-8000-000000000000",
            type_id,
            stream,
            sequence if stream is not None else None,
            iso(self.now - ago),
            None if cause is None else self.id(1),
            None if cause is None else self.id(cause),
            None if metadata is None else json.dumps(metadata),
            codec,
            text,
        )
        position = self.db.execute(_ADD_EVENT, row).lastrowid
        assert position is not None
        sum_again(self.db, position - 1)
        return position

    def head(self) -> int:
        """The last position."""
        return int(self.db.execute("SELECT coalesce(max(position), 0) FROM eventbus_events").fetchone()[0])

    def id(self, position: int) -> str:
        """The id of the event at a position."""
        found = self.db.execute("SELECT id FROM eventbus_events WHERE position = ?", (position,))
        return str(found.fetchone()[0])

    def subscription(
        self,
        name: str,
        *matches: tuple[str, str],
        role: str = "subscription",
        state: str = "active",
        cursor: int = 0,
        claim: int | None = None,
        handled: int = 0,
        ahead: tuple[int, ...] = (),
        start: int = 0,
        generation: int = 1,
        definition: object = None,
        reason: str | None = None,
        owner: str | None = None,
    ) -> int:
        """Add a subscription that listens to (name or pattern, how) pairs; returns its id."""
        types = [{"match": match, "how": how, "since": start} for match, how in matches]
        added = self.db.execute(
            "INSERT INTO eventbus_subscriptions (name, generation, role, state, state_reason, start, cursor, claim,"
            " ahead, handled, types, order_by, definition, owner, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'stream', ?, ?, ?, ?)",
            (
                name,
                generation,
                role,
                state,
                reason,
                start,
                cursor,
                cursor if claim is None else claim,
                json.dumps(ahead),
                handled,
                json.dumps(types),
                None if definition is None else json.dumps(definition),
                owner,
                iso(self.now - 8000),
                iso(self.now - 5),
            ),
        )
        return added.lastrowid or 0

    def delivery(
        self,
        subscription_id: int,
        position: int,
        state: str,
        *,
        key: str | None = None,
        attempts: int = 0,
        due_in: float | None = None,
        error: str | None = None,
    ) -> None:
        """Add a delivery that is not normal, with one row for each attempt."""
        due = None if due_in is None else iso(self.now + due_in)
        self.db.execute(
            "INSERT INTO eventbus_deliveries (subscription_id, position, order_key, state, attempts, tries, due, error,"
            " since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (subscription_id, position, key, state, attempts, attempts, due, error, iso(self.now - 200)),
        )
        for attempt in range(1, attempts + 1):
            kind, _, message = (error or "").partition(": ")
            self.db.execute(
                "INSERT INTO eventbus_attempts VALUES (?, 1, ?, ?, ?, 0.25, ?, ?, ?)",
                (
                    subscription_id,
                    position,
                    attempt,
                    iso(self.now - 200 + attempt),
                    kind,
                    message,
                    f'Traceback (most recent call last):\n  File "mail.py", line 7, in send\n{error}\n',
                ),
            )

    def close(self) -> Path:
        """Finish the file."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.db.close()
        return self.path


def shop(path: Path) -> Path:
    """Two orders: the first is shipped, the second stuck on a provider that refuses its card."""
    log = SampleLog(path)
    placed = log.event(
        "OrderPlaced",
        "order-1",
        {"order_id": "o-1", "customer": "Ada Lovelace", "total": 99.5},
        ago=300,
        metadata={"user": "ada"},
    )
    log.event("OrderPaid", "order-1", {"order_id": "o-1", "amount": 99.5}, ago=290, cause=placed)
    log.event("OrderPlaced", "order-2", {"order_id": "o-2", "customer": "Grace", "total": 5}, ago=240)
    log.event("OrderShipped", "order-1", {"order_id": "o-1", "parcels": [{"kg": 1.5}]}, ago=230, cause=placed)
    log.event("OrderChanged", "order-2", {"order_id": "o-2", "total": 6}, ago=60)
    log.event("Ticked", None, {"at": "noon"}, ago=50)
    payments = log.subscription(
        "payments", ("OrderPlaced", "pattern"), ("OrderChanged", "pattern"), cursor=5, handled=1
    )
    log.delivery(payments, 3, "dead", key="order-2", attempts=2, error="CardRefused: no such card")
    log.delivery(payments, 5, "held", key="order-2")
    mail = log.subscription("plugin-mail/receipts", ("Order*", "pattern"), cursor=4, claim=5, handled=2)
    log.delivery(mail, 4, "retrying", key="order-1", attempts=1, due_in=75, error="ConnectionError: mail is down")
    log.subscription("audit", ("*", "pattern"), cursor=0, state="paused", reason="paused by a person")
    log.subscription(
        "sales", ("OrderPlaced", "pattern"), role="projection", cursor=6, handled=2, definition={"version": 1}
    )
    return log.close()
