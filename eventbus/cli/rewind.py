"""`eventbus rewind`: deliver to a subscription again what it has handled already, without the app's code."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

import attrs
import click

from eventbus.cli.place import Look, app_option, file_and, json_option, locate
from eventbus.cli.plain import plain
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.units import moment, number, plural
from eventbus.errors import EventBusError
from eventbus.store import subscriptions
from eventbus.store.rewinding import Rewind

_COLUMNS = (Column("TYPE", gives=True), Column("AGAIN", ">"))


@click.command("rewind")
@click.argument("words", nargs=-1, metavar="[FILE] NAME")
@click.option(
    "--after",
    required=True,
    metavar="POSITION|TIME",
    help='Deliver what comes after this position, or was recorded since: "10m", "2d", "today", "2026-03-01 14:00".',
)
@click.option("--reason", metavar="TEXT", help="Why; it is recorded.")
@app_option
@click.option("--dry-run", is_flag=True, help="Only say what it would do; nothing is written.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rewind(
    words: tuple[str, ...], after: str, reason: str | None, app: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Begin a new run of a subscription: it is given again what comes after a position or a time.

    Its dead letters, retries and results of steps after that are cleared. What its handler publishes in the new run
    are new events. An app that runs begins within a second. A projection is rebuilt instead."""
    file, name = file_and(words, "NAME", "Which subscription? Give its name, too:")
    screen = Screen.of(as_json=as_json)
    wanted = _wanted(after, screen)
    path, planned = _preview(locate(file, app), name, wanted)
    if not dry_run:
        if not yes:
            _ask(planned)
        planned = _do(path, name, wanted, reason)
    _show(screen, planned, dry_run=dry_run)


def _wanted(text: str, screen: Screen) -> int | datetime:
    if text.isascii() and text.isdecimal() and len(text) < 19:  # more digits would not fit a position
        return int(text)
    try:
        return moment(text, screen.now)
    except ValueError as error:
        raise click.BadParameter(f"{plain(text)!r} is neither a position nor a time.", param_hint="--after") from error


def _preview(path: str, name: str, after: int | datetime) -> tuple[str, Rewind]:
    from eventbus.bus.rewinding import preview

    look = Look(path)

    def ask(connection: sqlite3.Connection) -> Rewind:
        rows = subscriptions.named(connection, name)
        if not rows:
            known = dict.fromkeys(plain(row.name) for row in subscriptions.everyone(connection))
            raise EventBusError(
                f"There is no subscription {plain(name)!r} in this log.",
                hint=f"There are: {', '.join(known) or 'none'}.",
            )
        if rows[-1].role == "projection":
            raise EventBusError(
                f"{plain(name)!r} is a projection, which is rebuilt from the beginning.",
                hint="Use eventbus projections rebuild FILE NAME --bus module:attribute.",
            )
        return preview(connection, rows[-1].id, after)

    planned = look.ask(ask)
    look.close()  # a look at what a crash left keeps this process from writing
    return look.path, planned


def _do(path: str, name: str, after: int | datetime, reason: str | None) -> Rewind:
    from eventbus.bus import EventBus

    with closing(EventBus(path, delivery="manual", source="eventbus")) as bus:
        return bus.subscriptions[name].rewind(after=after, reason=reason)


def _ask(planned: Rewind) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Say --yes to rewind it unasked, or --dry-run to see what that would do.")
    _tell(Screen.of(as_json=False, stream=sys.stderr), planned, "Would rewind")
    if not click.confirm(f"Rewind {plain(planned.subscription)}?", err=True):
        raise EventBusError("Nothing was done.")


def _show(screen: Screen, planned: Rewind, *, dry_run: bool) -> None:
    if screen.as_json:
        screen.record({**_as_record(planned), "dry_run": dry_run})
    else:
        _tell(screen, planned, "Would rewind" if dry_run else "Rewound")
    screen.flush()


def _as_record(planned: Rewind) -> dict[str, Any]:
    states = {state: planned.cleared.get(state, 0) for state in ("retrying", "waiting", "held", "dead")}
    return {**attrs.asdict(planned), "types": dict(planned.types), "events": planned.events, "cleared": states}


def _tell(screen: Screen, planned: Rewind, done: str) -> None:
    if planned.types:
        rows = [[Cell(name, "name"), Cell(number(count))] for name, count in planned.types.items()]
        screen.table(_COLUMNS, rows)
    screen.line(
        f"{done} {plain(planned.subscription)} from position {number(planned.cursor)} to {number(planned.after)},"
        f" as run {planned.run}: {plural(planned.events, 'event')} again."
    )
    if gone := _gone(planned.cleared, planned.steps):
        screen.line(f"{'Would clear' if done.startswith('Would') else 'Cleared'} {gone}.")
    screen.line("What its handler publishes again are new events: their ids derive from the run.")


def _gone(cleared: Mapping[str, int], steps: int) -> str:
    words = [f"{number(count)} {state}" for state, count in sorted(cleared.items())]
    return ", ".join([*words, *([plural(steps, "step")] if steps else [])])
