"""What a codec cannot carry, before anyone knows which event it belongs to.

The path is put together on the way out: whoever holds a part adds its own step, so that looking
after a path costs nothing while all is well.
"""

from __future__ import annotations

MAX_DEPTH = 64  # levels of JSON; readers of other makes give up not far beyond


class Refused(Exception):
    """A value that would not come back equal; `reason` continues a sentence that begins with its path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self._steps: list[str] = []

    def under(self, step: str) -> Refused:
        """Add the step that leads from a holder to what was refused: `.price`, `[2]`, `['a']`."""
        self._steps.append(step)
        return self

    @property
    def path(self) -> str:
        return "".join(reversed(self._steps)).removeprefix(".")


def shown(value: object) -> str:
    """A value as a message shows it: short, and never an error itself."""
    try:
        return f"{value!r:.60}"
    except Exception:  # an endless int, or a __repr__ of the user's
        return f"<{class_name(value)}>"


def class_name(value: object) -> str:
    return "None" if value is None else type(value).__qualname__.rpartition(".<locals>.")[2]


def wrong_class(value: object, expected: str) -> Refused:
    return Refused(f"is {class_name(value)}, not {expected}")


def too_deep() -> Refused:
    return Refused(f"is nested more than {MAX_DEPTH} levels deep")


class Unusual(Exception):
    """Something is wrong somewhere; who has the time finds out what and where."""


class Undefinable(Exception):
    """A class whose instances would not come back equal: `field` is the way to the field, `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self._steps: list[str] = []

    def under(self, field: str) -> Undefinable:
        self._steps.append(field)
        return self

    @property
    def field(self) -> str:
        return ".".join(reversed(self._steps))


class Unresolved(Undefinable):
    """An annotation with a name that is not there, or not there yet."""
