"""`eventbus dead retry`, `edit` and `discard`: what a person does about dead letters, without the app's code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs
import click

from eventbus.cli.editing import edited, in_force, refuse_projections
from eventbus.cli.letters import (
    Asked,
    Limited,
    filter_options,
    letter_record,
    letters_of,
    subscription_option,
    write_letters,
)
from eventbus.cli.loading import bus_option, load_bus
from eventbus.cli.place import Look, app_option, file_and, json_option, locate
from eventbus.cli.plain import plain
from eventbus.cli.screen import Screen
from eventbus.cli.show import WHICH_EVENT, fact
from eventbus.cli.spelling import loaded, spelled
from eventbus.cli.units import number, plural
from eventbus.errors import EventBusError
from eventbus.store.viewing import DeadLetter

if TYPE_CHECKING:
    from eventbus.bus import EventBus
    from eventbus.dead_letters import DeadLetters

_AT_ONCE = 1000  # dead letters of one call, unless told otherwise

_how_options = (
    json_option,
    click.option("--yes", is_flag=True, help="Do not ask."),
    click.option("--dry-run", is_flag=True, help="Only say which would be meant; nothing is written."),
    app_option,
)


def _acting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command [FILE] [ID|POSITION]..., the filters, --limit, --dry-run, --yes, --app and --json."""
    limit = click.option(
        "--limit", type=click.IntRange(0), default=_AT_ONCE, show_default=True, metavar="N", help="At most so many."
    )
    for decorate in (*_how_options, limit, filter_options):
        function = decorate(function)
    return click.argument("words", nargs=-1, metavar="[FILE] [ID|POSITION]...")(function)


@attrs.frozen
class _Call:
    """How a command was called, and what it is about to do."""

    path: str
    verb: str
    letters: list[DeadLetter]
    screen: Screen
    dry_run: bool
    yes: bool
    whole_key: bool = False
    becomes: str = ""  # the payload that an edited one gets
    cut_at: int | None = None  # the limit, if there are more

    def run(
        self, done: str, act: Callable[[DeadLetters, Sequence[int], str], object], bus: EventBus | None = None
    ) -> None:
        """Say what would be done, or ask, do it and say so."""
        if self.dry_run or not self.letters:
            self._show(f"Would {self.verb}")
            return
        if not self.yes:
            self._ask()
        self._do(act, bus)
        self._show(done)

    def _do(self, act: Callable[[DeadLetters, Sequence[int], str], object], app_bus: EventBus | None) -> None:
        from eventbus.bus import EventBus

        with closing(app_bus or EventBus(self.path, delivery="manual", source="eventbus")) as bus:
            for name, letters in groupby(self.letters, key=lambda letter: letter.subscription.name):
                act(bus.dead_letters, [letter.delivery.position for letter in letters], name)

    def _ask(self) -> None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"Say --yes to {self.verb} them unasked, or --dry-run to see which.")
        words = Screen.of(as_json=False, stream=sys.stderr)
        self._write(words)
        if not click.confirm(f"{self.verb.capitalize()} {self._counted()}?", err=True):
            raise EventBusError("Nothing was done.")

    def _show(self, done: str) -> None:
        if self.screen.as_json:
            for letter in self.letters:
                self.screen.record(self._as_record(letter))
        elif not self.letters and self.cut_at is None:
            self.screen.line("No dead letter is meant.")
        else:
            self._write(self.screen)
            self.screen.line(f"{done} {self._counted()}.")
        self.screen.flush()

    def _write(self, screen: Screen) -> None:
        write_letters(screen, iter([self.letters]))
        if self.cut_at is not None:
            screen.cut_at(self.cut_at)
        if self.becomes:
            fact(screen, "payload", in_force(self.letters[0]) or "{}")
            fact(screen, "becomes", spelled(self.becomes) or "{}", "warn")

    def _as_record(self, letter: DeadLetter) -> dict[str, Any]:
        how: dict[str, Any] = {"whole_key": self.whole_key} if self.verb == "discard" else {}
        if self.becomes:
            how["becomes"] = loaded(self.becomes)
        return {**letter_record(letter), "action": self.verb, **how, "dry_run": self.dry_run}

    def _counted(self) -> str:
        """How many there are, and what becomes of those behind them."""
        letters, held = plural(len(self.letters), "dead letter"), sum(letter.held for letter in self.letters)
        if self.whole_key:
            return f"{letters} and {number(held)} held behind, for good" if held else f"{letters}, for good"
        after = {"retry": ("follows", "follow"), "discard": ("goes on", "go on")}.get(self.verb)
        return f"{letters} ({number(held)} held behind {after[held > 1]})" if held and after else letters


