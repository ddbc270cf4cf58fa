"""Steps: named parts of a handler whose result is kept, so that a retry does not run them again."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, Protocol, get_type_hints

import attrs

from eventbus.codecs import JsonCodec, Scope, Undefinable
from eventbus.errors import EventDefinitionError, InvalidEvent, InvalidStep
from eventbus.handlers.callee import innermost, qualified_name
from eventbus.threads import off_the_loop, running_loop

LONGEST_NAME = 200
"""Characters. A step's name is a key in the log."""

_LONGEST_RESULT = 1 << 28  # bytes; SQLite's own limit is about four times as much

_CODECS_REMEMBERED = 256


@attrs.frozen
class Kept:
    """A step that has run: its result as JSON, None for one that could not be written."""

    text: str | None
    finished_at: str


class Shelf(Protocol):
    """Where the results of one delivery's steps are kept."""

    def find(self, name: str) -> Kept | None:
        """What is kept of a step. Raises where nothing could be kept, as long as nothing has run."""
        ...

    def keep(self, name: str, text: str | None, result: Any) -> None:
        """Keep the result of a step that has run; `text` as in Kept. Returns when it is stored."""
        ...


class Steps:
    """The steps of one attempt."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._names: set[str] = set()
        self._unawaited: dict[str, Coroutine[Any, Any, Any]] = {}

    def run(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """The result of a step, kept or new; a coroutine that returns it if the function is async."""
        self._check_name(name)
        codec = _codec_of(name, function)
        if inspect.iscoroutinefunction(innermost(function)):
            return self._begin(name, function, self._run_async(name, codec, lambda: function(*args, **named)))
        kept = self._shelf.find(name)
        if kept is not None:
            return _again(name, codec, kept)
        result = function(*args, **named)
        if inspect.iscoroutine(result):
            result.close()
            _refuse(name, f"{qualified_name(function)} returned a coroutine", "Give it the async function itself.")
        text, refused = _written(name, codec, result)
        self._shelf.keep(name, text, result)
        return _told(result, refused)

    def _begin(
        self, name: str, function: Callable[..., Any], step: Coroutine[Any, Any, Any]
    ) -> Coroutine[Any, Any, Any]:
        """An async step that waits to be awaited; refused where nobody could."""
        if running_loop() is None:
            step.close()
            _refuse(
                name,
                f"{qualified_name(function)} is async, and nothing can await it here",
                "Make the handler an async def and await the step, or give it a plain function.",
            )
        self._unawaited[name] = step
        return step

    def end(self) -> None:
        """The handler has returned: EventDefinitionError if it left a step that was never begun."""
        for step in self._unawaited.values():
            step.close()
        if self._unawaited:
            _refuse(
                next(iter(self._unawaited)),
                "the handler returned without awaiting it",
                f"Write await ctx.step({next(iter(self._unawaited))!r}, ...).",
            )

    async def _run_async(self, name: str, codec: JsonCodec, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        self._unawaited.pop(name, None)
        kept = await off_the_loop(lambda: self._shelf.find(name))
        if kept is not None:
            return _again(name, codec, kept)
        result = await call()
        text, refused = _written(name, codec, result)
        # A cancellation from here on stops the waiting, not the keeping.
        await off_the_loop(lambda: self._shelf.keep(name, text, result))
        return _told(result, refused)

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            raise EventDefinitionError(f"{name!r} cannot name a step: 1 to {LONGEST_NAME} printable characters.")
        if name in self._names:
            _refuse(name, "the name was used already in this attempt", "Number steps in a loop: f'mail {number}'.")
        self._names.add(name)


def _written(name: str, codec: JsonCodec, result: Any) -> tuple[str | None, InvalidStep | None]:
    try:
        return codec.encode(result, _LONGEST_RESULT), None
    except InvalidEvent as error:
        return None, InvalidStep(name, error.path, error.reason)


def _told(result: Any, refused: InvalidStep | None) -> Any:
    if refused is not None:
        raise refused
    return result


def _again(name: str, codec: JsonCodec, kept: Kept) -> Any:
    """The kept result as its annotation says it."""
    if kept.text is None:
        raise InvalidStep(name, "", f"of {kept.finished_at} could not be kept")
    try:
        return codec.decode(kept.text)
    except InvalidEvent as error:
        raise InvalidStep(name, error.path, f"no longer fits its annotation: {error.reason}") from error


def _codec_of(name: str, function: Callable[..., Any]) -> JsonCodec:
    """The codec of a function's results; EventDefinitionError before it runs if they could not come back equal."""
    try:
        hint = _return_hint(function)
        try:
            return _codec(hint)
        except TypeError:  # an annotation that cannot be hashed
            return JsonCodec(hint, "the result", Scope())
    except Undefinable as error:
        where = f" (its field {error.field})" if error.field else ""
        _refuse(
            name,
            f"what {qualified_name(function)} is annotated to return{where} would not come back equal: {error.reason}",
            "Return what an event's field may hold, such as an id.",
        )
    except NameError as error:
        _refuse(
            name,
            f"the name {error.name!r} in the return annotation of {qualified_name(function)} is not defined",
            "Define it where the module sees it when it runs, or leave the annotation out.",
        )


@functools.lru_cache(maxsize=_CODECS_REMEMBERED)
def _codec(hint: Any) -> JsonCodec:
    return JsonCodec(hint, "the result", Scope())


def _return_hint(function: Callable[..., Any]) -> Any:
    if inspect.isclass(function):
        return function
    inner = innermost(function)
    hint = getattr(inner, "__annotations__", {}).get("return", Any)
    if not isinstance(hint, str):
        return type(None) if hint is None else hint
    inner = inspect.unwrap(getattr(inner, "__func__", inner))  # type: ignore[arg-type]
    holder = _Holder({"return": hint})
    return get_type_hints(holder, getattr(inner, "__globals__", {}), _around(inner), include_extras=True)["return"]


def _around(function: Any) -> dict[str, Any]:
    """What a function sees of those it was defined in."""
    code: types.CodeType | None = getattr(function, "__code__", None)
    cells: tuple[types.CellType, ...] = getattr(function, "__closure__", None) or ()
    names = code.co_freevars if code is not None else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if cell != types.CellType()}


class _Holder:
    def __init__(self, annotations: dict[str, Any]) -> None:
        self.__annotations__ = annotations


def _refuse(name: str, why: str, hint: str) -> NoReturn:
    raise EventDefinitionError(f"The step {name!r} was not run: {why}.", hint=hint)
