"""Files that one cell writes and another reads: an order between steps that no name shows. Pure.

Known are the files that capture saw, and those that the code names in full by a literal.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from mlops_nb.errors import PromotionRefused
from mlops_nb.pipeline.drafts import Draft
from mlops_nb.pipeline.wiring import Unit, Wiring, statements

_WRITERS = frozenset(
    {"to_csv", "to_parquet", "to_json", "to_pickle", "to_excel", "to_feather", "to_hdf", "savetxt", "save", "savez", "savez_compressed"}
    | {"write_text", "write_bytes", "urlretrieve", "dump", "imsave", "save_model", "unlink", "remove", "touch"}
)
_MODES = frozenset("wax+")


@dataclass(frozen=True, slots=True)
class FileTouch:
    """A cell that reads or writes a file, by the path as its code or capture says it."""

    unit: Unit
    path: str
    mode: Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Follows:
    """Step `after` has to come behind step `before`, for a file."""

    before: str
    after: str
    message: str
    where: str


def handovers(wiring: Wiring, drafts: Mapping[str, Draft]) -> tuple[Follows, ...]:
    """The order that files ask of the steps. Raises PromotionRefused where a cell that is no step writes what a step reads."""
    touches = [touch for unit in wiring.units if unit.cell.kind != "test" for touch in _touches(unit, wiring)]
    found: list[Follows] = []
    for number, first in enumerate(touches):
        for second in touches[number + 1 :]:
            if "write" in (first.mode, second.mode) and first.unit.owner != second.unit.owner and same_file(first.path, second.path):
                found += _between(first, second, drafts)
    return tuple(found)


def _between(first: FileTouch, second: FileTouch, drafts: Mapping[str, Draft]) -> Iterator[Follows]:
    one, other = first.unit, second.unit
    if one.owner and other.owner:
        message = f"{one.cell.where} and {other.cell.where} share the file {first.path}"
        yield Follows(one.owner, other.owner, message, other.cell.where)
    elif first.mode == "write" and second.mode == "read" and other.owner and one.cell.id not in drafts[other.owner].leading:
        raise PromotionRefused(
            f"writes {first.path}, which step {other.owner} reads ({other.cell.where}), but is no step itself",
            where=one.cell.where,
            hint="give that cell a step of its own, or the tag skip where the file is made once and for all",
        )


def same_file(one: str, other: str) -> bool:
    """Whether two paths may mean one file: one may be given from another folder."""
    first, second = PurePath(one).parts, PurePath(other).parts
    length = min(len(first), len(second))
    return bool(length) and first[-length:] == second[-length:]


def _touches(unit: Unit, wiring: Wiring) -> list[FileTouch]:
    return list({(touch.path, touch.mode): touch for touch in (*files_said(unit, wiring), *files_seen(unit))}.values())


def files_seen(unit: Unit) -> list[FileTouch]:
    """The files that capture saw a cell read and write."""
    return [FileTouch(unit, use.path, use.mode) for use in (unit.seen.files if unit.seen else ())]


def files_said(unit: Unit, wiring: Wiring) -> list[FileTouch]:
    """The files that a cell's code names in full by a literal."""
    texts = _named_paths(unit, wiring)
    return [FileTouch(unit, path, mode) for statement in statements(unit.python) for path, mode in _said(statement, texts)]


def _named_paths(unit: Unit, wiring: Wiring) -> dict[str, str]:
    """Names that are bound to a literal path above or in the cell."""
    found: dict[str, str] = {}
    for other in wiring.units:
        if other.cell.index > unit.cell.index:
            break
        for statement in statements(other.python):
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if path := _path(value, found):
                    found[name] = path
    return found


def _path(node: ast.expr, texts: Mapping[str, str]) -> str:
    """The literal path that an expression gives; '' where it is none."""
    match node:
        case ast.Constant(value=str() as text) if "." in text and "\n" not in text and " " not in text and "://" not in text:
            return text
        case ast.Name(id=name):
            return texts.get(name, "")
        case ast.Call(func=ast.Name(id="Path") | ast.Attribute(attr="Path"), args=[value]):
            return _path(value, texts)
        case ast.BinOp(op=ast.Div(), right=value):
            return _path(value, texts)
    return ""


def _said(statement: ast.stmt, texts: Mapping[str, str]) -> Iterator[tuple[str, Literal["read", "write"]]]:
    for node in ast.walk(statement):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_cell_magic"), args=[ast.Constant(value="writefile" | "file"), ast.Constant(value=str() as line), *_]
            ):
                yield line.split()[-1], "write"
            case ast.Call(func=ast.Name() | ast.Attribute()):
                owner = [_path(node.func.value, texts)] if isinstance(node.func, ast.Attribute) else []
                values = [*node.args, *(k.value for k in node.keywords)]
                mode = _mode(node)
                for path in filter(None, [*owner, *(_path(value, texts) for value in values)]):
                    yield path, mode


def _mode(call: ast.Call) -> Literal["read", "write"]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
    given = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    modes = {n.value for n in given if isinstance(n, ast.Constant) and isinstance(n.value, str) and len(n.value) <= 3}  # noqa: PLR2004 ("w+b")
    writes = name in _WRITERS or (name == "open" and any(_MODES & set(mode) for mode in modes))
    return "write" if writes else "read"
