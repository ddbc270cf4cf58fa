"""Handlers: how they are declared, looked at and told what they may know; nothing is called here."""

from __future__ import annotations

from eventbus.handlers.callee import Callee, identity, inspect_handler, qualified_name
from eventbus.handlers.context import Context, handling
from eventbus.handlers.declarations import (
    CatchUp,
    Declaration,
    LiveDeclaration,
    OrderBy,
    ProjectionDeclaration,
    Refused,
    ScheduleDeclaration,
    SubscriptionDeclaration,
    Target,
    check_catch_up,
    weakly,
)
from eventbus.handlers.handlers import Handlers
from eventbus.handlers.marking import handles
from eventbus.handlers.registration import Registration
from eventbus.handlers.signatures import Handler
from eventbus.handlers.stepping import Kept, Steps

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
    "qualified_name",
    "weakly",
]
