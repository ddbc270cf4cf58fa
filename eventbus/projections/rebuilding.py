"""Building a generation to its end and swapping it in, while the app goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from eventbus.clock import Clock, iso
from eventbus.errors import EventBusError
from eventbus.handlers import Refused
from eventbus.projections import generations
from eventbus.projections.definition import Definition, Projection
from eventbus.projections.work import ProjectionWork
from eventbus.store import append, deliveries, subscriptions
from eventbus.store.storage import Storage
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.pump import Pump
from eventbus.worker.work import Work

Progress = Callable[[int, int], None]

_LOOK_SECONDS = 0.1  # between reports of progress while the pump's own thread builds


class ProjectionDefinition:
    """A declared projection on its engine; implements `engine.Definition`."""

    def __init__(self, projection: Projection, refused: Refused | None = None) -> None:
        self.definition, self.refused = Definition(projection), refused
        self.name = self.definition.name
        cls = type(projection)
        self.qualified = f"{cls.__module__}:{cls.__qualname__}"

    def settle(self, connection: sqlite3.Connection, now: str) -> dict[int, Work]:
        """Bring its rows and tables in line; returns the generations to fill."""
        return {
            row.id: ProjectionWork(self.definition, row.generation, building=row.state == "building")
            for row in generations.settle(connection, self.definition, now)
        }


class Rebuilds:
    """The projections of one engine: begins generations and swaps those that have caught up."""

    def __init__(
        self,
        storage: Storage,
        pump: Pump,
        clock: Clock,
        *,
        fills: Callable[[int, int, Work], None],
        swapped: Callable[[str, int], None],
    ) -> None:
        self._storage, self._pump, self._clock = storage, pump, clock
        self._fills, self._swapped = fills, swapped
        self._beginning = threading.Lock()

    def look(self) -> bool:
        """Swap what has caught up; the pump calls this once a round."""
        swapped = [
            self._swap(row_id, work)
            for row_id, work in self._pump.roster.works().items()
            if isinstance(work, ProjectionWork) and work.building and self._pump.roster.caught_up(row_id, work)
        ]
        return any(swapped)

    def _swap(self, row_id: int, work: ProjectionWork) -> bool:
        """Decide in the transaction that swaps: nobody publishes in it, and nobody takes the generation over."""
        with self._storage.writing() as connection:
            row = subscriptions.with_id(connection, row_id)
            work.building = row is not None and row.state == "building"
            head = append.head(connection)
            if (
                row is None
                or not work.building
                or not self._pump.roster.caught_up(row_id, work, head=head, epoch=row.epoch)
            ):
                return False
            gone, state = generations.swap(connection, work.definition, row, iso(self._clock.time()))
        work.building = False
        for old in gone:
            self._pump.forget(old)
        if state != "active":
            self._pump.roster.reload(row_id)
        self._swapped(row.name, row.generation)
        return True

    def rebuild(self, name: str, progress: Progress | None) -> None:
        """Fill a new generation from the beginning and return when readers see it; a rebuild that runs is joined."""
        with self._beginning:
            row, total = self._begin(name)
        self._build(row, total, progress)

    def _begin(self, name: str) -> tuple[SubscriptionRow, int]:
        """The generation that is filled, already or from now on, and the position where the log ends."""
        like, definition = self._declared(name)
        with self._storage.writing() as connection:
            building = [row for row in subscriptions.named(connection, name) if row.state == "building"]
            failed = [row for row in building if self._failure(connection, row) is not None]
            for row in failed:  # it stands where the handler failed; the handler may have been mended since
                generations.discard(connection, row)
                building.remove(row)
            row = building[-1] if building else generations.begin(connection, definition, iso(self._clock.time()))
            total = append.head(connection)
        for old in failed:
            self._pump.forget(old.id)
        if row.id not in self._pump.roster.works():
            work = ProjectionWork(definition, row.generation, building=True)
            self._fills(row.id, like, work)
            self._pump.roster.add(row.id, work)
        return row, total

    def _build(self, row: SubscriptionRow, total: int, progress: Progress | None) -> None:
        while True:
            version = self._pump.progress.version
            waits = self._pump.started or not self._pump.step(here=True, only=row.id)
            with self._storage.reading() as connection:
                now = _successor(connection, row)
                failed = self._failure(connection, row)
            if now is None:
                raise EventBusError(f"The rebuild of {row.name!r} came to nothing: it was begun anew, or forgotten.")
            if progress is not None:
                progress(min(now.cursor, total), total)
            if now.state != "building":
                return
            if failed is not None:
                raise EventBusError(
                    f"The rebuild of {row.name!r} stopped at position {failed[0]}: {failed[1]}.",
                    hint="The old tables stay. Mend the projection and rebuild again.",
                )
            if waits:  # for the pump's thread, or for the process that delivers the projection
                self._pump.progress.wait(version, _LOOK_SECONDS)

    def _failure(self, connection: sqlite3.Connection, row: SubscriptionRow) -> tuple[int, str] | None:
        stop = deliveries.stop(connection, row.id)
        return (stop.position, stop.error or "") if stop is not None else None

    def _declared(self, name: str) -> tuple[int, Definition]:
        """The row of a generation that is filled here, and the definition it is filled by."""
        for row_id, work in self._pump.roster.works().items():
            if isinstance(work, ProjectionWork) and work.definition.name == name:
                return row_id, work.definition
        raise EventBusError(f"The projection {name!r} is not declared in this process.")

    def forget(self, connection: sqlite3.Connection, name: str) -> None:
        """Remove a projection with its tables."""
        generations.forget(connection, name)


def _successor(connection: sqlite3.Connection, row: SubscriptionRow) -> SubscriptionRow | None:
    """A generation as it is now, or the one that readers see where a later rebuild has replaced it already."""
    later = [each for each in subscriptions.named(connection, row.name) if each.generation > row.generation]
    shown = [each for each in later if each.state != "building"]
    return subscriptions.with_id(connection, row.id) or next(iter(shown), None)
