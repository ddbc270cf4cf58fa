"""A stage for live handlers: events, envelopes, a loop on a thread, and a `Live` with short ways to use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from eventbus.dispatch import Live, LiveFailure
from eventbus.events import Envelope, TypeName, Vocabulary, event
from eventbus.handlers import Context, LiveDeclaration, Registration, Target


class Base:
    """A base class that is no event itself."""


@event
class Placed(Base):
    number: int = 0


@event(name="shop.Shipped")
class Shipped(Base):
    number: int = 0


@event
class Express(Placed):
    pass


@event(name="eventbus.Tick", kind="technical")
class Tick:
    number: int = 0


class Wording:
    """Spells out the envelopes of these tests."""

    def type_named(self, type_id: int) -> TypeName:
        return TypeName("Placed", 1, "domain")

    def source_named(self, source_id: int) -> str:
        return "tests"

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> Any:
        return Placed()


def stored(position: int = 1) -> Envelope:
    time = "2026-01-01T00:00:00.000000Z"
    return Envelope((position, f"id-{position}", 1, None, None, time, 1, None, None, None, None, "{}"), Wording())


def emitted() -> Envelope:
    return stored(0)


def told(envelope: Envelope) -> Context:
    return Context(envelope, publish=lambda event, **options: "id")


class LoopThread:
    """What a bus has for its async handlers: a loop on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.futures: list[Future[None]] = []

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self.futures.append(future)
        return future

    def wait(self) -> None:
        for future in self.futures:
            future.result(10)

    def close(self) -> None:
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


class Stage:
    """A `Live` with its surroundings, and short ways to say what the tests say."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.failures: list[LiveFailure] = []
        self.live = Live(vocabulary=Vocabulary(), spawn=self.loop.spawn, failed=self.failures.append)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.close()

    def on(self, *targets: Target, handler: Callable[..., object], **options: Any) -> Registration:
        return self.live.connect(LiveDeclaration(targets, handler, **options))

    def emit(self, event: object) -> list[BaseException]:
        return self.live.tell(event, emitted, told)

    def publish(self, event: object, position: int = 1) -> list[BaseException]:
        return self.live.tell(event, stored(position), told)


def fail(event: object) -> None:
    raise ValueError("broken")


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, event: object) -> None:
        self.count += 1

    async def add_later(self, event: object) -> None:
        self.count += 1
