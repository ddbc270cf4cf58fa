"""When something recurs: every so many seconds, or by cron. Rules only, no clock: which time follows which.

The triggers are APScheduler's. It is asked for times on the wall only, as if there were no daylight saving time;
what those mean on the days when the clocks change is decided here (see `Cron`).
"""

# APScheduler and tzlocal have no type hints.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Protocol, cast
from zoneinfo import ZoneInfo

import attrs

from eventbus.errors import EventDefinitionError
from eventbus.retry import LONGEST_WAIT

__all__ = ["COUNTED", "Cron", "Every", "Recurrence", "as_cron", "as_every", "restored"]

COUNTED = 1000  # times of a cron expression that are counted one by one; from there on it is "at least"

_SHORTEST = 0.001  # seconds
_TICK = timedelta(microseconds=1)
_NEAR = 3 * 3600.0  # seconds around a change of the clocks in which the order of times has to be looked at closely
_REACHES = (60.0, 3600.0, 86400.0, 32 * 86400.0, 367 * 86400.0, 9 * 366 * 86400.0)  # how far to look back, in turn
_FIELDS = ("minute", "hour", "day", "month", "day_of_week")
_ALL_FIELDS = frozenset({*_FIELDS, "year", "week", "second"})
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")  # as crontab numbers them; APScheduler begins with Monday
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_CRON_HINT = 'Write five fields, minute hour day month weekday, such as "30 7 * * mon-fri".'


class Recurrence(Protocol):
    """Times without end, in seconds since 1970 UTC; `start` is where intervals are counted from."""

    @property
    def kind(self) -> str:
        """ "every" or "cron"."""
        ...

    @property
    def spec(self) -> str:
        """What makes it up, as it is stored and shown."""
        ...

    @property
    def timezone(self) -> str | None:
        """The zone whose clocks count; None where none does."""
        ...

    def next(self, after: float, start: float) -> float | None:
        """The first time after `after`; None if there is none."""
        ...

    def latest(self, until: float, start: float) -> float | None:
        """The last time up to `until`; None if it lies too far back to be looked for."""
        ...

    def count(self, first: float, last: float, start: float) -> int:
        """How many times there are from `first` on and before `last`, both of them times of it; see COUNTED."""
        ...


@attrs.frozen
class Every:
    """Every so many seconds, counted from `start`."""

    seconds: float
    kind = "every"
    timezone = None

    @property
    def spec(self) -> str:
        """The seconds."""
        return f"{self.seconds:.15g}"

    def next(self, after: float, start: float) -> float | None:
        """`start` plus the next multiple of the seconds."""
        from apscheduler.triggers.interval import IntervalTrigger

        trigger = IntervalTrigger(seconds=cast("int", self.seconds), start_date=_utc(start), timezone=UTC)
        asked = _utc(after) + _TICK
        while True:
            try:
                following = trigger.get_next_fire_time(None, asked)
            except (ValueError, OverflowError):  # after the year 9999
                return None
            if following is None:
                return None
            found = float(following.timestamp())
            if found > after:
                return found
            asked += _TICK  # it was rounded down

    def latest(self, until: float, start: float) -> float | None:
        """There is one within each span of its length."""
        found = self.next(until - self.seconds, start)
        return found if found is None or found <= until else self.next(until - 2 * self.seconds, start)

    def count(self, first: float, last: float, start: float) -> int:
        """By arithmetic."""
        return round((last - first) / self.seconds)


