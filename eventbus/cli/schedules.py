"""`eventbus schedules`: what will be published, and when."""

from __future__ import annotations

from typing import Any

import click

from eventbus.cli.loading import bus_option, declared_schedules
from eventbus.cli.place import NUMBER, Look, given, locate, on_a_log
from eventbus.cli.rescheduling import act
from eventbus.cli.screen import Cell, Column, Screen, Style
from eventbus.cli.spelling import loaded
from eventbus.cli.subscriptions import count_cell
from eventbus.cli.units import due, relative
from eventbus.store import schedules as rows_of
from eventbus.store import stored_types
from eventbus.store.schedules import ScheduleRow

_STATES: dict[str, Style] = {
    "active": "good",
    "retrying": "warn",
    "cancelled": "dim",
    "failed": "bad",
    "orphan": "warn",
}
_COLUMNS = (
    Column("NAME", gives=True, keep="both"),
    Column("STATE"),
    Column("WHEN", gives=True),
    Column("NEXT"),
    Column("LAST", leaves=3),
    Column("RUNS", ">", leaves=4),
    Column("MISSED", ">", leaves=5),
    Column("CATCH UP", leaves=1),
    Column("TYPE", gives=True, leaves=2),
)
_LISTED = 1000
_MOST = 2**63 - 2  # one more is the largest number that SQLite knows


@click.command("schedules")
@on_a_log
@bus_option
@click.option("--limit", type=NUMBER, default=_LISTED, show_default=True, metavar="N", help="At most so many.")
@click.option("--cancel", metavar="NAME", help="Cancel this one: the name, or how the id of a single event begins.")
@click.option("--resume", metavar="NAME", help="Go on with one that was cancelled, from now on.")
@click.option("--forget", metavar="NAME", help="Remove one with all that is known of it.")
@click.option("--reason", metavar="TEXT", help="Why it is cancelled, resumed or forgotten; it is recorded.")
def schedules(
    file: str | None,
    app: str | None,
    as_json: bool,
    bus: str | None,
    limit: int,
    reason: str | None,
    **acts: str | None,
) -> None:
    """List what is scheduled, the next one first: when it comes, when it last came, and what was missed.

    With --bus, schedules that the bus does not declare are shown as orphans. What is cancelled with --cancel stays
    so, however often an app declares it, until it is resumed with --resume; one that is forgotten with --forget begins
    anew when an app declares it."""
    if any(name is not None for name in acts.values()):
        act(locate(file, app), acts, reason, Screen.of(as_json=as_json))
        return
    if reason is not None:
        raise click.UsageError("--reason says why something is done: give --cancel, --resume or --forget, with NAME.")
    declared = None if bus is None else declared_schedules(bus, given(file, app))
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found, types = look.ask(
        lambda connection: (rows_of.listed(connection, min(limit, _MOST) + 1), stored_types.types(connection))
    )
    found, cut = found[:limit], len(found) > limit
    names = {type_id: each.name for type_id, each in types.items()}
    if as_json:
        for row in found:
            screen.record(_as_record(row, names, declared))
    elif found:
        _write(screen, found, names, declared)
    elif not cut:
        screen.line("Nothing is scheduled in this log.")
    if cut:
        screen.cut_at(limit)
    screen.flush()


def _state(row: ScheduleRow, declared: frozenset[str] | None) -> str:
    if row.state != "active":
        return row.state
    if row.spec is not None and declared is not None and row.name not in declared:
        return "orphan"
    return "retrying" if row.attempts else "active"


def _as_record(row: ScheduleRow, names: dict[int, str], declared: frozenset[str] | None) -> dict[str, Any]:
    is_event = row.spec is None
    return {
        "name": row.name,
        "kind": row.kind,
        "state": _state(row, declared),
        "declared": None if declared is None or is_event else row.name in declared,
        "spec": row.spec,
        "timezone": row.timezone,
        "catch_up": row.catch_up,
        "next_run": row.run,
        "due": row.due,
        "last_run": row.last_run,
        "runs": row.runs,
        "missed": row.missed,
        "attempts": row.attempts,
        "error": row.error,
        "type": None if row.type_id is None else names.get(row.type_id),
        "stream": row.stream,
        "payload": loaded(row.payload) if isinstance(row.payload, str) else None,
    }


def _write(screen: Screen, found: list[ScheduleRow], names: dict[int, str], declared: frozenset[str] | None) -> None:
    rows = [_cells(screen, row, names, _state(row, declared)) for row in found]
    layout = screen.layout(_COLUMNS, rows)
    screen.titles(layout)
    for row, cells in zip(found, rows, strict=True):
        screen.row(layout, cells)
        screen.remark(row.error)


def _cells(screen: Screen, row: ScheduleRow, names: dict[int, str], state: str) -> list[Cell]:
    return [
        Cell(row.name, "name"),
        Cell(state, _STATES.get(state, "")),
        Cell(_when(row)),
        Cell(due(row.due, screen.now) or "·"),
        Cell(relative(row.last_run, screen.now) or "·", "dim"),
        count_cell(row.runs),
        count_cell(row.missed, "warn"),
        Cell(row.catch_up, "dim"),
        Cell(names.get(row.type_id or 0, "") or "·"),
    ]


def _when(row: ScheduleRow) -> str:
    if row.kind == "every":
        return f"every {row.spec} s"
    return f"{row.spec} {row.timezone}" if row.kind == "cron" else "once"
