"""Which cell makes each name that a cell reads, in notebook order. Pure.

A cell *makes* a name when it binds it or changes its value in place; the maker of what a cell reads is the last cell before it that makes
the name. Reading a function counts as reading what its body reads, at the place where the function is used.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlops_nb.hashing import source_crc
from mlops_nb.notebook.analysis import of_cell
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.flow import parse
from mlops_nb.notebook.scopes import BUILTINS, changed_by_statement, root_name
from mlops_nb.records import Analysis, Cell, CellRun

# What IPython keeps of earlier cells' outputs: other values in another kernel.
OUTPUT_NAMES = frozenset({"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out"})
# Packages whose settings reach everything in the process.
PROCESS_WIDE = frozenset({"sys", "os", "warnings", "random", "numpy", "dotenv"})


@dataclass(frozen=True)
class Unit:
    """A cell that takes part: the component that owns it ('' for an untagged cell) and what it reads and makes."""

    cell: Cell
    owner: str
    analysis: Analysis
    seen: CellRun | None = None

    @cached_property
    def makes(self) -> frozenset[str]:
        """The names it binds or changes."""
        if self.cell.kind == "test":
            return frozenset()
        written = frozenset(self.seen.writes) if self.seen else frozenset()
        return self.analysis.defs | self.analysis.mutates | written

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names it surely takes from outside, as its code says."""
        about = frozenset(self.cell.options.get("on", ())) if self.cell.kind == "test" else frozenset()
        return self.analysis.uses | about

    @cached_property
    def python(self) -> str:
        """The cell as plain Python."""
        return plain_python(self.cell.source)


@dataclass(frozen=True, slots=True)
class Read:
    """`reader` takes `name` as `maker` left it (None: nothing before it makes the name).

    `direct`: its own code says so; `through`: a function that it reads does.
    """

    reader: Unit
    name: str
    maker: Unit | None
    direct: bool
    through: bool = False


@dataclass(frozen=True)
class Wiring:
    """All units in notebook order with their reads."""

    units: tuple[Unit, ...]
    reads: Mapping[str, tuple[Read, ...]] = field(default_factory=dict)

    def of(self, unit: Unit) -> tuple[Read, ...]:
        """What `unit` reads."""
        return self.reads[unit.cell.id]

    def made_later(self, name: str, after: Unit) -> Unit | None:
        """The first cell behind `after` that makes `name`."""
        return next((u for u in self.units if u.cell.index > after.cell.index and name in u.makes), None)

    def maker_before(self, name: str, index: int) -> Unit | None:
        """The last cell above `index` that makes `name`."""
        return next((u for u in reversed(self.units) if u.cell.index < index and name in u.makes), None)


def wire(cells: Iterable[Cell], observed: Mapping[str, CellRun]) -> Wiring:
    """The wiring of a notebook's cells; `skip` cells are left out. Observed runs of the very same source add what they read and wrote."""
    taking_part = [cell for cell in cells if cell.kind != "skip" and cell.source.strip()]
    units = tuple(_unit(cell, observed) for cell in taking_part)
    shadowed = frozenset().union(*(unit.analysis.defs for unit in units)) & BUILTINS
    if shadowed:
        units = tuple(replace(unit, analysis=_analysis(unit.cell, shadowed | OUTPUT_NAMES)) for unit in units)
    units = _without_module_changes(units)
    return Wiring(units, _reads(units))


def _unit(cell: Cell, observed: Mapping[str, CellRun]) -> Unit:
    seen = observed.get(cell.id)
    same = seen is not None and seen.crc == source_crc(cell.source) and seen.status == "ok"
    return Unit(cell, "" if cell.kind == "parameters" else cell.step, _analysis(cell, OUTPUT_NAMES), seen if same else None)


def _analysis(cell: Cell, shadowed: frozenset[str]) -> Analysis:
    return of_cell(cell, shadowed=shadowed)


