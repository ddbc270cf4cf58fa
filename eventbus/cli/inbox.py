"""`eventbus inbox`: who numbers what it sends here, what is missing of that, and what waits for it."""

from __future__ import annotations

from typing import Any

import attrs
import click

from eventbus.cli.place import Look, locate, on_a_log
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.subscriptions import count_cell
from eventbus.cli.units import due, relative
from eventbus.store import inbox as stored
from eventbus.store.inbox import SenderView

_COLUMNS = (
    Column("SOURCE", gives=True),
    Column("STREAM", gives=True),
    Column("NEXT", ">"),
    Column("WAIT", ">"),
    Column("MISSING"),
    Column("SINCE", leaves=2),
    Column("ON GAP", leaves=1),
    Column("DUE", leaves=3),
)


@click.command("inbox")
@on_a_log
@click.option("--gaps", is_flag=True, help="Only those of whose numbers something is missing.")
def inbox(file: str | None, app: str | None, as_json: bool, gaps: bool) -> None:
    """List the senders that number what is ingested: the next number, what is missing, and how much waits for it."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found = look.ask(lambda connection: stored.senders(connection, gaps=gaps))
    if as_json:
        for view in found:
            screen.record(_as_record(view))
    elif found:
        screen.table(_COLUMNS, [_cells(screen, view) for view in found])
    else:
        screen.line("Nothing is missing." if gaps else "No sender has numbered what was ingested into this log.")
    screen.flush()


def _as_record(view: SenderView) -> dict[str, Any]:
    missing = view.missing
    return {
        "source": view.source,
        "stream": view.stream,
        "first": view.first,
        "expected": view.expected,
        "buffered": view.buffered,
        "missing": None if missing is None else attrs.asdict(missing),
        "since": view.since,
        "on_gap": view.on_gap,
        "gap_timeout": view.gap_timeout,
        "due": view.due,
        "gap_event": view.asked,
    }


def _cells(screen: Screen, view: SenderView) -> list[Cell]:
    missing = view.missing
    return [
        Cell(view.source, "name"),
        Cell("·", "dim") if view.stream is None else Cell(view.stream, "place"),
        count_cell(view.expected),
        count_cell(view.buffered, "warn"),
        Cell("·", "dim") if missing is None else Cell(str(missing), "bad"),
        Cell(relative(view.since, screen.now)),
        Cell(view.on_gap if view.gap_timeout is None else f"{view.on_gap} after {view.gap_timeout:g} s", "dim"),
        Cell("asked" if view.asked is not None else due(view.due, screen.now)),
    ]
