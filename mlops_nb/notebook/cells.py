"""Notebook files and cell sources -> `Cell` records; a cell's source as plain Python."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadInput, NotebookError
from mlops_nb.hashing import text_digest
from mlops_nb.notebook.grammar import help_text, identifier, parse_line
from mlops_nb.notebook.quiet import quiet
from mlops_nb.records import Cell, CellKind

if TYPE_CHECKING:
    from IPython.core.inputtransformer2 import TransformerManager

__all__ = ["help_text", "parse_cell", "plain_python", "read_notebook"]

CELL_MAGICS = ("step", "feature", "test")
# Cell magics whose body is Python that runs in the user's namespace.
_CODE_MAGICS = frozenset({"time", "capture", "prun", "debug", "python_code", "memit", "mprun", "scalene", "lprun"})
# Where a cell has none of these, IPython changes nothing but a missing newline at its end.
_SPECIAL = re.compile(r"[%!?]|^[ \t]*(?:[,;/]|>>>|\.\.\.|In \[)|\A\s", re.MULTILINE)
_FIRST_LINE = re.compile(r"\s*%%(\w+)[ \t]*(.*)")
_STEP_TAGS = ("step:", "block:")  # block: is Kale's word
_PARAMETER_TAGS = frozenset({"parameters", "pipeline-parameters"})
_NBFORMAT_3 = 3


def read_notebook(path: str | Path, *, strict: bool = True) -> tuple[Cell, ...]:
    """The code cells of a notebook in order; the file is only read.

    Cells of old notebooks without ids get ids made from their position and source. `strict=False` takes a cell whose magic line or
    tags are wrong as plain code instead of raising BadInput. Raises NotebookError with the path and the reason.
    """
    file = Path(path)
    entries = _entries(file)
    named = enumerate(zip(entries, _ids(entries, file.name), strict=True))
    return _unique_tests([_cell(entry, name, index, file.name, strict=strict) for index, (entry, name) in named if name])


def cell_ids(path: str | Path) -> tuple[str, ...]:
    """The ids of the code cells in order, without parsing them; raises NotebookError."""
    file = Path(path)
    return tuple(name for name in _ids(_entries(file), file.name) if name)


def source_id(source: str) -> str:
    """The id of a cell that was sent without one."""
    return f"src-{text_digest(source)[:12]}"


def parse_cell(source: str, *, id: str, index: int = 0, tags: Iterable[str] = (), notebook: str = "") -> Cell:  # noqa: A002 (the record's own name)
    """What a cell is to us, from its first line and its tags; raises BadInput naming notebook and cell.

    >>> parse_cell("%%step load\\nx = 1", id="a").step
    'load'
    """
    cell = Cell(id=id, index=index, source=source, tags=tuple(tags), body=source, notebook=notebook)
    magic = _our_magic(source)
    step = _tagged_step(cell)
    plain_kind = _tagged_kind(cell, step)
    if magic is None:
        return replace(cell, kind=plain_kind, step=step, name=step)
    if plain_kind == "skip":
        return replace(cell, kind="skip", body=magic[2])
    if plain_kind == "parameters":
        raise BadInput(f"a parameters cell cannot be a %%{magic[0]} cell too", where=cell.where, hint="take off the tag or the magic line")
    return _from_magic(replace(cell, body=magic[2]), magic[0], magic[1], step)


@lru_cache(maxsize=256)
def plain_python(source: str) -> str:
    """A cell's source as plain Python: magics become get_ipython() calls, our cell magics and `%%time` and its like become their body.

    Lines keep their numbers. What IPython itself cannot read is given back as it is.
    """
    if source and not _SPECIAL.search(source):
        return source if source.endswith("\n") else source + "\n"
    text = _without_code_magics(source)
    blank = text[: len(text) - len(text.lstrip())].count("\n")  # IPython takes blank lines off the top
    try:
        with quiet():
            return "\n" * blank + _transformer().transform_cell(text)
    except (SyntaxError, ValueError, AssertionError, IndexError):
        return text


def first_line_magic(source: str) -> tuple[str, str, str] | None:
    """(name, line, body) where a cell starts with `%%name line`: blank lines may stand before it, comments may not, as in IPython."""
    match = _FIRST_LINE.match(source)
    return (match[1], match[2].strip(), source[match.end() :].removeprefix("\n")) if match else None


def _our_magic(source: str) -> tuple[str, str, str] | None:
    magic = first_line_magic(source)
    return magic if magic and magic[0] in CELL_MAGICS else None


def _from_magic(cell: Cell, kind: str, line: str, step: str) -> Cell:
    options = parse_line(kind, line, where=cell.where)
    if kind == "step":
        if step and step != options["name"]:
            raise BadInput(f"%%step says {options['name']}, the tag says {step}", where=cell.where, hint="keep one of them")
        return replace(cell, kind="step", name=options["name"], step=options["name"], options=options)
    if kind == "feature":
        return replace(cell, kind="feature", name=options["name"], step=step or options["name"], options=options)
    options["name"] = options["name"] or _test_name(cell, options)
    return replace(cell, kind="test", name=options["name"], step=step, options=options)


def _test_name(cell: Cell, options: Mapping[str, Any]) -> str:
    about = options["on"][0] if options["on"] else re.sub(r"\W", "_", cell.id)
    return f"test_{about}"


def _tagged_step(cell: Cell) -> str:
    names = list(dict.fromkeys(tag.split(":", 1)[1].strip() for tag in cell.tags if tag.startswith(_STEP_TAGS)))
    if len(names) > 1:
        raise BadInput(f"the tags name {len(names)} steps: {', '.join(names)}", where=cell.where, hint="a cell belongs to one step")
    if not names:
        return ""
    try:
        return identifier(names[0])
    except ValueError as error:
        raise BadInput(f"tag step:{names[0]}: {error}", where=cell.where) from error


def _tagged_kind(cell: Cell, step: str) -> CellKind:
    if "skip" in cell.tags:
        return "skip"
    if not _PARAMETER_TAGS.isdisjoint(cell.tags):
        if step:
            raise BadInput(f"a parameters cell cannot belong to step {step}", where=cell.where, hint="its values reach every step anyway")
        return "parameters"
    return "step" if step else "code"


def _unique_tests(cells: list[Cell]) -> tuple[Cell, ...]:
    """Give tests that would share a name a suffix, in notebook order."""
    taken: dict[str, int] = {}
    found = []
    for cell in cells:
        if cell.kind == "test":
            taken[cell.name] = count = taken.get(cell.name, 0) + 1
            if count > 1:
                name = f"{cell.name}_{count}"
                found.append(replace(cell, name=name, options={**cell.options, "name": name}))
                continue
        found.append(cell)
    return tuple(found)


# --- the file -------------------------------------------------------------------------------------------------


def _entries(file: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise NotebookError(f"cannot be read: {error.strerror or error}", where=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"is no valid notebook: {error}", where=str(file), hint="the file is left as it is") from error
    if not isinstance(document, dict):
        raise NotebookError("is no notebook: its JSON is no object", where=str(file))
    cells = document.get("cells")
    if document.get("nbformat") == _NBFORMAT_3 or cells is None:
        sheets = document.get("worksheets")
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells", [])] if isinstance(sheets, list) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise NotebookError("is no notebook: it has no list of cells", where=str(file))
    return cells


def _cell(entry: Mapping[str, Any], name: str, index: int, notebook: str, *, strict: bool) -> Cell:
    source = _source(entry, notebook, index)
    metadata = entry.get("metadata")
    tags = metadata.get("tags", ()) if isinstance(metadata, dict) else ()
    tags = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    try:
        return parse_cell(source, id=name, index=index, tags=tags, notebook=notebook)
    except BadInput:
        if strict:
            raise
        return Cell(id=name, index=index, source=source, tags=tags, body=source, notebook=notebook)


def _ids(entries: Iterable[Mapping[str, Any]], notebook: str) -> list[str]:
    """The id of each cell, '' for one that holds no code; a second cell of one id (a bad merge) is named like a cell without an id."""
    taken = {""}
    found = []
    for index, entry in enumerate(entries):
        if entry.get("cell_type") != "code":
            found.append("")
            continue
        own = entry.get("id")
        name = own if isinstance(own, str) and own not in taken else f"{index}-{text_digest(str(index), _source(entry, notebook, index))[:8]}"
        taken.add(name)
        found.append(name)
    return found


def _source(entry: Mapping[str, Any], notebook: str, index: int) -> str:
    source = entry.get("source", entry.get("input", ""))
    if isinstance(source, str):
        return source
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    raise NotebookError("its source is no text", where=f"{notebook}:cell {index + 1}", hint="the file is left as it is")


# --- plain Python ---------------------------------------------------------------------------------------------


@cache
def _transformer() -> "TransformerManager":
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager()  # type: ignore[no-untyped-call]


def _without_code_magics(source: str) -> str:
    """Turn the first lines `%%step NAME`, `%%time`, ... into comments, so that what they run is seen as code."""
    done = ""
    rest = source
    while (magic := first_line_magic(rest)) and (magic[0] in _CODE_MAGICS or magic[0] in CELL_MAGICS):
        name, line, _ = magic
        first, _, tail = rest.lstrip().partition("\n")
        blank = rest[: len(rest) - len(rest.lstrip())]
        done += "\n" * blank.count("\n") + _in_place_of(name, line, first) + "\n"
        rest = tail
        if name in CELL_MAGICS:
            break
    return done + rest


def _in_place_of(name: str, line: str, first: str) -> str:
    """The line that stands for a taken-off magic line: `%%capture out` binds `out`, the others bind nothing."""
    words = [word for word in line.split() if not word.startswith("-")]
    if name == "capture" and words and words[0].isidentifier():
        return f"{words[0]} = get_ipython().run_line_magic('capture', {line!r})"
    return f"# {first}"
