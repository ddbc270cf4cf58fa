"""`eventbus pause` and `eventbus resume`: stop delivering to a subscription, and go on, without the app's code."""

from __future__ import annotations

from contextlib import closing

import click

from eventbus.cli.letters import subscribers
from eventbus.cli.place import Look, app_option, file_and, json_option, locate
from eventbus.cli.screen import Cell, Screen

_WHICH = "Which subscription? Give its name, too:"
_SAID = {
    "paused": ("Paused ", ", until: eventbus resume", " is paused already."),
    "resumed": ("Resumed ", ".", " is not paused."),
}
_reason_option = click.option("--reason", metavar="TEXT", help="Why; it is recorded.")


@click.command("pause")
@click.argument("words", nargs=-1, metavar="[FILE] NAME")
@_reason_option
@app_option
@json_option
def pause(words: tuple[str, ...], reason: str | None, app: str | None, as_json: bool) -> None:
    """Deliver nothing to a subscription until it is resumed; nothing is lost. An app that runs stops within a second,
    and finishes what its handler is doing."""
    _act(words, app, "paused", reason, as_json=as_json)


@click.command("resume")
@click.argument("words", nargs=-1, metavar="[FILE] NAME")
@_reason_option
@app_option
@json_option
def resume(words: tuple[str, ...], reason: str | None, app: str | None, as_json: bool) -> None:
    """Go on with a subscription where it was paused, by a person or by an error. An app that runs begins within a
    second."""
    _act(words, app, "resumed", reason, as_json=as_json)


def _act(words: tuple[str, ...], app: str | None, action: str, reason: str | None, *, as_json: bool) -> None:
    screen = Screen.of(as_json=as_json)
    name, changed = _changed(words, app, action, reason)
    begun, done, idle = _SAID[action]
    if as_json:
        screen.record({"name": name, "action": action, "changed": changed})
    elif changed:
        screen.line(begun, Cell(name, "name"), done)
    else:
        screen.line(Cell(name, "name"), idle)
    screen.flush()


def _changed(words: tuple[str, ...], app: str | None, action: str, reason: str | None) -> tuple[str, bool]:
    """The name of the subscription, and whether anything has changed."""
    from eventbus.bus import EventBus

    file, name = file_and(words, "NAME", _WHICH)
    look = Look(locate(file, app))
    (row, *_) = look.ask(lambda connection: subscribers(connection, look.path, name))
    look.close()  # a look at what a crash left keeps this process from writing
    with closing(EventBus(look.path, delivery="manual", source="eventbus")) as bus:
        readers = bus.projections if row.role == "projection" else bus.subscriptions
        meant = readers[name]
        return name, meant.pause(reason) if action == "paused" else meant.resume(reason)
