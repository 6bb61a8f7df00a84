"""What a notebook shares between its cells without a name for it, and separate kernels would not: aliased objects and global generators. Pure.

Each check returns the first hazard found, as the PromotionRefused to raise.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mlops_nb.errors import PromotionRefused
from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.wiring import Read, Unit, Wiring

# Names of `random` and `numpy.random` whose use does not move the global generator on.
_STILL = frozenset({"Random", "SystemRandom", "RandomState", "Generator", "default_rng", "SeedSequence", "PCG64", "getstate", "get_state"})
_SEEDING = frozenset({"seed", "setstate", "set_state"})
# What draws from numpy's global generator unless it is given a `random_state`.
_DRAWING = frozenset(
    {"sample", "rvs", "train_test_split", "shuffle", "resample", "make_classification", "make_regression", "make_blobs", "make_moons"}
    | {"ShuffleSplit", "StratifiedShuffleSplit", "GroupShuffleSplit", "RandomizedSearchCV", "permutation_importance", "cross_val_predict"}
    | {"RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor", "GradientBoostingClassifier"}
    | {"GradientBoostingRegressor", "BaggingClassifier", "BaggingRegressor", "MLPClassifier", "MLPRegressor", "SGDClassifier"}
    | {"SGDRegressor", "KMeans", "MiniBatchKMeans", "IsolationForest", "TSNE", "NMF", "DecisionTreeClassifier", "DecisionTreeRegressor"}
)
_MODULES = {"random": "Python's", "numpy.random": "numpy's"}


def shared_object(wiring: Wiring) -> PromotionRefused | None:
    """A value changed through one name and read through another, in different kernels."""
    return next(_aliases_by_code(wiring), None) or next(_aliases_as_seen(wiring), None)


def _aliases_by_code(wiring: Wiring) -> Iterator[PromotionRefused]:
    """`y = x` in one cell, `y.append(1)` in another, `x` read in a third."""
    for pair in wiring.units:
        for one, other in _pairs(pair):
            for name, alias in ((one, other), (other, one)):
                for changer in _changers(wiring, pair, name):
                    yield from _misled(wiring, pair, changer, alias)


def _pairs(unit: Unit) -> Iterator[tuple[str, str]]:
    tree = parse(unit.python)
    for statement in [] if isinstance(tree, str) or unit.cell.kind in ("test", "feature") else tree.body:
        match statement:
            case ast.Assign(targets=targets, value=ast.Name(id=source)):
                yield from ((target.id, source) for target in targets if isinstance(target, ast.Name))


def _changers(wiring: Wiring, pair: Unit, name: str) -> Iterator[Unit]:
    """The cells from `pair` on that change the value in place, up to the one that binds the name to another."""
    for unit in wiring.units:
        if unit.cell.index <= pair.cell.index:
            continue
        if name in unit.changes & unit.uses and unit.cell.kind != "test":
            yield unit
        if name in unit.analysis.defs:
            return


def _misled(wiring: Wiring, pair: Unit, changer: Unit, alias: str) -> Iterator[PromotionRefused]:
    for unit in wiring.units:
        if unit.cell.index <= changer.cell.index or not unit.owner:
            continue
        read = next((r for r in wiring.of(unit) if r.name == alias and r.maker and r.maker.cell.index <= pair.cell.index), None)
        together = unit.owner == changer.owner and pair.owner in ("", unit.owner)
        if read and not together:
            yield _refused_alias(changer, alias, unit)


def _aliases_as_seen(wiring: Wiring) -> Iterator[PromotionRefused]:
    """A value that capture saw change in a cell that neither names it nor calls a function that does."""
    for changer in wiring.units:
        silent = frozenset(changer.seen.writes) - changer.analysis.defs - changer.changes if changer.seen else frozenset()
        silent -= {read.name for read in wiring.of(changer) if read.direct} | {read.name for read in wiring.of(changer) if read.through}
        for name in sorted(silent if changer.owner else ()):
            before = wiring.maker_before(name, changer.cell.index)
            reader = _reader(wiring, name, changer)
            if before and reader and (before.owner != changer.owner or reader.owner != changer.owner):
                yield _refused_alias(changer, name, reader)


def _reader(wiring: Wiring, name: str, maker: Unit) -> Unit | None:
    return next(
        (u for u in wiring.units if u.owner and any(r.name == name and r.maker and r.maker.cell.id == maker.cell.id for r in wiring.of(u))), None
    )


def _refused_alias(changer: Unit, name: str, reader: Unit) -> PromotionRefused:
    return PromotionRefused(
        f"changes the value of `{name}` through another name, and {reader.cell.where} reads `{name}`: in kernels of their own they are two values",
        where=changer.cell.where,
        hint=f"change a copy, or change `{name}` by its own name",
    )


# --- global generators ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Use:
    unit: Unit
    module: str
    kind: Literal["seed", "draw"]


def shared_generator(wiring: Wiring) -> PromotionRefused | None:
    """A step that draws from a seeded global generator which another step's cell has seeded or moved on."""
    modules: dict[str, str] = {}
    last: dict[str, _Use] = {}
    seeded: set[str] = set()
    for unit in wiring.units:
        modules.update(unit.analysis.imports)
        for use in _uses(unit, wiring, modules):
            before = last.get(use.module)
            if use.kind == "draw" and use.module in seeded and before and not _goes_on(before, unit) and unit.owner:
                return _refused_draw(use, before)
            seeded |= {use.module} if use.kind == "seed" else set()
            last[use.module] = use
    return None


