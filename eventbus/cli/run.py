"""`eventbus run`: deliver what is due, until nothing is, or until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import attrs
import click

from eventbus.cli.loading import NotLoaded, load_bus, needed_bus_option
from eventbus.cli.place import Look, given, on_a_log
from eventbus.cli.screen import Screen
from eventbus.cli.units import due, number, plural, span
from eventbus.store import overview

if TYPE_CHECKING:
    from eventbus.bus import EventBus

_REDRAW = 0.25  # seconds between two looks at how far it is
_AGAIN = 1.0  # seconds between two drains
_TERMINATED = 143


@attrs.frozen
class Numbers:
    """All subscriptions of a log added up."""

    handled: int = 0
    behind: int = 0
    retrying: int = 0
    held: int = 0
    dead: int = 0
    next_due: str | None = None

    @classmethod
    def of(cls, look: Look) -> Numbers:
        """As they are now."""
        views = look.ask(overview.everyone)
        due = [view.next_due for view in views if view.next_due is not None]
        counts = {state: sum(view.counts.get(state, 0) for view in views) for state in ("retrying", "held", "dead")}
        return cls(
            handled=sum(view.row.handled for view in views),
            behind=sum(view.behind for view in views),
            next_due=min(due, default=None),
            **counts,
        )

    def since(self, start: Numbers) -> Numbers:
        """The same, with only what was handled after `start`."""
        return attrs.evolve(self, handled=max(self.handled - start.handled, 0))

    def text(self) -> str:
        """On one line, without what is zero."""
        parts = [f"handled {number(self.handled)}"]
        for name in ("behind", "retrying", "held", "dead"):
            if value := getattr(self, name):
                parts.append(f"{name} {number(value)}")
        return ", ".join(parts)

    def as_record(self, *, done: bool) -> dict[str, Any]:
        """As JSON; `done` on the last line."""
        return {**attrs.asdict(self), "done": done}


@click.command("run")
@on_a_log
@needed_bus_option
@click.option("--until-idle", is_flag=True, help="Stop when nothing is due; retries that are due later stay.")
def run(file: str | None, app: str | None, as_json: bool, bus: str, until_idle: bool) -> None:
    """Deliver events to the handlers of a bus, for ever or --until-idle. Ctrl-C stops it cleanly.

    FILE may be left out: the bus knows it."""
    loaded = load_bus(bus, given(file, app))
    if loaded.path is None:
        raise NotLoaded(f"--bus {bus} is a bus in memory: its events live and die with the process that made it.")
    stopped: BaseException | None = None
    with _stopped_by_sigterm(), closing(loaded):
        head = loaded.log.head  # opens the log, or makes it; nothing is delivered before the first look at it
        watch = _Watch(Screen.of(as_json=as_json), loaded.path)
        with closing(watch):
            loaded.start()
            if not until_idle:
                watch.say(f"Delivering {loaded.path}, {plural(head, 'event')} so far, until Ctrl-C.")
            try:
                watch.until(_drained_aside(loaded, until_idle=until_idle))
            except (KeyboardInterrupt, SystemExit) as told:
                stopped = told
    watch.sum_up()
    if stopped is not None:
        raise stopped


class _Watch:
    """Shows how far delivery is, from the log alone."""

    def __init__(self, screen: Screen, path: str) -> None:
        self._screen, self._look = screen, Look(path)
        self._start = self._shown = Numbers.of(self._look)
        self._started = time.monotonic()
        self._live = Screen.of(as_json=False, stream=sys.stderr)

    def until(self, drained: Future[None]) -> None:
        """Look again and again until `drained` is done, and raise what it raised."""
        done = threading.Event()
        drained.add_done_callback(lambda _: done.set())
        pause = _REDRAW
        while not done.wait(pause):
            began = time.monotonic()
            if self._look.has_news():
                self._show(Numbers.of(self._look))
            # Counting how far behind a million events is takes a while: leave the machine to the handlers.
            pause = max(_REDRAW, 10 * (time.monotonic() - began))
        drained.result()

    def say(self, sentence: str) -> None:
        """Tell a person, not a program."""
        if not self._screen.as_json:
            self._screen.line(sentence)
            self._screen.flush()

    def _show(self, numbers: Numbers) -> None:
        if numbers == self._shown:
            return
        self._shown = numbers
        if self._screen.as_json:
            self._screen.record(numbers.since(self._start).as_record(done=False))
            self._screen.flush()
        else:
            self._live.status(numbers.since(self._start).text())

    def close(self) -> None:
        """Let go of the log: a bus that closes tidies up only what nobody else has open."""
        self._live.clear_status()
        self._look.close()

    def sum_up(self) -> None:
        """The last word."""
        numbers = Numbers.of(self._look)
        if self._screen.as_json:
            self._screen.record(numbers.since(self._start).as_record(done=True))
        else:
            next_due = due(numbers.next_due, self._screen.now)
            took = span(time.monotonic() - self._started)
            next_try = f" The next retry is due {next_due}." if next_due else ""
            self._screen.line(f"In {took}: {numbers.since(self._start).text()}.{next_try}")
        self._screen.flush()


def _drained_aside(bus: EventBus, *, until_idle: bool) -> Future[None]:
    """Deliver on another thread, so that this one can show progress and hear Ctrl-C."""
    drained: Future[None] = Future()

    def drain() -> None:
        try:
            bus.drain()
            while not until_idle:  # a bus that delivers only when it is drained is to go on as well
                time.sleep(_AGAIN)
                bus.drain()
        except BaseException as error:
            drained.set_exception(error)
        else:
            drained.set_result(None)

    threading.Thread(target=drain, name="eventbus-run", daemon=True).start()
    return drained


@contextmanager
def _stopped_by_sigterm() -> Generator[None]:
    """Let a service manager stop it as cleanly as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
