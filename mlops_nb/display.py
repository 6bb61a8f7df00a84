"""What commands and magics answer: text for a terminal, HTML for a notebook, JSON for programs, all from one record."""

import html
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOTEBOOK_WIDTH = 160  # columns: a notebook scrolls, a terminal wraps


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column heads; cells are shown with `str`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    empty: str = "nothing yet"


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
            pad = max(map(len, self.values))
            blocks.append("\n".join(f"  {name:<{pad}}  {value}" for name, value in self.values.items()))
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
            parts.append(_html_rows((), tuple(self.values.items())))
        for table in self.tables:
            parts.append(f"<p>{html.escape(table.title)}</p>" if table.title else "")
            parts.append(_html_rows(table.columns, table.rows) if table.rows else f"<p>{html.escape(table.empty)}</p>")
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return "<div>" + "".join(parts) + "</div>"


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters.

    >>> shorten("a long\\ntext", 8)
    'a long …'
    """
    line = " ".join(text.split("\n")) if "\n" in text else text
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def _cell_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _table_text(table: Table, room: int) -> str:
    head = [table.title] if table.title else []
    if not table.rows:
        return "\n".join([*head, f"  {table.empty}"])
    cells = [[_cell_text(v) for v in row] for row in table.rows]
    widths = _fit([max(len(shorten(t, 80)) for t in column) for column in zip(table.columns, *cells, strict=True)], room)
    lines = ["  " + "  ".join(f"{shorten(t, w):<{w}}" for t, w in zip(row, widths, strict=True)).rstrip() for row in [list(table.columns), *cells]]
    return "\n".join([*head, *lines])


def _fit(widths: list[int], room: int) -> list[int]:
    """Narrow the widest columns until the row fits in `room`."""
    while sum(widths) + 2 * len(widths) > room and max(widths) > 12:  # noqa: PLR2004 (a readable least)
        widths[widths.index(max(widths))] -= 1
    return widths


def _html_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "<thead><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in columns) + "</tr></thead>" if columns else ""
    body = "".join("<tr>" + "".join(f"<td>{html.escape(_cell_text(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"
