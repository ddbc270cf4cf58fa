"""`EventBus`: verbs only, each handing on to a room below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from eventbus.bus.attaching import Attachment, after
from eventbus.bus.backing_up import BacksUp
from eventbus.bus.emitting import Emitting
from eventbus.bus.follows import Follows
from eventbus.bus.ingests import Ingests, ingesting
from eventbus.bus.plugs import Plugs, plugged
from eventbus.bus.publishing import Publishing
from eventbus.bus.settings import app_folder, check_settings, source_of
from eventbus.bus.timed import Timed, scheduling
from eventbus.bus.transacting import OpenTransaction, refuse_in_transaction, refuse_on_a_loop
from eventbus.clock import Clock, SystemClock
from eventbus.engine import Delivery, Settings
from eventbus.events import Receipt
from eventbus.handlers import Handlers, LiveDeclaration, Registration
from eventbus.later import Later
from eventbus.store.drafter import PublishOptions, check_options
from eventbus.store.storage import Durability
from eventbus.threads import off_the_loop

if TYPE_CHECKING:
    import sqlite3
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from types import TracebackType

    import blinker
    import sqlite_utils

    from eventbus.bus.changing import Optimistic
    from eventbus.bus.judging import Undone
    from eventbus.bus.log_view import LogView
    from eventbus.bus.optimistic import Optimism, OptimisticOptions
    from eventbus.bus.readers import ProjectionView, Subscription, Subscriptions
    from eventbus.dead_letters import DeadLetters
    from eventbus.handlers import Declaration

CLOSE_SECONDS = 5.0


class EventBus(Follows, Ingests, Plugs, Timed, BacksUp, Handlers):
    """Publish and subscribe within one application, backed by a local log.

    Making one touches nothing: the file is opened, or created with mode 0600, by its first use. Without
    a path the log is in memory and gone on close.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "power",
        delivery: Delivery = "thread",
        migrations: sqlite_utils.Migrations | None = None,
        errors: Literal["log", "raise"] = "log",
        source: str | None = None,
        adopt: bool = False,
        accept_loss: bool = False,
        clock: Clock | None = None,
        max_payload: int = 1 << 20,
    ) -> None:
        """`durability`: "power" syncs each commit, "process" survives a crash of the app only. `delivery`:
        with "manual" only `drain()` delivers. `migrations`: a sqlite_utils.Migrations for the app's own
        tables in the same file. `errors="raise"`: a failing live handler raises from publish. `source`:
        who publishes, and the scope of idempotency keys. `adopt`: make the log in a SQLite file that has
        other tables. `accept_loss`: open a log that has lost events (LogRolledBack) all the same, in a new
        incarnation. `max_payload`: bytes of JSON an event may have.

        EventDefinitionError for a setting that is none.
        """
        super().__init__()
        check_settings(path, durability, delivery, migrations, errors, source, max_payload)
        self.path, self.max_payload = None if path is None else os.fsdecode(path), max_payload
        settings = Settings(durability, delivery, errors, max_payload, clock or _system_clock)
        self._attachment = Attachment(path, settings, adopt=adopt, accept_loss=accept_loss, migrations=migrations)
        self.source = source or source_of(self.path)
        self._publishing = Publishing(self._attachment, self.source)
        self._emitting = Emitting(self._attachment)
        self._ingesting = ingesting(self._attachment, self._publishing)
        self._scheduling = scheduling(self._attachment, self._publishing.drafter)
        self._optimism = Later(self._make_optimism)
        self._plugged = plugged(self._declare)
        self.follow(self._apply)

    @classmethod
    def for_app(cls, name: str, author: str | None = None, **settings: Any) -> Self:
        """A bus on `events.db` in the platform's folder for this app's data; it is named after the app."""
        path = app_folder(name, author) / "events.db"
        settings.setdefault("source", name)
        return cls(path, **settings)

    def __repr__(self) -> str:
        return f"<EventBus {self.path or 'in memory'}>"

    def _make_optimism(self) -> Optimism:
        from eventbus.bus.optimistic import Optimism

        return Optimism(self._attachment, self._publishing.submit)

    # -- publishing --------------------------------------------------------------------------------
    def publish(
        self,
        event: object,
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> Receipt:
        """Store an event and call its live handlers; when this returns, it is stored.

        `expected_version`: the last sequence of the stream that the caller saw, 0 for a new stream. The
        same `idempotency_key` again stores nothing and returns the first receipt, with duplicate=True.
        Raises InvalidEvent, WrongExpectedVersion, IdempotencyConflict, PublishInDoubt or a LogError.
        """
        return self._publishing.publish(
            event, stream, expected_version, idempotency_key, id, metadata, correlation_id, causation_id
        )

    def publish_many(
        self,
        events: Iterable[object],
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        idempotency_keys: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> list[Receipt]:
        """Store events in one commit, all or none; one receipt each. `expected_version` is that of `stream`."""
        return self._publishing.publish_many(
            events,
            idempotency_keys,
            stream=stream,
            expected_version=expected_version,
            metadata=metadata,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )

    async def publish_async(
        self,
        event: object,
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> Receipt:
        """`publish` without waiting for the disk on the loop; async live handlers are awaited, all together."""
        return await self._publishing.publish_async(
            event,
            stream=stream,
            expected_version=expected_version,
            idempotency_key=idempotency_key,
            id=id,
            metadata=metadata,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )

    async def publish_many_async(
        self,
        events: Iterable[object],
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        idempotency_keys: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> list[Receipt]:
        """`publish_many` without waiting for the disk on the loop."""
        return await self._publishing.publish_many_async(
            events,
            idempotency_keys,
            stream=stream,
            expected_version=expected_version,
            metadata=metadata,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )

    def submit(self, event: object, **how: Unpack[PublishOptions]) -> Future[Receipt]:
        """`publish` for threads that must never wait, such as a GUI's; takes its keywords.

        An event that cannot be stored is refused here; live handlers run on the bus's dispatch thread.
        """
        check_options("submit", how)
        return self._publishing.submit(event, **how)

    def emit(self, event: object) -> None:
        """Call live handlers only; nothing is stored (mouse moves, ticks of progress)."""
        self._emitting.emit(event)

    async def emit_async(self, event: object) -> None:
        """`emit`, and await the async handlers."""
        await self._emitting.emit_async(event)

    def optimistic(
        self,
        event: object,
        *,
        apply: Callable[[], object],
        rollback: Callable[[Undone], object],
        **how: Unpack[OptimisticOptions],
    ) -> Optimistic:
        """Call `apply()`, submit an event, and call `rollback(why)`, once, if it fails, dies, or is undone.

        `undone_by`: classes of events that undo it. `via`: where `rollback` and `confirm` run. See the guide.
        """
        return self._optimism().begin(event, apply, rollback, how)

    def transaction(self) -> OpenTransaction:
        """The app's rows and events in one commit: `with bus.transaction() as tx`, or `async with`."""
        return OpenTransaction(self._attachment.engine, self._publishing.drafter, self._publishing.tell_all)

    def recorded(self) -> AbstractContextManager[list[Any]]:
        """The events stored by this process while the block runs, in commit order, handlers' included."""
        from eventbus.bus.recorded import recorded

        return recorded(self._attachment.engine())

    # -- handlers ----------------------------------------------------------------------------------
    def _apply(self, declaration: Declaration) -> Registration:
        """A bus does at once what `Handlers` only remember."""
        if isinstance(declaration, LiveDeclaration):
            return self._attachment.live.connect(declaration)
        from eventbus.handlers import ScheduleDeclaration

        if isinstance(declaration, ScheduleDeclaration):
            return self._scheduling().declare(declaration)
        return self._attachment.define(declaration, self._publishing.drafter.draft)

    def off(self, handler: Any) -> bool:
        """Take a live handler out wherever it is connected; False if it was not."""
        return self._attachment.live.off(handler)

    def signal(self, cls: type) -> blinker.Signal:
        """The blinker signal of an event class; what connects to it is called with the event."""
        return self._attachment.live.signal(cls)

    def include(self, handlers: Handlers) -> Registration:
        """Take over all that is declared on `handlers`, and what will be; closing takes it out again."""
        return handlers.follow(self._declare)

    # -- looking -----------------------------------------------------------------------------------
    @property
    def log(self) -> LogView:
        """The log: `head`, `get`, `read`."""
        from eventbus.bus.log_view import LogView

        return LogView(self._attachment.engine)

    @property
    def subscriptions(self) -> Subscriptions[Subscription]:
        """The subscriptions in the log, by name."""
        from eventbus.bus.readers import Subscription, Subscriptions

        return Subscriptions(
            self._attachment.engine,
            lambda engine, name: Subscription(engine, name, self._publishing.drafter.draft),
            frozenset({"subscription", "relay", "saga"}),
        )

    @property
    def projections(self) -> Subscriptions[ProjectionView]:
        """The projections in the log, by name or class."""
        from eventbus.bus.readers import ProjectionView, Subscriptions

        return Subscriptions(
            self._attachment.engine,
            lambda engine, name: ProjectionView(
                engine, name, self._publishing.drafter.draft, self._attachment.rebuilds
            ),
            frozenset({"projection"}),
        )

    @property
    def dead_letters(self) -> DeadLetters:
        """Deliveries that are out of attempts: `list`, `get`, `retry`, `edit`, `discard`."""
        return self._attachment.dead_letters(self.source)

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a read-only query as dicts: projections, the app's own tables, the log's."""
        return self._attachment.engine().storage.query(sql, parameters)

    def connect(self) -> sqlite3.Connection:
        """A plain sqlite3 connection to the file with our settings, for the app's own tables."""
        return self._attachment.engine().storage.connect()

    def outbox(
        self, path: str | os.PathLike[str] | None = None, *, poll: float | None = None, name: str | None = None
    ) -> Registration:
        """Move rows of `eventbus_outbox` in another SQLite file into the log, too; it is made there if need be.

        Without `path`: those of the own file, which are moved anyway. `poll`: seconds between two looks, 1 unless
        told. `name`: the source of its events. Raises EventBusError or a LogError.
        """
        return self._attachment.read_outbox(path, poll=poll, name=name)

    # -- running -----------------------------------------------------------------------------------
    def start(self) -> None:
        """Open the log and deliver in the background, unless delivery is "manual"."""
        self._attachment.start()

    def drain(self, timeout: float | None = None) -> int:
        """Handle all that is due now and return how many deliveries succeeded.

        On this thread, unless the bus was started. WaitTimeout after `timeout` seconds. With
        errors="raise" the failures of live handlers that ran elsewhere are raised here.
        """
        refuse_in_transaction(self._attachment.attached, "drain", "Drain after the with block.")
        refuse_on_a_loop("drain", "await bus.drain_async()")
        return self._attachment.drain(timeout)

    async def drain_async(self, timeout: float | None = None) -> int:
        """`drain` without blocking the loop; async handlers run on it."""
        import asyncio

        refuse_in_transaction(self._attachment.attached, "drain_async", "Drain after the with block.")
        engine = await off_the_loop(self._attachment.engine, "open")
        engine.loop.adopt(asyncio.get_running_loop(), lasting=False)
        return await off_the_loop(lambda: self._attachment.drain(timeout))

    def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Finish what runs, within `timeout` seconds (None: whatever it takes); the next start does what is left."""
        refuse_in_transaction(self._attachment.attached, "close", "Close after the with block.")
        self._attachment.close(timeout)

    async def start_async(self) -> None:
        """`start`; async handlers run on this loop."""
        import asyncio

        engine = await off_the_loop(self._attachment.engine, "open")
        engine.loop.adopt(asyncio.get_running_loop())
        await off_the_loop(self._attachment.start)

    async def close_async(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """`close` without blocking the loop, so that its handlers can finish."""
        refuse_in_transaction(self._attachment.attached, "close_async", "Close after the with block.")
        await off_the_loop(lambda: self._attachment.close(timeout))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with after(error):
            self.close()

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with after(error):
            await self.close_async()


_system_clock = SystemClock()
