"""`Handlers`: on, subscribe, project and publish_every, for modules and plugins that declare before there is a bus."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from eventbus.handlers.declarations import LiveDeclaration, OrderBy, Target, check_name, check_targets
from eventbus.handlers.declared import Declared
from eventbus.handlers.registration import Registration
from eventbus.handlers.signatures import Handler, LiveOptions, SubscriptionOptions

if TYPE_CHECKING:
    from eventbus.breaker import Breaker
    from eventbus.handlers.declaration import Declaration
    from eventbus.handlers.recurring import CatchUp
    from eventbus.handlers.signatures import Handles
    from eventbus.placement import Via
    from eventbus.retry import Retry

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
P = TypeVar("P")
F = TypeVar("F", bound=Callable[..., Any])


class Handlers:
    """Handlers, subscriptions, projections and schedules declared before a bus exists; `bus.include` takes them all.

    Every method works as a decorator that returns what it decorates, or, with `handler=` or a factory, returns a
    Registration.
    """

    def __init__(self) -> None:
        self._declared = Declared()

    @overload
    def on(self, a: type[A], /, **options: Unpack[LiveOptions]) -> Handler[A]: ...
    @overload
    def on(self, a: type[A], b: type[B], /, **options: Unpack[LiveOptions]) -> Handler[A | B]: ...
    @overload
    def on(self, a: type[A], b: type[B], c: type[C], /, **options: Unpack[LiveOptions]) -> Handler[A | B | C]: ...
    @overload
    def on(
        self, a: type[A], b: type[B], c: type[C], d: type[D], /, **options: Unpack[LiveOptions]
    ) -> Handler[A | B | C | D]: ...
    @overload
    def on(self, *targets: Target, **options: Unpack[LiveOptions]) -> Handler[Any]: ...
    @overload
    def on(self, a: type[A], /, *, handler: Handles[A], **options: Unpack[LiveOptions]) -> Registration: ...
    @overload
    def on(
        self, a: type[A], b: type[B], /, *, handler: Handles[A | B], **options: Unpack[LiveOptions]
    ) -> Registration: ...
    @overload
    def on(
        self, a: type[A], b: type[B], c: type[C], /, *, handler: Handles[A | B | C], **options: Unpack[LiveOptions]
    ) -> Registration: ...
    @overload
    def on(
        self,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        handler: Handles[A | B | C | D],
        **options: Unpack[LiveOptions],
    ) -> Registration: ...
    @overload
    def on(
        self, pattern: str, /, *targets: Target, handler: Handles[Any], **options: Unpack[LiveOptions]
    ) -> Registration: ...
    @overload
    def on(
        self,
        a: type[Any],
        pattern: str,
        /,
        *targets: Target,
        handler: Handles[Any],
        **options: Unpack[LiveOptions],
    ) -> Registration: ...
    @overload
    def on(
        self,
        a: type[Any],
        b: type[Any],
        c: type[Any],
        d: type[Any],
        e: Target,
        /,
        *targets: Target,
        handler: Handles[Any],
        **options: Unpack[LiveOptions],
    ) -> Registration: ...
    def on(
        self,
        *targets: Target,
        handler: Callable[..., object] | None = None,
        priority: int = 0,
        weak: bool = False,
        via: Via | None = None,
    ) -> Handler[Any] | Registration:
        """Call a handler in this process after each matching event: classes, base classes, or patterns.

        `priority`: higher ones first, then in the order of registration. `weak`: do not keep the handler
        alive. `via`: takes a thunk and runs it elsewhere, such as `loop.call_soon_threadsafe`.
        EventDefinitionError for a handler or target that cannot work.
        """
        check_targets(targets, "@bus.on(OrderPlaced)")

        def declare(function: Callable[..., Any]) -> Registration:
            return self._declare(LiveDeclaration(targets, function, priority, weak, via))

        return declare(handler) if handler is not None else _decorator(declare)

    @overload
    def subscribe(self, name: str, a: type[A], /, **options: Unpack[SubscriptionOptions]) -> Handler[A]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], /, **options: Unpack[SubscriptionOptions]
    ) -> Handler[A | B]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], c: type[C], /, **options: Unpack[SubscriptionOptions]
    ) -> Handler[A | B | C]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], c: type[C], d: type[D], /, **options: Unpack[SubscriptionOptions]
    ) -> Handler[A | B | C | D]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], /, *, batch: int, **options: Unpack[SubscriptionOptions]
    ) -> Handler[list[A]]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], /, *, batch: int, **options: Unpack[SubscriptionOptions]
    ) -> Handler[list[A | B]]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], c: type[C], /, *, batch: int, **options: Unpack[SubscriptionOptions]
    ) -> Handler[list[A | B | C]]: ...
    @overload
    def subscribe(
        self, name: str, *targets: Target, batch: int, **options: Unpack[SubscriptionOptions]
    ) -> Handler[list[Any]]: ...
    @overload
    def subscribe(
        self,
        name: str,
        *targets: Target,
        batch: int,
        handler: Handles[list[Any]],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    @overload
    def subscribe(self, name: str, *targets: Target, **options: Unpack[SubscriptionOptions]) -> Handler[Any]: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], /, *, handler: Handles[A], **options: Unpack[SubscriptionOptions]
    ) -> Registration: ...
    @overload
    def subscribe(
        self, name: str, a: type[A], b: type[B], /, *, handler: Handles[A | B], **options: Unpack[SubscriptionOptions]
    ) -> Registration: ...
    @overload
    def subscribe(
        self,
        name: str,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        handler: Handles[A | B | C],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    @overload
    def subscribe(
        self,
        name: str,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        *,
        handler: Handles[A | B | C | D],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    @overload
    def subscribe(
        self,
        name: str,
        pattern: str,
        /,
        *targets: Target,
        handler: Handles[Any],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    @overload
    def subscribe(
        self,
        name: str,
        a: type[Any],
        pattern: str,
        /,
        *targets: Target,
        handler: Handles[Any],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    @overload
    def subscribe(
        self,
        name: str,
        a: type[Any],
        b: type[Any],
        c: type[Any],
        d: type[Any],
        e: Target,
        /,
        *targets: Target,
        handler: Handles[Any],
        **options: Unpack[SubscriptionOptions],
    ) -> Registration: ...
    def subscribe(
        self,
        name: str,
        *targets: Target,
        handler: Callable[..., object] | None = None,
        retry: Retry | None = None,
        order_by: OrderBy = "stream",
        after: Literal["now"] | int = "now",
        transactional: bool = False,
        via: Via | None = None,
        backfill: bool = False,
        concurrency: int = 1,
        batch: int | None = None,
        timeout: float | None = None,
        breaker: Breaker | None = None,
    ) -> Handler[Any] | Registration:
        """Let a named, durable reader of the log call a handler: at least once, in order, with retries.

        `retry`: what follows a failure, `Retry()` unless given. `order_by`: which events wait for each other.
        `after`: where a new name begins. `transactional`: the handler's effects in the file happen exactly once.
        `backfill`: a class added later is read from where the subscription began, before all else.
        `concurrency`: so many order keys at once. `batch`: the handler takes a list of at most so many events.
        `timeout`: seconds after which it is overdue. `breaker`: what keeps it from a downstream that fails.
        EventDefinitionError for what cannot work.
        """
        from eventbus.handlers.durable import SubscriptionDeclaration
        from eventbus.retry import Retry

        check_name(name)
        check_targets(targets, f"@bus.subscribe({name!r}, OrderPlaced)")
        policy = Retry() if retry is None else retry

        def declare(function: Callable[..., Any]) -> Registration:
            return self._declare(
                SubscriptionDeclaration(
                    name, targets, function, policy, order_by, after, transactional, via, backfill,
                    concurrency=concurrency, batch=batch, timeout=timeout, breaker=breaker,
                )
            )  # fmt: skip

        return declare(handler) if handler is not None else _decorator(declare)

    def project(self, projection: P) -> P:
        """Keep a projection's tables up to date: takes a Projection class (made without arguments) or an instance."""
        from eventbus.handlers.durable import ProjectionDeclaration

        instance = projection() if inspect.isclass(projection) else projection
        self._declare(ProjectionDeclaration(instance))
        return projection

    @overload
    def publish_every(
        self,
        factory: None = None,
        /,
        *,
        cron: str | Mapping[str, Any] | None = None,
        every: float | timedelta | None = None,
        timezone: str | tzinfo | None = None,
        catch_up: CatchUp = "latest",
        name: str = "",
    ) -> Callable[[F], F]: ...
    @overload
    def publish_every(
        self,
        factory: Callable[..., Any],
        /,
        *,
        cron: str | Mapping[str, Any] | None = None,
        every: float | timedelta | None = None,
        timezone: str | tzinfo | None = None,
        catch_up: CatchUp = "latest",
        name: str = "",
    ) -> Registration: ...
    def publish_every(
        self,
        factory: Callable[..., Any] | None = None,
        /,
        *,
        cron: str | Mapping[str, Any] | None = None,
        every: float | timedelta | None = None,
        timezone: str | tzinfo | None = None,
        catch_up: CatchUp = "latest",
        name: str = "",
    ) -> Any:
        """Publish what `factory()` or `factory(time)` returns, an event, a list of events or None, again and again.

        `every`: seconds, or a timedelta. `cron`: a crontab line, or APScheduler's fields as a mapping, on the clocks
        of `timezone` (default: this machine's). `catch_up`: which runs that were missed while nobody delivered are
        published late, "all", the "latest" or none ("skip"). `name`: under which it is kept in the file (default: the
        function's qualified name). EventDefinitionError for what cannot work.
        """

        from eventbus.handlers.recurring import ScheduleDeclaration

        def declared(function: Callable[..., Any]) -> Registration:
            return self._declare(ScheduleDeclaration(function, cron, every, timezone, catch_up, name))

        def decorate(function: F) -> F:
            declared(function)
            return function

        return decorate if factory is None else declared(factory)

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """What is declared now, in order."""
        return self._declared.now()

    def follow(self, callback: Callable[[Declaration], Registration]) -> Registration:
        """Register every declaration, present and later ones, through `callback`; closing closes them all.

        If `callback` raises, what it had registered is closed again.
        """
        return self._declared.follow(callback)

    def _declare(self, declaration: Declaration) -> Registration:
        """Where all of them end: here it is kept for the followers; a bus hands it to its rooms."""
        return self._declared.add(declaration)


def _decorator(declare: Callable[[Callable[..., Any]], Registration]) -> Handler[Any]:
    def decorate(function: Callable[..., Any], /) -> Callable[..., Any]:
        declare(function)
        return function

    return decorate
