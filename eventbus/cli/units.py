"""Numbers and times as a person says them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_RELATIVE = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def number(value: int) -> str:
    """12345 -> "12,345"."""
    return f"{value:,}"


def plural(value: int, word: str) -> str:
    """1, "event" -> "1 event"; 2 -> "2 events"."""
    return f"{value:,} {word}" if value == 1 else f"{value:,} {word}s"


def span(seconds: float) -> str:
    """A duration in its two largest units: "120 ms", "3 m 20 s", "2 d 5 h"."""
    if seconds < 1:
        return f"{max(round(seconds * 1000), 0)} ms"
    left = round(seconds)
    for index, (size, unit) in enumerate(_STEPS):
        if left >= size:
            whole, rest = divmod(left, size)
            smaller, smaller_unit = _STEPS[index + 1] if index + 1 < len(_STEPS) else (1, "")
            tail = f" {rest // smaller} {smaller_unit}" if rest // smaller else ""
            return f"{whole} {unit}{tail}"
    return "0 s"


def ago(then: datetime, now: datetime) -> str:
    """How far `then` lies from `now`: "3 m 20 s ago", "in 12 s", "now"."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def stored_time(text: str | None) -> datetime | None:
    """The instant of a stored text; None when it is missing or is no time at all."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def moment(text: str, now: datetime) -> datetime:
    """What a person means by "10m", "1h30m", "2d", "today", "yesterday", "2026-03-01" or "2026-03-01 14:00".

    Without a zone it is local time. Raises ValueError.
    """
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return (midnight - timedelta(days=word == "yesterday")).astimezone(UTC)
    if _RELATIVE.fullmatch(word):
        seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(word))
        try:
            return now - timedelta(seconds=seconds)
        except OverflowError as error:
            raise ValueError(text) from error
    return datetime.fromisoformat(text.strip()).astimezone(UTC)


def relative(text: str | None, now: datetime) -> str:
    """How long ago, or in how long; nothing for no time, an odd text as it is."""
    moment = stored_time(text)
    return (text or "") if moment is None else ago(moment, now)


def due(text: str | None, now: datetime) -> str:
    """When something is to happen: "in 12 s", or "now" if it only waits for somebody to do it."""
    moment = stored_time(text)
    return "now" if moment is not None and moment <= now else relative(text, now)