def _without_module_changes(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """`np.random.seed(1)` changes no value of the notebook's own: what it does is found by `setup_statements`."""
    modules: set[str] = set()
    found = []
    for unit in units:
        modules = (modules - unit.analysis.defs) | set(unit.analysis.imports)
        seen = replace(unit.seen, writes=tuple(n for n in unit.seen.writes if n not in modules or n in unit.analysis.defs)) if unit.seen else None
        found.append(replace(unit, analysis=replace(unit.analysis, mutates=unit.analysis.mutates - modules), seen=seen))
    return tuple(found)


def _reads(units: Sequence[Unit]) -> dict[str, tuple[Read, ...]]:
    makers: dict[str, Unit] = {}
    deferred: dict[str, frozenset[str]] = {}
    found = {}
    for unit in units:
        found[unit.cell.id] = tuple(_unit_reads(unit, makers, deferred))
        for name in unit.makes:
            makers[name] = unit
        for name in unit.analysis.defs:
            deferred.pop(name, None)
        deferred.update(unit.analysis.deferred)
    return found


def _unit_reads(unit: Unit, makers: Mapping[str, Unit], deferred: Mapping[str, frozenset[str]]) -> Iterable[Read]:
    direct = unit.uses
    through = _through_functions(direct, deferred)
    watched = frozenset(unit.seen.reads) if unit.seen else frozenset()
    for name in sorted(direct | through | watched):
        maker = makers.get(name)
        certain = name in direct and name not in BUILTINS - OUTPUT_NAMES
        if maker is not None or certain:
            yield Read(unit, name, maker, certain, name in through)


def _through_functions(names: Iterable[str], deferred: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """What the functions among `names` read, and the functions among those."""
    found: set[str] = set()
    todo = [*names]
    while todo:
        for name in deferred.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return frozenset(found)


# --- settings of modules --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setup:
    """A statement that changes a module (`np.random.seed(1)`, `sys.path.insert(0, "src")`): its text, the packages, what it reads."""

    index: int
    text: str
    packages: frozenset[str]
    reads: frozenset[str]


def setup_statements(units: Iterable[Unit]) -> tuple[Setup, ...]:
    """The statements of untagged cells that set something in a module, in notebook order."""
    packages: dict[str, str] = {}
    found = []
    for unit in units:
        packages = {n: p for n, p in packages.items() if n not in unit.analysis.defs}
        packages.update({name: module.split(".")[0] for name, module in unit.analysis.imports.items() if not module.startswith(".")})
        if not unit.owner and unit.cell.kind == "code":
            found += [setup for statement in _statements(unit.python) if (setup := _setup(statement, unit, packages))]
    return tuple(found)


def _setup(statement: ast.stmt, unit: Unit, packages: Mapping[str, str]) -> Setup | None:
    roots = {packages[name] for name in _changed(statement) if name in packages}
    if not roots:
        return None
    reads = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - BUILTINS
    return Setup(unit.cell.index, ast.unparse(statement), frozenset(roots), frozenset(reads))


def _changed(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return {name}
        case ast.Expr(value=value):
            return {changed_by_statement(value)}
        case ast.Assign(targets=targets):
            return {root_name(t) for t in targets if isinstance(t, ast.Attribute | ast.Subscript)}
        case ast.AugAssign(target=ast.Attribute() | ast.Subscript() as target):
            return {root_name(target)}
    return set()


def _statements(source: str) -> list[ast.stmt]:
    tree = parse(source)
    return [] if isinstance(tree, str) else tree.body


def imported_packages(source: str) -> frozenset[str]:
    """The top-level names of all modules that plain Python imports, anywhere in it.

    >>> sorted(imported_packages("import a.b\\ndef f():\\n    from c import d"))
    ['a', 'c']
    """
    found: set[str] = set()
    for statement in _statements(source):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return frozenset(found)


def portable_source(unit: Unit) -> str:
    """The cell's code that other components may take along: all of an untagged cell, imports, functions and classes of a step's."""
    if not unit.owner:
        return unit.python
    kept = [s for s in _statements(unit.python) if _is_code(s)] if unit.cell.kind != "feature" else []
    return "\n".join(ast.unparse(statement) for statement in kept)


def _is_code(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Assign(targets=[ast.Name()], value=ast.Lambda()):
            return True
    return False
