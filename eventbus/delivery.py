"""One attempt at a delivery: how it can end, as values. Rules only: no clock, no disk, no thread."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import attrs

from eventbus.errors import HandlerTimeout
from eventbus.events import Envelope, Row
from eventbus.store.drafts import Draft
from eventbus.threads import is_ctrl_c

_LONGEST = 20_000  # characters; a recursion error would otherwise store a thousand frames


@attrs.define(eq=False)
class Item:
    """One event due to one subscription, and what its handler publishes while it runs."""

    envelope: Envelope
    position: int
    key: str | None
    attempt: int = 1
    tries: int = 1  # attempts, and runs that used up none
    parked: bool = False  # it has a row in eventbus_deliveries
    problem: BaseException | None = None  # its order key could not be told
    running: bool = False  # its handler has not returned yet
    started: float = 0.0  # when its handler was called, monotonic
    thread: int | None = None  # on which it was called
    cancelled: float | None = None  # when it was asked to end, for it took too long; monotonic
    has_steps: bool = False  # it may have rows in eventbus_steps
    alone: bool = False  # the log refused what a list of which it was one has published
    subscription: str = ""  # "" where the pump itself waits for what the app is asked
    drafts: list[Draft] = attrs.field(factory=list[Draft])

    @property
    def last(self) -> int:
        """The last position that it stands for."""
        return self.position

    @property
    def count(self) -> int:
        """For how many deliveries it stands."""
        return 1

    def positions(self) -> list[int]:
        """Those of all deliveries that it stands for."""
        return [self.position]


@attrs.define(eq=False)
class Stretch(Item):
    """Events in a row of which nothing else is to be said than one outcome, the same for all.

    It stands in for them, with the position of the first: that all of it is done is one thing to know and to record.
    """

    rows: Sequence[Row] = ()
    spell: Callable[[Row], Envelope] | None = None

    @classmethod
    def of(cls, rows: Sequence[Row], spell: Callable[[Row], Envelope], subscription: str) -> Stretch:
        """One of at least one row; `spell` makes their envelopes."""
        first = rows[0]
        return cls(spell(first), first[0], None, subscription=subscription, rows=rows, spell=spell)

    @property
    def last(self) -> int:
        return int(self.rows[-1][0])

    @property
    def count(self) -> int:
        return len(self.rows)

    def positions(self) -> list[int]:
        return [row[0] for row in self.rows]

    def items(self) -> list[Item]:
        """Each of its deliveries, without its order key, for whoever wants to look at them."""
        return [Item(each, each.position, None, subscription=self.subscription) for each in self.envelopes()]

    def envelopes(self) -> list[Envelope]:
        """Those of its events."""
        assert self.spell is not None
        return [self.spell(row) for row in self.rows]


@attrs.define(eq=False)
class Bundle(Item):
    """Events that are given to a handler together, as a list; it stands in for them while they are tried."""

    items: list[Item] = attrs.field(factory=list[Item])

    @classmethod
    def of(cls, items: list[Item]) -> Bundle:
        """What its handler is told: the last event's envelope and the highest attempt."""
        last = items[-1]
        attempt = max(item.attempt for item in items)
        name = last.subscription
        return cls(last.envelope, last.position, last.key, attempt, parked=last.parked, subscription=name, items=items)


@attrs.frozen
class Handled:
    """The handler returned. `recorded` when its own transaction has written that down already."""

    recorded: bool = False
    released: tuple[int, int] | None = None  # the next held delivery of its key: position and attempts


@attrs.frozen
class Failed:
    """The handler raised, or the process ended while it ran."""

    error: BaseException
    started_at: float  # wall clock, seconds
    seconds: float | None  # None if nobody knows
    final: bool = False  # no further attempt, whatever its Retry says

    def line(self) -> str:
        """The error in one line, as a listing shows it."""
        return " ".join(in_words(self.error).split())[:500]

    def message(self) -> str:
        """What the exception says."""
        return message(self.error)

    def traceback(self) -> str:
        """Where it was raised, the innermost frames last."""
        return _said(lambda: "".join(tracebacks.format_exception(self.error, limit=-50))[-_LONGEST:], "traceback")


@attrs.frozen
class Overdue:
    """The handler has run for too long and cannot be stopped; another outcome follows once it returns."""

    error: HandlerTimeout
    started_at: float  # wall clock, seconds
    seconds: float
    stack: str  # where it is
    new: bool  # it has no row yet

    def line(self) -> str:
        """The error in one line, as a listing shows it."""
        return f"{type(self.error).__name__}: {self.error.what}"


@attrs.frozen
class Behind:
    """Not run: an earlier event of the same key waits."""


@attrs.frozen
class Careful:
    """Not run yet: it may have been running when the process died, so its next try is counted beforehand."""


@attrs.frozen
class Unloaded:
    """Not run: the event's class is not loaded here; it waits without using up attempts."""


@attrs.frozen
class NotMeant:
    """Not run: an event of another version than the handler names, whose own class is loaded beside that one."""

    released: tuple[int, int] | None = None  # as for Handled


@attrs.frozen
class Left:
    """Not run: the bus is closing, or an event before it stopped the subscription."""


Outcome: TypeAlias = Handled | Failed | Overdue | Behind | Careful | Unloaded | NotMeant | Left


def each(unit: Item) -> list[Item]:
    """The events of a bundle, or the one event; a stretch stays one."""
    return unit.items if isinstance(unit, Bundle) else [unit]


def among(unit: Item, items: Sequence[Item]) -> Item | None:
    """What of it is one of these, None if nothing is; a bundle is left with those only."""
    if isinstance(unit, Bundle):
        unit.items = [item for item in unit.items if item in items]
        return unit if unit.items else None
    return unit if unit in items else None


def message(error: BaseException) -> str:
    """What an exception says; it may also fail to say it, or call sys.exit() instead."""
    return _said(lambda: str(error)[:_LONGEST], "message")


def tame(error: BaseException) -> BaseException:
    """The error, or one that stands for it where its own code fails as soon as it is looked at."""
    try:
        _look_at(error)
    except BaseException as trouble:
        if type(trouble) is KeyboardInterrupt:
            raise
        odd = RuntimeError(f"a {type(error).__qualname__}, whose own code fails: {type(trouble).__name__}")
        return odd.with_traceback(BaseException.__getattribute__(error, "__traceback__"))
    return error


def _look_at(error: BaseException) -> None:
    """As everybody does who handles it: what it is, and what is in a group."""
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            _look_at(each)


def in_words(error: BaseException) -> str:
    """An exception with its class, as it is recorded and told."""
    return f"{type(error).__name__}: {message(error)}"


def sentence(text: str) -> str:
    """What somebody else's text says, as one sentence on one line: nothing in it can move a terminal's cursor."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text.strip())
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


def _said(say: Callable[[], str], what: str) -> str:
    try:
        return _storable(say())
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        return f"(its {what} cannot be shown: {type(error).__name__})"


def _storable(text: str) -> str:
    """Without lone surrogates, which SQLite cannot store."""
    return text.encode("utf-8", "backslashreplace").decode()
