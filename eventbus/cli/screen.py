"""Where a command writes: lines for a person, or one JSON object a line for a program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias

import attrs

from eventbus.cli.plain import Keep, cut, padded, plain, width

Style = Literal["", "dim", "bold", "good", "warn", "bad", "name", "place"]
_SGR: dict[Style, str] = {
    "dim": "2",
    "bold": "1",
    "good": "32",
    "warn": "33",
    "bad": "31",
    "name": "36",
    "place": "34",
}
_READABLE_COLUMN = 36  # an id: no name up to it is cut while there are columns of less weight that can leave
_NARROWEST_COLUMN = 6
_REST = 4  # a fourth of the line: names and streams are narrowed before a payload has less
_GAP = "  "
_USUAL_COLUMNS = 80
NOTHING = "·"
"""What stands in a cell without a value."""
CLEAR_LINE = "\r\x1b[2K"


@attrs.frozen
class Cell:
    """A piece of text in one style. The text is made safe here, so that no caller can forget it."""

    text: str = attrs.field(converter=plain)
    style: Style = ""


@attrs.frozen
class Column:
    """How a column of a table is laid out; one that `gives` is narrowed when the terminal is.

    Those with a number at `leaves` are left out of a table that is still too wide: first those in which nothing is
    said, then the lowest number first.
    """

    title: str = ""
    align: Literal["<", ">"] = "<"
    gives: bool = False
    keep: Keep = "start"
    leaves: int = 0


Piece: TypeAlias = tuple[str, Style]
"""Text that is safe already."""


class Layout:
    """The column widths that fit a terminal: those of some rows, and no less than an earlier layout's."""

    silent: set[int]  # columns that say nothing in any row

    def __init__(
        self,
        columns: Sequence[Column],
        sample: Iterable[Sequence[Cell]],
        total: int | None,
        earlier: Layout | None = None,
    ) -> None:
        self.columns = columns
        self.natural: list[int] = earlier.natural if earlier else [width(column.title) for column in columns]
        silent = earlier.silent if earlier else set(range(len(columns)))
        for row in sample:
            self.natural = [max(known, width(cell.text)) for known, cell in zip(self.natural, row, strict=True)]
            silent = {index for index in silent if row[index].text in ("", NOTHING)}
        self.silent = silent
        self.widths = list(self.natural)
        self.shown = list(range(len(self.columns)))
        self.fixed = total is not None
        if total is not None:
            self._fit(total)

    @property
    def total(self) -> int:
        """The columns of a row, with the gap that follows it."""
        return sum(self.widths[index] + len(_GAP) for index in self.shown)

    def _fit(self, total: int) -> None:
        leaving = sorted((index for index in self.shown if self.columns[index].leaves), key=self._place_in_leaving)
        while not self._narrow(total, _READABLE_COLUMN) and leaving:
            self.shown.remove(leaving.pop(0))
        self._narrow(total, _NARROWEST_COLUMN)

    def _place_in_leaving(self, index: int) -> tuple[bool, int]:
        return index not in self.silent, self.columns[index].leaves

    def _narrow(self, total: int, narrowest: int) -> bool:
        """Take from the widest column, again and again, so that narrow ones stay whole; whether it is enough."""
        giving = [index for index in self.shown if self.columns[index].gives]
        self.widths = [min(size, total) for size in self.natural]
        excess = self.total - len(_GAP) - total
        while excess > 0 and giving:
            widest = max(giving, key=self.widths.__getitem__)
            if self.widths[widest] <= narrowest:
                break
            self.widths[widest] -= 1
            excess -= 1
        return excess <= 0

    def pieces(self, row: Sequence[Cell]) -> list[Piece]:
        """The row with each cell cut and padded to its column."""
        return [self._piece(row[index], self.columns[index], self.widths[index]) for index in self.shown]

    def _piece(self, cell: Cell, column: Column, size: int) -> Piece:
        text = cut(cell.text, size, column.keep) if self.fixed else cell.text
        return padded(text, size, column.align), cell.style


