"""What must hold whenever anything was committed, and once all is settled; looked at with plain SQL, from outside."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

import attrs
from simulated.kinds import Kind

_EVENTS = (
    "SELECT e.position, e.id, t.name, e.stream, e.sequence, e.payload FROM eventbus_events e"
    " JOIN eventbus_types t ON t.id = e.type_id WHERE e.position > ? ORDER BY e.position"
)
_SUBSCRIPTIONS = "SELECT id, name, handled, discarded, skipped, cursor, ahead, epoch, state FROM eventbus_subscriptions"
_ROWS = "SELECT subscription_id, position, state FROM eventbus_deliveries"
_EFFECTS = "SELECT number, kind, position FROM effects WHERE number > ? ORDER BY number"


@attrs.frozen
class Logged:
    """An event as the log has it."""

    position: int
    id: str
    number: int
    stream: str | None
    key: str


@attrs.define
class Stand:
    """Where one subscription stands, and what came of it so far."""

    kind: Kind
    cursor: int = 0
    epoch: int = 0
    handled: int = 0
    paused: bool = False
    rows: dict[int, str] = attrs.field(factory=dict)
    done: set[int] = attrs.field(factory=set)  # positions; handled, discarded or skipped
    completed: set[int] = attrs.field(factory=set)  # a handler returned, or its effect is in the file
    discarded: set[int] = attrs.field(factory=set)  # may be, by the handler's error or by a person
    echoed: set[int] = attrs.field(factory=set)  # numbers
    by_key: dict[Hashable, list[int]] = attrs.field(factory=lambda: defaultdict(list))

    def key(self, event: Logged) -> Hashable:
        """What it is in order with; None if with nothing."""
        return self.kind.key_of(event.number, event.stream)

    def waits(self, event: Logged) -> bool:
        """True for what only a person can bring on: it is dead, or behind a dead one of its key."""
        key = self.key(event)
        line = [event.position] if key is None else self.by_key[key]
        return any(self.rows.get(position) == "dead" for position in line if position <= event.position)


class Judge:
    """Follows one log; raises AssertionError where a promise is broken."""

    def __init__(self, connection: sqlite3.Connection, kinds: Iterable[Kind]) -> None:
        self._connection = connection
        self.stands = {kind.name: Stand(kind) for kind in kinds}
        self.events: dict[int, Logged] = {}
        self.of_number: dict[int, int] = {}
        self.ids: dict[str, int] = {}
        self._sequences: defaultdict[str, int] = defaultdict(int)
        self._last = self._last_effect = 0
        self._version: object = None
        self.looks = 0

    def goes_on(self, connection: sqlite3.Connection) -> None:
        """The log is to be looked at elsewhere from now on."""
        self._connection, self._version = connection, None

    # -- what handlers do --------------------------------------------------------------------------
    def begins(self, kind: Kind, positions: list[int]) -> None:
        """A handler was called: whatever is before its events in their keys has had its turn, or comes with them."""
        if kind.transactional:
            return  # what is before it in the same transaction is not visible yet: the rows tell the order
        self.look()
        stand = self.stands[kind.name]
        for position in positions:
            key = stand.key(self.events[position])
            earlier = set() if key is None else {each for each in stand.by_key[key] if each < position}
            skipped = earlier - stand.completed - (stand.discarded & stand.done) - {*positions}
            assert not skipped, f"{kind.name} was handed {position} before {sorted(skipped)}, of the same key"

    def completes(self, kind: Kind, positions: Iterable[int]) -> None:
        """A handler has returned: its effects outside the file are there."""
        if not kind.transactional:
            self.stands[kind.name].completed.update(positions)

    def may_be_discarded(self, name: str, positions: Iterable[int]) -> None:
        """Somebody is about to discard these."""
        self.stands[name].discarded.update(positions)

    # -- what is in the file -----------------------------------------------------------------------
    def look(self) -> bool:
        """Look at what was committed since; False if nothing was."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        self._version = version
        self.looks += 1
        self._connection.execute("BEGIN")
        try:
            self._read_events()
            self._read_effects()
            self._read_stands()
        finally:
            self._connection.execute("COMMIT")
        for stand in self.stands.values():
            self._check(stand)
        return True

    def _read_events(self) -> None:
        for position, id_, name, stream, sequence, payload in self._connection.execute(_EVENTS, (self._last,)):
            self._last = position
            assert self.ids.setdefault(id_, position) == position, f"{id_} is stored twice"
            if stream is not None:
                self._sequences[stream] += 1
                assert sequence == self._sequences[stream], f"{stream} has a hole before {sequence}"
            if name.startswith("eventbus."):
                continue  # what a person did
            fields: dict[str, Any] = json.loads(payload)
            if name == "echo.Echoed":
                self._echoed(fields["by"], fields["number"])
                continue
            event = self.events[position] = Logged(position, id_, fields["number"], stream, fields["key"])
            assert self.of_number.setdefault(event.number, position) == position, f"{event.key} is stored twice"
            for stand in self.stands.values():
                stand.by_key[stand.key(event)].append(position)
                if fields["ends"] == "drop":
                    stand.discarded.add(position)

    def _echoed(self, by: str, number: int) -> None:
        assert number not in self.stands[by].echoed, f"{by} published twice for {number}"
        self.stands[by].echoed.add(number)

    def _read_effects(self) -> None:
        for number, name, position in self._connection.execute(_EFFECTS, (self._last_effect,)):
            self._last_effect = number
            stand = self.stands[name]
            assert position not in stand.completed, f"{name} did {position} twice in the file"
            key = stand.key(self.events[position])
            if key is not None:
                earlier = {each for each in stand.by_key[key] if each < position}
                assert not earlier - stand.completed - stand.discarded, f"{name} did {position} too early"
            stand.completed.add(position)

    def _read_stands(self) -> None:
        rows: defaultdict[int, dict[int, str]] = defaultdict(dict)
        for row_id, position, state in self._connection.execute(_ROWS):
            rows[row_id][position] = state
        for row_id, name, handled, discarded, skipped, cursor, ahead, epoch, state in self._connection.execute(
            _SUBSCRIPTIONS
        ):
            stand = self.stands[name]
            assert (cursor, epoch) >= (stand.cursor, stand.epoch), f"{name} went back"
            stand.cursor, stand.epoch, stand.rows, stand.handled = cursor, epoch, rows[row_id], handled
            stand.paused = state == "paused"
            beyond = {position for position in json.loads(ahead) if position > cursor}
            done = {each for each in self.events if (each <= cursor or each in beyond) and each not in stand.rows}
            assert not stand.done - done, f"{name} takes {stand.done - done} back"
            stand.done = done
            assert handled + discarded + skipped == len(done), (
                f"{name}: {handled} handled, {discarded} discarded and {skipped} skipped are not {len(done)}"
            )

    def _check(self, stand: Stand) -> None:
        """Nothing counts as done that was not done, and nothing in the file is there without being counted."""
        name = stand.kind.name
        undone = stand.done - stand.completed - stand.discarded
        assert not undone, f"{name} counts {sorted(undone)} as done, which no handler has finished"
        stray = stand.rows.keys() - self.events.keys()
        assert not stray, f"{name} has rows for {stray}, which are not meant for it"
        if stand.kind.transactional:
            assert len(stand.completed) == stand.handled, f"{name}: effects and cursor disagree"
            assert stand.completed <= stand.done, f"{name} did what it does not count as done"
        if stand.kind.echoes:
            assert len(stand.echoed) == stand.handled, f"{name}: what it published and its cursor disagree"
            positions = {self.of_number[number] for number in stand.echoed}
            assert positions <= stand.done, f"{name} has published for what it does not count as done"

    # -- the end -----------------------------------------------------------------------------------
    def unsettled(self) -> dict[str, list[int]]:
        """What is not done and waits for nobody."""
        found = {
            name: [each.position for each in self.events.values() if self._is_to_come(stand, each)]
            for name, stand in self.stands.items()
        }
        return {name: positions for name, positions in found.items() if positions}

    def _is_to_come(self, stand: Stand, event: Logged) -> bool:
        return event.position not in stand.done and not stand.waits(event)

    def finish(self) -> None:
        """All is done, exactly once in the file, at least once outside."""
        self.look()
        for name, stand in self.stands.items():
            assert stand.done == self.events.keys(), f"{name} has left {self.events.keys() - stand.done}"
            assert not stand.rows, f"{name} has rows left: {stand.rows}"
            assert stand.completed | stand.discarded >= self.events.keys(), name
