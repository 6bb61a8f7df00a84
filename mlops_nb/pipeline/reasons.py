"""Why each component takes and gives what it does: what its code says, what only capture saw, and the cell where. Pure.

An input rests on two things, that a cell reads the name and that another makes it: the code says so where it says both.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Literal

from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.drafts import Draft
from mlops_nb.pipeline.handover import FileTouch, files_said, same_file
from mlops_nb.pipeline.portable import definition, is_parameter
from mlops_nb.pipeline.step import observed, written
from mlops_nb.pipeline.wiring import Read, Unit, Wiring, imported_packages
from mlops_nb.records import Component, Pipeline

Role = Literal["input", "output", "parameter", "file read", "file written", "variable", "import", "code", "cell", "setting"]
Source = Literal["static", "observed", "both"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a component has `name` as its `role`, and the place of the cell that reads it or, of what it gives or brings along, makes it.

    `source`: its code says so (`static`), only capture saw it (`observed`), or both. `about` is the other end in words.
    """

    component: str
    role: Role
    name: str
    source: Source
    where: str
    about: str = ""


def explain(pipeline: Pipeline, wiring: Wiring, drafts: Mapping[str, Draft], *, home: Path) -> tuple[Reason, ...]:
    """The reasons of all components, in the pipeline's order. `home` is the project's own folder, whose files are no part of any step."""
    takers = _takers(pipeline)
    return tuple(
        reason
        for component in pipeline.components
        for reason in (
            *_inputs(component, drafts[component.name]),
            *_outputs(component, drafts[component.name], takers),
            *_parameters(component, drafts[component.name]),
            *_files(drafts[component.name], wiring, home=home, notebook=pipeline.notebook),
            *_variables(drafts[component.name], home=home),
            *_imports(drafts[component.name]),
            *_alongs(drafts[component.name]),
        )
    )


def _takers(pipeline: Pipeline) -> dict[tuple[str, str], list[str]]:
    """(component, output) -> the components that take it."""
    found: dict[tuple[str, str], list[str]] = {}
    for component in pipeline.components:
        for name, maker in component.inputs.items():
            found.setdefault((maker, name), []).append(component.name)
    return found


def _source(*, static: bool, seen: bool) -> Source:
    return "both" if static and seen else "static" if static else "observed"


# --- names ----------------------------------------------------------------------------------------------------


def _inputs(component: Component, draft: Draft) -> Iterator[Reason]:
    for name, maker in component.inputs.items():
        reads = _reads_of(draft, name, draft.inputs[name].maker)
        made = draft.inputs[name].maker
        about = f"made by {maker}" + (f", {made.cell.where}" if made else "")
        yield Reason(component.name, "input", name, _source_of(reads), _first(reads).reader.cell.where, about)


def _parameters(component: Component, draft: Draft) -> Iterator[Reason]:
    for name, default in component.parameters.items():
        reads = [read for read in draft.reads if read.name == name and read.maker and is_parameter(name, read.maker)]
        yield Reason(component.name, "parameter", name, _source_of(reads), _first(reads).reader.cell.where, f"default {default!r}")


def _outputs(component: Component, draft: Draft, takers: Mapping[tuple[str, str], list[str]]) -> Iterator[Reason]:
    for name in component.outputs:
        unit = next(unit for unit in reversed(_units(draft)) if name in unit.makes)
        static = name in unit.analysis.defs | unit.changes
        taken = takers.get((component.name, name), [])
        about = f"taken by {', '.join(taken)}" if taken else "feature view" if unit.cell.kind == "feature" else "model"
        source = _source(static=static, seen=_seen_to_make(unit, name))
        yield Reason(component.name, "output", name, source, unit.cell.where, about)


def _units(draft: Draft) -> list[Unit]:
    """The cells of a component in notebook order."""
    return sorted([*draft.units, *draft.leading.values()], key=lambda unit: unit.cell.index)


def _reads_of(draft: Draft, name: str, maker: Unit | None) -> list[Read]:
    return [
        read for read in draft.reads if read.name == name and read.maker is not None and maker is not None and read.maker.cell.id == maker.cell.id
    ]


def _first(reads: Iterable[Read]) -> Read:
    return min(reads, key=lambda read: read.reader.cell.index)


def _source_of(reads: Iterable[Read]) -> Source:
    known = [(_is_said(read), _is_seen(read)) for read in reads]
    return _source(static=any(said for said, _ in known), seen=any(seen for _, seen in known))


def _is_said(read: Read) -> bool:
    """Whether the code says both that the reader reads the name and that the maker makes it."""
    reader, maker = read.reader, read.maker
    named = reader.uses | reader.analysis.looked_up | frozenset().union(*reader.analysis.deferred.values())
    # What was not seen to be read is there because of the code, by a definition say.
    reads = read.direct or read.through or read.name in named or reader.seen is None or read.name not in reader.seen.reads
    return reads and maker is not None and read.name in maker.analysis.defs | maker.changes


def _is_seen(read: Read) -> bool:
    reads = read.reader.seen is not None and read.name in read.reader.seen.reads
    return reads and read.maker is not None and _seen_to_make(read.maker, read.name)


def _seen_to_make(unit: Unit, name: str) -> bool:
    return unit.seen is not None and name in unit.seen.writes


# --- files and variables --------------------------------------------------------------------------------------


