"""All that can be declared, as one type."""

from __future__ import annotations

from typing import TypeAlias

from eventbus.handlers.declarations import LiveDeclaration
from eventbus.handlers.durable import ProjectionDeclaration, SubscriptionDeclaration
from eventbus.handlers.recurring import ScheduleDeclaration

Declaration: TypeAlias = LiveDeclaration | SubscriptionDeclaration | ProjectionDeclaration | ScheduleDeclaration
