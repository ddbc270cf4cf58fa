"""What an ingest is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import attrs

from eventbus.errors import EventBusError
from eventbus.events import Receipt
from eventbus.ordering import POLICIES, Policy

_LARGEST = 2**63 - 2  # one less than SQLite's largest integer: the number after it is expected next
_LONGEST = 10 * 365 * 86400.0  # seconds; a due time is stored as a date, and dates end in the year 9999

State = Literal["stored", "duplicate", "buffered", "late"]


class IngestOptions(TypedDict, total=False):
    """The keywords of `ingest` beside `source` and `id`."""

    stream: str | None
    sequence: int | None
    first: int | Literal["any"] | None
    gap_timeout: float | None
    on_gap: Policy | None
    metadata: Mapping[str, Any] | None
    correlation_id: str | None
    causation_id: str | None


@attrs.frozen
class Ingested:
    """What has become of an event from outside. Whatever it is, it is committed: the broker can be told so.

    `state`: "stored"; "duplicate", stored before; "buffered", it waits in the file for those before it; "late", its
    number was skipped, or is before the first, and it is dropped. `receipt`: where it is in the log, None while it
    is not. `released`: the receipts of those that had waited for it and are stored now as well, in order.
    """

    state: State
    receipt: Receipt | None = None
    released: tuple[Receipt, ...] = ()


@attrs.frozen
class Order:
    """Where an event is in its sender's order, and what follows a gap there; what is None stays as it was."""

    number: int
    first: int | Literal["any"] | None = None
    gap_timeout: float | None = None
    on_gap: Policy | None = None

    @classmethod
    def of(cls, options: IngestOptions) -> Order | None:
        """The order that keywords speak of, None without a sequence. Raises EventBusError for what cannot be meant."""
        sequence, first = options.get("sequence"), options.get("first")
        timeout, on_gap = options.get("gap_timeout"), options.get("on_gap")
        if sequence is None:
            for name in ("first", "gap_timeout", "on_gap"):
                if options.get(name) is not None:
                    raise _refused(f"{name}= means nothing without sequence=, the sender's number")
            return None
        _check_number("sequence", sequence)
        if first != "any" and first is not None:
            _check_number("first", first)
        if first is None and sequence < 1:
            raise _refused("sequence=0, but senders count from 1", "Pass first=0 with each event of this sender.")
        _check_policy(timeout, on_gap)
        return cls(sequence, first, None if timeout is None else float(timeout), on_gap)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        either = ' or "any"' if name == "first" else ""
        raise _refused(f"{name}= is a whole number of at least 0{either}, not {value!r}")


def _check_policy(timeout: object, on_gap: object) -> None:
    if timeout is not None:
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and not math.isnan(timeout)
        if not is_number or not 0 <= timeout <= _LONGEST:  # type: ignore[operator]
            raise _refused(f"gap_timeout= is a number of seconds, at least 0 and at most ten years, not {timeout!r}")
    if on_gap is not None and on_gap not in POLICIES:
        raise _refused(f"on_gap= is one of {', '.join(map(repr, POLICIES))}, not {on_gap!r}")
    if on_gap in ("skip", "dead") and timeout is None:
        raise _refused(f"on_gap={on_gap!r}, but after how long?", "Pass gap_timeout=, in seconds.")


def _refused(what: str, hint: str = "") -> EventBusError:
    return EventBusError(what if what.endswith("?") else what + ".", stored="not stored", hint=hint)
