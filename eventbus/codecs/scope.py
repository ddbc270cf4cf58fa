"""Where the names in a class's annotations are looked up."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, get_type_hints

from eventbus.codecs.refusal import Undefinable, Unresolved

_CO_OPTIMIZED = 0x1  # set on functions, not on class bodies and modules


class Scope:
    """The function a class was defined in, if it was: its local classes may be named by annotations.

    It keeps frames alive, so drop it once everything is resolved.
    """

    def __init__(self, frames: tuple[FrameType, ...] = (), names: Mapping[str, Any] | None = None) -> None:
        self._frames = frames
        self._names = names or {}

    @classmethod
    def of(cls, frame: FrameType | None) -> Scope:
        """The scope of code that runs in `frame`: enclosing class bodies and the function around them."""
        frames: list[FrameType] = []
        names = frame.f_globals if frame is not None else {}
        while frame is not None and frame.f_locals is not frame.f_globals:
            frames.append(frame)
            if frame.f_code.co_flags & _CO_OPTIMIZED:
                break
            frame = frame.f_back
        return cls(tuple(frames), names)

    def resolve(self, hint: Any, owner: type) -> Any:
        """The type that `hint` stands for in the class `owner`; Unresolved if a name is not there."""
        if isinstance(hint, type) and not hasattr(hint, "__origin__"):
            return hint
        holder = _Holder({"hint": hint})
        try:
            return get_type_hints(holder, self._globals(owner), self._locals(owner), include_extras=True)["hint"]
        except NameError as error:
            raise Unresolved(f"the name {error.name!r} in its annotation {_spelled(hint)} is not defined") from error
        except AttributeError as error:  # of a module that is not loaded to its end
            raise Unresolved(f"its annotation {_spelled(hint)} cannot be evaluated: {error}") from error
        except (SyntaxError, TypeError) as error:
            raise Undefinable(f"its annotation {_spelled(hint)} cannot be evaluated: {error}") from error

    def _globals(self, owner: type) -> dict[str, Any]:
        inner = {name: value for name, value in vars(owner).items() if isinstance(value, type)}
        if owner.__module__ == self._names.get("__name__", "builtins"):
            return {**inner, **self._names}  # the very module, or code that was run by exec() and has none
        module = sys.modules.get(owner.__module__)
        return {**inner, **(vars(module) if module else {})}

    def _locals(self, owner: type) -> Mapping[str, Any]:
        names: dict[str, Any] = {}
        for frame in reversed(self._frames):
            names.update(frame.f_locals)
        # the decorator runs before the class statement binds its name, and a reload would find the old class
        names[owner.__name__] = owner
        return names


class _Holder:
    def __init__(self, annotations: dict[str, Any]) -> None:
        self.__annotations__ = annotations


def _spelled(hint: Any) -> str:
    return repr(hint) if isinstance(hint, str) else repr(getattr(hint, "__forward_arg__", hint))
