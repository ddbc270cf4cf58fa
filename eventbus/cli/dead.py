"""`eventbus dead`: deliveries that are out of attempts and wait for a person."""

from __future__ import annotations

import sqlite3
from typing import Any

import attrs
import click

from eventbus.cli.letters import (
    Asked,
    Limited,
    filter_options,
    letter_record,
    letters_of,
    subscription_option,
    write_letters,
)
from eventbus.cli.mending import discard, edit, retry
from eventbus.cli.place import NUMBER, Look, app_option, file_and, json_option, locate, on_a_log
from eventbus.cli.screen import Cell, Screen
from eventbus.cli.show import WHICH_EVENT, fact, heading, title, whole, write_event
from eventbus.cli.spelling import full_time, spelled
from eventbus.cli.standing import counted
from eventbus.cli.units import plural, span
from eventbus.store import viewing
from eventbus.store.viewing import DeadLetter, StoredAttempt


@click.group("dead")
def dead() -> None:
    """Look at dead letters, deliveries that are out of attempts: try them again, edit or discard them."""


for command in (retry, edit, discard):
    dead.add_command(command)


@dead.command("list")
@on_a_log
@filter_options
@click.option("--limit", type=NUMBER, metavar="N", help="At most so many.")
def list_(file: str | None, app: str | None, as_json: bool, limit: int | None, **asked: Any) -> None:
    """List dead letters, by subscription and position."""
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    which = Asked(**asked)
    letters = Limited(which.pages(look, screen), limit)
    count = write_letters(screen, letters)
    if letters.cut:
        screen.cut_at(limit)
    elif not count and not as_json:
        screen.line("No dead letters." if which.all else "No dead letter matches.")
    screen.flush()


@dead.command("show")
@click.argument("words", nargs=-1, metavar="[FILE] ID|POSITION")
@app_option
@json_option
@subscription_option
def show(words: tuple[str, ...], app: str | None, as_json: bool, subscription: str | None) -> None:
    """Show the dead letters of one event: every attempt with its error, and what waits behind it."""
    file, key = file_and(words, "ID|POSITION", WHICH_EVENT)
    screen, look = Screen.of(as_json=as_json), Look(locate(file, app))
    found = look.ask(lambda connection: _with_attempts(connection, look.path, key, subscription))
    for letter, attempts in found:
        if as_json:
            screen.record({**letter_record(letter), "failures": [attrs.asdict(attempt) for attempt in attempts]})
        else:
            _write(screen, letter, attempts)
    screen.flush()


def _with_attempts(
    connection: sqlite3.Connection, path: str, key: str, subscription: str | None
) -> list[tuple[DeadLetter, list[StoredAttempt]]]:
    return [
        (letter, viewing.attempts(connection, letter.subscription, letter.delivery.position))
        for letter in letters_of(connection, path, key, subscription)
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
    if delivery.payload is not None:
        fact(screen, "edited", spelled(delivery.payload), "warn")
    if delivery.error:
        fact(screen, "error", delivery.error, "bad")
    for attempt in attempts:
        took = "its process ended" if attempt.seconds is None else f"took {span(attempt.seconds)}"
        heading(screen, f"Attempt {attempt.attempt}, {full_time(attempt.started_at, screen.now)}, {took}")
        text = attempt.traceback or (f"{attempt.error_type}: {attempt.message}" if attempt.error_type else "")
        whole(screen, text.splitlines(), "dim")
    if letter.event is not None:
        screen.line()
        write_event(screen, letter.event)
    screen.line()
