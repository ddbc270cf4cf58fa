"""Any, object and bare containers: values of exactly JSON's own classes, written as they are."""

from __future__ import annotations

from typing import Any

from eventbus.codecs.json.leaves import Leaf, Leaves
from eventbus.codecs.json.shapes import NoneType, class_of
from eventbus.codecs.refusal import Refused, class_name, shown, too_deep


class PlainWriter:
    """Writes JSON values: str, int, float, bool, None, and lists and dicts of them with str keys."""

    def __init__(self, leaves: Leaves) -> None:
        self._looks: dict[Any, Leaf | None] = {cls: leaves.get(cls) for cls in (str, int, float, bool, NoneType)}

    def __call__(self, value: Any, room: int) -> Any:
        cls = class_of(value)
        if cls in self._looks:
            look = self._looks[cls]
            return value if look is None else look(value)
        if cls is not list and cls is not dict:
            raise Refused(f"is {class_name(value)}, which is not a JSON value: declare a type for it")
        if not room:
            raise too_deep()
        if cls is list:
            self._look_at_items(value, room - 1)
        else:
            self._look_at_entries(value, room - 1)
        return value

    def _look_at_items(self, items: list[Any], room: int) -> None:
        index = 0
        try:
            for item in items:
                self(item, room)
                index += 1
        except Refused as refusal:
            raise refusal.under(f"[{index}]") from None

    def _look_at_entries(self, entries: dict[Any, Any], room: int) -> None:
        for key, item in entries.items():
            if type(key) is not str:
                raise Refused(f"has the key {shown(key)}, which is {class_name(key)}, not str")
            try:
                self(key, room)
                self(item, room)
            except Refused as refusal:
                raise refusal.under(f"[{shown(key)}]") from None
