"""What can be declared, what is refused and why, and how declarations reach a bus."""

from __future__ import annotations

import dataclasses
import functools
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventbus
from eventbus import Context, Handlers, Retry, event, handles
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.handlers import (
    LiveDeclaration,
    ProjectionDeclaration,
    SubscriptionDeclaration,
    inspect_handler,
)


@event
class Placed:
    number: int = 0


@event
class Shipped:
    number: int = 0


def of_event(placed: Placed) -> str:
    return "event"


def of_both(placed: Placed, context: Context) -> str:
    return f"both {context.attempt}"


async def asynchronous(placed: Placed) -> None: ...


def generator(placed: Placed) -> Iterator[int]:
    yield 1


async def async_generator(placed: Placed) -> AsyncIterator[int]:
    yield 1


class Service:
    def handle(self, placed: Placed) -> str:
        return "method"

    async def handle_later(self, placed: Placed, context: Context) -> None: ...

    @staticmethod
    def plain(placed: Placed) -> str:
        return "static"

    @classmethod
    def of_class(cls, placed: Placed) -> str:
        return "class"

    def __call__(self, placed: Placed, context: Context) -> str:
        return "called"


class AsyncService:
    async def __call__(self, placed: Placed) -> None: ...


@functools.wraps(of_both)
def wrapped(*args: Any, **options: Any) -> str:
    return of_both(*args, **options)


def context() -> Context:
    return Context(None, publish=lambda event, **options: f"published {event}")  # type: ignore[arg-type]


# --- looking at handlers ----------------------------------------------------------------------------------

SEEN: list[object] = []
HERE = __name__


@pytest.mark.parametrize(
    ("function", "wants_context", "is_async", "qualified"),
    [
        (of_event, False, False, f"{HERE}:of_event"),
        (of_both, True, False, f"{HERE}:of_both"),
        (asynchronous, False, True, f"{HERE}:asynchronous"),
        (Service().handle, False, False, f"{HERE}:Service.handle"),
        (Service().handle_later, True, True, f"{HERE}:Service.handle_later"),
        (Service.plain, False, False, f"{HERE}:Service.plain"),
        (Service.__dict__["plain"], False, False, f"{HERE}:Service.plain"),
        (Service.of_class, False, False, f"{HERE}:Service.of_class"),
        (Service(), True, False, f"{HERE}:Service"),
        (AsyncService(), False, True, f"{HERE}:AsyncService"),
        (wrapped, True, False, f"{HERE}:of_both"),
        (functools.partial(of_both, context=Context.__new__(Context)), False, False, f"{HERE}:of_both"),
        (functools.partial(asynchronous), False, True, f"{HERE}:asynchronous"),
        (functools.partial(Service.handle, Service()), False, False, f"{HERE}:Service.handle"),
        (functools.partial(AsyncService()), False, True, f"{HERE}:AsyncService"),
        (lambda placed: None, False, False, f"{HERE}:<lambda>"),
        (lambda placed, context: None, True, False, f"{HERE}:<lambda>"),
        (lambda placed, context=None: None, False, False, f"{HERE}:<lambda>"),
        (lambda placed, *more: None, False, False, f"{HERE}:<lambda>"),
        (lambda *all_of_it: None, False, False, f"{HERE}:<lambda>"),
        (lambda placed=None: None, False, False, f"{HERE}:<lambda>"),
        (lambda placed, *, note="": None, False, False, f"{HERE}:<lambda>"),
        (print, False, False, "builtins:print"),
        (SEEN.append, False, False, "builtins:list.append"),
        (dict, False, False, "builtins:dict"),
    ],
)
def test_only_required_positional_parameters_say_what_a_handler_takes(
    function: Callable[..., Any], wants_context: bool, is_async: bool, qualified: str
) -> None:
    callee = inspect_handler(function)
    assert callee.function is function
    assert (callee.wants_context, callee.is_async, callee.qualified) == (wants_context, is_async, qualified)


@pytest.mark.parametrize(
    ("function", "result"),
    [(of_event, "event"), (of_both, "both 1"), (Service().handle, "method"), (Service(), "called")],
)
def test_a_callee_is_always_called_with_event_and_context(function: Callable[..., Any], result: str) -> None:
    assert inspect_handler(function)(Placed(), context()) == result


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Service.handle, "class body"),
        (Service.__dict__["of_class"], "cannot be called"),
        (generator, "generator"),
        (async_generator, "generator"),
        (functools.partial(generator), "generator"),
        (lambda: None, "takes no event"),
        (lambda *, placed=None: None, "takes no event"),
        (lambda a, b, c: None, "needs 3 arguments"),
        (lambda placed, *, note: None, "keyword 'note'"),
        (Placed(), "cannot be called"),
        ("of_event", "cannot be called"),
        (None, "cannot be called"),
    ],
)
def test_what_cannot_handle_an_event_is_refused_with_the_reason(function: Any, reason: str) -> None:
    with pytest.raises(EventDefinitionError, match=reason):
        inspect_handler(function)


