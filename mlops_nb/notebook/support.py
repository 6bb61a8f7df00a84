"""Names -> the imports, functions, classes and literal constants that define them, as code that runs on its own."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops_nb.notebook import graph
from mlops_nb.notebook.analysis import analyze
from mlops_nb.notebook.scopes import BUILTINS
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import Analysis


@dataclass(frozen=True, slots=True)
class Support:
    """`code` defines all it can of what was asked for; `leftover` are the names that are data, or that nothing defines."""

    code: str = ""
    leftover: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Item:
    """One top-level statement that may come along: its text, place, and what it does."""

    place: int
    text: str
    analysis: Analysis
    constant: bool = False


def support_code(names: Iterable[str], sources: Sequence[str]) -> Support:
    """What `names` need out of `sources` (plain Python in the order it ran), through other functions too, in an order that runs.

    The last definition of a name wins. A name last bound by anything but an import, `def`, `class` or literal is data: leftover.

    >>> support_code(["f"], ["import math", "def f(x): return math.sqrt(x) + k"]).leftover
    frozenset({'k'})
    """
    table, future = _definitions(sources)
    needed: dict[int, _Item] = {}
    leftover: set[str] = set()
    todo = sorted(set(names))
    while todo:
        name = todo.pop()
        item = table.get(name)
        if item is None:
            leftover |= {name} - BUILTINS
        elif item.place not in needed:
            needed[item.place] = item
            todo.extend(sorted(_all_reads(item.analysis)))
    ordered = _in_order(needed, table)
    code = "\n".join([*(future if ordered else []), *(item.text for item in ordered)])
    return Support(code=code + "\n" if code else "", leftover=frozenset(leftover))


def _definitions(sources: Sequence[str]) -> tuple[dict[str, _Item], list[str]]:
    """Each name's last binding (absent or None: data), and the `from __future__` lines."""
    table: dict[str, _Item | None] = {}
    future: dict[str, None] = {}
    place = 0
    for source in sources:
        tree = parse(source)
        for statement in [] if isinstance(tree, str) else tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                future[ast.unparse(statement)] = None
                continue
            for part in split_imports(statement):
                place += 1
                _enter(table, part, place, source)
    return {name: item for name, item in table.items() if item is not None}, list(future)


def _enter(table: dict[str, _Item | None], statement: ast.stmt, place: int, source: str) -> None:
    analysis = analyze(ast.unparse(statement))
    portable = is_portable_statement(statement)
    item = _Item(place, text_of(statement, source), analysis, constant=isinstance(statement, ast.Assign | ast.AnnAssign)) if portable else None
    for name in analysis.defs:
        table[name] = item
    for name in analysis.deletes - analysis.defs:
        table.pop(name, None)
    for name in analysis.mutates if not portable else ():
        known = table.get(name)
        if known is not None and known.constant:
            table[name] = None


def split_imports(statement: ast.stmt) -> list[ast.stmt]:
    """An import of several names as one import a name, so that only those needed come along."""
    match statement:
        case ast.Import(names=names):
            return [ast.Import(names=[alias]) for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            return [ast.ImportFrom(module=module, names=[alias], level=level) for alias in names]
    return [statement]


CLASS_MAKERS = frozenset({"namedtuple", "NamedTuple", "make_dataclass", "NewType", "TypeVar", "Enum", "IntEnum", "TypedDict"})


def is_class_statement(statement: ast.stmt) -> bool:
    """Whether a statement binds a class: `class A: ...`, `P = namedtuple("P", "x y")`."""
    match statement:
        case ast.ClassDef():
            return True
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name(id=maker) | ast.Attribute(attr=maker))):
            return maker in CLASS_MAKERS
    return False


def is_portable_statement(statement: ast.stmt) -> bool:
    """Whether a top-level statement is code that may come along: an import, function, class or literal, or a choice between such.

    >>> [is_portable_statement(s) for s in ast.parse("import math; k = [1, 2]; n = len(k)").body]
    [True, True, False]
    """
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Pass():
            return True
        case _ if is_class_statement(statement):
            return True
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
            return isinstance(value, ast.Lambda) or _is_literal(value)
        case ast.If(body=body, orelse=orelse):
            return all(map(is_portable_statement, [*body, *orelse]))
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
            return all(map(is_portable_statement, [*body, *orelse, *finalbody, *(s for h in handlers for s in h.body)])) and bool(handlers)
    return False


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def text_of(statement: ast.stmt, source: str) -> str:
    """The statement as the user wrote it, with decorators, comments and formatting where that can be had."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return ast.unparse(statement)
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
    lines = source.split("\n")[first - 1 : statement.end_lineno]
    text = "\n".join(lines)
    tree = parse(text)
    alone = not isinstance(tree, str) and len(tree.body) == 1
    return text if alone else ast.unparse(statement)


def _all_reads(analysis: Analysis) -> frozenset[str]:
    return analysis.uses.union(*analysis.deferred.values()) - analysis.defs


def _in_order(needed: dict[int, _Item], table: dict[str, _Item]) -> list[_Item]:
    """Original order, moved only where a statement reads at definition time what stands further down."""
    items = dict(sorted(needed.items()))
    requires = {str(place): [str(p) for p in sorted(_first(item, table)) if p != place and p in items] for place, item in items.items()}
    if graph.cycle(requires):
        return list(items.values())
    return [items[int(place)] for place in graph.order(requires)]


def _first(item: _Item, table: dict[str, _Item]) -> set[int]:
    """The statements that have to stand before this one: what it reads when it runs, and what the functions it calls then read."""
    found: set[int] = set()
    todo = list(item.analysis.uses)
    while todo:
        needed = table.get(todo.pop())
        if needed is not None and needed.place not in found:
            found.add(needed.place)
            todo.extend(_all_reads(needed.analysis))
    return found
