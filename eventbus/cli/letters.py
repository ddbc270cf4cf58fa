"""Dead letters on the command line: which ones are meant, and how one is written out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import attrs
import click

from eventbus.cli.log import stored_moment
from eventbus.cli.place import Look
from eventbus.cli.plain import plain
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.cli.show import one_event
from eventbus.cli.spelling import as_record, kind_style, loaded, place, spelled
from eventbus.cli.units import number, relative
from eventbus.errors import EventBusError
from eventbus.store import stored_types, subscriptions, viewing
from eventbus.store.letters import Wanted
from eventbus.store.viewing import DeadLetter

COLUMNS = (
    Column("SUBSCRIPTION", gives=True, keep="both"),
    Column("POSITION", ">"),
    Column("TYPE", gives=True, keep="end"),
    Column("STREAM", gives=True, keep="both"),
    Column("TRIES", ">"),
    Column("HELD", ">"),
    Column("SINCE"),
)
subscription_option = click.option("--subscription", metavar="NAME", help="Of this subscription.")


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which dead letters are meant."""
    for decorate in (
        click.option("--text", metavar="TEXT", help="Whose exceptions said this."),
        click.option("--until", metavar="TIME", help="That went wrong up to then."),
        click.option("--since", metavar="TIME", help='That went wrong since then: "10m", "2d", "today", "2026-03-01".'),
        click.option("--error", metavar="NAME", help="With this exception, or a pattern of its name."),
        click.option("--type", "types", multiple=True, metavar="NAME", help="Of this type or pattern; repeatable."),
        subscription_option,
    ):
        function = decorate(function)
    return function


@attrs.frozen
class Asked:
    """The options of a call that say which are meant."""

    subscription: str | None
    types: tuple[str, ...]
    error: str | None
    since: str | None
    until: str | None
    text: str | None

    @property
    def all(self) -> bool:
        """True if nothing was asked for."""
        return self == Asked(None, (), None, None, None, None)

    def pages(self, look: Look, screen: Screen) -> Iterator[list[DeadLetter]]:
        """Those that are meant, by subscription and position, a page at a time."""
        since = stored_moment(self.since, screen)
        until = stored_moment(self.until, screen, "--until")
        for row in look.ask(lambda connection: subscribers(connection, look.path, self.subscription)):
            after = 0
            while True:
                type_ids = look.ask(lambda connection: stored_types.type_ids(connection, self.types))
                wanted = Wanted(type_ids, self.error, since, until, self.text)
                letters = look.ask(partial(viewing.dead_letters, row=row, wanted=wanted, after=after))
                if not letters:
                    break
                yield letters
                after = letters[-1].delivery.position


class Limited:
    """At most so many dead letters, a page at a time; `cut` says afterwards whether there were more."""

    def __init__(self, pages: Iterator[list[DeadLetter]], limit: int | None) -> None:
        self._pages, self._limit, self.cut = pages, limit, False

    def __iter__(self) -> Iterator[list[DeadLetter]]:
        left = self._limit
        for letters in self._pages:
            if left is not None and len(letters) > left:
                self.cut = True
                if left:
                    yield letters[:left]
                return
            left = None if left is None else left - len(letters)
            yield letters


def write_letters(screen: Screen, pages: Iterable[list[DeadLetter]]) -> int:
    """A table of dead letters, or an object for each; returns how many there were."""
    layout, count = None, 0
    for letters in pages:
        count += len(letters)
        if screen.as_json:
            for letter in letters:
                screen.record(letter_record(letter))
        else:
            rows = [_cells(screen, letter) for letter in letters]
            if layout is None:
                layout = screen.layout(COLUMNS, rows)
                screen.titles(layout)
            for letter, row in zip(letters, rows, strict=True):
                screen.row(layout, row)
                screen.remark(letter.delivery.error)
                if letter.delivery.payload is not None:
                    screen.line(
                        Cell("└ ", "dim"), Cell(f"edited: {spelled(letter.delivery.payload)}", "warn"), indent=2
                    )
        screen.flush()
    return count


def subscribers(connection: sqlite3.Connection, path: str, name: str | None) -> list[subscriptions.SubscriptionRow]:
    """The subscriptions that are asked about."""
    if name is None:
        return subscriptions.everyone(connection)
    rows = subscriptions.named(connection, name)
    if not rows:
        raise EventBusError(f"{path} has no subscription {plain(name)!r}.", hint="See: eventbus subscriptions")
    return rows


def letters_of(connection: sqlite3.Connection, path: str, key: str, subscription: str | None) -> list[DeadLetter]:
    """The dead letters of one event, of one subscription or of all; EventBusError if there is none."""
    event = one_event(connection, path, key)
    rows = subscribers(connection, path, subscription)
    letters = _dead(connection, rows, event.position)
    if not letters:
        of_others = _dead(connection, subscribers(connection, path, None), event.position)
        whose = "" if subscription is None else f" of {plain(subscription)!r}"
        others = " and ".join(repr(plain(letter.subscription.name)) for letter in of_others)
        hint = f"It is one of {others}." if others else "Where it stands: eventbus show"
        raise EventBusError(f"The event at position {event.position} is no dead letter{whose}.", hint=hint)
    return letters


def _dead(
    connection: sqlite3.Connection, rows: Sequence[subscriptions.SubscriptionRow], position: int
) -> list[DeadLetter]:
    found = [viewing.dead_letter(connection, row, position) for row in rows]
    return [letter for letter in found if letter is not None]


def letter_record(letter: DeadLetter) -> dict[str, Any]:
    """It as a JSON object; `edited` is the payload that is delivered instead of the event's."""
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
        "edited": loaded(letter.delivery.payload),
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
