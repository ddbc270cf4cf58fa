"""`eventbus salvage`: what is whole of a damaged log, in a new one."""

from __future__ import annotations

from typing import Any

import attrs
import click

from eventbus.cli.backup import file_and_new
from eventbus.cli.place import app_option, json_option, locate
from eventbus.cli.progress import Progress
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.units import number, plural
from eventbus.doctor import Lost, Salvaged

_SHOWN = 20
_COLUMNS = (Column("LOST", ">"), Column("POSITIONS", gives=True), Column("WHY", gives=True))


@click.command("salvage")
@click.argument("words", nargs=-1, metavar="[FILE] NEW")
@app_option
@json_option
def salvage(words: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """Bring every event of a damaged log whose checksums fit into a new log, NEW, and say what was lost.

    Positions, sequences and cursors stay what they were. FILE is not touched. Ends with 0 if all of the log could be
    saved, 1 if something is missing."""
    from eventbus.doctor import salvage as rescue

    file, new = file_and_new(words)
    path, screen = locate(file, app), Screen.of(as_json=as_json)
    with Progress("Salvaging") as progress:
        found = rescue(path, new, progress=progress.update)
    if as_json:
        screen.record(_as_record(found))
    else:
        _write(screen, found)
    screen.flush()
    click.get_current_context().exit(0 if found.is_whole else 1)


def _as_record(found: Salvaged) -> dict[str, Any]:
    return {**attrs.asdict(found), "lost_positions": found.lost_positions, "is_whole": found.is_whole}


def _write(screen: Screen, found: Salvaged) -> None:
    if found.lost:
        screen.table(_COLUMNS, [_cells(each) for each in found.lost[:_SHOWN]])
        if len(found.lost) > _SHOWN:
            screen.line(Cell(f"and {number(len(found.lost) - _SHOWN)} more ranges; --json lists them", "dim"))
    screen.line(
        f"Saved {plural(found.events, 'event')} in {found.path}; lost {plural(found.lost_positions, 'position')}."
        f" New events come after position {number(found.head)}, in incarnation {found.incarnation}."
    )
    for sentence in _remarks(found):
        screen.line(sentence)


def _cells(lost: Lost) -> list[Cell]:
    where = number(lost.first) if lost.first == lost.last else f"{number(lost.first)} to {number(lost.last)}"
    return [Cell(number(lost.last - lost.first + 1), "bad"), Cell(where), Cell(lost.why, "dim")]


def _remarks(found: Salvaged) -> list[str]:
    said: list[str] = []
    if found.absent:
        ranges = ", ".join(f"{first} to {last}" if first != last else f"{first}" for first, last in found.absent[:5])
        said.append(f"At positions in between nothing was stored: {ranges}{', ...' if len(found.absent) > 5 else ''}.")
    if found.carried:
        said.append(
            "Carried over: " + ", ".join(f"{_short(name)} {number(n)}" for name, n in found.carried.items()) + "."
        )
    if found.incomplete:
        said.append(f"Not all rows could be read of: {', '.join(map(_short, found.incomplete))}.")
        if "eventbus_deliveries" in found.incomplete:
            said.append("Events whose delivery was lost count as handled; eventbus rewind delivers them again.")
    if found.dropped:
        dropped = ", ".join(f"{_short(name)} {number(n)}" for name, n in found.dropped.items())
        said.append(f"Left out, because their event or subscription is not there: {dropped}.")
    if found.unreadable:
        said.append(f"These subscriptions begin anew, where their after= says: {', '.join(found.unreadable)}.")
    if found.projections:
        said.append(f"Projections are built anew by their app: {', '.join(found.projections)}.")
    if found.left:
        said.append(f"Tables that are not the bus's stay in the old file: {', '.join(found.left)}.")
    return said


def _short(table: str) -> str:
    return table.removeprefix("eventbus_")
