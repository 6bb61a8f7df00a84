"""Statements that set something in the process rather than in a name: seeds, options, paths, environment variables. Pure."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mlops_nb.notebook.scopes import changed_by_statement, root_name
from mlops_nb.pipeline.portable import Part, parts_of
from mlops_nb.pipeline.wiring import Read, Unit, Wiring, through_functions
from mlops_nb.records import Behaviour

# Calls by these names set something for good; others (`plt.plot(x)`, `os.makedirs(path)`) may as well only show or do something.
_SETS = re.compile(
    r"(set|use$|rc|config|option|seed|filterwarnings|simplefilter|chdir|load_dotenv|putenv|basicConfig|enable|disable|register|update)"
)
_SETS_MAGICS = frozenset({"env", "set_env", "cd", "config", "precision"})
_SEEDS = frozenset({"seed", "setstate", "set_state"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One such statement: where it stands, the packages it sets something of, what it reads.

    `essential`: by its look it sets something. `seeds`: it starts a random generator.
    """

    unit: Unit
    part: Part
    packages: frozenset[str]
    reads: tuple[Read, ...]
    essential: bool
    seeds: bool

    @property
    def place(self) -> tuple[int, int]:
        """Cell and statement."""
        return self.unit.cell.index, self.part.place


def settings_of(wiring: Wiring) -> tuple[Setting, ...]:
    """The settings of all cells, in notebook order."""
    packages: dict[str, str] = {}
    known: dict[str, Behaviour] = {}
    found: list[Setting] = []
    for unit in wiring.units:
        packages = {name: package for name, package in packages.items() if name not in unit.analysis.defs}
        packages.update({name: module.split(".")[0] for name, module in unit.analysis.imports.items() if not module.startswith(".")})
        known.update(unit.analysis.behaviours)
        if unit.cell.kind in ("code", "step"):
            found += _of_unit(unit, packages, known, wiring)
    return tuple(found)


def _of_unit(unit: Unit, packages: Mapping[str, str], known: Mapping[str, Behaviour], wiring: Wiring) -> Iterator[Setting]:
    before: set[str] = set()
    deferred = wiring.deferred_before(unit)
    deferred.update(unit.analysis.deferred)
    for part in parts_of(unit.python):
        calls = {name for name in _called(part.statement) if name in known}
        changed = _changed(part.statement).union(*(known[name].changes for name in calls))
        roots = {"os"} if "%" in changed else {packages[name] for name in changed if name in packages}
        if roots and not part.is_code:
            names = part.analysis.uses | through_functions(part.analysis.uses, deferred)
            makers = {name: unit if name in before else wiring.maker_before(name, unit.cell.index) for name in sorted(names)}
            reads = tuple(Read(unit, name, maker, direct=False) for name, maker in makers.items() if maker)
            words = _words(part.statement)
            seeds = bool(words & _SEEDS) or any("seed" in name for name in calls)
            yield Setting(unit, part, frozenset(roots), reads, essential=_is_essential(part.statement, words) or bool(calls), seeds=seeds)
        before |= part.analysis.defs


def _called(statement: ast.stmt) -> set[str]:
    return {n.func.id for n in ast.walk(statement) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _words(statement: ast.stmt) -> set[str]:
    """The last names of what is called."""
    calls = [n.func for n in ast.walk(statement) if isinstance(n, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else f.id for f in calls if isinstance(f, ast.Attribute | ast.Name)}


def _is_essential(statement: ast.stmt, words: set[str]) -> bool:
    targets = [n for n in ast.walk(statement) if isinstance(n, ast.Attribute | ast.Subscript) and isinstance(n.ctx, ast.Store)]
    return bool(targets) or any(_SETS.match(word) for word in words) or bool({"insert", "append"} & words and "path" in ast.unparse(statement))


def _changed(statement: ast.stmt) -> set[str]:
    """The modules' names that a statement, or one inside it, sets something of; '%' for a magic that does."""
    found: set[str] = set()
    for node in ast.walk(statement):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value=str() as magic), *_])):
                found |= {"%"} if magic in _SETS_MAGICS else set()
            case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
                found.add(name)
            case ast.Expr(value=value):
                found.add(changed_by_statement(value))
            case ast.Assign(targets=targets):
                found |= {_root(target) for target in targets if isinstance(target, ast.Attribute | ast.Subscript)}
            case ast.AugAssign(target=ast.Attribute() | ast.Subscript() as target):
                found.add(_root(target))
    return found - {""}


def _root(target: ast.expr) -> str:
    """`np` of `np.x.y`, `getcontext` of `getcontext().prec`."""
    if name := root_name(target):
        return name
    calls = [n for n in ast.walk(target) if isinstance(n, ast.Call)]
    return root_name(calls[0].func) if calls else ""


def texts(found: Iterable[Setting]) -> dict[tuple[int, int], str]:
    """The settings' texts by their places."""
    return {setting.place: setting.part.text for setting in found}
