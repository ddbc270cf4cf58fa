"""`eventbus subscriptions`: who reads the log, how far each one is, and what is stuck."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import click

from eventbus.cli.loading import bus_option, declared_names
from eventbus.cli.place import Look, given, locate, on_a_log
from eventbus.cli.screen import Cell, Column, Screen, Style
from eventbus.cli.standing import titled
from eventbus.cli.units import due, number, span, stored_time
from eventbus.clock import iso
from eventbus.store import overview
from eventbus.store.lockfile import is_delivered
from eventbus.store.overview import SubscriptionView
from eventbus.store.subscriptions import STANDING

STATES: dict[str, Style] = {
    "active": "good",
    "paused": "warn",
    "building": "warn",
    "failed": "bad",
    "orphan": "warn",
    "open": "bad",
    "half-open": "warn",
}
_COLUMNS = (
    Column("NAME", gives=True, keep="both"),
    Column("STATE"),
    Column("BEHIND", ">"),
    Column("LAG", ">", leaves=6),
    Column("HANDLED", ">", leaves=3),
    Column("RETRY", ">", leaves=4),
    Column("WAIT", ">", leaves=2),
    Column("HELD", ">", leaves=5),
    Column("DEAD", ">"),
    Column("NEXT"),
    Column("ORDER", leaves=1),
    Column("OWNER", leaves=7),
)


@click.command("subscriptions")
@on_a_log
@bus_option
def subscriptions(file: str | None, app: str | None, as_json: bool, bus: str | None) -> None:
    """List the subscriptions: how far behind each is, what it has handled, and what is stuck.

    With --bus, those that the bus does not declare are shown as orphans."""
    declared = None if bus is None else declared_names(bus, given(file, app))
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found = look.ask(overview.everyone)
    if as_json:
        for view in found:
            screen.record({**_as_record(view, declared, screen.now), "owner_alive": owner_alive(look.path, view)})
    elif found:
        _write(screen, look.path, found, declared)
    else:
        screen.line("Nothing has subscribed to this log yet.")
    screen.flush()


def say_how_to_go_on(screen: Screen, view: SubscriptionView) -> None:
    """Under the row of what is paused."""
    if view.row.state == "paused":
        screen.line(Cell("└ until: eventbus resume", "dim"), indent=2)


def state(view: SubscriptionView, declared: frozenset[str] | None) -> str:
    """The state a person cares for: that nobody handles it, or that its breaker is open, comes before active."""
    if declared is not None and view.row.name not in declared:
        return "orphan"
    return view.row.state if view.circuit is None or view.row.state != "active" else view.circuit.state


def next_due(view: SubscriptionView) -> str | None:
    """When it goes on: behind a breaker nothing is tried before that, and while it is paused at no time."""
    if view.row.state in STANDING:
        return None
    if view.circuit is None or view.circuit.until is None:
        return view.next_due
    until = iso(view.circuit.until)
    return until if view.next_due is None else max(until, view.next_due)


def _breaker(view: SubscriptionView) -> dict[str, Any] | None:
    if view.row.breaker is None:
        return None
    from eventbus.breaker import CLOSED

    circuit = view.circuit or CLOSED
    until = None if circuit.until is None else iso(circuit.until)
    return {"name": view.row.breaker, "state": circuit.state, "until": until, "reason": circuit.reason}


def owner_alive(path: str, view: SubscriptionView) -> bool | None:
    """Whether its owner still delivers it; None without an owner, or where the system does not tell."""
    return None if view.owner is None else is_delivered(path, view.row.id)


def owner_cell(path: str, view: SubscriptionView) -> Cell:
    """Who delivers it; an owner that was killed stays in the row until another process takes over."""
    if view.owner is None:
        return Cell("·", "dim")
    return Cell("ended", "warn") if owner_alive(path, view) is False else Cell(view.owner)


def lag_seconds(view: SubscriptionView, now: datetime) -> float:
    """The age of the oldest event that it has still to handle by itself; 0 where there is none."""
    oldest = stored_time(view.oldest)
    return 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)


def lag_cell(view: SubscriptionView, screen: Screen) -> Cell:
    """That age; none stands back."""
    return Cell("·", "dim") if view.oldest is None else Cell(span(lag_seconds(view, screen.now)), "warn")


def count_cell(value: int, style: Style = "") -> Cell:
    """A count; zero stands back."""
    return Cell(number(value), style) if value else Cell("·", "dim")


def _as_record(view: SubscriptionView, declared: frozenset[str] | None, now: datetime) -> dict[str, Any]:
    row = view.row
    return {
        "name": row.name,
        "generation": row.generation,
        "role": row.role,
        "run": row.run,
        "state": row.state,
        "state_reason": row.state_reason,
        "declared": None if declared is None else row.name in declared,
        "start": row.start,
        "cursor": row.cursor,
        "claim": row.claim,
        "behind": view.behind,
        "lag_seconds": lag_seconds(view, now),
        "handled": row.handled,
        "discarded": view.discarded,
        "skipped": view.skipped,
        **{name: view.counts.get(name, 0) for name in ("waiting", "retrying", "held", "dead")},
        "next_due": view.next_due,
        "last_error": view.last_error,
        "breaker": _breaker(view),
        "order_by": row.order_by,
        "types": [attrs.asdict(match) for match in row.types],
        "owner": view.owner,
        "created_at": view.created_at,
        "updated_at": view.updated_at,
    }


def _write(screen: Screen, path: str, found: list[SubscriptionView], declared: frozenset[str] | None) -> None:
    rows = [[*_cells(screen, view, declared), owner_cell(path, view)] for view in found]
    layout = screen.layout(_COLUMNS, rows)
    screen.titles(layout)
    for view, row in zip(found, rows, strict=True):
        screen.row(layout, row)
        screen.remark(view.row.state_reason or (view.circuit and view.circuit.reason) or view.last_error)
        say_how_to_go_on(screen, view)


def _cells(screen: Screen, view: SubscriptionView, declared: frozenset[str] | None) -> list[Cell]:
    row, shown = view.row, state(view, declared)
    return [
        Cell(titled(row), "name"),
        Cell(shown, STATES.get(shown, "")),
        count_cell(view.behind, "warn"),
        lag_cell(view, screen),
        count_cell(row.handled),
        count_cell(view.counts.get("retrying", 0), "warn"),
        count_cell(view.counts.get("waiting", 0), "warn"),
        count_cell(view.counts.get("held", 0), "warn"),
        count_cell(view.counts.get("dead", 0), "bad"),
        Cell(due(next_due(view), screen.now)),
        Cell(row.order_by, "dim"),
    ]
