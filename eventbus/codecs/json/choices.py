"""Enums and Literals: one of a few values, and what each of them is written as.

msgspec reads most Enums by itself and refuses others only when it is to read them (an int above 64 bits),
or reads something else than it wrote (a str Enum whose value is another string). So each member makes its
way there and back where the class is defined; where msgspec fails, we read.
"""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any, Literal

import msgspec

from eventbus.codecs.json.leaves import CAREFUL
from eventbus.codecs.json.shapes import NOT_NATIVE, EnumShape, LiteralShape, NoneType, Shape, class_of
from eventbus.codecs.refusal import Refused, Undefinable, shown

_INT64 = range(-(1 << 63), 1 << 63)  # what msgspec takes as an int of a Literal
_encode = msgspec.json.Encoder().encode


def enum_shape(cls: type[Enum]) -> Shape:
    """The shape of an Enum; Undefinable if a member would not come back as itself."""
    members = list(cls.__members__.values())
    kind = next((kind for kind in (str, int) if members and all(type(m.value) is kind for m in members)), None)
    if kind is None and issubclass(cls, Flag):
        kind = int
    for member in members:
        _refuse_unreadable(cls, member, by_name=kind is None)
    return EnumShape(
        cls.__name__,
        classes=(cls,),
        kinds=(kind or str,),
        native=cls if kind is not None and _is_native(cls, members) else NOT_NATIVE,
        cls=cls,
        by_name=kind is None,
    )


def _refuse_unreadable(cls: type[Enum], member: Enum, *, by_name: bool) -> None:
    written = member.name if by_name else member.value
    where = f"the {'name' if by_name else 'value'} of {cls.__name__}.{ascii(member.name)[1:-1]}"
    _refuse_unwritable(where, written)
    try:
        again = cls[written] if by_name else cls(written)
    except (KeyError, ValueError):
        again = None
    if again is not member:
        raise Undefinable(f"{where} does not lead back to it")


def _refuse_unwritable(where: str, written: Any) -> None:
    look = CAREFUL.get(class_of(written))
    if look is not None:
        try:
            look(written)
        except Refused as refusal:
            raise Undefinable(f"{where} {refusal.reason}") from None


def _is_native(cls: type[Enum], members: list[Enum]) -> bool:
    if issubclass(cls, Flag):
        return False  # its members are not all there are, and a combination may be above 64 bits
    try:
        decode = msgspec.json.Decoder(cls).decode
        return all(decode(_encode(member)) is member for member in members)
    except (TypeError, NotImplementedError, msgspec.ValidationError):
        return False  # it cannot: our own loader can


def literal_shape(values: tuple[Any, ...]) -> Shape:
    """The shape of a Literal; Undefinable if its values look the same as JSON, or cannot be JSON."""
    written: dict[tuple[type, Any], Any] = {}
    for value in values:
        said: Any = value
        if isinstance(value, Enum):
            said = value.value if type(value.value) in (str, int) else value.name
        elif type(value) not in (str, int, bool, NoneType):
            raise Undefinable(f"Literal[{shown(value)}] cannot be told from its JSON")
        _refuse_unwritable(f"Literal[{shown(value)}]", said)
        written[type(value), value] = said
    spelled: set[tuple[type, Any]] = {(type(json), json) for json in written.values()}
    if len(spelled) < len(written):
        raise Undefinable("its literals look the same as JSON")
    return LiteralShape(
        f"Literal[{', '.join(map(shown, values))}]",
        classes=tuple({type(value): None for value in values}),
        kinds=tuple({type(json): None for json in written.values()}),
        native=Literal if all(map(_is_native_literal, values)) else NOT_NATIVE,
        values=values,
        written=written,
    )


def _is_native_literal(value: Any) -> bool:
    return type(value) in (str, NoneType) or (type(value) is int and value in _INT64)
