import asyncio
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest

from eventbus import placement
from eventbus.errors import EventBusError

FLOOD = 10_000
PATIENCE_MS = 60_000  # until a test in which Tk never comes to its end gives up

ROOTS: list[object] = []
"""Kept until the interpreter ends: a Tk that another thread happens to collect aborts the process."""


# --- asyncio and queues ------------------------------------------------------------------------------------


def test_on_an_asyncio_loop_thunks_run_in_order_on_the_loops_thread():
    ran: list[tuple[int, bool]] = []

    async def main() -> None:
        here, done = threading.current_thread(), asyncio.Event()
        via = placement.loop(asyncio.get_running_loop())

        def post() -> None:
            for number in range(100):
                via(lambda number=number: ran.append((number, threading.current_thread() is here)))
            via(done.set)

        await asyncio.to_thread(post)
        await done.wait()

    asyncio.run(main())
    assert ran == [(number, True) for number in range(100)]


def test_a_closed_loop_says_so():
    loop = asyncio.new_event_loop()
    via = placement.loop(loop)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        via(print)


@pytest.mark.parametrize("kind", [queue.Queue, queue.SimpleQueue])
def test_in_a_queue_thunks_wait_for_whoever_reads_it(kind):
    waiting, ran = kind(), []
    via = placement.queue(waiting)
    via(lambda: ran.append("first"))
    via(lambda: ran.append("second"))
    assert ran == []
    waiting.get()()
    waiting.get()()
    assert ran == ["first", "second"]


def test_a_full_queue_raises_rather_than_hold_up_the_publisher():
    via = placement.queue(queue.Queue(maxsize=1))
    via(print)
    with pytest.raises(queue.Full):
        via(print)


# --- Tk ----------------------------------------------------------------------------------------------------


