"""Single values: what is looked at beyond their class, and how they are written.

There are two tables. The quick one leaves to msgspec what msgspec refuses itself (lone surrogates, endless
ints); the careful one looks at that as well, and is used to find the place after something was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any

from eventbus.codecs.refusal import Refused

Leaf = Callable[[Any], Any]  # from a value of the right class to what msgspec is given
Leaves = Mapping[type, Leaf]  # by class; one that is missing is written as it is


def _finite(value: float) -> float:
    if isfinite(value):
        return value
    raise Refused("is NaN, which JSON cannot carry" if value != value else "is infinite, which JSON cannot carry")


def _finite_decimal(value: Decimal) -> Decimal:
    if value.is_finite():
        return value
    raise Refused("is a Decimal NaN, which equals nothing" if value.is_nan() else "is an infinite Decimal")


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"has a lone surrogate at index {error.start}, which UTF-8 cannot carry") from None
    return value


def _spellable(value: int) -> int:
    try:
        str(value)
    except ValueError:
        raise Refused(f"is an int of {value.bit_length()} bits, too long to be read back") from None
    return value


def _aware(value: datetime) -> datetime:
    offset = value.utcoffset()
    if offset is None:
        raise Refused("is a naive datetime: give it a time zone, such as datetime.now(UTC)")
    if not offset.seconds % 60 and not offset.microseconds:
        return value
    try:
        return value.astimezone(UTC)  # JSON's offsets end with the minutes; the instant is the same
    except OverflowError:
        raise Refused(f"is {value.isoformat()}, which has no time in UTC") from None


def _whole_minutes(value: time) -> time:
    offset = value.utcoffset()
    if offset is not None and (offset.seconds % 60 or offset.microseconds):
        raise Refused("has an offset with seconds, which JSON cannot carry")
    return value


QUICK: Leaves = {float: _finite, Decimal: _finite_decimal, datetime: _aware, time: _whole_minutes}
CAREFUL: Leaves = {**QUICK, str: _encodable, int: _spellable}