def test_a_method_decorated_in_its_class_body_is_refused() -> None:
    handlers = Handlers()
    with pytest.raises(EventDefinitionError, match=r"Window\.show is found in a class body"):

        class Window:
            @handlers.on(Placed)  # type: ignore[arg-type]
            def show(self, placed: Placed) -> None: ...  # type: ignore[misc]

    assert handlers.declarations == ()


# --- contexts ---------------------------------------------------------------------------------------------


def test_a_context_without_a_transaction_says_how_to_get_one() -> None:
    with pytest.raises(EventBusError, match="transactional=True"):
        _ = context().tx


def test_a_context_publishes_and_knows_whether_the_bus_is_closing() -> None:
    given: dict[str, object] = {}

    def publish(event: object, **options: object) -> str:
        given.update(options)
        return "id-1"

    closing = threading.Event()
    told = Context(None, attempt=3, publish=publish, stopping=closing.is_set)  # type: ignore[arg-type]
    assert told.publish(Shipped(), stream="s", metadata={"by": "me"}) == "id-1"
    assert given == {"stream": "s", "expected_version": None, "metadata": {"by": "me"}, "causation_id": None}
    assert (told.attempt, told.is_replay, told.stopping) == (3, False, False)
    closing.set()
    assert told.stopping


# --- declaring --------------------------------------------------------------------------------------------


class Sales:
    name = "sales"


def test_decorators_give_back_what_they_decorate() -> None:
    handlers = Handlers()
    assert handlers.on(Placed)(of_event) is of_event
    assert handlers.subscribe("a", Placed)(of_both) is of_both
    assert handlers.project(Sales) is Sales
    instance = Sales()
    assert handlers.project(instance) is instance
    live, subscription, from_class, from_instance = handlers.declarations
    assert isinstance(live, LiveDeclaration)
    assert isinstance(subscription, SubscriptionDeclaration)
    assert isinstance(from_class, ProjectionDeclaration)
    assert isinstance(from_class.projection, Sales)
    assert isinstance(from_instance, ProjectionDeclaration)
    assert from_instance.projection is instance


def test_a_declaration_carries_everything_that_was_said() -> None:
    handlers = Handlers()
    retry = Retry(attempts=2)
    handlers.on(Placed, "shop.*", handler=of_event, priority=3, via=print)
    handlers.subscribe("a", Placed, handler=of_both, retry=retry, order_by=None, after=7, via=print, backfill=True)
    handlers.subscribe("b", Placed, handler=of_event, transactional=True)
    live, subscription, transactional = handlers.declarations
    assert isinstance(live, LiveDeclaration)
    assert (live.targets, live.handler, live.priority, live.weak, live.via) == (
        (Placed, "shop.*"),
        of_event,
        3,
        False,
        print,
    )
    assert isinstance(subscription, SubscriptionDeclaration)
    assert (subscription.name, subscription.targets, subscription.handler) == ("a", (Placed,), of_both)
    assert subscription.callee.wants_context
    assert (subscription.retry, subscription.order_by, subscription.after) == (retry, None, 7)
    assert (subscription.via, subscription.backfill, subscription.transactional) == (print, True, False)
    assert isinstance(transactional, SubscriptionDeclaration)
    assert transactional.transactional
    assert (transactional.retry, transactional.order_by, transactional.after) == (Retry(), "stream", "now")