def without_a_screen(reason: str) -> None:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}; CI must have one")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def display() -> Iterator[str | None]:
    """The screen there is, or one of Xvfb's."""
    if os.environ.get("DISPLAY") or os.name == "nt":
        yield os.environ.get("DISPLAY")
        return
    if shutil.which("Xvfb") is None:
        without_a_screen("Tk needs a display: DISPLAY is not set and Xvfb is not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        if number:
            yield f":{number}"
        server.terminate()
    if not number:
        without_a_screen("Tk needs a display: Xvfb did not start")


@pytest.fixture
def root(display, monkeypatch):
    try:
        import tkinter
    except ImportError as error:
        without_a_screen(f"this Python has no Tk: {error}")
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    root = tkinter.Tk()
    ROOTS.append(root)
    errors: list[BaseException] = []
    root.report_callback_exception = lambda kind, error, trace: errors.append(error)
    root.errors = errors
    yield root
    if not gone(root):
        root.destroy()


def gone(root) -> bool:
    import tkinter

    try:
        return not root.winfo_exists()
    except tkinter.TclError:
        return True


def run_until_quit(root) -> None:
    def give_up() -> None:
        root.errors.append(TimeoutError("nothing ended the main loop"))
        root.quit()

    guard = root.after(PATIENCE_MS, give_up)
    root.mainloop()
    if not gone(root):
        root.after_cancel(guard)
    errors = list(root.errors)
    assert errors == [] or "expected" in str(errors[0])


@pytest.fixture(params=["watching a socket", "polling"])
def via(request, root) -> placement.Via:
    """tk(root) both ways: where Tk can watch a socket, and where it cannot (Windows)."""
    return placement.tk(root) if request.param == "watching a socket" else placement._TkPolling(root)


def in_threads(number: int, work) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    return threads


def test_thunks_of_other_threads_run_in_tks_thread_in_order(root, via):
    here, ran = threading.current_thread(), []

    def post(_: int) -> None:
        for number in range(200):
            via(lambda number=number: ran.append((number, threading.current_thread() is here)))
        via(root.quit)

    (thread,) = in_threads(1, post)
    run_until_quit(root)
    thread.join()
    assert ran == [(number, True) for number in range(200)]


def test_no_other_thread_ever_calls_tk(root, via, monkeypatch):
    called: set[threading.Thread] = set()

    class Watched:
        """Stands before Tk's interpreter and notes who calls it."""

        def __init__(self, tk) -> None:
            self._tk = tk

        def __getattr__(self, name: str):
            called.add(threading.current_thread())
            return getattr(self._tk, name)

    monkeypatch.setattr(root, "tk", Watched(root.tk))
    threads = in_threads(4, lambda _: [via(root.winfo_id) for _ in range(50)])
    for thread in threads:
        thread.join()
    via(root.quit)
    run_until_quit(root)
    assert called == {threading.current_thread()}


def test_a_flood_from_four_threads_leaves_the_main_loop_time_between_short_turns(root, via, monkeypatch):
    crowd = 2_000
    # A clock that moves one millisecond at each look makes a turn's length countable.
    now = iter(range(10**9))
    monkeypatch.setattr(placement, "perf_counter", lambda: next(now) / 1000)
    per_turn = round(placement.TURN_SECONDS * 1000)
    ran: list[int] = []
    idle_at: list[int] = []  # how many had run when the main loop found time to redraw

    def idle() -> None:
        idle_at.append(len(ran))
        root.after(0, lambda: root.after_idle(idle))

    def thunk() -> None:
        ran.append(1)
        if len(ran) == crowd:
            root.quit()

    threads = in_threads(4, lambda _: [via(thunk) for _ in range(crowd // 4)])
    for thread in threads:
        thread.join()  # all are there at once: the worst case
    root.after_idle(idle)
    run_until_quit(root)
    between = [after - before for before, after in pairwise(idle_at)]
    assert len(ran) == crowd
    assert len(idle_at) > 20
    assert max(between) <= 10 * per_turn


def test_a_flood_while_the_loop_runs_loses_nothing(root, via):
    ran: list[tuple[int, int]] = []

    def note(mark: tuple[int, int]) -> None:
        ran.append(mark)
        if len(ran) == FLOOD:
            root.quit()

    def post(seed: int) -> None:
        for number in range(FLOOD // 4):
            via(partial(note, (seed, number)))

    threads = in_threads(4, post)
    run_until_quit(root)
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert [number for mark, number in ran if mark == seed] == list(range(FLOOD // 4))


def test_at_most_one_wake_up_is_on_its_way(root):
    via = placement.tk(root)
    for _ in range(FLOOD):
        via(lambda: None)
    assert len(via._receiver.recv(FLOOD)) == 1


def test_an_idle_window_is_not_woken(root):
    via = placement.tk(root)
    via(lambda: None)
    via(root.quit)
    run_until_quit(root)
    assert root.tk.call("after", "info") == ""


def test_a_thunk_that_fails_is_told_to_tk_and_the_next_one_runs(root, via):
    ran: list[str] = []

    def fails() -> None:
        raise ValueError("expected")

    via(fails)
    via(lambda: ran.append("next"))
    via(root.quit)
    run_until_quit(root)
    assert [type(error) for error in root.errors] == [ValueError]
    assert ran == ["next"]


def test_a_thunk_of_a_second_window_that_fails_is_told_to_tk_too(root):
    import tkinter

    def fails() -> None:
        raise ValueError("expected")

    via = placement.tk(tkinter.Toplevel(root))
    via(fails)
    via(root.quit)
    run_until_quit(root)
    assert [type(error) for error in root.errors] == [ValueError]


def test_a_via_that_outlives_its_window_does_not_keep_it(root, via):
    via(root.destroy)
    run_until_quit(root)
    assert root not in vars(via).values()


def test_thunks_behind_a_modal_dialog_run_while_it_is_open(root, via):
    import tkinter

    answered = tkinter.BooleanVar(root, value=False)
    ran: list[str] = []

    def dialog() -> None:
        root.wait_variable(answered)  # a loop of its own, as messagebox has
        ran.append("dialog closed")

    via(dialog)
    via(lambda: ran.append("behind it"))
    via(lambda: answered.set(True))
    via(root.quit)
    run_until_quit(root)
    assert ran == ["behind it", "dialog closed"]


def test_a_thunk_may_post_another(root, via):
    ran: list[int] = []

    def again() -> None:
        ran.append(len(ran))
        via(again if len(ran) < 50 else root.quit)

    via(again)
    run_until_quit(root)
    assert ran == list(range(50))


def test_a_destroyed_window_refuses_and_says_how_many_it_could_not_run(root, via, caplog):
    ran: list[int] = []
    via(root.destroy)
    for _ in range(3):
        via(lambda: ran.append(1))
    run_until_quit(root)
    assert ran == []
    assert "closed before 3 handlers could run" in caplog.text
    with pytest.raises(EventBusError, match="window is gone"):
        via(print)


def test_closing_another_window_of_the_app_changes_nothing(root, via):
    import tkinter

    ran: list[int] = []
    tkinter.Toplevel(root).destroy()
    via(lambda: ran.append(1))
    via(root.quit)
    run_until_quit(root)
    assert ran == [1]


def test_a_window_of_its_own_can_be_the_place(root):
    import tkinter

    window, ran = tkinter.Toplevel(root), []
    via = placement.tk(window)
    via(lambda: ran.append(1))
    via(window.destroy)
    via(lambda: ran.append(2))
    window.bind("<Destroy>", lambda event: root.quit())
    run_until_quit(root)
    assert ran == [1]
    with pytest.raises(EventBusError):
        via(print)
