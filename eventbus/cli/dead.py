"""`eventbus dead`: deliveries that are out of attempts and wait for a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import click

from eventbus.cli.place import NUMBER, Look, app_option, file_and, json_option, locate, on_a_log
from eventbus.cli.plain import plain
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.show import WHICH_EVENT, counted, fact, heading, one_event, title, whole, write_event
from eventbus.cli.spelling import as_record, full_time, kind_style, place, relative
from eventbus.cli.units import number, plural, span
from eventbus.errors import EventBusError
from eventbus.store import reading, subscriptions, viewing
from eventbus.store.viewing import DeadLetter, StoredAttempt

_COLUMNS = (
    Column("SUBSCRIPTION", gives=True, keep="both"),
    Column("POSITION", ">"),
    Column("TYPE", gives=True, keep="end"),
    Column("STREAM", gives=True, keep="both"),
    Column("TRIES", ">"),
    Column("HELD", ">"),
    Column("SINCE"),
)
_subscription_option = click.option("--subscription", metavar="NAME", help="Of this subscription.")


@click.group("dead")
def dead() -> None:
    """Look at dead letters: deliveries that are out of attempts."""


@dead.command("list")
@on_a_log
@_subscription_option
@click.option("--limit", type=NUMBER, metavar="N", help="At most so many.")
def list_(file: str | None, app: str | None, as_json: bool, subscription: str | None, limit: int | None) -> None:
    """List dead letters, by subscription and position."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    layout = None
    for letters in _pages(look, subscription, limit):
        if as_json:
            for letter in letters:
                screen.record(_as_record(letter))
        else:
            rows = [_cells(screen, letter) for letter in letters]
            if layout is None:
                layout = screen.layout(_COLUMNS, rows)
                screen.titles(layout)
            for letter, row in zip(letters, rows, strict=True):
                screen.row(layout, row)
                screen.remark(letter.delivery.error)
        screen.flush()
    if layout is None and not as_json:
        screen.line("No dead letters.")


@dead.command("show")
@click.argument("words", nargs=-1, metavar="[FILE] ID|POSITION")
@app_option
@json_option
@_subscription_option
def show(words: tuple[str, ...], app: str | None, as_json: bool, subscription: str | None) -> None:
    """Show the dead letters of one event: every attempt with its error, and what waits behind it."""
    file, key = file_and(words, "ID|POSITION", WHICH_EVENT)
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found = look.ask(lambda connection: _letters_of(connection, look.path, key, subscription))
    for letter, attempts in found:
        if as_json:
            screen.record({**_as_record(letter), "failures": [attrs.asdict(attempt) for attempt in attempts]})
        else:
            _write(screen, letter, attempts)
    screen.flush()


def _pages(look: Look, subscription: str | None, limit: int | None) -> Iterator[list[DeadLetter]]:
    """All dead letters, a page at a time."""
    for row in look.ask(lambda connection: _subscribers(connection, look.path, subscription)):
        after = 0
        while limit is None or limit > 0:
            size = min(reading.PAGE, limit or reading.PAGE)
            letters = look.ask(partial(viewing.dead_letters, row=row, after=after, limit=size))
            if not letters:
                break
            yield letters
            after = letters[-1].delivery.position
            limit = None if limit is None else limit - len(letters)


def _subscribers(connection: sqlite3.Connection, path: str, name: str | None) -> list[subscriptions.SubscriptionRow]:
    if name is None:
        return subscriptions.everyone(connection)
    rows = subscriptions.named(connection, name)
    if not rows:
        raise EventBusError(f"{path} has no subscription {plain(name)!r}.", hint="See: eventbus subscriptions")
    return rows


def _letters_of(
    connection: sqlite3.Connection, path: str, key: str, subscription: str | None
) -> list[tuple[DeadLetter, list[StoredAttempt]]]:
    event = one_event(connection, path, key)
    found: list[tuple[DeadLetter, list[StoredAttempt]]] = []
    for row in _subscribers(connection, path, subscription):
        letter = viewing.dead_letter(connection, row, event.position)
        if letter is not None:
            found.append((letter, viewing.attempts(connection, row, event.position)))
    if not found:
        raise EventBusError(
            f"The event at position {event.position} is no dead letter.", hint="Where it stands: eventbus show"
        )
    return found


def _as_record(letter: DeadLetter) -> dict[str, Any]:
    return {
        "subscription": letter.subscription.name,
        "generation": letter.subscription.generation,
        "position": letter.delivery.position,
        "order_key": letter.delivery.order_key,
        "attempts": letter.delivery.attempts,
        "tries": letter.delivery.tries,
        "held": letter.held,
        "since": letter.delivery.since,
        "error": letter.delivery.error,
        "event": None if letter.event is None else as_record(letter.event),
    }


def _cells(screen: Screen, letter: DeadLetter) -> list[Cell]:
    event, delivery = letter.event, letter.delivery
    return [
        Cell(letter.subscription.name, "name"),
        Cell(str(delivery.position)),
        Cell(event.type.name, kind_style(event.type.kind)) if event else Cell("(gone)", "dim"),
        Cell(place(event) if event else "", "place"),
        Cell(number(delivery.tries)),
        Cell(number(letter.held), "warn") if letter.held else Cell("·", "dim"),
        Cell(relative(delivery.since, screen.now), "dim"),
    ]


def _write(screen: Screen, letter: DeadLetter, attempts: list[StoredAttempt]) -> None:
    delivery = letter.delivery
    title(
        screen,
        Cell(letter.subscription.name, "name"),
        Cell(" gave up after ", "bad"),
        Cell(counted(delivery), "bad"),
    )
    fact(screen, "since", full_time(delivery.since, screen.now))
    if delivery.order_key is not None:
        fact(screen, "order key", delivery.order_key)
        fact(screen, "held behind", plural(letter.held, "event"), "warn" if letter.held else "dim")
    if delivery.error:
        fact(screen, "error", delivery.error, "bad")
    for attempt in attempts:
        took = "" if attempt.seconds is None else f", took {span(attempt.seconds)}"
        heading(screen, f"Attempt {attempt.attempt}, {full_time(attempt.started_at, screen.now)}{took}")
        text = attempt.traceback or f"{attempt.error_type}: {attempt.message}"
        whole(screen, text.splitlines(), "dim")
    if letter.event is not None:
        screen.line()
        write_event(screen, letter.event)
    screen.line()
