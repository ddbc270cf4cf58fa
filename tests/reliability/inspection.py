"""What must be true of a log that is found when the power comes back, as the bus opens it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import accounts
import attrs
from telling import World
from workload import declare, deposited, make_app_tables

from eventbus import EventBus
from eventbus.errors import LogRolledBack
from eventbus.testing import START, FakeClock

LATER = 20 * 365 * 86400.0  # seconds; whatever waits for its time is due by then

Rows = Callable[..., list[dict[str, Any]]]

_EVENTS = (
    "SELECT e.position, e.id, t.name AS type, e.stream, e.sequence, e.causation_id, e.payload, e.payload_crc"
    " FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id ORDER BY e.position"
)
_SUBSCRIPTIONS = "SELECT id, name, cursor, ahead, handled, discarded, types FROM eventbus_subscriptions"
_APP_TABLES = {"ledger", "orders", "shipped"}


@attrs.frozen
class Found:
    """`lost`: ids of acknowledged events that are not there; `reported`: how many the bus says are missing.

    `head`: the last position that is there.
    """

    lost: set[str]
    reported: int | None
    head: int


class Inspection:
    """One log, opened by the bus in a folder; `declares` handlers and delivers what is due if that is asked for."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder, self._world = folder, world
        self._clock = FakeClock(START + LATER)

    def run(self, *, durable: bool, deep: bool, witnessed: bool = False) -> Found:
        """AssertionError, or what the bus raises, if anything is wrong with it.

        `durable`: nothing may be lost. `witnessed`: all that was told is in the witness beside the log, too.
        """
        bus, reported = self._open(accept_loss=not durable)
        with bus:
            with closing(bus.connect()) as connection:
                head, lost = self._check(partial(_rows, connection), accepted=reported is not None)
            assert not (durable and lost), f"{len(lost)} acknowledged events are lost: {sorted(lost)[:5]}"
            missing = max(0, max(self._world.told, default=0) - head)
            assert not witnessed or (reported or 0) >= missing, f"{reported} reported missing, at least {missing} are"
            self._publish(bus, alone=durable or witnessed)
        if deep:
            self._deliver()
        return Found(lost, reported, head)

    def _open(self, *, accept_loss: bool) -> tuple[EventBus, int | None]:
        bus = self._bus()
        try:
            bus.start()
        except LogRolledBack as error:
            bus.close()
            if not accept_loss:
                raise
            return self._bus(accept_loss=True), error.missing
        return bus, None

    def _bus(self, *, accept_loss: bool = False) -> EventBus:
        path = self._folder / "events.db"
        return EventBus(path, delivery="manual", durability="process", accept_loss=accept_loss, clock=self._clock)

    def _check(self, log: Rows, *, accepted: bool) -> tuple[int, set[str]]:
        """Its last position, before a loss was accepted, and the ids that are lost."""
        assert log("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        events = log(_EVENTS)
        _check_rows(events)
        self._check_said(events)
        tables = {row["name"] for row in log("SELECT name FROM sqlite_master")}
        for subscription in log(_SUBSCRIPTIONS):
            _check_account(log, subscription, events)
        if tables >= _APP_TABLES:
            _check_effects(log, events)
        # Going on after a loss is recorded by an event beyond what was lost.
        there = {event["position"]: event["id"] for event in (events[:-1] if accepted else events)}
        head = max(there, default=0)
        return head, self._lost(there, head)

    def _check_said(self, events: list[dict[str, Any]]) -> None:
        """No phantom: whatever is there was about to be published, or has its cause there; all or nothing."""
        ids = {event["id"] for event in events}
        groups: Counter[tuple[str, str]] = Counter()
        for event in events:
            if event["id"] in self._world.old:
                continue
            fields = json.loads(event["payload"])
            if event["type"] == "Noted":
                assert event["causation_id"] in ids, event
                continue
            if event["type"].startswith("eventbus."):
                continue
            key = fields.get("key") or fields["vial"]
            assert key in self._world.said - self._world.refused, f"{key} was never published, or refused"
            groups[event["type"], key.partition("/")[0]] += "/" in key or event["type"] == "Spilled"
        sizes = {"Deposited": (0, 5), "Spilled": (6,), "Ordered": (0,)}
        assert [each for each, size in groups.items() if size not in sizes[each[0]]] == []

    def _lost(self, at: dict[int, str], head: int) -> set[str]:
        """What was told and is not there: the end of the log, and no position means another event than was told."""
        for position, id_ in self._world.told.items():
            assert at.get(position) == id_ or position > head, (
                f"position {position} was told to be {id_}, and is {at.get(position)}; the head is {head}"
            )
        return self._world.ids - set(at.values())

    def _publish(self, bus: EventBus, *, alone: bool) -> None:
        """It works; `alone`: the position means nothing yet to anybody."""
        head = bus.log.head
        receipt = bus.publish(deposited("after"), idempotency_key="after")
        assert receipt.position > head
        assert not alone or receipt.position > max(self._world.told, default=0), "a position was given out again"
        assert bus.publish(deposited("after"), idempotency_key="after").duplicate

    def _deliver(self) -> None:
        """All that is due, by handlers that note in a folder of this inspection's own."""
        notes = self._folder / "notes"
        notes.mkdir()
        with self._bus() as bus:
            make_app_tables(bus)
            diaries = declare(bus, notes)
            bus.drain()
            log = accounts.Log(bus)
            accounts.check_order(log)
            accounts.check_transactional(log, bus)
            accounts.check_published(log)
            accounts.check_projection(log, bus)
            accounts.check_accounted(log, bus)
            for diary in diaries:
                diary.close()
        shutil.rmtree(notes)


def _rows(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _check_rows(events: list[dict[str, Any]]) -> None:
    """Checksums fit, ids are there once, and the sequences of each stream are 1, 2, 3, ..."""
    assert len({event["id"] for event in events}) == len(events)
    streams: defaultdict[str, int] = defaultdict(int)
    for event in events:
        assert crc32(event["payload"].encode()) == event["payload_crc"], event
        if event["stream"] is not None:
            streams[event["stream"]] += 1
            assert event["sequence"] == streams[event["stream"]], event


def _check_account(log: Rows, row: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """No cursor is ahead of the events, and every matching event is somewhere."""
    head = max((event["position"] for event in events), default=0)
    assert row["cursor"] <= head, row
    names = {each["match"] for each in json.loads(row["types"])}
    matching = {event["position"] for event in events if event["type"] in names}
    rows = log("SELECT position, state FROM eventbus_deliveries WHERE subscription_id = ?", (row["id"],))
    delayed = {each["position"] for each in rows}
    assert delayed <= matching, (row, delayed - matching)
    ahead = {position for position in json.loads(row["ahead"]) if position > row["cursor"]}
    waiting = {position for position in matching if position > row["cursor"]} - delayed - ahead
    assert row["handled"] + row["discarded"] + len(delayed) + len(waiting) == len(matching), (row, matching, delayed)


def _check_effects(log: Rows, events: list[dict[str, Any]]) -> None:
    """The rows of handlers and transactions are there with what they belong to."""
    handled = {row["name"]: row["handled"] for row in log("SELECT name, handled FROM eventbus_subscriptions")}
    for table, name in (("ledger", "ledger"), ("shipped", "one_by_one")):
        positions = [row["position"] for row in log(f"SELECT position FROM {table}")]
        assert len(positions) == len(set(positions)) == handled.get(name, 0), (name, positions, handled)
    orders = {row["id"] for row in log("SELECT id FROM orders")}
    assert orders == {event["id"] for event in events if event["type"] == "Ordered"}
