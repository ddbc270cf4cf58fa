"""Text from a log, made safe and measured for a terminal.

Names, payloads and error messages come from whoever wrote the log. Nothing of them may move the cursor,
change colours, hide or reorder what stands beside it: such characters are shown as escapes.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

# Printable by category, yet without ink: joiners, fillers and variation selectors that hide text in plain sight.
_INKLESS = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(first, last + 1)
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
ELLIPSIS = "…"
Keep = Literal["start", "end", "both"]

_REMEMBERED = 4096  # characters whose properties were looked up; no text has many more kinds of them


def plain(text: object) -> str:
    """Show `text` on one line: control, format, bidirectional, surrogate and invisible characters escaped.

    In a damaged log it may be something else, which is shown as what it is.
    """
    if not isinstance(text, str):
        text = str(text)
    if text.isprintable() and (text.isascii() or _INKLESS.isdisjoint(text)):
        return text
    return "".join(map(_shown, text))


@lru_cache(_REMEMBERED)
def _shown(char: str) -> str:
    has_ink = char.isprintable() or unicodedata.category(char) == "Zs"
    if has_ink and char not in _INKLESS:
        return char
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


@lru_cache(_REMEMBERED)
def _char_width(char: str) -> int:
    """The terminal columns of one character: 2 for East Asian wide ones, 0 for combining marks."""
    if unicodedata.east_asian_width(char) in "WF":
        return 2
    return 0 if unicodedata.category(char) in ("Mn", "Me") else 1


def width(text: str) -> int:
    """The terminal columns that `text` takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def cut(text: str, columns: int | None, keep: Keep = "start") -> str:
    """Shorten `text` to at most `columns`, with an ellipsis where something is missing; None keeps it whole.

    `keep` says which part tells most: the start, the end, or some of both.
    """
    if columns is None or (len(text) * 2 <= columns) or width(text) <= columns:
        return text
    if columns <= 0:
        return ""
    tail = {"start": 0, "end": columns - 1, "both": (columns - 1) // 2}[keep]
    return _head(text, columns - 1 - tail) + ELLIPSIS + _head(text[::-1], tail)[::-1]


def _head(text: str, columns: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _char_width(char)
        if taken > columns:
            return text[:index]
    return text


def wrapped(text: str, columns: int | None) -> list[str]:
    """Break `text` into pieces of at most `columns`, losing nothing."""
    if columns is None or width(text) <= columns:
        return [text]
    pieces: list[str] = []
    while text:
        piece = _head(text, max(columns, 2)) or text[0]
        pieces.append(piece)
        text = text[len(piece) :]
    return pieces


def padded(text: str, columns: int, align: str) -> str:
    """Fill `text` with spaces up to `columns`; `align` is "<" or ">"."""
    fill = " " * max(columns - width(text), 0)
    return fill + text if align == ">" else text + fill
