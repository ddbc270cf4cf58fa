"""Handlers: how they are declared, looked at and told what they may know; nothing is called here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.handlers.callee import Callee, identity, inspect_handler, lasting_name, qualified_name
from eventbus.handlers.context import Context, handling, returned
from eventbus.handlers.declarations import LiveDeclaration, OrderBy, Refused, Target, weakly
from eventbus.handlers.handlers import Handlers
from eventbus.handlers.registration import Registration
from eventbus.handlers.signatures import Handler
from eventbus.later import names_from

if TYPE_CHECKING:
    from eventbus.handlers.declaration import Declaration
    from eventbus.handlers.durable import ProjectionDeclaration, SubscriptionDeclaration
    from eventbus.handlers.marking import handles
    from eventbus.handlers.recurring import CatchUp, ScheduleDeclaration, check_catch_up
    from eventbus.handlers.stepping import Kept, Steps
else:
    __getattr__ = names_from(
        __name__,
        {
            "eventbus.handlers.declaration": ("Declaration",),
            "eventbus.handlers.durable": ("ProjectionDeclaration", "SubscriptionDeclaration"),
            "eventbus.handlers.marking": ("handles",),
            "eventbus.handlers.recurring": ("CatchUp", "ScheduleDeclaration", "check_catch_up"),
            "eventbus.handlers.stepping": ("Kept", "Steps"),
        },
    )

__all__ = [
    "Callee",
    "CatchUp",
    "Context",
    "Declaration",
    "Handler",
    "Handlers",
    "Kept",
    "LiveDeclaration",
    "OrderBy",
    "ProjectionDeclaration",
    "Refused",
    "Registration",
    "ScheduleDeclaration",
    "Steps",
    "SubscriptionDeclaration",
    "Target",
    "check_catch_up",
    "handles",
    "handling",
    "identity",
    "inspect_handler",
    "lasting_name",
    "qualified_name",
    "returned",
    "weakly",
]
