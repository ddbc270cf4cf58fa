"""What is declared in this process and needs rows in the log: recorded in time, or refused loudly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from eventbus.clock import Clock, iso
from eventbus.engine.sharing import warn_of_other_settings
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.store.storage import Storage

if TYPE_CHECKING:
    from eventbus.handlers import Refused
    from eventbus.store.subscriptions import SubscriptionRow
    from eventbus.worker.roster import Roster
    from eventbus.worker.work import Work


class Definition(Protocol):
    """Something declared that needs rows: a subscription or a projection."""

    @property
    def name(self) -> str:
        """The durable name."""
        ...

    @property
    def qualified(self) -> str:
        """ "module:Qualname" of its handler or class: the same again replaces, another one is a mistake."""
        ...

    @property
    def refused(self) -> Refused | None:
        """Who takes it when the log refuses it; without one, it is raised from whatever is called next."""
        ...

    def settle(self, connection: Any, now: str) -> dict[int, Work]:
        """Bring the rows in line, in the open transaction; returns what is to be run, by row id."""
        ...


class Definitions:
    """Declared and waiting to be recorded, or recorded and delivered to.

    Recording waits for the file; the lists have a lock of their own, so that declaring never does.
    """

    def __init__(
        self, storage: Storage, clock: Clock, *, ring: Callable[[], None], roster: Callable[[], Roster]
    ) -> None:
        self._storage, self._clock, self._ring, self._roster = storage, clock, ring, roster
        self._recording, self._lists = threading.RLock(), threading.RLock()
        self._waiting: list[Definition] = []
        self._refused: list[_Refused] = []
        self._recorded: list[tuple[Definition, dict[int, Work]]] = []
        self._owners: dict[int, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Have it recorded before this process publishes again, or delivers."""
        with self._lists:
            self._waiting.append(definition)
        self._ring()

    def settle(self, mine: Definition | None = None) -> None:
        """Record what was declared since. EventDefinitionError for what cannot be, once; it is then given up.

        With `mine`, only what is wrong with that one is raised; the rest is told to whoever comes next. What
        somebody else takes, as a bus does for its plugins, is raised for `mine` only.
        """
        if not (self._waiting or self._refused) or self._storage.has_open_here():
            return
        self._record()
        with self._lists:
            told = [each for each in self._refused if mine in (None, each.definition)]
            self._refused = [each for each in self._refused if each not in told]
        if mine is None:
            told = [each for each in told if not each.taken()]
        if len(told) == 1:
            raise told[0].error
        if told:
            raise EventDefinitionError(" ".join(each.error.what for each in told), hint=told[0].error.hint)

    def settle_quietly(self) -> None:
        """The same for the pump: what is refused is told to whoever publishes, drains or starts next."""
        if self._waiting:
            self._record()

    def remove(self, definition: Definition) -> None:
        """Stop delivering to it; its rows stay, as an orphan's, unless another bus here has declared the same."""
        with self._lists:
            self._waiting = [each for each in self._waiting if each is not definition]
            self._recorded = [each for each in self._recorded if each[0] is not definition]
            for row_id in [row_id for row_id, owner in self._owners.items() if owner is definition]:
                del self._owners[row_id]
                self._roster().remove(row_id)
                for other, works in self._recorded:
                    if row_id in works:
                        self._owners[row_id] = other
                        self._roster().add(row_id, works[row_id])

    def owner(self, row_id: int) -> Definition | None:
        """What is declared here for a row; None for an orphan's."""
        return self._owners.get(row_id)

    def successor(self, connection: Any, row: SubscriptionRow) -> SubscriptionRow | None:
        """The newer generation of an orphan that is filled here, and shown instead of it once it has caught up."""
        from eventbus.store import subscriptions

        if row.id in self._owners:
            return None
        rows = [each for each in subscriptions.named(connection, row.name) if each.state == "building"]
        return next((each for each in reversed(rows) if each.id in self._owners), None)

    def rebuilt_elsewhere(self, row_id: int) -> None:
        """A row is gone. Where another generation took its place, deliver to that one; else it was forgotten."""
        from eventbus.store import subscriptions

        with self._lists:
            definition = self._owners.pop(row_id, None)
            if definition is None:
                return
            with self._storage.reading() as connection:
                if not subscriptions.named(connection, definition.name):
                    return
            self._recorded = [each for each in self._recorded if each[0] is not definition]
            self._waiting.append(definition)

    def belongs(self, row_id: int, like: int, work: Work) -> None:
        """A new generation's row belongs to whoever has declared what the row `like` belongs to."""
        with self._lists:
            owner = self._owners[row_id] = self._owners[like]
            for definition, works in self._recorded:
                if definition.name == owner.name:
                    works[row_id] = work

    def _record(self) -> None:
        """Record what waits, in one transaction; without those that are refused, which spoil it for nobody."""
        with self._recording:
            while waiting := list(self._waiting):
                try:
                    works = self._settled(waiting)
                except _Refused as refused:
                    with self._lists:
                        self._waiting = [each for each in self._waiting if each is not refused.definition]
                        self._refused.append(refused)
                else:
                    self._deliver(works)

    def _deliver(self, works: list[tuple[Definition, dict[int, Work]]]) -> None:
        """Now that they are committed; but not to what was taken back meanwhile."""
        roster = self._roster()  # before the lists are locked: whoever makes it may add to them
        with self._lists:
            for definition, rows in works:
                if definition not in self._waiting:
                    continue
                self._waiting.remove(definition)
                warn_of_other_settings(definition.name, rows.values(), self._recorded)
                self._recorded.append((definition, rows))
                for row_id, work in rows.items():
                    self._owners[row_id] = definition
                    roster.add(row_id, work)

    def _settled(self, definitions: list[Definition]) -> list[tuple[Definition, dict[int, Work]]]:
        works: list[tuple[Definition, dict[int, Work]]] = []
        with self._storage.writing() as connection:
            now, owners = iso(self._clock.time()), dict(self._owners)
            for definition in definitions:
                try:
                    rows = definition.settle(connection, now)
                    for row_id in rows:
                        refuse_other(owners.setdefault(row_id, definition), definition)
                except EventDefinitionError as error:
                    raise _Refused(definition, error) from error
                works.append((definition, rows))
        return works


def refuse_other(old: Definition, new: Definition) -> None:
    """The same function or class again replaces, as in a reload or a notebook; another one is a mistake."""
    if old.qualified != new.qualified:
        raise EventDefinitionError(
            f"{new.name!r} is declared twice: by {old.qualified} and by {new.qualified}.",
            hint="Give one of them another name, or close the first registration.",
        )


class _Refused(Exception):
    def __init__(self, definition: Definition, error: EventBusError) -> None:
        super().__init__(error)
        self.definition, self.error = definition, error

    def taken(self) -> bool:
        """Hand the error to whoever takes it; False if nobody does."""
        if self.definition.refused is None:
            return False
        self.definition.refused(self.error)
        return True
