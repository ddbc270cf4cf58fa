"""The damage of each mutant, by its name; and a plugin of pytest that does one of them before any test runs.

pytest -p mutating --mutant="no inode check" TEST
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import Phase, settings

from eventbus.errors import LogError
from eventbus.store import append, deliveries, guest, names, storage, subscriptions
from eventbus.store.anchor import Anchor
from eventbus.store.storage import Storage
from eventbus.worker import adopting, lane, pump, recording, roster, rounds, transactional

Patch = Callable[[pytest.MonkeyPatch], None]
PATCHES: dict[str, Patch] = {}


def reworded(statement: str, before: str, after: str) -> str:
    """A statement with some words replaced, which have to be there: a mutant that changes nothing is none."""
    assert before in statement, f"{before!r} is not in {statement!r}"
    return statement.replace(before, after)


def mutant(name: str) -> Callable[[Patch], Patch]:
    """Enter a patch into the table."""

    def enter(patch: Patch) -> Patch:
        PATCHES[name] = patch
        return patch

    return enter


# -- publishing ----------------------------------------------------------------------------------------
@mutant("acknowledge before the commit")
def _acknowledge_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish returns with its transaction open; whoever comes next commits it."""
    clean = Storage._start_clean

    def commit(self: Storage, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        return work(self._begin(synced=True), *given, **named)

    def start_clean(self: Storage) -> None:
        if self._writer.in_transaction:
            self._commit()
        clean(self)

    monkeypatch.setattr(Storage, "commit", commit)
    monkeypatch.setattr(Storage, "_start_clean", start_clean)


@mutant("acknowledge on an I/O error")
def _acknowledge_on_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a commit says is not heard."""
    real = Storage.commit

    def commit(self: Storage, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        results: list[Any] = []
        with suppress(LogError):
            real(self, lambda open_one: results.append(work(open_one, *given, **named)))
        return results[0] if results else None

    monkeypatch.setattr(Storage, "commit", commit)


@mutant("plain BEGIN")
def _plain_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(connection: sqlite3.Connection, *_: Any) -> None:
        connection.execute("BEGIN")

    monkeypatch.setattr(storage, "begin_immediate", begin)
    monkeypatch.setattr(guest, "begin_immediate", begin)


@mutant("no unique key")
def _no_unique_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append._Plan, "_of_key", lambda self, draft, key: None)
    monkeypatch.setattr(append, "_ADD_KEY", reworded(append._ADD_KEY, "INSERT", "INSERT OR REPLACE"))


@mutant("another content under a key is a duplicate")
def _any_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append.Draft, "digest", lambda self: b"all the same")


@mutant("the expected version is not looked at")
def _any_version(monkeypatch: pytest.MonkeyPatch) -> None:
    real = append._Plan._next_sequence

    def next_sequence(self: append._Plan, draft: append.Draft, stream: str) -> int:
        draft.expected_version = None
        return real(self, draft, stream)

    monkeypatch.setattr(append._Plan, "_next_sequence", next_sequence)


@mutant("a transaction keeps its events though it fails")
def _keeps_events(monkeypatch: pytest.MonkeyPatch) -> None:
    def rollback(self: guest.Guest) -> None:
        try:
            with self.connection.guard.running:
                if self.is_begun:
                    self._end("COMMIT" if self.connection.in_transaction else None)
        finally:
            self.connection.guard.let_go()

    monkeypatch.setattr(guest.Guest, "rollback", rollback)


@mutant("no inode check")
def _no_inode_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Anchor, "check", lambda self, stored="": None)


# -- delivery ------------------------------------------------------------------------------------------
@attrs.define
class _Instead:
    """A module with some of its functions replaced, for one of those who use it."""

    module: Any
    replaced: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.replaced[name] if name in self.replaced else getattr(self.module, name)


@mutant("the cursor in a second transaction")
def _second_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[tuple[Any, dict[str, Any]]] = []
    real = Storage.commit_guest

    def advance(connection: Any, *where: Any, **how: Any) -> None:
        later.append((where, how))

    def commit_guest(self: Storage, of: Any) -> None:
        moves = later[:]
        later.clear()
        real(self, of)
        for where, how in moves:
            self.commit(lambda connection: subscriptions.advance(connection, *where, **how))  # noqa: B023

    monkeypatch.setattr(transactional, "subscriptions", _Instead(subscriptions, {"advance": advance}))
    monkeypatch.setattr(Storage, "commit_guest", commit_guest)


@mutant("no epoch check")
def _no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_ADVANCE", reworded(subscriptions._ADVANCE, "epoch = ?", "? IS NOT NULL"))


@mutant("park outside the transaction")
def _park_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    later: list[tuple[int, Any]] = []
    real = rounds.Rounds._write

    def write(self: rounds.Rounds, *how: Any) -> None:
        later.clear()
        real(self, *how)
        with self._storage.writing(synced=False) as connection:
            for row_id, row in later:
                deliveries.park(connection, row_id, row)

    park = _Instead(deliveries, {"park": lambda connection, row_id, row: later.append((row_id, row))})
    monkeypatch.setattr(recording, "deliveries", park)
    monkeypatch.setattr(rounds.Rounds, "_write", write)


@mutant("a crash is not counted")
def _not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    statement = reworded(deliveries._COUNT_ATTEMPT, "attempts = attempts + 1", "attempts = attempts")
    statement = reworded(statement, "RETURNING attempts,", "RETURNING attempts + 1,")
    monkeypatch.setattr(deliveries, "_COUNT_ATTEMPT", statement)


@mutant("the claim is not looked at")
def _no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    def take_over(*where: Any, **how: Any) -> Any:
        found = subscriptions.take_over(*where, **how)
        return found and (found[0], found[1], found[1])

    monkeypatch.setattr(adopting, "subscriptions", _Instead(subscriptions, {"take_over": take_over}))


@mutant("ahead is not persisted")
def _no_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(*where: Any, ahead: object = None, **how: Any) -> None:
        subscriptions.advance(*where, **how)

    monkeypatch.setattr(rounds, "subscriptions", _Instead(subscriptions, {"advance": advance}))


@mutant("held is not released")
def _not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "deliveries", _Instead(deliveries, {"release_next": lambda *where: None}))


@mutant("held is released too early")
def _released_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of a key, instead of the first."""
    monkeypatch.setattr(deliveries, "_RELEASE", reworded(deliveries._RELEASE, "min(position)", "max(position)"))


@mutant("a failure blocks nobody")
def _blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane.Lane, "_why_not", lambda self, item: None)


