"""`eventbus projections`: the read models of a log, and building one anew."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import attrs
import click
import msgspec

from eventbus.cli.loading import load_bus, needed_bus_option
from eventbus.cli.place import Look, app_option, file_and, given, json_option, locate, on_a_log
from eventbus.cli.plain import plain
from eventbus.cli.progress import Progress
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.standing import titled
from eventbus.cli.subscriptions import STATES, count_cell, say_how_to_go_on
from eventbus.cli.units import plural, relative, span
from eventbus.errors import EventBusError
from eventbus.store import overview
from eventbus.store.overview import SubscriptionView

_COLUMNS = (
    Column("NAME", gives=True),
    Column("VERSION", ">"),
    Column("STATE"),
    Column("BEHIND", ">"),
    Column("HANDLED", ">"),
    Column("MOVED"),
    Column("TABLES", gives=True),
)


@click.group("projections")
def projections() -> None:
    """Look at projections, or build one anew."""


@projections.command("list")
@on_a_log
def list_(file: str | None, app: str | None, as_json: bool) -> None:
    """List the projections: how far behind each is, and its tables."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found = look.ask(lambda connection: overview.everyone(connection, role="projection"))
    if as_json:
        for view in found:
            screen.record(_as_record(view))
    elif found:
        rows = [_cells(screen, view) for view in found]
        layout = screen.layout(_COLUMNS, rows)
        screen.titles(layout)
        for view, row in zip(found, rows, strict=True):
            screen.row(layout, row)
            screen.remark(view.row.state_reason or view.last_error)
            say_how_to_go_on(screen, view)
    else:
        screen.line("This log has no projections.")
    screen.flush()


@projections.command("rebuild")
@click.argument("words", nargs=-1, metavar="[FILE] NAME")
@app_option
@needed_bus_option
@json_option
def rebuild(words: tuple[str, ...], app: str | None, bus: str, as_json: bool) -> None:
    """Build the tables of a projection anew from the log, beside the old ones, and swap.

    Readers see the old tables until the new ones are complete. FILE may be left out: the bus knows it."""
    file, name = file_and(words, "NAME", "Which projection? Give its name, too:")
    screen = Screen.of(as_json=as_json)
    with closing(load_bus(bus, given(file, app))) as loaded_bus:
        if name not in loaded_bus.projections:
            raise EventBusError(f"--bus {bus} has no projection {plain(name)!r}.", hint=_known(loaded_bus.projections))
        started = time.monotonic()
        with Progress(f"Rebuilding {name}") as progress:
            loaded_bus.projections[name].rebuild(progress=progress.update)
        seconds = time.monotonic() - started
    if as_json:
        screen.record({"projection": name, "events": progress.total, "seconds": round(seconds, 3)})
    else:
        screen.line(f"Rebuilt {name} from {plural(progress.total, 'event')} in {span(seconds)}.")
    screen.flush()


def _known(projections: Any) -> str:
    names = sorted(str(name) for name in projections)
    return f"It has: {', '.join(names)}." if names else "It has none."


@attrs.frozen
class _Definition:
    """What a projection's row says of its making: each table is its name, columns and indexes."""

    version: int | None = None
    tables: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, view: SubscriptionView) -> _Definition:
        """As recorded; nothing is known of one that is odd."""
        try:
            return msgspec.json.decode(view.row.definition or "{}", type=cls)
        except (msgspec.DecodeError, UnicodeError):
            return cls()

    @property
    def names(self) -> list[str]:
        """The names that readers use."""
        return [name for name, _, _ in self.tables]


def _as_record(view: SubscriptionView) -> dict[str, Any]:
    row = view.row
    return {
        "name": row.name,
        "generation": row.generation,
        "version": _Definition.of(view).version,
        "state": row.state,
        "state_reason": row.state_reason,
        "cursor": row.cursor,
        "behind": view.behind,
        "handled": row.handled,
        "tables": _Definition.of(view).names,
        "last_error": view.last_error,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
    }


def _cells(screen: Screen, view: SubscriptionView) -> list[Cell]:
    row, definition = view.row, _Definition.of(view)
    return [
        Cell(titled(row).removesuffix(" [projection]"), "name"),
        Cell("" if definition.version is None else str(definition.version)),
        Cell(row.state, STATES.get(row.state, "")),
        count_cell(view.behind, "warn"),
        count_cell(row.handled),
        Cell(relative(view.updated_at, screen.now), "dim"),
        Cell(", ".join(definition.names), "place"),
    ]
