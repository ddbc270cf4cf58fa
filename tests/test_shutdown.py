"""The end of a bus, of a loop and of a process: what runs is finished or left for the next start, and not counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, elsewhere, run
from delivery_stage import Counted, Notes, failing, standing_still

from eventbus import Context, EventBus, Retry
from eventbus.errors import BusClosed, ForkedBus
from eventbus.retry import fixed

AT_ONCE = Retry(attempts=9, backoff=fixed(0))
LONGEST = 60.0


class Stuck:
    """A handler that hangs on a lock until the test is over."""

    def __init__(self) -> None:
        self.started, self._go_on = threading.Event(), threading.Event()

    def __call__(self, counted: Counted) -> None:
        self.started.set()
        self._go_on.wait(LONGEST)

    async def forever(self, counted: Counted) -> None:
        self.started.set()
        await asyncio.Future()

    async def blocking(self, counted: Counted) -> None:
        self(counted)

    def free(self) -> None:
        self._go_on.set()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    found = Stuck()
    yield found
    found.free()


def aside(thunk: Callable[[], None]) -> None:
    threading.Thread(target=thunk, daemon=True).start()


KINDS: dict[str, Callable[[Stuck], dict[str, Any]]] = {
    "plain": lambda stuck: {"handler": stuck},
    "async": lambda stuck: {"handler": stuck.forever},
    "async, blocking its loop": lambda stuck: {"handler": stuck.blocking},
    "transactional": lambda stuck: {"handler": stuck, "transactional": True},
    "via": lambda stuck: {"handler": stuck, "via": aside},
    "via, never run": lambda stuck: {"handler": stuck, "via": lambda thunk: stuck.started.set()},
}


def fail_once(path: Path) -> None:
    """Leave a delivery with one attempt."""
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=Retry(attempts=9, backoff=fixed(0.001)))
        bus.publish(Counted(1))
        bus.drain()


def tried_next(path: Path, *, transactional: bool = False) -> list[int]:
    """The attempts, as the handler of the next start counts them."""
    notes = Notes()
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("stock", Counted, handler=notes, transactional=transactional, after=0)
        bus.drain()
        assert bus.status(1)["stock"] == "handled"
    return notes.attempts


# --- close ------------------------------------------------------------------------------------------------


def test_leaving_the_block_lets_running_handlers_finish(tmp_path: Path) -> None:
    started = threading.Event()

    def finish(counted: Counted, ctx: Context) -> None:
        started.set()
        while not ctx.stopping:
            pass

    with EventBus(tmp_path / "log.db") as bus:
        bus.subscribe("stock", Counted, handler=finish)
        bus.publish_many([Counted(1), Counted(2)])
        assert started.wait(PATIENCE)
    with standing_still(tmp_path / "log.db") as bus:
        assert [bus.status(position)["stock"] for position in (1, 2)] == ["handled", "waiting"]


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_finish_in_time_is_left_for_the_next_start_and_not_counted(
    tmp_path: Path, stuck: Stuck, kind: str, tried: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path, how = tmp_path / "log.db", KINDS[kind](stuck)
    if tried:
        fail_once(path)
    bus = EventBus(path)
    bus.subscribe("stock", Counted, retry=AT_ONCE, **how)
    bus.start()
    bus.publish(Counted(2))
    assert stuck.started.wait(PATIENCE)
    elsewhere(lambda: bus.close(timeout=0.05))
    assert "handlers still ran after" in caplog.text
    assert "what they do is not recorded: 'stock'" in caplog.text
    expected = [2, 1] if tried else [1]
    assert tried_next(path, transactional=kind == "transactional") == expected


@pytest.mark.parametrize("transactional", [False, True])
def test_a_bus_can_be_closed_while_another_thread_hangs_in_its_drain(
    tmp_path: Path, stuck: Stuck, transactional: bool
) -> None:
    path, raised = tmp_path / "log.db", []
    bus = EventBus(path, delivery="manual")
    bus.subscribe("stock", Counted, handler=stuck, transactional=transactional)
    bus.publish(Counted(1))

    def drain() -> None:
        with pytest.raises(BusClosed) as caught:
            bus.drain()
        raised.append(caught.value)

    draining = threading.Thread(target=drain, daemon=True)
    draining.start()
    assert stuck.started.wait(PATIENCE)
    elsewhere(lambda: bus.close(timeout=0.05))
    assert tried_next(path, transactional=transactional) == [1]
    stuck.free()
    draining.join(PATIENCE)
    assert raised


def test_whoever_comes_to_write_while_the_bus_closes_is_told_that_it_is_closed() -> None:
    bus = standing_still()
    storage = bus._attachment.engine().storage
    bus.close()
    with pytest.raises(BusClosed), storage.writing():
        raise AssertionError("nothing can be written any more")


def test_a_handler_that_ends_too_late_changes_nothing(tmp_path: Path, stuck: Stuck) -> None:
    done = threading.Event()

    def late(counted: Counted, ctx: Context) -> None:
        ctx.publish(Counted(2))
        stuck(counted)
        with pytest.raises(BusClosed):
            bus.publish(Counted(3))
        done.set()

    bus = EventBus(tmp_path / "log.db")
    bus.subscribe("stock", Counted, handler=late)
    bus.start()
    bus.publish(Counted(1))
    assert stuck.started.wait(PATIENCE)
    bus.close(timeout=0)
    stuck.free()
    assert done.wait(PATIENCE)
    with standing_still(tmp_path / "log.db") as bus:
        assert (bus.log.head, bus.status(1)["stock"]) == (1, "waiting")


def test_a_bus_outlives_the_loop_it_was_started_on(tmp_path: Path, stuck: Stuck) -> None:
    path = tmp_path / "log.db"
    bus = EventBus(path)
    bus.subscribe("stock", Counted, handler=stuck.forever)

    async def main() -> None:
        await bus.start_async()
        await bus.publish_async(Counted(1))
        await asyncio.to_thread(stuck.started.wait, PATIENCE)

    run(main())
    elsewhere(lambda: bus.close(timeout=0.05))
    assert tried_next(path) == [1]


# --- the end of the process -------------------------------------------------------------------------------

CHILD = """
import signal, sys, threading
from delivery_stage import Counted
from eventbus import EventBus

