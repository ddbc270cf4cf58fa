"""What must be true of a log and of everything made from it, however often its processes were killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workload import Deposited, Noted, Ordered, Spilled, lines

from eventbus import EventBus
from eventbus.events import Envelope


class Log:
    """The whole log, read once."""

    def __init__(self, bus: EventBus) -> None:
        self.all = list(bus.log.read())
        self.at = {envelope.position: envelope for envelope in self.all}

    def of(self, cls: type) -> list[Envelope]:
        """The events of a class, in order."""
        return [envelope for envelope in self.all if envelope.type == cls.__name__]


def check_order(log: Log) -> None:
    """Positions increase, ids are unique, and the sequences of each stream are 1, 2, 3, ..."""
    positions = [envelope.position for envelope in log.all]
    assert positions == sorted(set(positions))
    assert len({envelope.id for envelope in log.all}) == len(positions)
    sequences: defaultdict[str, list[int | None]] = defaultdict(list)
    for envelope in log.all:
        if envelope.stream is not None:
            sequences[envelope.stream].append(envelope.sequence)
    for stream, found in sequences.items():
        assert found == list(range(1, len(found) + 1)), stream


def check_acknowledged(log: Log, folder: Path) -> int:
    """What was acknowledged is there, at its position, under its id; returns how many events that are."""
    acknowledged = lines(folder / "stored.txt")
    for key, id_, position, stream, sequence, _ in acknowledged:
        envelope = log.at.get(int(position))
        assert envelope is not None, f"the acknowledged event {key} at position {position} is lost"
        assert (envelope.id, envelope.stream, str(envelope.sequence)) == (id_, stream, sequence), key
        assert envelope.type == "Spilled" or envelope.event.key == key
    ids = {envelope.id for envelope in log.of(Ordered)}
    ordered = lines(folder / "ordered.txt")
    assert [key for key, id_, _ in ordered if id_ not in ids] == []
    return len(acknowledged) + len(ordered)


def check_all_or_nothing(log: Log, bus: EventBus) -> None:
    """A key is stored once; a publish_many or transaction is stored whole or not at all."""
    keys = Counter(envelope.event.key for envelope in log.of(Deposited))
    assert [key for key, times in keys.items() if times > 1] == []
    batches = Counter(key.partition("/")[0] for key in keys if "/" in key)
    assert set(batches.values()) <= {5}
    vials = Counter(envelope.event.vial for envelope in log.of(Spilled))
    assert set(vials.values()) <= {6}
    orders = [(row["key"], row["id"]) for row in bus.query("SELECT key, id FROM orders ORDER BY rowid")]
    assert orders == [(envelope.event.key, envelope.id) for envelope in log.of(Ordered)]
    for key, _ in orders:
        _, who, number = key.split(".")
        if who == "order":
            assert (key in keys) is (int(number) % 2 == 1)


def check_transactional(log: Log, bus: EventBus) -> None:
    """Each effect is there once, those of one key in order."""
    rows = [tuple(row.values()) for row in bus.query("SELECT account, position, amount FROM ledger ORDER BY rowid")]
    wanted = [(each.event.account, each.position, each.event.amount) for each in log.of(Deposited)]
    assert _by_first(rows) == _by_first(wanted)
    shipped = [tuple(row.values()) for row in bus.query("SELECT position, key FROM shipped ORDER BY rowid")]
    assert shipped == [(each.position, each.event.key) for each in log.of(Ordered)]


def check_published(log: Log) -> None:
    """What handlers publish is there once for each event, caused by it."""
    for name, every in (("plain", 5), ("ledger", 3)):
        wanted = Counter(each.position for each in log.of(Deposited) if each.event.amount % every == 0)
        assert Counter(each.event.position for each in log.of(Noted) if each.event.by == name) == wanted
    for noted in log.of(Noted):
        assert noted.causation_id == log.at[noted.event.position].id


def check_diary(path: Path, wanted: Iterable[Envelope]) -> None:
    """At least once each and in order per stream; one process sees an event succeed once only."""
    by_stream: defaultdict[str, list[int]] = defaultdict(list)
    seen: Counter[tuple[str, str]] = Counter()
    for position, stream, sequence, process in lines(path):
        by_stream[stream].append(int(sequence))
        seen[position, process] += 1
    assert [each for each, times in seen.items() if times > 1] == []
    assert {int(position) for position, _ in seen} == {envelope.position for envelope in wanted}
    for stream, sequences in by_stream.items():
        highest = 0
        for sequence in sequences:
            assert sequence <= highest + 1, f"{stream}: {sequence} came before {highest + 1}"
            highest = max(highest, sequence)


def check_projection(log: Log, bus: EventBus) -> None:
    """The projection is what the log says, and nothing is left of the tables it was rebuilt from."""
    wanted: dict[int, tuple[int, int, int]] = {}
    for envelope in log.of(Deposited):
        amount = envelope.event.amount
        deposits, total, digest = wanted.get(envelope.event.account, (0, 0, 0))
        new = amount if deposits == 0 else (digest * 31 + amount) % 1000003
        wanted[envelope.event.account] = (deposits + 1, total + amount, new)
    rows = bus.query("SELECT account, deposits, total, digest FROM balances")
    assert {row["account"]: (row["deposits"], row["total"], row["digest"]) for row in rows} == wanted
    tables = bus.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'balances%'")
    assert len(tables) == 1, tables


def check_accounted(log: Log, bus: EventBus) -> None:
    """Every matching event is handled, or has a delivery that says why not."""
    matching = {"plain": Deposited, "async": Deposited, "ledger": Deposited, "one_by_one": Ordered, "poisoned": Spilled}
    for name, cls in matching.items():
        subscription = bus.subscriptions[name]
        counts: Counter[Any] = Counter(subscription.counts)
        assert subscription.row.handled + counts.total() == len(log.of(cls)), name
        vials = len(log.of(Spilled)) // 6 if name == "poisoned" else 0
        assert counts == Counter({"dead": vials, "held": 3 * vials} if vials else {}), name
    words = {1: "handled", 2: "handled", 3: "dead", 4: "held", 5: "held", 6: "held"}
    for envelope in log.of(Spilled):
        assert bus.status(envelope.id)["poisoned"] == words[envelope.event.number]


def _by_first(rows: Iterable[tuple[Any, ...]]) -> dict[Any, list[tuple[Any, ...]]]:
    groups: defaultdict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for first, *rest in rows:
        groups[first].append(tuple(rest))
    return dict(groups)
