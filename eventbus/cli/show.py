"""`eventbus show`: everything about one event."""

from __future__ import annotations

import sqlite3
from typing import Any

import attrs
import click

from eventbus.cli.place import Look, app_option, file_and, json_option, locate
from eventbus.cli.plain import plain, width, wrapped
from eventbus.cli.screen import Cell, Column, Screen, Style
from eventbus.cli.spelling import as_record, full_time, gist, kind_style, place, pretty, short_cells, spelled
from eventbus.cli.standing import looked_at, next_time, remark, titled
from eventbus.cli.units import number
from eventbus.errors import EventBusError
from eventbus.store import viewing
from eventbus.store.viewing import Standing, StoredEvent

_MOST_EFFECTS = 100  # listed; all are counted
_STYLES: dict[str, Style] = {"handled": "good", "retrying": "warn", "held": "warn", "dead": "bad", "running": "name"}
_LABEL = 13
_ROOM = 16  # columns beside a label below which its text is put under it
WHICH_EVENT = "Which event? Give a position or id, too:"


@attrs.frozen
class Story:
    """One event, why it happened, what it led to, and where it stands with each subscription."""

    event: StoredEvent
    cause: StoredEvent | None
    effects: list[StoredEvent]
    effects_count: int
    standings: list[Standing]


@click.command("show", short_help="Show one event: envelope, payload, cause and effects, deliveries.")
@click.argument("words", nargs=-1, metavar="[FILE] ID|POSITION")
@app_option
@json_option
def show(words: tuple[str, ...], app: str | None, as_json: bool) -> None:
    """Show one event, found by its position, its id, or how its id begins: envelope, payload, what it was
    published for, what was published for it, and where it stands with each subscription."""
    file, key = file_and(words, "ID|POSITION", WHICH_EVENT)
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    story = look.ask(lambda connection: told(connection, one_event(connection, look.path, key)))
    story = attrs.evolve(story, standings=[looked_at(look.path, standing) for standing in story.standings])
    if as_json:
        screen.record(_as_record(story))
    else:
        _write(screen, story)
    screen.flush()


def one_event(connection: sqlite3.Connection, path: str, key: str) -> StoredEvent:
    """The event that `key` means; EventBusError when there is none, or more than one."""
    found = viewing.find(connection, key)
    if not found:
        raise EventBusError(f"{path} has no event with the position or id {plain(key)!r}.")
    if len(found) > 1:
        raise EventBusError(f"More than one id begins with {plain(key)!r}.", hint="Give more of it, or the position.")
    return found[0]


def told(connection: sqlite3.Connection, event: StoredEvent) -> Story:
    """What the log knows about an event."""
    count, effects = viewing.effects(connection, event.id, limit=_MOST_EFFECTS)
    cause = None if event.causation_id is None else viewing.by_id(connection, event.causation_id)
    return Story(event, cause, effects, count, viewing.standings(connection, event))


def _as_record(story: Story) -> dict[str, Any]:
    cause = story.cause
    return {
        **as_record(story.event),
        "cause": None if cause is None else _brief(cause),
        "effects": [_brief(effect) for effect in story.effects],
        "effects_count": story.effects_count,
        "deliveries": [
            {
                "subscription": standing.subscription.name,
                "generation": standing.subscription.generation,
                "role": standing.subscription.role,
                "status": standing.disposition,
                "attempts": standing.delivery.attempts if standing.delivery else None,
                "due": next_time(standing),
                "error": standing.delivery.error if standing.delivery else None,
            }
            for standing in story.standings
        ],
    }


def _brief(event: StoredEvent) -> dict[str, Any]:
    return {"position": event.position, "id": event.id, "type": event.type.name, "stream": event.stream}


