"""Where in the app's code an event was published."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

import attrs

_OURS = "eventbus"
_PASSED_THROUGH = frozenset({"contextlib"})
_NOBODY = frozenset({"asyncio", "concurrent", "threading"})
"""What runs a thread or a task: whoever stands behind it did not publish."""


@attrs.frozen(repr=False)
class Place:
    """A spot in the code; cheap to note, spelled out only when somebody wants to read it."""

    code: CodeType
    instruction: int

    @property
    def line(self) -> int | None:
        for start, end, line in self.code.co_lines():
            if start <= self.instruction < end:
                return line
        return None

    def __str__(self) -> str:
        """ "file:line in function"."""
        return f"{self.code.co_filename}:{self.line} in {self.code.co_qualname}"

    def __repr__(self) -> str:
        return f"<Place {self}>"


def caller() -> Place | None:
    """The innermost frame outside this package; None when nobody's code called, as in a thread of our own."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in _NOBODY:
            return None
        if package != _OURS and package not in _PASSED_THROUGH:
            return Place(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None