@mutant("what is held is handed out")
def _hands_out_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes over takes what is held for what is due."""
    monkeypatch.setattr(deliveries, "_RUNNABLE", reworded(deliveries._RUNNABLE, "'waiting')", "'waiting', 'held')"))


@mutant("an outcome in doubt is recorded again")
def _recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "was_stored", lambda connection, lane, effects: False)


@mutant("an outcome in doubt is taken for stored")
def _taken_for_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "was_stored", lambda connection, lane, effects: True)


@mutant("rows are read again only if that commits at once")
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane stays paused where it does not."""
    real = roster.Roster._read_again

    def read_again(self: roster.Roster, row_id: int, lane: Any) -> bool:
        try:
            return real(self, row_id, lane)
        except LogError:
            self._reload.pop(row_id, None)
            raise

    monkeypatch.setattr(roster.Roster, "_read_again", read_again)


@mutant("types are read from the last known on")
def _types_from_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that one was added here, and others may have added some before it."""
    real = names.NameBook.refresh

    def refresh(self: names.NameBook, connection: sqlite3.Connection) -> None:
        self._types_read = max(self._types, default=0)
        real(self, connection)

    monkeypatch.setattr(names.NameBook, "refresh", refresh)


@mutant("an error of the log's is swallowed, and the outcomes with it")
def _swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rounds.Rounds._write

    def write(self: rounds.Rounds, lanes: Sequence[Any], lazy: Sequence[Any], written: list[Any]) -> None:
        try:
            real(self, lanes, lazy, written)  # type: ignore[arg-type]
        except LogError:
            for each in lanes:
                each.scanned = max([each.scanned, *(item.position for item, _ in each.pending)])
                for item, _ in each.pending:
                    each.settle(item, None, 0.0)
                each.pending.clear()
            written.clear()

    monkeypatch.setattr(rounds.Rounds, "_write", write)


@mutant("nothing is looked at but what rings")
def _no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "TICK", 1e9)


# -- as a plugin ---------------------------------------------------------------------------------------
def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutant", choices=[*PATCHES], help="the damage to be done")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--mutant")
    if name:
        # That something is found is enough: making it small takes minutes.
        found_is_enough = settings(phases=(Phase.generate,), derandomize=True, database=None, deadline=None)
        settings.register_profile("mutant", found_is_enough)
        settings.load_profile("mutant")
        PATCHES[str(name)](pytest.MonkeyPatch())