def _write(screen: Screen, story: Story) -> None:
    write_event(screen, story.event)
    if story.event.causation_id is not None:
        heading(screen, "Caused by")
        if story.cause is None:
            screen.line(story.event.causation_id, Cell("  (not in this log)", "dim"), indent=2)
        else:
            _write_brief(screen, [story.cause])
    if story.effects:
        heading(screen, "Led to")
        _write_brief(screen, story.effects)
        if story.effects_count > len(story.effects):
            screen.line(Cell(f"and {number(story.effects_count - len(story.effects))} more", "dim"), indent=2)
    if story.standings:
        heading(screen, "Deliveries")
        _write_standings(screen, story.standings)


def write_event(screen: Screen, event: StoredEvent) -> None:
    """The envelope and the payload."""
    version = f" v{event.type.version}" if event.type.version != 1 else ""
    title(
        screen,
        Cell(event.type.name + version, kind_style(event.type.kind)),
        Cell(f"  {event.type.kind}, position {number(event.position)}", "dim"),
    )
    facts = {
        "id": event.id,
        "stream": place(event),
        "time": full_time(event.time, screen.now),
        "source": event.source,
        "correlation": event.correlation_id or "",
        "metadata": spelled(event.metadata or ""),
    }
    for label, text in facts.items():
        if text:
            fact(screen, label, text)
    heading(screen, "Payload")
    whole(screen, pretty(event))


def title(screen: Screen, name: Cell, *more: Cell) -> None:
    """A name and what goes with it, on lines of their own where one is too short for both."""
    columns = screen.columns
    if columns is None or sum(width(cell.text) for cell in (name, *more)) <= columns:
        screen.line(name, *more)
        return
    for cell in (name, Cell("".join(cell.text for cell in more).strip(), more[0].style)):
        for piece in wrapped(cell.text, columns):
            screen.line(Cell(piece, cell.style))


def fact(screen: Screen, label: str, text: str, style: Style = "") -> None:
    """A label and what it stands for, broken into lines where it is too long for the terminal."""
    room = None if screen.columns is None else screen.columns - 2 - _LABEL
    if room is not None and room < _ROOM:
        screen.line(Cell(label, "dim"), indent=2)
        whole(screen, [text], style)
        return
    for piece in wrapped(plain(text), room):
        screen.line(Cell(label.ljust(_LABEL), "dim"), Cell(piece, style), indent=2)
        label = ""


def heading(screen: Screen, text: str) -> None:
    """A blank line and a title."""
    screen.line()
    screen.line(Cell(text, "bold"))


def whole(screen: Screen, lines: list[str], style: Style = "") -> None:
    """Lines of which nothing may be missing: those too long for the terminal are broken, not cut."""
    room = None if screen.columns is None else max(screen.columns - 2, 1)
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        for piece in wrapped(plain(line[indent:]), None if room is None else max(room - indent, 2)):
            screen.line(Cell(piece, style), indent=2 + indent)


def _write_brief(screen: Screen, events: list[StoredEvent]) -> None:
    columns = (Column(align=">"), Column(gives=True, keep="end"), Column(gives=True, keep="both"), Column())
    rows = [short_cells(event) for event in events]
    layout = screen.layout(columns, rows, indent=2, with_rest=True)
    for event, row in zip(events, rows, strict=True):
        screen.row(layout, row, indent=2, rest=Cell(gist(event, screen.left(layout, indent=2))))


def _write_standings(screen: Screen, standings: list[Standing]) -> None:
    rows = [
        [
            Cell(titled(standing.subscription), "name"),
            Cell(standing.disposition, _STYLES.get(standing.disposition, "")),
        ]
        for standing in standings
    ]
    layout = screen.layout((Column(gives=True), Column()), rows, indent=2)
    room = None if screen.columns is None else screen.columns - 2 - layout.total
    for standing, row in zip(standings, rows, strict=True):
        said = remark(standing, screen.now)
        if room is not None and room < _ROOM:
            screen.row(layout, row, indent=2)
            whole(screen, [f"  {said}"] if said else [], "dim")
            continue
        first, *others = wrapped(plain(said), room)
        screen.row(layout, row, indent=2, rest=Cell(first, "dim"))
        for piece in others:
            screen.line(Cell(piece, "dim"), indent=2 + layout.total)