@attrs.frozen
class Cron:
    """By the clock on the wall of a time zone.

    Where the clocks go forward, a time that is left out with a fixed hour comes as much later as they were put
    forward; where they go back, a time with a fixed hour comes once, the first time. With an hour of `*` or `*/n`
    real hours count: none of them is left out, and the repeated one is gone through twice.
    """

    expression: str  # five fields, or a JSON object of APScheduler's fields
    timezone: str
    kind = "cron"

    @property
    def spec(self) -> str:
        """The expression."""
        return self.expression

    def next(self, after: float, start: float) -> float | None:
        """The next time on the wall that fits, as a point of time."""
        zone = ZoneInfo(self.timezone)
        found = self._first(after, zone, 0.0)
        if found is None or _offset(after - _NEAR, zone) == _offset(after, zone) == _offset(found, zone):
            return found
        return self._first(after, zone, _NEAR)

    def latest(self, until: float, start: float) -> float | None:
        """By looking back further and further, and forward from there."""
        for reach in _REACHES:
            found = self.next(until - reach, start)
            if found is not None and found <= until:
                while (following := self.next(found, start)) is not None and following <= until:
                    found = following
                return found
        return None

    def count(self, first: float, last: float, start: float) -> int:
        """One by one, as far as COUNTED."""
        counted, found = 0, cast("float | None", first)
        while found is not None and found < last and counted < COUNTED:
            counted += 1
            found = self.next(found, start)
        return counted

    def _first(self, after: float, zone: ZoneInfo, near: float) -> float | None:
        """The first time after `after`; with `near`, also of those whose order on the wall is another one."""
        wall = _wall(after, zone) - timedelta(seconds=near)
        best: float | None = None
        while True:
            found = self._on_the_wall(wall)
            if found is None:
                return best
            if best is not None and found > _wall(best, zone) + timedelta(seconds=near):
                return best
            later = [each for each in self._times(found, zone) if each > after]
            if later:
                best = min(later) if best is None else min(best, *later)
            wall = found

    def _on_the_wall(self, after: datetime) -> datetime | None:
        triggers, _ = _compiled(self.expression)
        asked = after.replace(tzinfo=UTC) + _TICK
        found = [each.get_next_fire_time(None, asked) for each in triggers]
        return min((each.replace(tzinfo=None) for each in found if each is not None), default=None)

    def _times(self, wall: datetime, zone: ZoneInfo) -> list[float]:
        """When the clocks show this: mostly once."""
        first, second = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
        if not _compiled(self.expression)[1]:
            return [first]
        return [each for each in sorted({first, second}) if _wall(each, zone) == wall]


# -- at the door -----------------------------------------------------------------------------------------------


def as_every(seconds: object) -> Every:
    """An interval in seconds, or as a timedelta; EventDefinitionError."""
    number = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if isinstance(number, bool) or not isinstance(number, int | float) or not _SHORTEST <= number <= LONGEST_WAIT:
        raise EventDefinitionError(
            f"every= is a number of seconds from {_SHORTEST:g} to {LONGEST_WAIT:g}, or a timedelta, not {seconds!r}."
        )
    return Every(round(float(number), 6))


def as_cron(expression: object, timezone: object) -> Cron:
    """A crontab line of five fields, or APScheduler's fields as a mapping; EventDefinitionError."""
    if isinstance(expression, str):
        text = " ".join(expression.split())
        text = _MACROS.get(text, text)
    elif isinstance(expression, Mapping):
        text = _mapped(expression)
    else:
        raise EventDefinitionError(f"cron= is a line of text or a mapping of fields, not {expression!r}.")
    zone = _zone_name(timezone)
    try:
        _compiled(text)
    except (ValueError, TypeError) as error:
        raise EventDefinitionError(f"cron={expression!r}: {error}.", hint=_CRON_HINT) from error
    cron = Cron(text, zone)
    if cron.next(0.0, 0.0) is None:
        raise EventDefinitionError(f"cron={expression!r} never comes.", hint=_CRON_HINT)
    return cron


def restored(kind: str, spec: str, timezone: str | None) -> Recurrence:
    """What was stored. ValueError, or EventDefinitionError, for what is none."""
    return as_every(float(spec)) if kind == "every" else as_cron(json_or_text(spec), timezone)


def json_or_text(spec: str) -> object:
    """The fields of a mapping, or the line of text."""
    return json.loads(spec) if spec.startswith("{") else spec


