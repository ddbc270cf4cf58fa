"""Where a job runs: a thread of ours, the bus's loop, somebody's GUI, or right here."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from eventbus.clock import Bell, Clock
from eventbus.delivery import Bundle, Item, Left, Outcome, each
from eventbus.errors import EventBusError
from eventbus.handlers import Context, Steps, returned
from eventbus.store.drafts import Appended
from eventbus.store.storage import Storage
from eventbus.threads import Pool, is_ctrl_c
from eventbus.worker.attempts import Attempts, attempts, refuse_coroutine, run_here, run_on_loop, run_via
from eventbus.worker.job import Job
from eventbus.worker.loop import BusLoop, LoopEnded
from eventbus.worker.shelves import LogShelf
from eventbus.worker.straight import REPORT_SECONDS, Straight
from eventbus.worker.transactional import TransactionalRunner

_log = logging.getLogger("eventbus.worker")

Draft = Callable[..., Any]  # (lane, item, event, **how) -> Draft


class Runners:
    """Starts jobs; results come back in each job's own queue, and `bell` rings for them."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        loop: BusLoop,
        bell: Bell,
        *,
        draft: Draft,
        announce: Callable[[list[Appended]], None],
    ) -> None:
        self._storage, self._clock, self._loop, self._bell = storage, clock, loop, bell
        self._draft = draft
        self._pool = Pool("eventbus-handler")
        self._rung = 0.0
        self.stopping = False
        self._straight = Straight(
            storage.names, clock, contexts=self._contexts, wait=loop.call, end=self, tell=self._tell
        )
        self._transactional = TransactionalRunner(
            storage, clock, draft=draft, announce=announce, report=self._report, stopping=self.is_stopping
        )

    def is_stopping(self) -> bool:
        """True once the bus is closing: handlers that are not running yet stay undone."""
        return self.stopping

    def start(self, job: Job, *, here: bool) -> None:
        """Run a job; `here` means on this thread, if it is one for a thread."""
        work = job.lane.work
        if work.via is not None:
            call = self._calling(job)
            run_via(self._attempts(job), call, self._contexts(job), self._clock, work.via, lambda: self._finish(job))
        elif work.kind == "async":
            future = self._loop.spawn(self._on_loop(job))
            future.add_done_callback(lambda done: self._ended(job, done))
        elif here:
            self._run(job)
        else:
            self._pool.allow(work.concurrency)
            self._pool.run(lambda: self._run(job))

    def look(self) -> None:
        """Find what hangs: on a loop that is closed, or on all threads of the pool. Called now and then."""
        self._loop.sweep()
        self._pool.look(self._clock.monotonic())

    def _run(self, job: Job) -> None:
        """Run a job to its end on this thread; a failure of ours must not take the thread with it."""
        try:
            if job.lane.work.kind == "transactional":
                self._transactional.run(job)
            else:
                self._go(job)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            _log.exception("%s: its batch could not be run", job.lane.name)
            job.trouble = EventBusError(f"Its batch could not be run: {error!r}.")
        finally:
            self._finish(job)

    def _go(self, job: Job) -> None:
        ended = self._straight.run(job) if job.rows else None
        if job.items:
            run_here(self._attempts(job, ended), self._calling(job), self._contexts(job), self._clock)

    async def _on_loop(self, job: Job) -> None:
        if await run_on_loop(job, self._attempts(job), self._contexts(job), self._clock):
            self._loop.leave()

    def _ended(self, job: Job, done: Future[Any]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, LoopEnded):
            _log.error("%s: its batch ended early", job.lane.name, exc_info=error)
            job.trouble = EventBusError(f"Its batch ended early: {error!r}.")
        for item in job.items:
            if item.position not in job.reported:
                self._report(job, item, Left())
        self._finish(job)

    def _attempts(self, job: Job, ended: Outcome | None = None) -> Attempts:
        return attempts(job, lambda item, outcome: self._report(job, item, outcome), self.is_stopping, ended)

    def _calling(self, job: Job) -> Callable[[Any, Context], Any]:
        """Calls a plain handler to its end: it may return a coroutine, as `lambda e: save(e)` does."""
        work, loop = job.lane.work, self._loop

        def call(event: Any, context: Context) -> None:
            result = work.call(event, context)
            if inspect.iscoroutine(result):
                if work.via is not None:
                    refuse_coroutine(job.lane.name, result, "via= takes plain ones to another thread")
                loop.call(result)
            returned(context)

        return call

    def _contexts(self, job: Job) -> Callable[[Item], Context]:
        """Makes the context of each try; what it publishes waits for the commit that records the outcome."""

        def context(item: Item) -> Context:
            def publish(event: object, **how: Any) -> str:
                if not item.running:
                    raise EventBusError(
                        f"The handler of {job.lane.name!r} has returned; what it did is recorded without this event.",
                        stored="not stored",
                        hint="Publish before it returns, or with bus.publish.",
                    )
                draft = self._draft(job.lane, item, event, **how)
                item.drafts.append(draft)
                return str(draft.id)

            bundle = item.items if isinstance(item, Bundle) else None
            return Context(
                item.envelope,
                attempt=item.attempt,
                publish=publish,
                stopping=self.is_stopping,
                steps=(lambda: Steps(LogShelf(self._storage, job, item))) if bundle is None else None,
                envelopes=None if bundle is None else [each.envelope for each in bundle],
            )

        return context

    def _report(self, job: Job, item: Item, outcome: Outcome) -> None:
        job.results.append((item, outcome))
        job.reported.update(one.position for one in each(item))
        now = self._clock.monotonic()
        if now - self._rung > REPORT_SECONDS:
            self._tell(now)

    def _tell(self, now: float) -> None:
        """There are results, as of now on the monotonic clock."""
        self._rung = now
        self._bell.ring()

    def _finish(self, job: Job) -> None:
        job.finished = True
        self._bell.ring()