def _goes_on(before: _Use, unit: Unit) -> bool:
    """Whether `unit`'s kernel has the generator as the notebook had it: untagged seeds come along, other cells' draws do not."""
    return before.unit.owner == unit.owner or (before.kind == "seed" and not before.unit.owner)


def _uses(unit: Unit, wiring: Wiring, modules: Mapping[str, str]) -> Iterator[_Use]:
    """The unit's uses of global generators in the order of its code, those of the functions it reads last."""
    tree = parse(unit.python)
    body = [] if isinstance(tree, str) else tree.body
    own = body if unit.owner else [s for s in body if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    for module, name in _named(own, modules):
        yield _Use(unit, module, "seed" if name in _SEEDING else "draw")
    for read in wiring.of(unit):
        for module, name in _named(_definition(read), modules):
            yield _Use(unit, module, "seed" if name in _SEEDING else "draw")


def _definition(read: Read) -> list[ast.stmt]:
    tree = parse(read.maker.python) if read.maker else ""
    body = [] if isinstance(tree, str) else tree.body
    return [s for s in body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and s.name == read.name]


def _named(body: Iterable[ast.stmt], modules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(module, name) of what is called of a global generator."""
    for node in (node for statement in body for node in ast.walk(statement)):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _DRAWING and not _is_random(value, modules) and _is_free(node):
                yield "numpy.random", name
                continue
            case ast.Call(func=ast.Name(id=name)) if name in _DRAWING and modules.get(name, "").split(".")[0] == "sklearn" and _is_free(node):
                yield "numpy.random", name
                continue
            case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id=package), attr="random"), attr=name)):
                module = "numpy.random" if modules.get(package, "").split(".")[0] == "numpy" else ""
            case ast.Call(func=ast.Attribute(value=ast.Name(id=package), attr=name)):
                module = modules.get(package, "")
            case ast.Call(func=ast.Name(id=name)):
                module = modules.get(name, "")
            case _:
                continue
        if module in _MODULES and name not in _STILL and name.islower():
            yield module, name


def _is_random(value: ast.expr, modules: Mapping[str, str]) -> bool:
    """Whether a method's owner is a module of generators itself, or one that has its own say (`random.sample`, `rng.shuffle`)."""
    return isinstance(value, ast.Name) and (modules.get(value.id, "") in _MODULES or value.id in ("rng", "generator"))


def _is_free(call: ast.Call) -> bool:
    given = {keyword.arg for keyword in call.keywords}
    return not given & {"random_state", "seed", None}


def _refused_draw(use: _Use, before: _Use) -> PromotionRefused:
    return PromotionRefused(
        f"draws from {_MODULES[use.module]} global generator, which {before.unit.cell.where} has {'seeded' if before.kind == 'seed' else 'moved on'}",
        where=use.unit.cell.where,
        hint="seed it in this step, or draw from a generator of the step's own",
    )
