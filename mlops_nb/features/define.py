"""Feature definitions: a `%%feature` cell <-> features/NAME.py, a canonical file that git can diff. Pure: text in, records out.

The file is the cell's body as a function, below the imports and helpers it needs and a VIEW literal. It is read back without running it.
"""

import ast
import io
import itertools
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from mlops_nb.errors import BadInput
from mlops_nb.hashing import text_digest
from mlops_nb.notebook.analysis import analyze, normalized
from mlops_nb.notebook.grammar import ttl_seconds
from mlops_nb.notebook.support import support_code
from mlops_nb.records import Cell, FeatureView

INDENT = "    "
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_F_STRING_START = getattr(tokenize, "FSTRING_START", -1)  # Python 3.12 takes an f-string apart
_F_STRING_END = getattr(tokenize, "FSTRING_END", -1)


def definition(cell: Cell, *, sources: Sequence[str]) -> tuple[FeatureView, str]:
    """The view that a `%%feature` cell defines and the text of its file; `sources` is the notebook's plain Python, oldest first.

    Raises BadInput, naming the cell, where the options or the body cannot be used.
    """
    options = _options(cell)
    function_body(cell)
    inputs, support = _needs(cell, sources)
    view = FeatureView(name=cell.name, inputs=inputs, source=_function_text(cell, inputs), notebook=cell.notebook, cell_id=cell.id, **options)
    text = _file_text(view, support)
    return _with_version(view, text), text


def read_definition(path: Path) -> FeatureView:
    """The view that a definition file holds; nothing of it is run. Raises BadInput naming the file."""
    try:
        return parse_definition(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"not a feature definition: {error}", where=str(path), hint="run its %%feature cell again to write it anew") from error


def parse_definition(text: str) -> FeatureView:
    """The view in a definition file's text; raises SyntaxError, ValueError, TypeError or KeyError where it holds none.

    >>> parse_definition('VIEW = {"name": "v", "entity": ["k"], "timestamp": "t", "ttl": "3h", "inputs": []}\\ndef v(): ...').ttl_seconds
    10800.0
    """
    tree = ast.parse(text)
    literal = next((n.value for n in tree.body if isinstance(n, ast.Assign) and _is_view(n)), None)
    if literal is None:
        raise ValueError("it has no VIEW")
    fields: dict[str, Any] = ast.literal_eval(literal)
    name = fields["name"]
    function = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)
    if function is None:
        raise ValueError(f"it has no function {name}")
    view = FeatureView(
        name=name,
        entity=tuple(fields["entity"]),
        timestamp=fields["timestamp"],
        ttl_seconds=ttl_seconds(fields["ttl"]),
        owner=fields.get("owner", ""),
        tags=tuple(fields.get("tags", ())),
        description=fields.get("description", ""),
        inputs=tuple(fields["inputs"]),
        source=(ast.get_source_segment(text, function) or "") + "\n",
    )
    return _with_version(view, text)


def duration_text(value: float | None) -> str:
    """Seconds as `--ttl` takes them, in the largest unit that holds them whole.

    >>> duration_text(10800.0), duration_text(5400.0), duration_text(0.5), duration_text(None)
    ('3h', '90m', '0.5s', 'never')
    """
    if value is None:
        return "never"
    unit = next((unit for unit, size in UNITS.items() if value % size == 0), "")
    return f"{int(value // UNITS[unit])}{unit}" if unit else f"{Decimal(repr(value)):f}s"


def function_body(cell: Cell) -> list[ast.stmt]:
    """The statements of the cell's body as those of a function: its last expression is returned.

    Line numbers are the cell's own. Raises BadInput where it is not Python or gives nothing back.
    """
    where = cell.where
    hint = "its body is the body of a function: plain Python that ends in a DataFrame, without % or ! lines"
    try:
        statements = ast.parse(cell.body).body
    except SyntaxError as error:
        line = (error.lineno or 1) + _lines_above(cell)
        raise BadInput(f"line {line} of the feature {cell.name} is not Python: {error.msg}", where=where, hint=hint) from None
    last = statements[-1] if statements else None
    if isinstance(last, ast.Expr):
        statements[-1] = ast.copy_location(ast.Return(last.value), last)
    elif not any(_returns(statement) for statement in statements):
        raise BadInput(f"the feature {cell.name} gives nothing back", where=where, hint="end its cell with the DataFrame, or return it")
    for statement in statements:
        ast.increment_lineno(statement, _lines_above(cell))
    return statements


def function(cell: Cell, inputs: Sequence[str]) -> ast.Module:
    """A module that defines the view's function, with the cell's own line numbers."""
    module = ast.parse(f"def {cell.name}({', '.join(inputs)}): ...")
    made = module.body[0]
    assert isinstance(made, ast.FunctionDef)
    made.body = function_body(cell)
    return module


def attributes(view: FeatureView) -> dict[str, Any]:
    """What a frame carries of its view, as JSON; equal wherever the same cell made it (so no place and no version)."""
    return {
        "name": view.name,
        "entity": list(view.entity),
        "timestamp": view.timestamp,
        "ttl_seconds": view.ttl_seconds,
        "owner": view.owner,
        "tags": list(view.tags),
        "description": view.description,
        "inputs": list(view.inputs),
    }