started = threading.Event()

def hang(counted, ctx):
    started.set()
    while not ctx.stopping or {for_ever}:
        threading.Event().wait(0.01)

{signals}
bus = EventBus(sys.argv[1])
bus.subscribe("stock", Counted, handler=hang)
bus.start()
bus.publish(Counted(1))
started.wait()
print("started", flush=True)
{then}
"""


def ended(
    path: Path, *, then: str, end: signal.Signals | None = None, signals: str = "", for_ever: bool = False
) -> int:
    """The return code of a process that was told to end while its handler runs."""
    text = CHILD.format(for_ever=for_ever, signals=signals, then=then)
    child = subprocess.Popen(
        [sys.executable, "-c", text, str(path)], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        if end is not None:
            child.send_signal(end)
        child.stdout.read()
        return child.wait(LONGEST)


FOR_EVER = "with bus: threading.Event().wait()"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_process_that_is_terminated_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert ended(path, then=FOR_EVER, end=signal.SIGTERM) == -signal.SIGTERM
    assert tried_next(path) == [1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_one_line_makes_of_a_sigterm_an_end_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    one_line = "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))"
    assert ended(path, then=FOR_EVER, end=signal.SIGTERM, signals=one_line) == 143
    with standing_still(path) as bus:
        assert bus.status(1)["stock"] == "handled"


@pytest.mark.parametrize("then", ["sys.exit(3)", "bus.close(timeout=0.05); sys.exit(3)"])
def test_a_process_ends_though_a_handler_hangs(tmp_path: Path, then: str) -> None:
    path = tmp_path / "log.db"
    assert ended(path, then=then, for_ever=True) == 3
    assert tried_next(path) == [1]


# --- fork -------------------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[EventBus], object]] = {
    "publish": lambda bus: bus.publish(Counted(9)),
    "publish_many": lambda bus: bus.publish_many([Counted(9)]),
    "publish_async": lambda bus: asyncio.run(bus.publish_async(Counted(9))),
    "submit": lambda bus: bus.submit(Counted(9)),
    "emit": lambda bus: bus.emit(Counted(9)),
    "transaction": lambda bus: bus.transaction().__enter__(),
    "subscribe": lambda bus: bus.subscribe("more", Counted, handler=print),
    "start": lambda bus: bus.start(),
    "drain": lambda bus: bus.drain(),
    "drain_async": lambda bus: asyncio.run(bus.drain_async()),
    "wait_for": lambda bus: bus.wait_for(1, "stock"),
    "status": lambda bus: bus.status(1),
    "log": lambda bus: bus.log.head,
    "query": lambda bus: bus.query("SELECT 1"),
    "connect": lambda bus: bus.connect(),
    "subscriptions": lambda bus: list(bus.subscriptions),
    "dead_letters": lambda bus: bus.dead_letters.list(),
}


def in_a_fork(*calls: Callable[[], object]) -> list[str]:
    """What each of the calls raises in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(int(PATIENCE))  # a child that hangs is a test that fails
        for call in calls:
            told = "nothing"
            try:
                call()
            except BaseException as error:
                told = type(error).__name__
            os.write(writer, f"{told}\n".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read().split()
    assert os.waitpid(child, 0)[1] == 0
    return told


@contextlib.contextmanager
def a_bus(path: Path | None, state: str) -> Iterator[tuple[EventBus, Any]]:
    bus = EventBus(path)
    bus.subscribe("stock", Counted, handler=Notes())
    with contextlib.ExitStack() as stack:
        stack.callback(bus.close)
        if state != "new":
            bus.publish(Counted(0))
        if state == "started":
            bus.start()
        yield bus, stack.enter_context(bus.transaction()) if state == "in a transaction" else None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("state", ["new", "open", "started", "in a transaction"])
def test_a_fork_is_told_so_whatever_state_the_bus_is_in(tmp_path: Path, state: str, memory: bool) -> None:
    with a_bus(None if memory else tmp_path / "log.db", state) as (bus, tx):
        calls = [lambda call=call: call(bus) for call in VERBS.values()]
        if tx is not None:
            calls += [lambda: tx.publish(Counted(9)), lambda: tx.execute("SELECT 1"), lambda: tx.db.table_names()]
        assert set(in_a_fork(*calls)) == {ForkedBus.__name__}
        assert in_a_fork(bus.close, lambda: bus.__exit__(None, None, None)) == ["nothing", "nothing"]
        if tx is not None:
            tx.publish(Counted(1))
    assert in_a_fork(bus.close) == ["nothing"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("transactional", [False, True])
def test_a_fork_inside_a_handler_is_told_so_too(tmp_path: Path, transactional: bool) -> None:
    own = tmp_path / "own.db"

    def of_its_own() -> None:
        with EventBus(own) as bus:
            bus.publish(Counted(1))
            bus.drain()

    def forking(counted: Counted) -> None:
        told.append(in_a_fork(*(lambda call=call: call(bus) for call in VERBS.values())))
        told.append(in_a_fork(bus.close, lambda: bus.__exit__(None, None, None)))
        told.append(in_a_fork(of_its_own))

    told: list[list[str]] = []
    with EventBus(tmp_path / "log.db", delivery="manual") as bus:
        bus.subscribe("stock", Counted, handler=forking, transactional=transactional)
        receipt = bus.publish(Counted(0))
        assert bus.drain() == 1
        assert bus.status(receipt)["stock"] == "handled"
    assert set(told[0]) == {ForkedBus.__name__}
    assert told[1:] == [["nothing", "nothing"], ["nothing"]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_fork_cannot_commit_what_its_parent_began(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        transaction = bus.transaction()
        transaction.__enter__().publish(Counted(1))
        assert in_a_fork(lambda: transaction.__exit__(None, None, None)) == ["ForkedBus"]
        transaction.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert bus.log.head == 0
        assert bus.publish(Counted(2)).position == 1
