"""`eventbus replay`: run one subscription's handler again over a range; nothing in the log changes."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from eventbus.cli.loading import load_bus, needed_bus_option
from eventbus.cli.place import NUMBER, app_option, file_and, given, json_option
from eventbus.cli.plain import plain
from eventbus.cli.screen import Cell, Screen
from eventbus.cli.spelling import loaded, spelled
from eventbus.cli.units import plural
from eventbus.errors import EventBusError

if TYPE_CHECKING:
    from eventbus.bus import EventBus
    from eventbus.bus.readers import Subscription
    from eventbus.bus.replaying import Replayed


@click.command("replay")
@click.argument("words", nargs=-1, metavar="[FILE] SUBSCRIPTION")
@app_option
@needed_bus_option
@click.option("--after", type=NUMBER, default=0, metavar="POSITION", help="Events above this position.")
@click.option("--until", type=NUMBER, metavar="POSITION", help="Events up to this position.")
@click.option("--stream", metavar="NAME", help="Only events of this stream.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def replay(
    words: tuple[str, ...],
    app: str | None,
    bus: str,
    after: int,
    until: int | None,
    stream: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Run a subscription's handler over stored events, to see what it does.

    Its cursor stays, what it writes into the log is rolled back, and what it publishes is only shown. What it does
    elsewhere (requests, mails, files) is real."""
    file, name = file_and(words, "SUBSCRIPTION", "Which subscription? Give its name, too:")
    screen = Screen.of(as_json=as_json)
    ran = failed = 0
    with closing(load_bus(bus, given(file, app))) as loaded_bus:
        subscription = _named(loaded_bus, name)
        if not yes:
            _ask(name)
        for replayed in subscription.replay(loaded_bus.log.read(after, until, stream)):
            ran += 1
            failed += replayed.error is not None
            if as_json:
                screen.record(_as_record(replayed))
            else:
                _write(screen, replayed)
            screen.flush()
    if not as_json:
        screen.line()
        screen.line(f"Ran {name} on {plural(ran, 'event')}, {failed} failed. Nothing in the log has changed.")
    if failed:
        raise click.exceptions.Exit(1)


def _named(bus: EventBus, name: str) -> Subscription:
    for known in (bus.subscriptions, bus.projections):
        if name in known:
            return known[name]
    raise EventBusError(f"The log has no subscription {plain(name)!r}.", hint="See: eventbus subscriptions")


def _ask(name: str) -> None:
    """Let a person think before effects outside the file happen again."""
    if not sys.stdin.isatty():
        raise click.UsageError("What the handler does outside the log is real: say --yes to run it unasked.")
    words = Screen.of(as_json=False, stream=sys.stderr)
    words.line(f"This runs the handler of {name} again.")
    words.line("The log stays as it is: what it writes there is taken back.")
    words.line("Whatever else it does (mail, requests, files) is real.")
    if not click.confirm("Run it?", err=True):
        raise EventBusError("Nothing was run.")


def _as_record(replayed: Replayed) -> dict[str, object]:
    envelope, error = replayed.envelope, replayed.error
    return {
        "position": envelope.position,
        "id": envelope.id,
        "type": envelope.type,
        "stream": envelope.stream,
        "sequence": envelope.sequence,
        "published": [{"type": name, "payload": loaded(payload)} for name, payload in _published(replayed)],
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }


def _write(screen: Screen, replayed: Replayed) -> None:
    envelope, error = replayed.envelope, replayed.error
    where = "" if envelope.stream is None else f"{envelope.stream} #{envelope.sequence}"
    screen.line(
        Cell("ok      ", "good") if error is None else Cell("failed  ", "bad"),
        Cell(f"{envelope.position}  ", "dim"),
        Cell(f"{envelope.type}  ", "name"),
        Cell(where, "place"),
    )
    for name, payload in _published(replayed):
        screen.line(Cell("would publish ", "dim"), Cell(name, "name"), Cell("  "), Cell(spelled(payload)), indent=8)
    if error is not None:
        screen.line(Cell(f"{type(error).__name__}: {error}", "bad"), indent=8)


def _published(replayed: Replayed) -> list[tuple[str, str]]:
    """Name and payload of each event that the handler published."""
    from eventbus.events import event_type

    found: list[tuple[str, str]] = []
    for event in replayed.published:
        known = event_type(event.__class__)
        found.append((known.name, known.encode(event, sys.maxsize)))
    return found
