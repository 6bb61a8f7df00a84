"""A slice, the cell runs behind a value, as code that gives the value again: plain Python, a script, a notebook. Pure."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops_nb.errors import BadInput
from mlops_nb.notebook.analysis import analyze
from mlops_nb.notebook.cells import first_line_magic, parse_cell, plain_python
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import Cell, CellRun, FileUse

Edit = tuple[int, int, str]  # from byte, to byte, what stands there instead

_OWN_MAGICS = frozenset({"mlops", "lineage", "model"})
_EXTENSION_MAGICS = frozenset({"load_ext", "reload_ext", "unload_ext"})
# Line magics that only show something, or tell the notebook how to.
_SHOWING = frozenset(
    {"matplotlib", "config", "autoreload", "precision", "xmode", "colors", "pprint", "doctest_mode", "who", "whos", "pinfo", "pinfo2", "psource"}
    | {"history", "lsmagic", "quickref", "page", "timeit", "memit"}
)
_PRINTING = frozenset({"print", "display"})
_LAST_VALUES = ("_", "__", "___")
_LAST_SOURCES = ("_i", "_ii", "_iii")
_NUMBERED = re.compile(r"_(i?)(\d+)")
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_ID = 56  # 64 are allowed; some are left for a number
_SHOWN_DIGEST = 16

START_IPYTHON = """\
import sys as _sys
from IPython.core.interactiveshell import InteractiveShell as _Shell
from traitlets.config import Config as _Config
_shell = _Shell.instance(user_module=_sys.modules[__name__], user_ns=globals(), config=_Config(HistoryManager={"enabled": False}))
get_ipython = _shell.get_ipython"""
START_LOOP = """\
import asyncio as _asyncio
_loop = _asyncio.new_event_loop()"""


@dataclass(frozen=True, slots=True)
class _Part:
    """One run of the slice: `text` is its plain Python, `source` what stands in a notebook."""

    run: CellRun
    text: str
    source: str

    @property
    def failed(self) -> bool:
        return self.run.status == "error"


def slice_code(runs: Sequence[CellRun]) -> str:
    """The slice's cells in order as plain Python (magics as `get_ipython()` calls), each below a comment with its count and id.

    IPython runs it: `ipython slice.py`; `slice_script` runs without.
    """
    parts = _parts(runs)
    return "\n\n\n".join(f"{_label(part.run, runs)}\n{part.text.strip(chr(10))}" for part in parts) + "\n"


def slice_script(runs: Sequence[CellRun], *, title: str = "", commit: str = "") -> str:
    """The slice as a script for plain `python`; only where a magic or a shell command cannot be done without does it start IPython.

    A cell that failed in the session, after it had made what is needed, may fail again; top-level await runs in an event loop.
    """
    texts = [(part, _for_python(part.text)) for part in _parts(runs)]
    blocks = [f"{_label(part.run, runs)}\n{_block(part, text)}" for part, text in texts]
    code = "\n\n\n".join(blocks)
    used = analyze(code, shadowed=("display", "get_ipython")).uses
    future = sorted({line for part, _ in texts for line in _future_imports(part.text)})
    head = [f"# {line}" if line else "#" for line in [title, *_about(runs, commit)]] if title else []
    starts = ["from IPython.display import display"] if "display" in used else []
    starts += [START_IPYTHON] if "get_ipython" in used else []
    starts += [START_LOOP] if "_loop.run_until_complete(" in code else []
    return "\n\n".join(filter(None, ["\n".join(head), "\n".join(future), "\n".join(starts), "\n" + code])) + "\n"


def slice_notebook(runs: Sequence[CellRun], *, title: str, kernel: str, commit: str = "") -> dict[str, Any]:
    """The slice as a notebook (nbformat 4.5): what it is in words, then its cells with their tags; each says in its metadata which run it is.

    A cell that failed in the session, after it had made what is needed, may fail again.
    """
    taken: set[str] = {"slice"}
    cells: list[dict[str, Any]] = [_markdown("slice", "\n".join([f"# {title}", "", *_about(runs, commit)]))]
    cells += [_code_cell(part, _unique(part.run.cell_id, taken)) for part in _parts(runs)]
    name = kernel or "python3"
    specification = {"display_name": name, "language": "python", "name": name}
    return {"cells": cells, "metadata": {"kernelspec": specification, "mlops_nb": {"slice": title}}, "nbformat": 4, "nbformat_minor": 5}


def inputs_of(runs: Iterable[CellRun]) -> tuple[FileUse, ...]:
    """The files that a slice reads from outside: those that none of its runs had written before."""
    written: set[str] = set()
    found: dict[str, FileUse] = {}
    for run in runs:
        for use in run.files:
            if use.mode == "read" and use.path not in written:
                found.setdefault(use.path, use)
        written |= {use.path for use in run.files if use.mode == "write"}
    return tuple(found.values())


def outputs_of(runs: Iterable[CellRun]) -> tuple[FileUse, ...]:
    """The files that a slice writes, as it leaves them."""
    return tuple({use.path: use for run in runs for use in run.files if use.mode == "write"}.values())


# --- words and forms ------------------------------------------------------------------------------------------


def _label(run: CellRun, runs: Sequence[CellRun]) -> str:
    several = len({other.notebook for other in runs}) > 1
    return f"# [{run.execution_count}] cell {run.cell_id}" + (f" of {run.notebook}" if several else "")


def _about(runs: Sequence[CellRun], commit: str) -> list[str]:
    notebooks = ", ".join(dict.fromkeys(run.notebook or "a session without a notebook" for run in runs))
    lines = [f"A slice of {notebooks}{f' at commit {commit}' if commit else ''}: {len(runs)} cell runs as they were recorded."]
    files = [f"- reads {_file(use)}" for use in inputs_of(runs)] + [f"- writes {_file(use)}" for use in outputs_of(runs)]
    return [*lines, "", *files] if files else lines


def _file(use: FileUse) -> str:
    return f"{use.path} (xxh3 {use.digest[:_SHOWN_DIGEST]})" if use.digest else use.path


def _markdown(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def _code_cell(part: _Part, name: str) -> dict[str, Any]:
    tags = [*part.run.tags, *(["raises-exception"] if part.failed and "raises-exception" not in part.run.tags else [])]
    metadata: dict[str, Any] = {"mlops_nb": {"run": part.run.id}, **({"tags": tags} if tags else {})}
    return {"cell_type": "code", "execution_count": None, "id": name, "metadata": metadata, "outputs": [], "source": part.source}


def _unique(name: str, taken: set[str]) -> str:
    plain = _NOT_IN_AN_ID.sub("-", name)[:_MAX_ID] or "cell"
    found, number = plain, 2
    while found in taken:
        found, number = f"{plain}-{number}", number + 1
    taken.add(found)
    return found


def _block(part: _Part, text: str) -> str:
    """A cell of a script: in a coroutine where it awaits, in `try` where it failed."""
    body = _without_future(text).strip("\n")
    if _awaits(body):
        found = analyze(body)
        bound = ", ".join(sorted(found.defs | found.deletes))
        name = f"_cell_{part.run.execution_count}"
        body = f"async def {name}():\n{f'    global {bound}{chr(10)}' if bound else ''}{_indented(body)}\n_loop.run_until_complete({name}())"
    if part.failed:
        said = f'print(f"[{part.run.execution_count}] {{type(_error).__name__}}: {{_error}}")'
        body = f"try:\n{_indented(body)}\nexcept Exception as _error:  # as it did in the session, after it had made what is needed\n    {said}"
    return body


# --- a run's code ---------------------------------------------------------------------------------------------


def _parts(runs: Sequence[CellRun]) -> list[_Part]:
    """The runs with their code, made to give what it gave although the counts of cells differ."""
    parts = [_part(run) for run in runs]
    wanted: set[int] = set()
    edited: list[list[Edit]] = []
    for place, part in enumerate(parts):
        edits, producers = _history_edits(part, parts[:place])
        edited.append(edits)
        wanted |= producers
    for place, part in enumerate(parts):
        edits = edited[place] + (_kept_value(part) if place in wanted else [])
        if edits:
            text = _edited(part.text, edits) + (f"\n{_kept_name(part.run)}" if place in wanted else "")
            parts[place] = replace(part, text=text, source=text)
    return [_as_function(part) for part in parts]


def _part(run: CellRun) -> _Part:
    captured = first_line_magic(run.source)
    if captured and captured[0] == "capture" and any(word.isidentifier() for word in captured[1].split()):
        text = f"get_ipython().run_cell_magic('capture', {captured[1]!r}, {captured[2]!r})"
        return _Part(run, text, run.source)
    text = plain_python(run.source)
    tree = parse(text)
    own = [] if isinstance(tree, str) else [node for node in ast.walk(tree) if _is_own(node)]
    source = _commented(run.source, text, own) if own else run.source
    if source.lstrip().startswith("%%step"):
        source = source.replace("%%step", "# %%step", 1)
    return _Part(run, _edited(text, [_passed_over(node, text) for node in own]), source)


def _magic(node: ast.AST) -> tuple[str, str] | None:
    """(name, line) of a line magic that is a statement of its own, in plain Python."""
    match node:
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr="run_line_magic"),
                args=[ast.Constant(value=str() as name), ast.Constant(value=str() as line)],
            )
        ):
            return name, line
    return None


def _is_own(node: ast.AST) -> bool:
    """Whether a statement is a line magic of this project's, which is no part of what a slice makes."""
    found = _magic(node)
    return found is not None and (found[0] in _OWN_MAGICS or (found[0] in _EXTENSION_MAGICS and found[1].split()[:1] == ["mlops_nb"]))


