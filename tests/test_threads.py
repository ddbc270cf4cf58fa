"""Threads of our own, and what runs on somebody else's."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import ModuleType

import pytest

from eventbus.threads import HUNG_SECONDS, Batches, Pool, running_loop


def test_the_running_loop_is_that_of_this_thread() -> None:
    async def look() -> bool:
        return running_loop() is asyncio.get_running_loop()

    assert running_loop() is None
    assert asyncio.run(look())


def test_no_loop_runs_while_another_thread_has_imported_half_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncio.events", ModuleType("asyncio.events"))
    assert running_loop() is None
    monkeypatch.delitem(sys.modules, "asyncio.events")
    assert running_loop() is None


def test_work_goes_on_where_all_threads_of_a_pool_have_been_busy_for_long() -> None:
    pool = Pool("test", limit=1)
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    pool.run(hang)
    pool.run(done.set)
    begun.wait()
    pool.look(0.0)
    pool.look(HUNG_SECONDS - 1)
    assert not done.is_set()
    pool.look(HUNG_SECONDS)
    assert done.wait(60)
    go_on.set()


def test_work_waits_while_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, done = Pool("test", limit=2), threading.Event()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            pool.run(done.set)
    pool.look(0.0)
    assert done.wait(60)


def test_flushing_waits_for_what_is_queued_by_then_though_more_comes_all_the_time() -> None:
    done: list[int] = []

    def work(batch: list[int]) -> None:
        done.extend(batch)
        if not flushed.is_set():
            queue.put(batch[-1] + 1)

    flushed = threading.Event()
    queue = Batches("test", work)
    queue.put(0)
    assert queue.flush(60)
    flushed.set()
    assert 0 in done
