"""An in-process event bus whose every event is a row in a local SQLite log before anyone is told about it.

The plan of the house. A module may import, while it loads, only from the floors below its own, or from
what stands to its left on its own floor; `tests/test_house.py` reads this plan and keeps it so.

    6 roof     testing, cli
               what stands on a finished bus: the kit for users' tests, the `eventbus` program
    5 front    engine, bus
               one engine for each file; `EventBus`, whose verbs each hand on to a room below
    4 rooms    projections, scheduler, schedules, dead_letters, inbox, outbox, backups, doctor
               read models that can be rebuilt; the alarm that wakes delivery at the next due time; what is
               published later, or again and again; what is out of attempts, and what a person can do about it;
               events from outside, once and in order; rows of everybody's that become events; copies of a log;
               what is wrong with one, and what can be saved of it
    3 motion   dispatch, worker
               live handlers, called after the commit; the pump that moves cursors, and its drivers
    2 memory   store, delivery
               all the SQL there is; how one attempt can end
    1 words    codecs, events, technical, handlers
               how a value is written down; event, envelope, receipt; what delivery tells of itself;
               what can be declared
    0 ground   errors, asking, later, clock, threads, retry, breaker, recurrence, placement, plugins, ordering, people
               the tree of errors; what may be asked for; what is loaded when it is first used; time and ids;
               threads of our own; when to try again, and when not to ask; what recurs when; where a handler runs;
               what other distributions add; who comes after whom; who acts

This file is the front door. It loads nothing: a name below is imported from its room when it is first used.
"""

__all__ = [
    "Breaker",
    "Context",
    "Envelope",
    "EventBus",
    "EventBusError",
    "EventDefinitionError",
    "Handler",
    "Handlers",
    "IdempotencyConflict",
    "InvalidEvent",
    "LogError",
    "Projection",
    "PublishInDoubt",
    "Receipt",
    "Registration",
    "Retry",
    "RetryLater",
    "Table",
    "Transaction",
    "UnknownEvent",
    "WaitTimeout",
    "WrongExpectedVersion",
    "__version__",
    "event",
    "handles",
]

__version__ = "0.1.0"

# Type checkers take this name for true. Importing it from typing would cost more than all the rest of this file.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from eventbus.breaker import Breaker
    from eventbus.bus import EventBus
    from eventbus.errors import (
        EventBusError,
        EventDefinitionError,
        IdempotencyConflict,
        InvalidEvent,
        LogError,
        PublishInDoubt,
        UnknownEvent,
        WaitTimeout,
        WrongExpectedVersion,
    )
    from eventbus.events import Envelope, Receipt, event
    from eventbus.handlers import Context, Handler, Handlers, Registration, handles
    from eventbus.projections import Projection, Table
    from eventbus.retry import Retry, RetryLater
    from eventbus.store.transaction import Transaction
else:
    _ROOMS = {
        "eventbus.breaker": ("Breaker",),
        "eventbus.bus": ("EventBus",),
        "eventbus.errors": (
            "EventBusError",
            "EventDefinitionError",
            "IdempotencyConflict",
            "InvalidEvent",
            "LogError",
            "PublishInDoubt",
            "UnknownEvent",
            "WaitTimeout",
            "WrongExpectedVersion",
        ),
        "eventbus.events": ("Envelope", "Receipt", "event"),
        "eventbus.handlers": ("Context", "Handler", "Handlers", "Registration", "handles"),
        "eventbus.projections": ("Projection", "Table"),
        "eventbus.retry": ("Retry", "RetryLater"),
        "eventbus.store.transaction": ("Transaction",),
    }

    # Hidden from type checkers: with a module __getattr__ they would take any misspelled name for a good one.
    def __getattr__(name):
        for room, names in _ROOMS.items():
            if name in names:
                from importlib import import_module

                value = globals()[name] = getattr(import_module(room), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})
