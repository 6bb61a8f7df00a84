"""Which cell makes each name that a cell reads, in notebook order. Pure.

A cell *makes* a name when it binds it or changes its value in place; the maker of what a cell reads is the last cell before it that makes
the name. Reading a function counts as reading what its body reads, at the place where the function is used.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from mlops_nb.hashing import source_crc
from mlops_nb.notebook.analysis import of_cell
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.scopes import BUILTINS, IN_PLACE
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import Analysis, Behaviour, Cell, CellRun

# What IPython keeps of earlier cells' outputs: other values in another kernel.
OUTPUT_NAMES = frozenset({"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out"})
# What makes an object that is used up or moves on: using it changes it, and it cannot be made twice.
STATEFUL = frozenset({"default_rng", "RandomState", "Random", "SystemRandom", "Generator", "iter", "count", "cycle"})
_WHEN_USED = frozenset({"__call__", "__next__", "__iter__", "__getitem__", "__getattr__", "__len__", "__contains__"})
# Packages whose settings reach everything in the process.
PROCESS_WIDE = frozenset({"sys", "os", "warnings", "random", "numpy", "dotenv"})


@dataclass(frozen=True)
class Unit:
    """A cell that takes part: the component that owns it ('' for an untagged cell) and what it reads and makes."""

    cell: Cell
    owner: str
    analysis: Analysis
    seen: CellRun | None = None
    effects: frozenset[str] = frozenset()  # names that the functions it uses bind or change

    @cached_property
    def makes(self) -> frozenset[str]:
        """The names it binds or changes."""
        if self.cell.kind == "test":
            return frozenset()
        written = frozenset(self.seen.writes) if self.seen else frozenset()
        return self.analysis.defs | self.changes | written

    @cached_property
    def changes(self) -> frozenset[str]:
        """The names whose objects its code, or a function that it uses, may change in place."""
        return frozenset() if self.cell.kind == "test" else self.analysis.mutates | self.effects

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

    def deferred_before(self, unit: Unit) -> dict[str, frozenset[str]]:
        """What each function that is bound above `unit` reads when called."""
        return dict(self._deferred[unit.cell.id])

    @cached_property
    def _deferred(self) -> dict[str, dict[str, frozenset[str]]]:
        found: dict[str, dict[str, frozenset[str]]] = {}
        above: dict[str, frozenset[str]] = {}
        for unit in self.units:
            found[unit.cell.id] = above
            if unit.analysis.defs:
                above = {name: reads for name, reads in above.items() if name not in unit.analysis.defs} | dict(unit.analysis.deferred)
        return found


def wire(cells: Iterable[Cell], observed: Mapping[str, CellRun]) -> Wiring:
    """The wiring of a notebook's cells; `skip` cells are left out. Observed runs of the very same source add what they read and wrote."""
    taking_part = [cell for cell in cells if cell.kind != "skip" and cell.source.strip()]
    units = tuple(_unit(cell, observed) for cell in taking_part)
    shadowed = frozenset().union(*(unit.analysis.defs for unit in units)) & BUILTINS
    if shadowed:
        units = tuple(replace(unit, analysis=_analysis(unit.cell, shadowed | OUTPUT_NAMES)) for unit in units)
    units = _without_module_changes(with_effects(units))
    return Wiring(units, _reads(units))


def _unit(cell: Cell, observed: Mapping[str, CellRun]) -> Unit:
    seen = observed.get(cell.id)
    same = seen is not None and seen.crc == source_crc(cell.source) and seen.status == "ok"
    return Unit(cell, "" if cell.kind == "parameters" else cell.step, _analysis(cell, OUTPUT_NAMES), _variables_of(seen) if seen and same else None)


def _variables_of(run: CellRun) -> CellRun:
    """A run without what it read and left besides variables (`env:HOME`, `state:random`): of that, promotion goes by the code."""
    return replace(run, reads=tuple(n for n in run.reads if ":" not in n), writes=tuple(n for n in run.writes if ":" not in n))


def _analysis(cell: Cell, shadowed: frozenset[str]) -> Analysis:
    return of_cell(cell, shadowed=shadowed)


