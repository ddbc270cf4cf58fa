"""What a person does about a schedule, without the app's code: cancel it, resume it, forget it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import click

from eventbus.cli.place import Look
from eventbus.cli.plain import plain
from eventbus.cli.screen import Cell, Screen
from eventbus.errors import EventBusError
from eventbus.store import schedules as rows_of
from eventbus.store.schedules import ScheduleRow

if TYPE_CHECKING:
    from eventbus.schedules import Schedule, Schedules

_DONE = {"cancel": "cancelled", "resume": "resumed", "forget": "forgotten"}


def act(path: str, acts: Mapping[str, str | None], reason: str | None, screen: Screen) -> None:
    """Do the one thing that was asked for, by its verb, and say so. UsageError for several, EventBusError."""
    from eventbus.bus import EventBus

    asked = [(verb, name) for verb, name in acts.items() if name is not None]
    if len(asked) > 1:
        raise click.UsageError(f"One at a time: {' or '.join(f'--{verb}' for verb, _ in asked)}.")
    ((verb, name),) = asked
    look = Look(path)
    row = look.ask(lambda connection: _meant(connection, look.path, name))
    look.close()  # a look at what a crash left keeps this process from writing
    with closing(EventBus(look.path, delivery="manual", source="eventbus")) as bus:
        done = _do(bus.schedules, verb, row.name, reason)
    if screen.as_json:
        screen.record({"name": done.name, "kind": done.kind, "action": _DONE[verb]})
    else:
        screen.line("Forgot " if verb == "forget" else f"{_DONE[verb].capitalize()} ", Cell(done.name, "name"), ".")
    screen.flush()


def _do(schedules: Schedules, verb: str, name: str, reason: str | None) -> Schedule:
    match verb:
        case "cancel":
            return schedules.cancel(name, reason=reason)
        case "resume":
            return schedules.resume(name, reason=reason)
        case _:
            return schedules.forget(name, reason=reason)


def _meant(connection: sqlite3.Connection, path: str, name: str) -> ScheduleRow:
    """The schedule of this name, or the single event whose id begins so."""
    row = rows_of.one(connection, name)
    found = [row] if row is not None else rows_of.events_beginning(connection, name, limit=2)
    if not found:
        raise click.UsageError(f"There is no schedule {name!r} in {path}.")
    if len(found) > 1:
        raise EventBusError(
            f"More than one id begins with {plain(name)!r}.", stored="not stored", hint="Give more of it."
        )
    return found[0]