class Screen:
    """A command's output. `columns` is None when nobody's terminal limits a line, as in a pipe."""

    def __init__(self, stream: TextIO, *, as_json: bool, columns: int | None, colour: bool, live: bool) -> None:
        self._stream = stream
        self.as_json, self.columns, self.colour, self.live = as_json, columns, colour, live

    @classmethod
    def of(cls, *, as_json: bool, stream: TextIO | None = None) -> Screen:
        """The screen of this process: the terminal's width and colours, or none in a pipe."""
        target: TextIO = sys.stdout if stream is None else stream
        is_terminal = target.isatty()
        columns = _columns(target, is_terminal)
        capable = is_terminal and os.environ.get("TERM") != "dumb"
        colour = capable and not os.environ.get("NO_COLOR")
        return cls(target, as_json=as_json, columns=columns, colour=colour, live=capable)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def record(self, fields: Mapping[str, Any]) -> None:
        """One object on one line. Only ASCII, so that no reader or terminal stumbles over it."""
        self._stream.write(json.dumps(fields, allow_nan=False).replace("\x7f", "\\u007f") + "\n")

    def line(self, *cells: Cell | str, indent: int = 0) -> None:
        """One line, its pieces side by side, never wider than the terminal."""
        self._write(
            [(cell.text, cell.style) if isinstance(cell, Cell) else (plain(cell), "") for cell in cells], indent
        )

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], indent: int = 0) -> None:
        """Aligned rows under dim titles, if the columns have any."""
        layout = self.layout(columns, rows, indent)
        if any(column.title for column in columns):
            self.titles(layout, indent)
        for row in rows:
            self.row(layout, row, indent)

    def layout(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[Cell]],
        indent: int = 0,
        earlier: Layout | None = None,
        *,
        with_rest: bool = False,
    ) -> Layout:
        """Column widths for `rows` that fit this screen, `with_rest` with a fourth of the line left for a `rest`."""
        room = None if self.columns is None else self.columns - indent
        if room is not None and with_rest:
            room -= room // _REST
        return Layout(columns, rows, room, earlier)

    def left(self, layout: Layout, indent: int = 0) -> int | None:
        """The columns for the `rest` of a row."""
        return None if self.columns is None else max(self.columns - indent - layout.total, 0)

    def titles(self, layout: Layout, indent: int = 0) -> None:
        """The line above a table."""
        self.row(layout, [Cell(column.title, "dim") for column in layout.columns], indent)

    def row(self, layout: Layout, row: Sequence[Cell], indent: int = 0, rest: Cell | None = None) -> None:
        """One row of a table whose layout is settled, and the `rest` of the line."""
        pieces = layout.pieces(row)
        if rest is not None:
            pieces.append((rest.text, rest.style))
        self._write(pieces, indent, _GAP)

    def remark(self, trouble: str | None) -> None:
        """What went wrong, under the row that it belongs to."""
        if trouble:
            self.line(Cell("└ ", "dim"), Cell(trouble, "bad"), indent=2)

    def cut_at(self, limit: int | None) -> None:
        """Tell a person that a list ends where --limit has cut it, not where it ends."""
        if not self.as_json:
            self.line(Cell(f"There are more than --limit {limit}.", "dim"))

    def status(self, text: str) -> None:
        """Write a passing line over the one before it, on a terminal only."""
        if self.live:
            self._stream.write(CLEAR_LINE + cut(plain(text), (self.columns or 80) - 1))
            self._stream.flush()

    def clear_status(self) -> None:
        """Take the passing line away."""
        if self.live:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()

    def flush(self) -> None:
        self._stream.flush()

    def _write(self, pieces: Iterable[Piece], indent: int, gap: str = "") -> None:
        left = None if self.columns is None else self.columns - indent
        painted: list[str] = []
        for text, style in pieces:
            if left is not None:
                text = cut(text, left)
                left = max(left - width(text) - len(gap), 0)
            painted.append(self._paint(text, style))
        self._stream.write((" " * indent + gap.join(painted)).rstrip(" ") + "\n")

    def _paint(self, text: str, style: Style) -> str:
        if not self.colour or not style or not text:
            return text
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m"


def _columns(stream: TextIO, is_terminal: bool) -> int | None:
    """As COLUMNS says, or the terminal; shutil would say the same, and brings four compressors along."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if not is_terminal:
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS
