"""`eventbus log` and `eventbus tail`: the events, one a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any

import attrs
import click

from eventbus.cli.place import NUMBER, Look, locate, on_a_log
from eventbus.cli.screen import Cell, Column, Layout, Screen
from eventbus.cli.spelling import as_record, day_and_time, gist, kind_style, place_cells
from eventbus.cli.units import moment
from eventbus.store import reading, stored_types, viewing
from eventbus.store.reading import Selection
from eventbus.store.viewing import StoredEvent

_POLL = 0.2  # seconds between two looks: a person does not notice, and the file hardly does
_COLUMNS = (Column(align=">"), Column(), Column(gives=True, keep="end"), Column(gives=True, keep="both"), Column())


@attrs.frozen
class Filters:
    """What was asked for. Type patterns are looked up again for each page: a new type may match."""

    types: tuple[str, ...]
    selection: Selection

    def page(self, look: Look, selection: Selection, limit: int = reading.PAGE) -> list[StoredEvent]:
        """The next events of what is left of the selection."""
        return look.ask(
            lambda connection: viewing.page(
                connection, attrs.evolve(selection, type_ids=stored_types.type_ids(connection, self.types)), limit
            )
        )

    def start_of_last(self, look: Look, count: int) -> Selection:
        """The selection from which on there are at most `count` events."""

        def before(connection: Any) -> int:
            ids = stored_types.type_ids(connection, self.types)
            return viewing.before_last(connection, attrs.evolve(self.selection, type_ids=ids), count)

        return attrs.evolve(self.selection, after=look.ask(before))


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --stream, --type and --since."""
    for decorate in (
        click.option("--since", metavar="TIME", help='Recorded since then: "10m", "2d", "today", "2026-03-01 14:00".'),
        click.option(
            "--type", "types", multiple=True, metavar="NAME", help='Of this type or pattern ("shop.*"); repeatable.'
        ),
        click.option("--stream", metavar="NAME", help="Of this stream."),
    ):
        function = decorate(function)
    return function


@click.command("log")
@on_a_log
@filter_options
@click.option("--after", type=NUMBER, default=0, metavar="POSITION", help="Above this position.")
@click.option("--until", type=NUMBER, metavar="POSITION", help="Up to this position.")
@click.option("--limit", type=NUMBER, metavar="N", help="At most so many.")
@click.option("--last", type=NUMBER, metavar="N", help="Only the last N.")
@click.option("--backward", is_flag=True, help="The newest first.")
def log(
    file: str | None,
    app: str | None,
    as_json: bool,
    stream: str | None,
    types: tuple[str, ...],
    since: str | None,
    after: int,
    until: int | None,
    limit: int | None,
    last: int | None,
    backward: bool,
) -> None:
    """List the events of a log, the oldest first."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    filters = Filters(types, Selection(after=after, until=until, stream=stream, since=stored_moment(since, screen)))
    selection = filters.selection if last is None else filters.start_of_last(look, last)
    shown = Lines(screen).show(_read(look, filters, attrs.evolve(selection, backward=backward), limit))
    if not shown and not as_json:
        _explain_nothing(look, types)


def _read(look: Look, filters: Filters, selection: Selection, limit: int | None) -> Iterator[list[StoredEvent]]:
    """The events of a selection, a page at a time."""
    while limit is None or limit > 0:
        events = filters.page(look, selection, min(reading.PAGE, limit or reading.PAGE))
        if not events:
            return
        yield events
        selection = selection.beyond(events[-1].position, events[-1].sequence)
        limit = None if limit is None else limit - len(events)


def stored_moment(text: str | None, screen: Screen, option: str = "--since") -> str | None:
    """What a person wrote as a time, as it is stored; UsageError if it is none."""
    if text is None:
        return None
    try:
        return moment(text, screen.now).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError) as error:
        raise click.UsageError(
            f'{option}: {text!r} is no time. Say "10m", "2d", "today", "2026-03-01" or "2026-03-01 14:00".'
        ) from error


def _explain_nothing(look: Look, types: Sequence[str]) -> None:
    """Say on stderr why nothing was listed."""
    names = sorted({known.name for known in look.ask(stored_types.types).values()})
    words = Screen.of(as_json=False, stream=sys.stderr)
    if not names:
        words.line("The log is empty.")
    elif types and look.ask(lambda connection: stored_types.type_ids(connection, types)) == ():
        words.line(f"No type matches {' or '.join(types)}. This log has: {', '.join(names)}")
    else:
        words.line("No event matches.")


class Lines:
    """Events as lines under a rule for each day; the columns are laid out for a page, and never shrink."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._layout: Layout | None = None
        self._day = ""

    def show(self, pages: Iterator[list[StoredEvent]]) -> int:
        """Write all pages; how many events there were."""
        shown = 0
        for events in pages:
            self.page(events)
            shown += len(events)
        return shown

    def page(self, events: Sequence[StoredEvent]) -> None:
        """Write some events, and let them be seen at once."""
        if self._screen.as_json:
            for event in events:
                self._screen.record(as_record(event))
        else:
            self._write(events)
        self._screen.flush()

    def _write(self, events: Sequence[StoredEvent]) -> None:
        times = [day_and_time(event) for event in events]
        rows = [_cells(event, time) for event, (_, time) in zip(events, times, strict=True)]
        self._layout = layout = self._screen.layout(_COLUMNS, rows, earlier=self._layout, with_rest=True)
        left = self._screen.left(layout)
        for event, row, (day, _) in zip(events, rows, times, strict=True):
            if day != self._day:
                self._day = day
                self._screen.line(Cell(f"── {day} ──", "dim"))
            self._screen.row(layout, row, rest=Cell(gist(event, left), "dim" if event.payload is None else ""))


def _cells(event: StoredEvent, time: str) -> list[Cell]:
    return [
        Cell(str(event.position), "dim"),
        Cell(time, "dim"),
        Cell(event.type.name, kind_style(event.type.kind)),
        *place_cells(event),
    ]


@click.command("tail")
@on_a_log
@filter_options
@click.option("-n", "count", type=NUMBER, default=10, show_default=True, help="Begin with the last N.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what any process publishes, until Ctrl-C.")
def tail(
    file: str | None,
    app: str | None,
    as_json: bool,
    stream: str | None,
    types: tuple[str, ...],
    since: str | None,
    count: int,
    follow: bool,
) -> None:
    """Show the last events of a log, and with -f those to come."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    filters = Filters(types, Selection(stream=stream, since=stored_moment(since, screen)))
    selection = filters.start_of_last(look, count)
    lines = Lines(screen)
    while True:
        if look.has_news():
            for events in _read(look, filters, selection, None):
                lines.page(events)
                selection = selection.beyond(events[-1].position, events[-1].sequence)
        if not follow:
            return
        time.sleep(_POLL)  # SQLite has nothing to wait for: only the data_version to look at