def _mapped(fields: Mapping[Any, Any]) -> str:
    odd = [name for name in fields if name not in _ALL_FIELDS]
    if odd or not fields:
        raise EventDefinitionError(
            f"cron={dict(fields)!r}: {odd[0]!r} is no field." if odd else "cron= names no field.",
            hint=f"The fields are {', '.join(sorted(_ALL_FIELDS))}.",
        )
    texts = {name: str(value) for name, value in fields.items()}
    if re.search(r"\d", re.sub(r"/\d+", "", texts.get("day_of_week", ""))):
        raise EventDefinitionError("cron=: a weekday is written mon, tue, ...: as a number it means two things.")
    return json.dumps(texts, sort_keys=True)


def _zone_name(timezone: object) -> str:
    """The name of a zone, by default that of this machine."""
    if timezone is None:
        return _local_zone()
    name = timezone
    if isinstance(timezone, tzinfo):
        name = "UTC" if timezone is UTC else getattr(timezone, "key", None)
    if not isinstance(name, str):
        raise EventDefinitionError(
            f"timezone= is the name of a zone or a ZoneInfo, not {timezone!r}.", hint='Write timezone="Europe/Berlin".'
        )
    return _checked_zone(name, f"timezone={timezone!r}")


def _local_zone() -> str:
    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
    except Exception as error:
        raise EventDefinitionError(
            f"The time zone of this machine is not known: {error}", hint='Write timezone="Europe/Berlin".'
        ) from error
    return _checked_zone(name or "UTC", "The time zone of this machine")


def _checked_zone(name: str, where: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError) as error:
        raise EventDefinitionError(f"{where}: there is no time zone {name!r} here.") from error


# -- how -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _compiled(expression: str) -> tuple[tuple[Any, ...], bool]:
    """Triggers whose earliest time counts, and whether the hour is a wildcard. ValueError."""
    from apscheduler.triggers.cron import CronTrigger

    if expression.startswith("{"):
        fields: dict[str, str] = json.loads(expression)
        given = fields.get("hour", "*" if {"minute", "second"} & fields.keys() else "0")
        return (CronTrigger(**fields, timezone=UTC),), _is_wild(given)
    texts = expression.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(f"it has {len(texts)} fields instead of {len(_FIELDS)}")
    fields = dict(zip(_FIELDS, texts, strict=True))
    fields["day_of_week"] = _weekdays(fields["day_of_week"])
    both = [fields]
    if not texts[2].startswith("*") and not texts[4].startswith("*"):  # as cron has it: either of them will do
        both = [{**fields, "day": "*"}, {**fields, "day_of_week": "*"}]
    return tuple(CronTrigger(**each, second="0", timezone=UTC) for each in both), _is_wild(texts[1])


def _is_wild(hour: str) -> bool:
    return hour.startswith("*") or hour == "0-23"


def _weekdays(text: str) -> str:
    """Days by name: crontab's 0 and 7 are Sunday, APScheduler's 0 is Monday. ValueError."""
    if text == "*":
        return text
    days: set[int] = set()
    for part in text.lower().split(","):
        found = re.fullmatch(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if found is None:
            raise ValueError(f"{part!r} is no weekday")
        everything, first, last, step = found.groups()
        low = 0 if everything else _weekday(first)
        high = 6 if everything else _weekday(last) if last else 6 if step else low
        if high < low:
            high += 7  # sat-mon
        days.update(day % 7 for day in range(low, high + 1, max(int(step or 1), 1)))
    return ",".join(_DAYS[day] for day in sorted(days))


def _weekday(text: str) -> int:
    if text in _DAYS:
        return _DAYS.index(text)
    if text.isdecimal() and int(text) <= 7:
        return int(text)
    raise ValueError(f"{text!r} is no weekday")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _wall(seconds: float, zone: ZoneInfo) -> datetime:
    """What the clocks show."""
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None, fold=0)


def _offset(seconds: float, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(seconds, zone).utcoffset()