def _passed_over(node: ast.AST, text: str) -> Edit:
    """Put a comment, and where a statement is needed `pass`, in the place of a magic."""
    found = _magic(node)
    assert found is not None
    assert isinstance(node, ast.Expr)
    start, end = _span(node, text)
    return start, end, f"{'pass  ' if node.col_offset else ''}# %{found[0]} {found[1]}".rstrip()


def _commented(source: str, text: str, nodes: Iterable[ast.AST]) -> str:
    """The cell as written with the lines of `nodes` commented out; its plain Python where lines do not correspond."""
    lines = source.split("\n")
    if len(lines) != len(text.rstrip("\n").split("\n")) + len(source) - len(source.rstrip("\n")):
        return _edited(text, [_passed_over(node, text) for node in nodes])
    for node in nodes:
        assert isinstance(node, ast.Expr)
        line = lines[node.lineno - 1]
        inner = line.lstrip()
        lines[node.lineno - 1] = line[: len(line) - len(inner)] + ("pass  " if node.col_offset else "") + f"# {inner}"
    return "\n".join(lines)


def _for_python(text: str) -> str:
    """Plain Python that needs no IPython for what only shows something, or times a statement."""
    tree = parse(text)
    if isinstance(tree, str):
        return text
    edits = []
    for node in ast.walk(tree):
        found = _magic(node)
        if found and (found[0] in _SHOWING or (found[0] in _EXTENSION_MAGICS and found[1].strip() == "autoreload")):
            edits.append(_passed_over(node, text))
        elif found and found[0] == "time" and not isinstance(parse(found[1]), str) and isinstance(node, ast.Expr):
            edits.append((*_span(node, text), found[1]))
    return _edited(text, edits)