def _files(draft: Draft, wiring: Wiring, *, home: Path, notebook: str) -> Iterator[Reason]:
    """One reason a file and mode: a path that the code names and one that capture saw may be the same file."""
    said = [touch for unit in _units(draft) for touch in files_said(unit, wiring)]
    seen = [touch for unit in _units(draft) for touch in _files_seen(unit, home, notebook)]
    found: dict[tuple[str, str], Reason] = {}
    for touch in (*seen, *said):
        mode: Role = "file read" if touch.mode == "read" else "file written"
        named = any(_agree(touch, other) for other in said)
        watched = next((other for other in seen if _agree(touch, other)), None)
        path = (watched or touch).path
        source = _source(static=named, seen=watched is not None)
        found.setdefault((mode, path), Reason(draft.name, mode, path, source, touch.unit.cell.where))
    yield from sorted(found.values(), key=lambda reason: (reason.role, reason.name))


def _agree(one: FileTouch, other: FileTouch) -> bool:
    return one.mode == other.mode and same_file(one.path, other.path)


def _files_seen(unit: Unit, home: Path, notebook: str) -> list[FileTouch]:
    if unit.seen is None:
        return []
    read, _ = observed([unit.seen], home, notebook=notebook)
    return [FileTouch(unit, path, "read") for path in read] + [FileTouch(unit, path, "write") for path in written([unit.seen], home)]


def _variables(draft: Draft, *, home: Path) -> Iterator[Reason]:
    said: dict[str, Unit] = {}
    seen: dict[str, Unit] = {}
    for unit, code in _code(draft):
        for name in environment_names(code):
            said.setdefault(name, unit)
    for unit in _units(draft):
        for name in observed([unit.seen], home)[1] if unit.seen else ():
            seen.setdefault(name, unit)
    for name in sorted(said.keys() | seen.keys()):
        unit = said.get(name) or seen[name]
        yield Reason(draft.name, "variable", name, _source(static=name in said, seen=name in seen), unit.cell.where)


def _code(draft: Draft) -> list[tuple[Unit, str]]:
    """All code of a component with the cells it stands in: its own cells, and what comes along."""
    found = [(unit, unit.python) for unit in _units(draft)]
    parts = [(maker, definition(name, maker)) for name, maker in draft.portable.items()]
    found += [(maker, part.text) for maker, part in parts if part is not None]
    found += [(setting.unit, setting.part.text) for setting in draft.settings]
    return sorted(found, key=lambda one: one[0].cell.index)


@lru_cache(maxsize=1024)
def environment_names(source: str) -> frozenset[str]:
    """The environment variables that plain Python reads by a literal name.

    >>> sorted(environment_names("import os\\nos.environ['A'], os.getenv('B', ''), environ.get('C')\\n'D' in os.environ\\nos.environ['E'] = ''"))
    ['A', 'B', 'C', 'D']
    """
    tree = parse(source)
    return frozenset() if isinstance(tree, str) else frozenset(name for node in ast.walk(tree) for name in _variable(node))


def _variable(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Attribute(attr="getenv") | ast.Name(id="getenv"), args=[ast.Constant(value=str() as name), *_]):
            yield name
        case ast.Call(func=ast.Attribute(value=owner, attr="get" | "pop" | "setdefault"), args=[ast.Constant(value=str() as name), *_]):
            yield from [name] if _is_environ(owner) else ()
        case ast.Subscript(value=owner, slice=ast.Constant(value=str() as name), ctx=ast.Load()) if _is_environ(owner):
            yield name
        case ast.Compare(left=ast.Constant(value=str() as name), ops=[ast.In() | ast.NotIn()], comparators=[owner]) if _is_environ(owner):
            yield name


def _is_environ(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (isinstance(node, ast.Name) and node.id == "environ")


# --- what comes along -----------------------------------------------------------------------------------------


def _imports(draft: Draft) -> Iterator[Reason]:
    """The packages it imports; of a local module capture has seen the file."""
    found: dict[str, Unit] = {}
    for unit, code in _code(draft):
        for package in sorted(imported_packages(code)):
            found.setdefault(package, unit)
    files = [PurePath(use.path) for unit in _units(draft) for use in (unit.seen.files if unit.seen else ()) if use.path.endswith(".py")]
    for package, unit in sorted(found.items()):
        seen = any(package == file.stem or package in file.parent.parts for file in files)
        yield Reason(draft.name, "import", package, _source(static=True, seen=seen), unit.cell.where)


def _alongs(draft: Draft) -> Iterator[Reason]:
    """Functions, classes, constants, whole cells and settings of other cells."""
    for name, maker in sorted(draft.portable.items()):
        if name not in maker.analysis.imports:
            reads = _reads_of(draft, name, maker)
            yield Reason(draft.name, "code", name, _source_of(reads), maker.cell.where, f"for {_first(reads).reader.cell.where}")
    for unit in draft.leading.values():
        reads = [read for read in draft.reads if read.maker and read.maker.cell.id == unit.cell.id]
        names = ", ".join(sorted({read.name for read in reads})) or "what it sets"
        source = _source_of(reads) if reads else "static"
        yield Reason(draft.name, "cell", unit.cell.id, source, unit.cell.where, f"makes {names}")
    for setting in draft.settings:
        yield Reason(draft.name, "setting", setting.part.text.strip().split("\n")[0], "static", setting.unit.cell.where)
