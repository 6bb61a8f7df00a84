"""Code that comes along with a component: imports, functions, classes and constants that other cells define. Pure.

A definition may read names when it runs (defaults, decorators, base classes): it comes along with these as they were then, or, where that
cannot be told apart from what they are later, not at all.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mlops_nb.notebook.analysis import facts
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.support import is_class_statement, is_portable_statement, split_imports, text_of
from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.wiring import Read, Unit, Wiring, statements, through_functions
from mlops_nb.records import Analysis, Cell


@dataclass(frozen=True, slots=True)
class Part:
    """A top-level statement of a cell: its place in it, its text, what it does, and the names it binds on every path."""

    place: int
    statement: ast.stmt
    text: str
    analysis: Analysis
    always: frozenset[str]

    @property
    def is_code(self) -> bool:
        """An import, function or class, whatever cell it stands in."""
        match self.statement:
            case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef():
                return True
            case ast.Assign(targets=[ast.Name()], value=ast.Lambda()):
                return True
        return is_class_statement(self.statement)


@lru_cache(maxsize=512)
def parts_of(source: str) -> tuple[Part, ...]:
    """The top-level statements of plain Python; an import of several names is one part a name."""
    found: list[Part] = []
    for statement in statements(source):
        for one in split_imports(statement):
            seen = facts(ast.unparse(one))
            found.append(Part(len(found), one, text_of(one, source), seen.analysis, seen.always))
    return tuple(found)


def definition(name: str, unit: Unit) -> Part | None:
    """The statement of `unit` that defines `name` as code or constant for all that come after; None where it is data."""
    if unit.cell.kind in ("feature", "test") or name in unit.changes:
        return None
    parts = parts_of(unit.python)
    last = next((part for part in reversed(parts) if name in part.analysis.defs), None)
    if last is None or name not in last.always or not is_portable_statement(last.statement):
        return None
    if not last.is_code and (unit.owner or unit.cell.kind != "code"):
        return None
    later = [part.analysis for part in parts[last.place + 1 :]]
    replaced = any(last.analysis.uses & (analysis.defs | analysis.mutates) for analysis in later)
    return None if replaced else last


def defines_class(name: str, unit: Unit) -> bool:
    """Whether `unit` defines `name` as a class that can be carried as code."""
    found = definition(name, unit)
    return found is not None and is_class_statement(found.statement)


def definition_reads(name: str, maker: Unit, wiring: Wiring) -> tuple[Read, ...]:
    """What the definition of `name` reads when it runs, with the functions that it calls then."""
    found = definition(name, maker)
    if found is None:
        return ()
    deferred = wiring.deferred_before(maker)
    deferred.update(maker.analysis.deferred)
    uses = found.analysis.uses | through_functions(found.analysis.uses, deferred)
    before = frozenset().union(*(part.analysis.defs for part in parts_of(maker.python)[: found.place]))
    makers = {use: maker if use in before else wiring.maker_before(use, maker.cell.index) for use in sorted(uses)}
    return tuple(Read(maker, use, made, direct=False) for use, made in makers.items() if made is not None)


def is_portable(name: str, maker: Unit, wiring: Wiring, seen: frozenset[tuple[str, str]] = frozenset()) -> bool:
    """Whether `name`, as `maker` leaves it, can be defined in another kernel by its code alone."""
    if (name, maker.cell.id) in seen:
        return True
    if definition(name, maker) is None:
        return False
    seen |= {(name, maker.cell.id)}
    needed = [(read.name, read.maker) for read in definition_reads(name, maker, wiring) if read.maker]
    return all(is_parameter(use, made) or is_portable(use, made, wiring, seen) for use, made in needed)


def is_parameter(name: str, maker: Unit) -> bool:
    """Whether `name` is a parameter: a literal of the parameters cell."""
    return maker.cell.kind == "parameters" and name in literals(maker.cell)


def literals(cell: Cell) -> dict[str, object]:
    """The literal assignments of a parameters cell."""
    tree = parse(plain_python(cell.source))
    found: dict[str, object] = {}
    for statement in [] if isinstance(tree, str) else tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                try:
                    found[name] = ast.literal_eval(value)
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    found.pop(name, None)
    return found


def same_code(name: str, one: Unit, other: Unit) -> bool:
    """Whether two cells define `name` by the same statement."""
    first, second = definition(name, one), definition(name, other)
    return first is not None and second is not None and ast.unparse(first.statement) == ast.unparse(second.statement)


def pieces(portable: Mapping[str, Unit], units: Iterable[Unit]) -> dict[tuple[int, int], str]:
    """The text of each definition by its place: cell, statement; submodules that `units` import of an imported package with it."""
    found: dict[tuple[int, int], str] = {}
    for name, maker in portable.items():
        part = definition(name, maker)
        if part is not None:
            found[maker.cell.index, part.place] = part.text
            found |= {(-1, n): text for n, text in enumerate(_futures(maker))}
    for unit in units:
        submodules = (part for part in parts_of(unit.python) if isinstance(part.statement, ast.Import) and "." in part.statement.names[0].name)
        found |= {(unit.cell.index, part.place): part.text for part in submodules if part.analysis.defs & portable.keys()}
    return found


def _futures(unit: Unit) -> list[str]:
    return [part.text for part in parts_of(unit.python) if isinstance(part.statement, ast.ImportFrom) and part.statement.module == "__future__"]