@pytest.mark.parametrize(
    ("declare", "reason"),
    [
        (lambda h: h.on(), "No event class"),
        (lambda h: h.on(of_event), r"neither an event class nor a pattern.*@bus.on\(OrderPlaced\)"),
        (lambda h: h.on(Placed()), "neither an event class"),
        (lambda h: h.on(""), "empty pattern"),
        (lambda h: h.on(Placed, handler=of_event, priority=1.5), "whole number"),
        (lambda h: h.on(Placed, handler=of_event, via="thread"), "via="),
        (lambda h: h.on(Placed, handler=7), "cannot be called"),
        (lambda h: h.on(Placed, handler=SEEN.__len__, weak=True), "takes no event"),
        (lambda h: h.subscribe(Placed, handler=of_event), "name comes first"),
        (lambda h: h.subscribe("a"), "No event class"),
        (lambda h: h.subscribe("a", of_event), "neither an event class"),
        (lambda h: h.subscribe("", Placed), "cannot name"),
        (lambda h: h.subscribe("x" * 201, Placed), "cannot name"),
        (lambda h: h.subscribe("a\nb", Placed), "cannot name"),
        (lambda h: h.subscribe(" a", Placed), "cannot name"),
        (lambda h: h.subscribe("a", Placed, handler=generator), "generator"),
        (lambda h: h.subscribe("a", Placed, handler=of_event, retry=3), "must be a Retry"),
        (lambda h: h.subscribe("a", Placed, handler=of_event, order_by="time"), "order_by="),
        (lambda h: h.subscribe("a", Placed, handler=of_event, after=-1), "after="),
        (lambda h: h.subscribe("a", Placed, handler=of_event, after=True), "after="),
        (lambda h: h.subscribe("a", Placed, handler=of_event, after="then"), "after="),
        (lambda h: h.subscribe("a", Placed, handler=of_event, via=3), "via="),
        (lambda h: h.subscribe("a", Placed, handler=asynchronous, transactional=True), "plain def"),
        (
            lambda h: h.subscribe("a", Placed, handler=of_event, transactional=True, via=print),
            "cannot be sent elsewhere",
        ),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(declare: Callable[[Any], object], reason: str) -> None:
    handlers = Handlers()
    with pytest.raises(EventDefinitionError, match=reason):
        declare(handlers)
    assert handlers.declarations == ()


def test_a_registration_takes_its_declaration_out_once() -> None:
    handlers = Handlers()
    registration = handlers.on(Placed, handler=of_event)
    with handlers.on(Placed, handler=of_both):
        assert len(handlers.declarations) == 2
    registration.close()
    registration.close()
    assert registration.closed
    assert not handlers.declarations


def test_a_weak_declaration_does_not_keep_its_handler_alive() -> None:
    handlers = Handlers()
    service = Service()
    handlers.on(Placed, handler=service.handle, weak=True)
    gc.collect()
    (live,) = handlers.declarations
    assert isinstance(live, LiveDeclaration)
    assert live.handler == service.handle
    del service
    gc.collect()
    assert live.handler is None
    assert handlers.declarations == ()


def test_what_cannot_be_held_weakly_is_refused() -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self, placed: Placed) -> None: ...

    with pytest.raises(EventDefinitionError, match="weak=False"):
        Handlers().on(Placed, handler=Slotted(), weak=True)


# --- projections ------------------------------------------------------------------------------------------


def test_handles_marks_a_method_and_gives_it_back() -> None:
    def placed(self: object, event: Placed | Shipped, tx: Any) -> None: ...

    assert handles(Placed, Shipped)(placed) is placed
    assert placed.__eventbus_handles__ == (Placed, Shipped)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (lambda: handles(), "No event class"),
        (lambda: handles(of_event), "neither"),  # type: ignore[call-overload]
        (lambda: handles("shop.*"), "not for patterns"),  # type: ignore[call-overload]
        (lambda: handles(Placed)(asynchronous), "is an async def"),  # type: ignore[arg-type]
        (lambda: handles(Placed)(of_event), r"takes \(placed.*def method\(self, event, tx\)"),  # type: ignore[arg-type]
        (lambda: handles(Placed)(lambda self, event, tx, more: None), r"takes \(self, event, tx, more\)"),  # type: ignore
        (lambda: handles(Placed)(Placed), "def method"),  # type: ignore[arg-type]
    ],
)
def test_handles_refuses_what_a_projection_cannot_call(mark: Callable[[], object], reason: str) -> None:
    with pytest.raises(EventDefinitionError, match=reason):
        mark()


# --- weight -----------------------------------------------------------------------------------------------


def test_declaring_handlers_loads_neither_asyncio_nor_sqlite() -> None:
    code = "import eventbus.handlers, sys; print({'asyncio', 'sqlite3', 'sqlite_utils', 'blinker'} & set(sys.modules))"
    folder = Path(eventbus.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_class_that_is_never_published_has_no_live_handlers() -> None:
    @dataclasses.dataclass
    class Forgotten:
        number: int

    for cls in (Forgotten, int):
        with pytest.raises(EventDefinitionError, match="@event instead of @dataclass"):
            Handlers().on(cls, handler=print)