@click.command("retry")
@_acting
@click.option("--reason", metavar="TEXT", help="Why; it is recorded.")
def retry(words: tuple[str, ...], reason: str | None, **how: Any) -> None:
    """Try dead letters again, with all their attempts before them: those named, or those the filters mean.

    What is held behind each follows in order, and stays held if it dies again. An app that runs begins within a
    second."""
    call = _called("retry", words, **how)
    call.run("Retried", lambda letters, at, name: letters.retry(*at, subscription=name, reason=reason))


@click.command("discard")
@_acting
@click.option("--whole-key", is_flag=True, help="Discard what is held behind them as well.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded.")
def discard(words: tuple[str, ...], reason: str, whole_key: bool, **how: Any) -> None:
    """Give dead letters up, for good: those named, or those the filters mean. What is held behind them goes on, unless
    --whole-key gives that up as well."""
    call = attrs.evolve(_called("discard", words, needs_some=True, **how), whole_key=whole_key)
    refuse_projections(call.letters)
    call.run(
        "Discarded",
        lambda letters, at, name: letters.discard(*at, subscription=name, reason=reason, whole_key=whole_key),
    )


@click.command("edit")
@click.argument("words", nargs=-1, metavar="[FILE] ID|POSITION")
@click.option("--payload", required=True, metavar="JSON", help="The new payload; - reads it from stdin.")
@click.option("--reason", metavar="TEXT", help="Why; it is recorded.")
@subscription_option
@bus_option
@app_option
@click.option("--dry-run", is_flag=True, help="Only say which is meant; nothing is written.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def edit(
    words: tuple[str, ...],
    payload: str,
    reason: str | None,
    subscription: str | None,
    bus: str | None,
    app: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Deliver another payload to one subscription the next time; the log keeps the event as it was. Then retry it.

    It is to be a JSON object. With --bus it is checked against the event's class, --dry-run or not, otherwise when
    it is delivered."""
    file, key = file_and(words, "ID|POSITION", WHICH_EVENT)
    asked = Asked(subscription, (), None, None, None, None)
    path, letters = _named(locate(file, app), (key,), asked)
    if len(letters) > 1:
        raise EventBusError(f"{plain(key)!r} is a dead letter of several subscriptions.", hint="Say --subscription.")
    text = sys.stdin.read() if payload == "-" else payload
    app_bus = None if bus is None else load_bus(bus, path)
    becomes = edited(letters[0], text, app_bus)

    def act(found: DeadLetters, at: Sequence[int], name: str) -> None:
        found.edit(at[0], text, subscription=name, reason=reason, check="later" if bus is None else "now")

    call = _Call(path, "edit", letters, Screen.of(as_json=as_json), dry_run, yes, becomes=becomes)
    call.run("Edited", act, app_bus)


def _called(
    verb: str,
    words: tuple[str, ...],
    *,
    app: str | None,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    needs_some: bool = False,
    **asked: Any,
) -> _Call:
    filters, screen = Asked(**asked), Screen.of(as_json=as_json)
    file, keys = _file_and_keys(words, app)
    if keys:
        if attrs.evolve(filters, subscription=None) != Asked(None, (), None, None, None, None):
            raise click.UsageError("Name the dead letters or filter them, not both.")
        path, letters = _named(locate(file, app), keys, filters)
        return _Call(path, verb, letters[:limit], screen, dry_run, yes, cut_at=limit if len(letters) > limit else None)
    if needs_some and filters.all:
        raise click.UsageError("Which ones? Give ID|POSITION or a filter; all of them are --type '*'.")
    look = Look(locate(file, app))
    limited = Limited(filters.pages(look, screen), limit)
    letters = [letter for page in limited for letter in page]
    look.close()  # a look at what a crash left keeps this process from writing
    return _Call(look.path, verb, letters, screen, dry_run, yes, cut_at=limit if limited.cut else None)


def _named(path: str, keys: Sequence[str], asked: Asked) -> tuple[str, list[DeadLetter]]:
    """The dead letters of the events that are named."""
    look = Look(path)
    found: dict[tuple[str, int, int], DeadLetter] = {}
    for key in keys:
        for letter in look.ask(partial(letters_of, path=look.path, key=key, subscription=asked.subscription)):
            found[letter.subscription.name, letter.subscription.id, letter.delivery.position] = letter
    look.close()
    return look.path, [found[place] for place in sorted(found)]


def _file_and_keys(words: tuple[str, ...], app: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Tell [FILE] [ID|POSITION]... apart."""
    names_file = words and app is None and (os.path.exists(words[0]) or not os.environ.get("EVENTBUS_LOG"))
    return (words[0], words[1:]) if names_file else (None, words)
