"""The declaration of a schedule: events that are made and published again and again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import attrs

from eventbus.errors import EventDefinitionError
from eventbus.handlers.callee import inspect_factory, lasting_name
from eventbus.handlers.declarations import Refused, check_name
from eventbus.recurrence import Recurrence, as_cron, as_every

CatchUp: TypeAlias = Literal["all", "latest", "skip"]
"""What becomes of the runs of a schedule that came while nobody was there."""


@attrs.frozen(eq=False)
class ScheduleDeclaration:
    """Events that are made and published again and again; `cron` or `every` says when."""

    factory: Callable[..., Any]
    cron: Any = None
    every: Any = None
    timezone: Any = None
    catch_up: CatchUp = "latest"
    name: str = ""
    refused: Refused | None = attrs.field(default=None, kw_only=True, repr=False)
    recurrence: Recurrence = attrs.field(init=False, repr=False)
    qualified: str = attrs.field(init=False, repr=False)
    _wants_time: bool = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        qualified = lasting_name(self.factory)
        object.__setattr__(self, "qualified", qualified)
        object.__setattr__(self, "_wants_time", inspect_factory(self.factory))
        if not self.name and "<lambda>" in qualified:
            raise EventDefinitionError(f"The schedule of {qualified} needs a name=, under which it is kept.")
        object.__setattr__(self, "name", self.name or qualified)
        check_name(self.name, "a schedule")
        check_catch_up(self.catch_up)
        if (self.cron is None) == (self.every is None):
            raise EventDefinitionError(
                f"The schedule {self.name!r} recurs by cron= or every=.", hint='Write every=60, or cron="0 7 * * *".'
            )
        if self.cron is None and self.timezone is not None:
            raise EventDefinitionError(f"The schedule {self.name!r}: timezone= is for cron=; seconds know no zone.")
        recurrence = as_every(self.every) if self.cron is None else as_cron(self.cron, self.timezone)
        object.__setattr__(self, "recurrence", recurrence)

    def make(self, run: float) -> Any:
        """Call the factory for the run at `run`, seconds since 1970 UTC."""
        if not self._wants_time:
            return self.factory()
        zone = self.recurrence.timezone
        return self.factory(datetime.fromtimestamp(run, UTC if zone in (None, "UTC") else ZoneInfo(zone)))


def check_catch_up(catch_up: object) -> None:
    """EventDefinitionError unless it is one of the three."""
    if catch_up not in ("all", "latest", "skip"):
        raise EventDefinitionError(f"catch_up= is 'all', 'latest' or 'skip', not {catch_up!r}.")