def _without_module_changes(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """`np.random.seed(1)` changes no value of the notebook's own: what it does is found by `setup_statements`."""
    modules: set[str] = set()
    found = []
    for unit in units:
        modules = (modules - unit.analysis.defs) | set(unit.analysis.imports)
        seen = replace(unit.seen, writes=tuple(n for n in unit.seen.writes if n not in modules or n in unit.analysis.defs)) if unit.seen else None
        analysis = replace(unit.analysis, mutates=unit.analysis.mutates - modules)
        found.append(replace(unit, analysis=analysis, seen=seen, effects=unit.effects - modules))
    return tuple(found)


# --- what functions change ------------------------------------------------------------------------------------


def with_effects(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The units, each with the names that the functions it uses, of other cells too, bind or change."""
    known: dict[str, Behaviour] = {}
    deferred: dict[str, frozenset[str]] = {}
    made: set[str] = set()
    moving: set[str] = set()
    makers: set[str] = set(STATEFUL)
    found = []
    for unit in units:
        made |= unit.analysis.defs
        known = {name: how for name, how in known.items() if name not in unit.analysis.defs} | dict(unit.analysis.behaviours)
        deferred = {name: reads for name, reads in deferred.items() if name not in unit.analysis.defs} | dict(unit.analysis.deferred)
        used = unit.uses | {given[0] for given in unit.analysis.passes}
        used |= through_functions(used, deferred)
        found.append(replace(unit, effects=(_effects(unit, used, known) | used & moving) & made))
        makers |= _restless(unit)
        moving = moving - unit.analysis.defs | _moving(unit, makers)
    return tuple(found)


def _restless(unit: Unit) -> set[str]:
    """Classes whose instances change when they are called, iterated, or asked for a property."""
    found: set[str] = set()
    for statement in statements(unit.python):
        for method in statement.body if isinstance(statement, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and (
                method.name in _WHEN_USED or any(ast.unparse(d) == "property" for d in method.decorator_list)
            ):
                how = unit.analysis.behaviours.get(f".{method.name}", Behaviour())
                found |= {statement.name} if "self" in how.changes and isinstance(statement, ast.ClassDef) else set()
    return found


def _moving(unit: Unit, makers: set[str]) -> set[str]:
    """Names that the cell binds to what changes when it is used: a random generator, an iterator, `push = xs.append`."""
    found: set[str] = set()
    for statement in statements(unit.python):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Attribute(attr=maker) | ast.Name(id=maker))) if maker in makers:
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.GeneratorExp()):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=method)) if method in IN_PLACE:
                found.add(name)
    return found


def _effects(unit: Unit, used: Iterable[str], known: Mapping[str, Behaviour]) -> frozenset[str]:
    found: set[str] = set()
    for name in used:
        how = known.get(name, Behaviour())
        found |= how.changes - set(how.parameters)
        found |= {root for callee, key, root in how.passes if root not in how.parameters and alters(callee, key, known)}
    found |= {root for callee, key, root in unit.analysis.passes if alters(callee, key, known)}
    return frozenset(found)


def alters(callee: str, key: str, known: Mapping[str, Behaviour], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function changes the argument at `key` (a position, a keyword, or `self`) in place, itself or through others."""
    how = known.get(callee)
    if how is None or callee in seen:
        return False
    first = 1 if callee[0] == "." else 0  # a method's arguments come behind self
    place = int(key) + first if key.isdigit() else -1
    name = how.parameters[place] if 0 <= place < len(how.parameters) else key
    if name not in how.parameters:
        return False
    return name in how.changes or any(root == name and alters(other, k, known, seen | {callee}) for other, k, root in how.passes)


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
    through = through_functions(direct, deferred)
    watched = unit.analysis.looked_up | (frozenset(unit.seen.reads) if unit.seen else frozenset())
    for name in sorted(direct | through | watched):
        maker = makers.get(name)
        certain = name in direct and name not in BUILTINS - OUTPUT_NAMES
        if maker is not None or certain:
            yield Read(unit, name, maker, certain, name in through)


def through_functions(names: Iterable[str], deferred: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """What the functions among `names` read, and the functions among those."""
    found: set[str] = set()
    todo = [*names]
    while todo:
        for name in deferred.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return frozenset(found)


# --- code ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def statements(source: str) -> tuple[ast.stmt, ...]:
    """The top-level statements of plain Python, to be looked at only; none where it cannot be parsed."""
    tree = parse(source)
    return () if isinstance(tree, str) else tuple(tree.body)


@lru_cache(maxsize=2048)
def imported_packages(source: str) -> frozenset[str]:
    """The top-level names of all modules that plain Python imports, anywhere in it.

    >>> sorted(imported_packages("import a.b\\ndef f():\\n    from c import d"))
    ['a', 'c']
    """
    found: set[str] = set()
    for statement in statements(source):
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return frozenset(found)
