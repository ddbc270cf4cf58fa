"""What a handler turns out to be when it is looked at, once, where it is declared."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from eventbus.errors import EventDefinitionError

if TYPE_CHECKING:
    from eventbus.handlers.context import Context

_STARTED = ("__main__", "__mp_main__")  # how a program calls itself, and a child that multiprocessing spawned from it

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@attrs.frozen(eq=False)
class Callee:
    """A handler and how to call it; calling this one always takes (event, context)."""

    function: Callable[..., Any]
    wants_context: bool
    is_async: bool
    qualified: str

    def __call__(self, event: object, context: Context) -> Any:
        return self.function(event, context) if self.wants_context else self.function(event)


def inspect_handler(function: Callable[..., Any]) -> Callee:
    """Find out how to call a handler; EventDefinitionError for what cannot handle an event.

    Only required positional parameters count: one means (event), two mean (event, context). A second
    parameter with a default belongs to the handler and stays as it is.
    """
    qualified = qualified_name(function)
    if not callable(function):
        _refuse(qualified, "cannot be called")
    inner = innermost(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        _refuse(qualified, "is a generator: calling it would run nothing")
    _refuse_unbound(function, qualified)
    return Callee(function, _wants_context(function, qualified), inspect.iscoroutinefunction(inner), qualified)


def inspect_factory(function: Callable[..., Any]) -> bool:
    """Whether a factory of events takes the time it is called for; EventDefinitionError for what makes none."""
    qualified, hint = qualified_name(function), "A factory takes nothing or the time of the run, and returns an event."
    if not callable(function):
        raise EventDefinitionError(f"The factory {function!r} cannot be called.", hint=hint)
    inner = innermost(function)
    if inspect.iscoroutinefunction(inner) or inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise EventDefinitionError(f"The factory {qualified} is no plain def.", hint=hint)
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions have no signature
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) > 1 or any(p.kind not in _BY_POSITION for p in needed):
        raise EventDefinitionError(f"The factory {qualified} needs {', '.join(p.name for p in needed)}.", hint=hint)
    return bool(needed)


def qualified_name(function: object) -> str:
    """ "module:Qualname" of a function, of what a partial calls, or of the class of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    # A method of a built-in object, such as a list's append, belongs to no module.
    return f"{getattr(named, '__module__', None) or 'builtins'}:{getattr(named, '__qualname__', repr(named))}"


def lasting_name(function: object) -> str:
    """The qualified name, with the module that was started as a program under the name that others import it by.

    So what the log keeps under it is found again, whether the app is `python shop.py` or imported as `shop`.
    """
    module, _, name = qualified_name(function).partition(":")
    return f"{_imported_name() if module in _STARTED else module}:{name}"


def _imported_name() -> str:
    """What the started program is called where it is imported; "__main__" where it has no file, as in a notebook."""
    program = sys.modules["__main__"]
    spec, file = getattr(program, "__spec__", None), getattr(program, "__file__", None)
    if spec is not None:  # python -m shop.app
        return str(spec.name)
    if not isinstance(file, str):
        return "__main__"
    from pathlib import Path

    return Path(file).stem


def identity(function: object) -> Hashable:
    """Equal for two callables that are the same handler: each access to a method makes a new object.

    Never asks the handler's own `__eq__`, which may be anything.
    """
    owner = getattr(function, "__self__", None)
    if inspect.ismethod(function):
        return id(function.__func__), id(owner)
    if inspect.isbuiltin(function) and owner is not None and not inspect.ismodule(owner):
        return function.__name__, id(owner)
    return id(function)


def innermost(function: object) -> object:
    """What a call runs in the end: behind partials, and the method of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__ if callable(function) else function


def _refuse_unbound(function: object, qualified: str) -> None:
    if not inspect.isfunction(function):
        return
    owner = function.__qualname__.rpartition(".")[0]
    first = next(iter(function.__code__.co_varnames[: function.__code__.co_argcount]), "")
    if owner and not owner.endswith("<locals>") and first in ("self", "cls"):
        _refuse(
            qualified,
            f"is found in a class body, where {first!r} is not bound yet",
            "Give the method of an instance: bus.on(..., handler=instance.method).",
        )


def _wants_context(function: Callable[..., Any], qualified: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in functions have no signature: they get the event
        return False
    required = [p for p in parameters if p.default is p.empty]
    names = [p.name for p in required if p.kind in _BY_POSITION]
    keywords = [p.name for p in required if p.kind is p.KEYWORD_ONLY]
    if keywords:
        _refuse(qualified, f"needs the keyword {keywords[0]!r}, which nobody would give it")
    if len(names) > 2:
        _refuse(qualified, f"needs {len(names)} arguments ({', '.join(names)})")
    if not any(p.kind in (*_BY_POSITION, p.VAR_POSITIONAL) for p in parameters):
        _refuse(qualified, "takes no event")
    return len(names) == 2


def _refuse(qualified: str, why: str, hint: str = "A handler takes (event) or (event, context).") -> NoReturn:
    raise EventDefinitionError(f"The handler {qualified} {why}.", hint=hint)