# --- what IPython keeps of earlier cells ------------------------------------------------------------------------


def _history_edits(part: _Part, before: Sequence[_Part]) -> tuple[list[Edit], set[int]]:
    """The edits that make `_`, `_5`, `Out[5]`, `In[5]`, `_i5` mean what they meant, and the places of the cells whose value is asked for."""
    tree = parse(part.text)
    if isinstance(tree, str) or ("_" not in part.text and "Out" not in part.text and "In[" not in part.text):
        return [], set()
    uses = analyze(part.text, shadowed=(*_LAST_VALUES, *_LAST_SOURCES)).uses
    edits, producers = [], set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Subscript) or not isinstance(node.ctx, ast.Load):
            continue
        kind, count = _asked(node, uses)
        if kind == "source" and (place := _source_place(count, part, before)) is not None:
            edits.append((*_span(node, part.text), repr(before[place].run.source)))
        elif kind == "value" and (place := _value_place(count, part, before)) is not None:
            edits.append((*_span(node, part.text), _kept_name(before[place].run)))
            producers.add(place)
    return edits, producers


def _asked(node: ast.Name | ast.Subscript, uses: frozenset[str]) -> tuple[str, int]:
    """("value" or "source", count of the cell, or -1, -2, -3 for the last ones) that an expression asks the history for; ("", 0) for none."""
    match node:
        case ast.Subscript(value=ast.Name(id="Out" | "_oh"), slice=ast.Constant(value=int() as count)):
            return "value", count
        case ast.Subscript(value=ast.Name(id="In" | "_ih"), slice=ast.Constant(value=int() as count)):
            return "source", count
        case ast.Name(id=name) if numbered := _NUMBERED.fullmatch(name):
            return "source" if numbered[1] else "value", int(numbered[2])
        case ast.Name(id=name) if name in uses and name in _LAST_VALUES:
            return "value", -1 - _LAST_VALUES.index(name)
        case ast.Name(id=name) if name in uses and name in _LAST_SOURCES:
            return "source", -1 - _LAST_SOURCES.index(name)
    return "", 0


