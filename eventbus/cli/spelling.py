"""How an event is written out: one line, one JSON object, or its payload in full."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, cast

from eventbus.cli.plain import cut
from eventbus.cli.screen import Cell, Style
from eventbus.cli.units import ago, stored_time
from eventbus.store.viewing import StoredEvent

_BARE = re.compile(r"[^\s\"'=,{}\[\]\\]+")
_LONGEST_PARSED = 1 << 16  # characters; a line of a terminal shows a few hundred at most
_JSON_WORDS = frozenset({"true", "false", "null"})


def kind_style(kind: str) -> Style:
    """Technical events stand back."""
    return "dim" if kind == "technical" else "name"


def place(event: StoredEvent) -> str:
    """Where in its stream: "order-1 #3", or nothing."""
    return "" if event.stream is None else f"{event.stream} {_sequence(event)}"


def place_cells(event: StoredEvent) -> list[Cell]:
    """The same in two columns, so that a long stream may be cut and the sequence still be read."""
    return [Cell(event.stream or "", "place"), Cell(_sequence(event), "place")]


def _sequence(event: StoredEvent) -> str:
    return "" if event.stream is None else f"#{event.sequence}"


def day_and_time(event: StoredEvent) -> tuple[str, str]:
    """The local day it was recorded, "Mon 3 Mar 2026", and the time of that day to the millisecond."""
    moment = stored_time(event.time)
    if moment is None:
        return event.time, ""
    local = moment.astimezone()
    return f"{local:%a} {local.day} {local:%b %Y}", f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"


def full_time(text: str, now: datetime) -> str:
    """Date, time, zone and how long ago."""
    moment = stored_time(text)
    if moment is None:
        return text
    local = moment.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f" {local:%z} ({ago(moment, now)})"


def gist(event: StoredEvent, columns: int | None) -> str:
    """The payload on one line: name=value for an object; only as much as `columns` can show is looked at."""
    payload = event.payload
    if payload is None:
        return "(erased)"
    if not isinstance(payload, str):
        return f"({_size(payload)}, {event.codec or 'not text'})"
    if columns is not None and len(payload) > _LONGEST_PARSED:
        return cut(payload[: columns + 1], columns)
    return spelled(payload)


def spelled(payload: str) -> str:
    """A JSON object as name=value, any other text as it is."""
    value = loaded(payload)
    if not isinstance(value, dict):
        return payload
    return " ".join(f"{key}={_short(item)}" for key, item in cast("dict[str, Any]", value).items())


def _size(payload: object) -> str:
    return f"{len(payload):,} bytes" if isinstance(payload, bytes) else type(payload).__name__


def _short(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in _JSON_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def loaded(text: str | None) -> Any:
    """The JSON value of a stored text, or None where it is not JSON that can be written again."""
    if text is None:
        return None
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return value


def pretty(event: StoredEvent) -> list[str]:
    """The payload in full, one field a line."""
    payload = event.payload
    if not isinstance(payload, str):
        return [gist(event, None)]
    value = loaded(payload)
    if value is None and payload.strip() != "null":
        return payload.splitlines() or [""]
    return json.dumps(value, indent=2, ensure_ascii=False).split("\n")


def as_record(event: StoredEvent) -> dict[str, Any]:
    """The event as a JSON object: `payload` as the value it is, or else as `payload_text` or `payload_base64`."""
    return {
        "position": event.position,
        "id": event.id,
        "type": event.type.name,
        "version": event.type.version,
        "kind": event.type.kind,
        "stream": event.stream,
        "sequence": event.sequence,
        "time": event.time,
        "source": event.source,
        "correlation_id": event.correlation_id or event.id,
        "causation_id": event.causation_id,
        "metadata": loaded(event.metadata) or {},
        **({} if event.codec is None else {"codec": event.codec}),
        **_payload(event.payload),
    }


def _payload(payload: Any) -> dict[str, Any]:
    if isinstance(payload, bytes):
        import base64

        return {"payload": None, "payload_base64": base64.b64encode(payload).decode()}
    value = loaded(payload) if isinstance(payload, str) else payload
    if value is None and payload is not None and payload != "null":
        return {"payload": None, "payload_text": str(payload)}
    return {"payload": value}


def short_cells(event: StoredEvent) -> list[Cell]:
    """Position, type and place, for a line about an event that another one names."""
    return [
        Cell(str(event.position), "dim"),
        Cell(event.type.name, kind_style(event.type.kind)),
        *place_cells(event),
    ]