def from_attributes(fields: Mapping[str, Any]) -> FeatureView:
    """The view that `attributes` wrote."""
    return FeatureView(**{**fields, **{key: tuple(fields[key]) for key in ("entity", "tags", "inputs")}})


def _options(cell: Cell) -> dict[str, Any]:
    given = cell.options
    columns = (*given["entity"], given["timestamp"])
    if len(set(columns)) < len(columns):
        raise BadInput(f"the feature {cell.name} names a column twice: {', '.join(columns)}", where=cell.where)
    return {key: given[key] for key in ("entity", "timestamp", "ttl_seconds", "owner", "tags", "description")}


def _needs(cell: Cell, sources: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The data that the body takes, sorted, and the code that it needs. A name it both reads and binds has to be handed in."""
    read = analyze(cell.body)
    rebound = read.uses & read.defs
    free = read.uses.union(*read.deferred.values()) - read.defs
    support = support_code(free, sources)
    return tuple(sorted(support.leftover | rebound)), support.code


def _returns(node: ast.AST) -> bool:
    """Whether `node` returns from the function it stands in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return False
    return isinstance(node, ast.Return) or any(_returns(child) for child in ast.iter_child_nodes(node))


def _lines_above(cell: Cell) -> int:
    """How many lines of the cell stand above its body."""
    return cell.source.count("\n") - cell.body.count("\n")


def _function_text(cell: Cell, inputs: Sequence[str]) -> str:
    return f"def {cell.name}({', '.join(inputs)}):\n{indented(_with_return(cell.body))}\n"


def _with_return(body: str) -> str:
    """`body` with `return` before its last expression."""
    last = ast.parse(body).body[-1]
    lines = body.replace("\r\n", "\n").split("\n")
    if isinstance(last, ast.Expr):
        line = lines[last.lineno - 1].encode()
        lines[last.lineno - 1] = (line[: last.col_offset] + b"return " + line[last.col_offset :]).decode()
    return "\n".join(lines).strip("\n")


def indented(source: str) -> str:
    """`source` one level in; lines inside a string stay as they are.

    >>> print(indented("a = '''x\\n  y'''\\nb"))
        a = '''x
      y'''
        b
    """
    inside = _rows_inside_strings(source)
    lines = source.split("\n")
    return "\n".join(line if row in inside or not line.strip() else INDENT + line for row, line in enumerate(lines, start=1))


def _rows_inside_strings(source: str) -> set[int]:
    inside: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING:
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
        elif token.type == _F_STRING_START:
            opened.append(token.start[0])
        elif token.type == _F_STRING_END:
            inside.update(range(opened.pop() + 1, token.end[0] + 1))
    return inside


def _file_text(view: FeatureView, support: str) -> str:
    """The definition file; the support code stands between docstring and VIEW."""
    made_by = f"# Written by %%feature in {view.notebook}; edit it there." if view.notebook else "# Written by %%feature; edit it in its notebook."
    head = f"{_docstring(view.description or f'The feature view {view.name}.')}\n\n{made_by}"
    code = _spaced(f"{support}\n{_view_text(view)}")
    return f"{head}\n\n{code}\n\n\n{view.source}"


def _spaced(code: str) -> str:
    """Top-level statements with two blank lines around functions and classes and one between imports, constants and VIEW."""
    lines = code.split("\n")
    statements = ast.parse(code).body
    starts = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) - 1 for node in statements]
    blocks = ["\n".join(lines[start:end]).strip("\n") for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]
    text = blocks[0]
    for (before, after), block in zip(itertools.pairwise(statements), blocks[1:], strict=True):
        text += "\n" * (1 + _blank_lines(before, after)) + block
    return text


def _blank_lines(before: ast.stmt, after: ast.stmt) -> int:
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in (before, after)):
        return 2
    return 0 if _is_import(before) == _is_import(after) and not _is_view(after) else 1


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_view(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VIEW"


def _view_text(view: FeatureView) -> str:
    fields: dict[str, str | list[str]] = {
        "name": view.name,
        "entity": list(view.entity),
        "timestamp": view.timestamp,
        "ttl": duration_text(view.ttl_seconds),
        "owner": view.owner,
        "tags": list(view.tags),
        "description": view.description,
        "inputs": list(view.inputs),
    }
    return "VIEW = {\n" + "".join(f"{INDENT}{_literal(key)}: {_literal(value)},\n" for key, value in fields.items()) + "}"


def _literal(value: str | list[str]) -> str:
    """A Python literal, in double quotes where the text is plain."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    plain = value.isprintable() and not set('"\\') & set(value)
    return f'"{value}"' if plain else repr(value)


def _docstring(text: str) -> str:
    plain = text.isprintable() and not set('"\\') & set(text)
    return f'"""{text}"""' if plain else repr(text)


def _with_version(view: FeatureView, text: str) -> FeatureView:
    return replace(view, version=text_digest(normalized(text)))