def _source_place(count: int, part: _Part, before: Sequence[_Part]) -> int | None:
    wanted = count if count >= 0 else part.run.execution_count + count
    return _numbered_place(wanted, part, before)


def _numbered_place(count: int, part: _Part, before: Sequence[_Part]) -> int | None:
    places = [i for i, other in enumerate(before) if (other.run.session_id, other.run.execution_count) == (part.run.session_id, count)]
    return places[-1] if places else None


def _value_place(count: int, part: _Part, before: Sequence[_Part]) -> int | None:
    """The cell whose value is asked for; of `_` that is the last of the slice that ended in a value, unless a cell has bound `_` itself."""
    if count >= 0:
        return _numbered_place(count, part, before)
    if any(_LAST_VALUES[-1 - count] in analyze(other.text).defs for other in before):
        return None
    places = [i for i, other in enumerate(before) if other.run.session_id == part.run.session_id and _last_value(other)]
    return places[count] if len(places) >= -count else None


def _last_value(part: _Part) -> ast.Expr | None:
    """The expression whose value the cell showed."""
    tree = parse(part.text)
    if isinstance(tree, str) or not tree.body or part.run.source.rstrip().endswith(";"):
        return None
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        return None
    prints = isinstance(last.value, ast.Call) and isinstance(last.value.func, ast.Name) and last.value.func.id in _PRINTING
    return None if prints else last


def _kept_name(run: CellRun) -> str:
    return f"_out_{run.execution_count}"


def _kept_value(part: _Part) -> list[Edit]:
    """Give the value that the cell shows a name."""
    last = _last_value(part)
    if last is None:
        return []
    start, end = _span(last, part.text)
    name = _kept_name(part.run)
    return [(start, start, f"{name} = ("), (end, end, ")")]


# --- cells that are more than their code --------------------------------------------------------------------------


def _as_function(part: _Part) -> _Part:
    """A feature or test cell as the function that its magic makes of it; other cells as they are."""
    cell = _cell(part.run)
    if cell is None or cell.kind not in ("feature", "test"):
        return part
    first, _, body = part.text.lstrip("\n").partition("\n")
    text = f"{first}\n{_feature(cell, body) if cell.kind == 'feature' else _test(cell.name, body)}"
    return replace(part, text=text, source=text)


