"""What must be true of the log, and of every handler's effects, once the storm is over and all is drained."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from accounts import Log, check_order, check_projection
from clerks import BATCH, TAKEN_OVER, unanswered, way_of
from kinds import KINDS, Echoed, Kind, is_void
from snapshots import Account, Reader
from workload import Deposited, lines

from eventbus import EventBus
from eventbus.events import Envelope


class Verdict:
    """Checks, each of which raises AssertionError, and the figures they came upon."""

    def __init__(self, bus: EventBus, folder: Path, reader: Reader, closed: set[str]) -> None:
        self._bus, self._folder, self._reader, self._closed = bus, folder, reader, closed
        self._log = Log(bus)
        self._deposits = self._log.of(Deposited)
        self._at = {envelope.position: envelope for envelope in self._deposits}
        self.figures: dict[str, int] = {"events": len(self._log.all), "delivered": len(self._deposits)}

    def all(self) -> dict[str, int]:
        """Everything that is promised; returns the figures."""
        check_order(self._log)
        assert self._reader.seen == [(each.position, each.id) for each in self._log.all][: len(self._reader.seen)]
        self.figures["acknowledged"] = self._check_acknowledged()
        self._check_said()
        self._check_orders()
        self._check_echoes()
        self._check_steps()
        accounts = {account.name: account for account in self._reader.look(self._bus)}
        for kind in KINDS:
            effects = self._rows(kind) if kind.transactional else self._lines(kind)
            self._check_account(kind, accounts[kind.name], effects)
        check_projection(self._log, self._bus)
        return self.figures

    # -- what was published ------------------------------------------------------------------------
    def _check_acknowledged(self) -> int:
        """What was acknowledged is there, under its id, and at its position where that was told."""
        by_id = {envelope.id: envelope for envelope in self._deposits}
        found = [line for path in self._folder.glob("stored-*.txt") for line in lines(path)]
        lost = [line[0] for line in found if line[1] not in by_id]
        assert lost == [], f"{len(lost)} acknowledged events are lost: {lost[:10]}"
        for key, id_, position, _ in found:
            assert by_id[id_].event.key == key
            assert position in ("", str(by_id[id_].position)), key
        return len({line[1] for line in found})

    def _check_said(self) -> None:
        """Each key is stored once, those of a batch beside each other: it was said until it was acknowledged."""
        stored: defaultdict[str, list[int]] = defaultdict(list)
        for envelope in self._deposits:
            stored[envelope.event.key.partition("/")[0]].append(envelope.position)
        said = {line[0] for path in self._folder.glob("said-*.txt") for line in lines(path)} - {TAKEN_OVER}
        assert stored.keys() == said, stored.keys() ^ said
        assert len({envelope.event.key for envelope in self._deposits}) == len(self._deposits)
        for key, positions in stored.items():
            size = BATCH if way_of(key).startswith("many") else 1
            assert positions == list(range(positions[0], positions[0] + size)), key

    def _check_orders(self) -> None:
        """The rows and the events of one transaction are both there or both not."""
        orders = {(row["key"], row["id"]) for row in self._bus.query("SELECT key, id FROM orders")}
        wanted = {(e.event.key, e.id) for e in self._deposits if way_of(e.event.key).startswith("rows")}
        assert orders == wanted
        self.figures["transactions"] = len(orders)

    # -- what was done about it --------------------------------------------------------------------
    def _check_echoes(self) -> None:
        """What handlers publish is there once for each event, caused by it."""
        wanted = Counter(each.position for each in self._deposits if each.event.amount % 3 == 0)
        for kind in KINDS:
            if kind.echoes:
                echoes = [each for each in self._log.of(Echoed) if each.event.by == kind.name]
                assert Counter(each.event.position for each in echoes) == wanted, kind.name
                assert all(each.causation_id == self._at[each.event.position].id for each in echoes)

    def _check_steps(self) -> None:
        """A step's result, once stored, is what every later attempt gets; it ran again only if it was not stored."""
        drawn = {position: token for position, token, _ in lines(self._folder / "step.tokens.txt")}  # the last one
        got = {(position, token) for position, _, token, _ in lines(self._folder / "step.txt")}
        assert got == set(drawn.items())

    def _rows(self, kind: Kind) -> list[int]:
        """The effects in the file: each once, those of one key in order."""
        rows = self._bus.query("SELECT position FROM effects WHERE kind = ? ORDER BY number", (kind.name,))
        positions = [row["position"] for row in rows]
        assert len(positions) == len(set(positions)), f"{kind.name} did something twice"
        for key, found in self._by_key(kind, positions).items():
            assert found == sorted(found), (kind.name, key)
        return positions

    def _lines(self, kind: Kind) -> list[int]:
        """The effects outside the file: at least once, twice only where a process was killed in between."""
        written = lines(self._folder / f"{kind.name}.txt")
        again = [each for each, times in Counter((line[0], line[1]) for line in written).items() if times > 1]
        assert again == [], f"one life of a process did something twice for {kind.name}: {again[:10]}"
        positions = [int(line[0]) for line in written]
        self._check_repeated(kind, written)
        for key, found in self._by_key(kind, positions).items():
            self._check_first_times(f"{kind.name}, {key}", found)
        self.figures["repeated"] = self.figures.get("repeated", 0) + len(positions) - len(set(positions))
        return list(set(positions))

    def _check_repeated(self, kind: Kind, written: list[list[str]]) -> None:
        """Only what a killed life did is done again by another one; each life goes forward in each key."""
        last_life: dict[str, str] = {}
        by_life: defaultdict[str, list[int]] = defaultdict(list)
        for position, life, *_ in written:
            before = last_life.get(position)
            assert before not in self._closed, f"{kind.name}: {position} again, which {before} had closed after"
            last_life[position] = life
            by_life[life].append(int(position))
        for life, positions in by_life.items():
            for key, found in self._by_key(kind, positions).items():
                assert found == sorted(found), (kind.name, life, key)

    def _check_first_times(self, what: str, found: list[int]) -> None:
        """After a kill it begins again somewhere before, and goes on from there event by event."""
        order = list(dict.fromkeys(found))
        assert order == sorted(order), what
        place = {position: number for number, position in enumerate(order)}
        for one, following in pairwise(found):
            assert place[following] <= place[one] + 1, f"{what}: {following} came after {one}"

    def _by_key(self, kind: Kind, positions: list[int]) -> dict[str, list[int]]:
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for position in positions:
            key = kind.key(self._at[position]) if kind.key is not None else str(position)
            groups[str(key)].append(position)
        return dict(groups)

    def _check_account(self, kind: Kind, account: Account, effects: list[int]) -> None:
        """Every matching event is handled, with its effect, or was discarded; nothing is left."""
        assert (account.waiting, account.rows) == (0, {}), account
        assert account.handled == len(effects), account
        given_up = self._given_up(kind) | self._void(kind)
        assert account.discarded == len(given_up), account
        assert sorted([*effects, *given_up]) == [each.position for each in self._deposits], kind.name

    def _void(self, kind: Kind) -> set[int]:
        return {e.position for e in self._deposits if is_void(e.event.amount)} if kind.name == "picky" else set()

    def _given_up(self, kind: Kind) -> set[int]:
        """What a person has discarded: once each, or the audit is wrong."""
        events = self._log_of_people()
        positions = [each.event.position for each in events if each.event.subscription == kind.name]
        assert len(positions) == len(set(positions)), kind.name
        self.figures["discarded"] = self.figures.get("discarded", 0) + len(positions)
        return set(positions)

    def _log_of_people(self) -> list[Envelope]:
        return [each for each in self._log.all if each.type == "eventbus.DeadLetterDiscarded"]


def left_unanswered(folder: Path, lives: list[int]) -> list[str]:
    """What the last lives said and nobody has heard an answer to."""
    return [key for slot, count in enumerate(lives) for key in unanswered(folder, slot, count)]
