"""Edits of a notebook's JSON that leave everything else as it stands: outputs, metadata, key order, indentation, line ends. Pure.

A file is written in the style it was read in, so that a version control system shows the edit alone. A style that is not known (JSON with
spaces of its own kind) becomes nbformat's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mlops_nb.errors import NotebookError

_BOM = "\ufeff"
_IDS_SINCE = 5  # nbformat 4.5


@dataclass(frozen=True, slots=True)
class Change:
    """A new source or new tags for a cell; None leaves them."""

    source: str | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NewCell:
    """A cell to be put behind the cell `after`, else before the cell `before`, else at the end."""

    id: str
    source: str
    tags: tuple[str, ...] = ()
    kind: str = "code"
    after: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True)
class Edits:
    """What to do to a notebook, by cell ids; new cells are put in one after another."""

    changes: Mapping[str, Change] = field(default_factory=dict)
    added: Sequence[NewCell] = ()
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.changes or self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Style:
    """How a file's JSON is written."""

    indent: int | str | None = 1
    ascii_only: bool = False
    spaced: bool = True
    end: str = "\n"
    newline: str = "\n"
    bom: bool = False

    def text(self, document: Any) -> str:
        """`document` in this style."""
        colon = ": " if self.spaced else ":"
        comma = ", " if self.spaced and self.indent is None else ","
        body = json.dumps(document, indent=self.indent, ensure_ascii=self.ascii_only, separators=(comma, colon))
        return (_BOM if self.bom else "") + (body + self.end).replace("\n", self.newline)


def style_of(text: str, document: Any) -> Style:
    """The style in which `document` was written as `text`; nbformat's, where it is none that is known.

    >>> style_of('{\\n  "a": "\\\\u00e9"\\n}', {"a": "\\u00e9"})
    Style(indent=2, ascii_only=True, spaced=True, end='', newline='\\n', bom=False)
    """
    return next((style for style in _styles(text) if style.text(document) == text), Style())


def _styles(text: str) -> Iterator[Style]:
    newline = "\r\n" if "\r\n" in text else "\n"
    end = text[len(text.rstrip()) :].replace("\r\n", "\n")
    for indent, ascii_only, spaced in product((1, 2, 4, "\t", 3, 0, None), (False, True), (True, False)):
        yield Style(indent, ascii_only, spaced, end, newline, text.startswith(_BOM))


def edited(text: str, edits: Edits, ids: Sequence[str]) -> str:
    """A notebook's text with `edits`; `ids` names its code cells in order, '' for others, as `read_notebook` does.

    Raises NotebookError where the text is no notebook.
    """
    document = json.loads(text.removeprefix(_BOM))
    style = style_of(text, document)
    cells = document.get("cells") if isinstance(document, dict) else None
    if not isinstance(cells, list) or len(cells) != len(ids):
        raise NotebookError("is no notebook of format 4", hint="open it in JupyterLab and save it: that brings it up to date")
    named = list(zip(ids, cells, strict=True))
    for name, cell in named:
        if name in edits.changes:
            _change(cell, edits.changes[name])
    kept = [(name, cell) for name, cell in named if not name or name not in edits.removed]
    for new in edits.added:
        kept.insert(_place(new, [name for name, _ in kept]), (new.id, _made(new, document)))
    document["cells"] = [cell for _, cell in kept]
    return style.text(document)


def _change(cell: dict[str, Any], change: Change) -> None:
    if change.source is not None:
        key = "source" if "source" in cell else "input"
        cell[key] = _as_lines(change.source, like=cell.get(key))
    if change.tags is not None:
        cell["metadata"] = _tagged(cell.get("metadata"), change.tags)


def _as_lines(source: str, like: Any) -> str | list[str]:
    return source if isinstance(like, str) else source.splitlines(keepends=True)


def _tagged(metadata: Any, tags: tuple[str, ...]) -> dict[str, Any]:
    """The metadata with these tags; sorted where it was, no key for no tags."""
    known = dict(metadata) if isinstance(metadata, dict) else {}
    was_sorted = list(known) == sorted(known)
    found = {**known, "tags": list(tags)} if tags else {key: value for key, value in known.items() if key != "tags"}
    return dict(sorted(found.items())) if was_sorted else found


def _place(new: NewCell, names: Sequence[str]) -> int:
    if new.after in names and new.after:
        return names.index(new.after) + 1
    return names.index(new.before) if new.before in names and new.before else len(names)


def _made(new: NewCell, document: Mapping[str, Any]) -> dict[str, Any]:
    """The cell as nbformat writes it, as old as the notebook is."""
    like: Any = next((cell.get("source") for cell in document["cells"] if isinstance(cell, dict) and "source" in cell), [])
    cell: dict[str, Any] = {"cell_type": new.kind}
    if new.kind == "code":
        cell["execution_count"] = None
    if (document.get("nbformat"), document.get("nbformat_minor", 0)) >= (4, _IDS_SINCE):
        cell["id"] = new.id
    cell["metadata"] = _tagged({}, new.tags)
    if new.kind == "code":
        cell["outputs"] = []
    cell["source"] = _as_lines(new.source, like=like)
    return cell