def _cell(run: CellRun) -> Cell | None:
    try:
        return parse_cell(run.source, id=run.cell_id, tags=run.tags, notebook=run.notebook)
    except BadInput:
        return None


def _feature(cell: Cell, body: str) -> str:
    """A feature as a function; its frame says what view it is of, as `training_set` needs it."""
    tree = parse(body)
    last = tree.body[-1] if not isinstance(tree, str) and tree.body else None
    if isinstance(last, ast.Expr):
        start, end = _span(last, body)
        body = _edited(body, [(start, start, "return ("), (end, end, ")")])
    name, options = cell.name, cell.options
    plain = {key: options[key] for key in ("timestamp", "ttl_seconds", "owner", "description")}
    view = {"name": name, "entity": list(options["entity"]), **plain, "tags": list(options["tags"]), "inputs": []}
    made = f"{name} = _make_{name}().copy(deep=False)\n{name}.attrs['mlops_nb'] = {{'view': {view!r}}}"
    return f"def _make_{name}():\n{_indented(body.strip(chr(10)))}\n\n{made}"


def _test(name: str, body: str) -> str:
    """A test as a function: names that it reads before it binds them are handed in."""
    found = analyze(body)
    both = ", ".join(f"{used}={used}" for used in sorted(found.uses & found.defs))
    tree = parse(body)
    functions = [] if isinstance(tree, str) else [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
    calls = "".join(f"\n    {function}()" for function in functions)
    return f"def _run_{name}({both}):\n{_indented(body.strip(chr(10)))}{calls}\n\n_run_{name}()"


def _future_imports(text: str) -> list[str]:
    tree = parse(text)
    nodes = [] if isinstance(tree, str) else tree.body
    return [ast.unparse(node) for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def _without_future(text: str) -> str:
    """The code without `from __future__` imports: they must stand above all else in a script."""
    tree = parse(text)
    nodes = [] if isinstance(tree, str) else [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    return _edited(text, [(*_span(node, text), f"# {ast.unparse(node)}") for node in nodes])


def _awaits(text: str) -> bool:
    """Whether code awaits at its top level."""
    tree = parse(text)
    todo: list[ast.AST] = [] if isinstance(tree, str) else [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) or (isinstance(node, ast.comprehension) and node.is_async):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False


# --- text -----------------------------------------------------------------------------------------------------


def _span(node: ast.expr | ast.stmt, text: str) -> tuple[int, int]:
    """The bytes of `text` (UTF-8) that a node stands for."""
    starts = [0]
    for line in text.encode("utf-8", "surrogatepass").split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


def _edited(text: str, edits: Iterable[Edit]) -> str:
    data = text.encode("utf-8", "surrogatepass")
    for start, end, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        data = data[:start] + new.encode("utf-8", "surrogatepass") + data[end:]
    return data.decode("utf-8", "surrogatepass")


def _indented(text: str) -> str:
    """Code four spaces further in; the insides of texts of several lines stay where they are."""
    inside = _inside_texts(text)
    lines = text.split("\n")
    return "\n".join(line if number in inside or not line.strip() else f"    {line}" for number, line in enumerate(lines, start=1)) or "    pass"


def _inside_texts(text: str) -> set[int]:
    """The lines that begin inside a string."""
    found: set[int] = set()
    opened: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            name = tokenize.tok_name[token.type]
            if name == "STRING":
                found.update(range(token.start[0] + 1, token.end[0] + 1))
            elif name in {"FSTRING_START", "TSTRING_START"}:
                opened.append(token.start[0])
            elif name in {"FSTRING_END", "TSTRING_END"}:
                found.update(range(opened.pop() + 1, token.end[0] + 1))
    except (tokenize.TokenError, IndentationError):
        return found
    return found


__all__ = ["inputs_of", "outputs_of", "slice_code", "slice_notebook", "slice_script"]
