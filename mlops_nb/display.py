"""What commands and magics answer: text for a terminal, HTML for a notebook, JSON for programs, all from one record."""

import html
import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any

NOTEBOOK_WIDTH = 160  # columns: a notebook scrolls, a terminal wraps
WIDEST = 80  # of a column, whatever the room
NAME = 40  # the first column names its row: up to this it stays on one line
LEAST = 16  # of any other column that holds more
LINES = 6  # of one cell; the JSON has it whole
LEFT = ' style="text-align: left"'


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column heads; cells are shown with `str`, where room is short on several lines, those of the columns `cut` on one."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    empty: str = "nothing yet"
    cut: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """An answer: a heading, named values, tables and notes; `data` is the same as JSON, `exit_code` what the process ends with."""

    title: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    data: Any = None
    exit_code: int = 0

    def text(self, width: int = 0) -> str:
        """The answer for a terminal of `width` columns (0: ask)."""
        room = width or shutil.get_terminal_size((110, 24)).columns
        blocks = [self.title] if self.title else []
        if self.values:
            blocks.append(_values_text(self.values, room))
        blocks += [_table_text(table, room) for table in self.tables]
        blocks += list(self.notes)
        return "\n".join(block for block in blocks if block)

    def json(self) -> str:
        """The answer as JSON; NaN and infinity are refused, not invented."""
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        return self.text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 (IPython calls it so)
        printer.text("Report(...)" if cycle else self.text(NOTEBOOK_WIDTH))

    def _repr_html_(self) -> str:
        """The answer for a notebook; every text is escaped."""
        parts = [f"<strong>{html.escape(self.title)}</strong>"] if self.title else []
        if self.values:
            parts.append(_html_rows((), [(name, _cell_text(value)) for name, value in self.values.items()]))
        for table in self.tables:
            parts.append(f"<p>{html.escape(table.title)}</p>" if table.title else "")
            parts.append(_html_rows(*_told(table.columns, table.rows)) if table.rows else f"<p>{html.escape(table.empty)}</p>")
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return "<div>" + "".join(parts) + "</div>"


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters.

    >>> shorten("a long\\ntext", 8)
    'a long …'
    """
    line = " ".join(text.split("\n")) if "\n" in text else text
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "step"), counted(0, "step")
    ('1 step', '0 steps')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def moment(text: str) -> str:
    """A recorded time (ISO 8601, UTC) as people here read it: local, to the minute; '' where there is none."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}" if text else ""


def _cell_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _values_text(values: Mapping[str, Any], room: int) -> str:
    """A line for each value; a long one goes on below itself, broken at spaces alone so that paths and ids stay whole."""
    pad = max(map(len, values))
    indent = " " * (pad + 4)
    return "\n".join(
        textwrap.fill(f"  {name:<{pad}}  {value}", max(room, 2 * pad), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for name, value in values.items()
    )


def _table_text(table: Table, room: int) -> str:
    head = [table.title] if table.title else []
    if not table.rows:
        return "\n".join([*head, f"  {table.empty}"])
    columns, rows = _told(table.columns, table.rows)
    widths = _fit([min(max(map(len, column)), WIDEST) for column in zip(columns, *rows, strict=True)], room)
    most = [1 if name in table.cut else LINES for name in columns]
    lines = [f"  {line}".rstrip() for row in (columns, *rows) for line in _row_lines(row, widths, most)]
    left = columns[len(widths) :]
    return "\n".join([*head, *lines, *([f"  (in a wider terminal also: {', '.join(left)})"] if left else [])])


def _told(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Heads and texts of the columns that say something in some row; the first always stays."""
    texts = [[_cell_text(value) for value in row] for row in rows]
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i] for row in texts)]
    return tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in texts)


def _fit(widths: Sequence[int], room: int) -> list[int]:
    """The widths in `room`: the widest columns give way, the first one last, and what still does not fit at the right is left out.

    >>> _fit([27, 5, 60], 80), _fit([27, 30, 30], 60)
    ([27, 5, 42], [27, 29])
    """
    least = [min(width, LEAST if i else NAME) for i, width in enumerate(widths)]
    while len(least) > 1 and sum(least) + 2 * len(least) > room:
        least.pop()
    found = list(widths[: len(least)])
    while sum(found) + 2 * len(found) > room and found != least:
        found[max((i for i, width in enumerate(found) if width > least[i]), key=lambda i: (i > 0, found[i]))] -= 1
    return found


def _row_lines(row: Sequence[str], widths: Sequence[int], most: Sequence[int]) -> list[str]:
    cells = [_wrapped(text, width, lines) for text, width, lines in zip(row, widths, most, strict=False)]
    return ["  ".join(f"{part:<{width}}" for part, width in zip(line, widths, strict=False)) for line in zip_longest(*cells, fillvalue="")]


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """`text` in at most `most` lines of `width` characters, broken at spaces where that is possible.

    >>> _wrapped("auc=0.7, brier_of_base_rate=0.2", 12, 3)
    ['auc=0.7,', 'brier_of_bas', 'e_rate=0.2']
    """
    if most == 1:
        return [shorten(text, width)]
    words = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    lines = [line[start : start + width] for line in words for start in range(0, len(line), width)]
    return lines if len(lines) <= most else [*lines[: most - 1], shorten(f"{lines[most - 1]} …", width)]


def _html_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; Jupyter aligns a table's text to the right, which suits numbers only."""
    head = "<thead><tr>" + "".join(f"<th{LEFT}>{html.escape(c)}</th>" for c in columns) + "</tr></thead>" if columns else ""
    body = "".join("<tr>" + "".join(f"<td{LEFT}>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"
