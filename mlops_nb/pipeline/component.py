"""Cells -> components: what each step takes and gives, the code it needs, and what cannot be promoted. Pure.

The rules, each refused with the cell's place where it cannot be kept:

- A cell belongs to the step it names; `%%feature NAME` without a step is the step NAME; `%%test` without one belongs to the last
  component that makes a name it reads; `skip` cells take no part.
- A name is taken from the last cell above the reader that makes it. All cells of a component have to mean the same one, and the
  component that makes it must leave it as it was there.
- Imports, functions, classes, and literal constants of untagged cells come along as support code, and so do statements of untagged cells
  that set something in a module in use (`np.random.seed(1)`, `pd.set_option(...)`).
- Other values of untagged cells come along as whole cells, unless they stand on what a step makes.
- Values that cells share without saying so are refused: one object under two names that steps change and read, and a seeded global
  generator that more than one step moves on.
- The cell tagged `parameters` gives parameters: its literal assignments.
"""

import ast
import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlops_nb.errors import BadInput, PromotionRefused
from mlops_nb.hashing import json_digest, text_digest
from mlops_nb.notebook import graph
from mlops_nb.notebook.analysis import analyze, normalized
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.flow import parse
from mlops_nb.notebook.grammar import parse_line
from mlops_nb.notebook.support import support_code
from mlops_nb.pipeline.hazards import shared_generator, shared_object
from mlops_nb.pipeline.wiring import (
    OUTPUT_NAMES,
    PROCESS_WIDE,
    Read,
    Setup,
    Unit,
    Wiring,
    imported_packages,
    portable_source,
    setup_statements,
    wire,
)
from mlops_nb.records import Cell, CellRun, Component, Pipeline

GENERATORS = frozenset({"default_rng", "RandomState", "Random", "SystemRandom", "Generator"})


def build(
    cells: Iterable[Cell],
    *,
    notebook: str,
    name: str,
    observed: Mapping[str, CellRun] | None = None,
    modules: Mapping[str, str] | None = None,
) -> Pipeline:
    """The pipeline that a notebook's cells make.

    `observed` holds the latest run of a cell by its id, `modules` the digests of the project's own modules by top-level name.
    Raises PromotionRefused naming the cell, and what to do.
    """
    wiring = wire(_owned_features(cells), observed or {})
    _check_cells(wiring, notebook)
    wiring = _with_tests(wiring)
    drafts = _drafts(wiring)
    if hazard := shared_object(wiring) or shared_generator(wiring):
        raise hazard
    for draft in drafts.values():
        _check_interleaving(draft, wiring)
    ordered = _ordered(drafts)
    given = {owner: _outputs(drafts[owner], drafts) for owner in ordered}
    components = tuple(_component(drafts[owner], given[owner], modules or {}) for owner in ordered)
    return Pipeline(name=name, notebook=notebook, components=components, version=version_of(name, components))


@dataclass(slots=True)
class _Draft:
    """A component in the making: its own units, what it takes from where."""

    name: str
    units: list[Unit]
    wiring: Wiring
    inputs: dict[str, Read] = field(default_factory=dict)
    leading: dict[str, Unit] = field(default_factory=dict)
    portable: dict[str, Unit] = field(default_factory=dict)
    parameters: dict[str, object] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The index of its last cell."""
        return max(unit.cell.index for unit in self.units)


# --- which cells ----------------------------------------------------------------------------------------------


def _owned_features(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple(replace(cell, step=cell.name) if cell.kind == "feature" and not cell.step else cell for cell in cells)


def _check_cells(wiring: Wiring, notebook: str) -> None:
    if not any(unit.owner for unit in wiring.units):
        raise PromotionRefused(
            "has no step cells", where=notebook, hint="write %%step NAME in a cell's first line, or give the cell the tag step:NAME"
        )
    for unit in wiring.units:
        if unit.owner and unit.analysis.error:
            raise PromotionRefused(unit.analysis.error, where=unit.cell.where, hint="mend the cell")


def _with_tests(wiring: Wiring) -> Wiring:
    """Give each test without a step to the last component that makes a name it reads; tests of nothing a step makes stay outside."""

    def placed(unit: Unit) -> Unit:
        if unit.cell.kind != "test" or unit.owner:
            return unit
        makers = [r.maker for r in wiring.of(unit) if r.maker and r.maker.owner and not _is_portable(r.name, r.maker)]
        return replace(unit, owner=max(makers, key=lambda maker: maker.cell.index).owner) if makers else unit

    units = {unit.cell.id: placed(unit) for unit in wiring.units}
    reads = {
        cell_id: tuple(replace(r, reader=units[cell_id], maker=units[r.maker.cell.id] if r.maker else None) for r in reads)
        for cell_id, reads in wiring.reads.items()
    }
    return Wiring(tuple(units.values()), reads)


# --- what a component takes -----------------------------------------------------------------------------------


def _drafts(wiring: Wiring) -> dict[str, _Draft]:
    """The components in notebook order, with all they take from outside."""
    drafts: dict[str, _Draft] = {}
    for unit in wiring.units:
        if unit.owner:
            drafts.setdefault(unit.owner, _Draft(unit.owner, [], wiring)).units.append(unit)
    for draft in drafts.values():
        todo = [read for unit in draft.units for read in wiring.of(unit)]
        todo += _maybe_from_outside(draft)
        while todo:
            todo += _take(draft, todo.pop(0))
        _check_one_meaning(draft)
    return drafts


def _maybe_from_outside(draft: _Draft) -> list[Read]:
    """Names that the component binds on some paths only: another cell's value is then the one that counts."""
    code = "\n".join(unit.python for unit in draft.units if unit.cell.kind not in ("test", "feature"))
    exposed = analyze(code).uses
    made_here = {read.name for unit in draft.units for read in draft.wiring.of(unit) if read.maker and read.maker.owner == draft.name}
    found = []
    for name in sorted(made_here & exposed):
        first = next(unit for unit in draft.units if name in unit.makes)
        outside = draft.wiring.maker_before(name, first.cell.index)
        found += [Read(first, name, outside, direct=False)] if outside else []
    return found


def _take(draft: _Draft, read: Read) -> tuple[Read, ...]:
    """Note where a read comes from; returns the reads of a cell that comes along for it."""
    maker = read.maker
    if maker is None:
        raise _unmade(read, draft.wiring)
    if maker.owner == draft.name:
        return ()
    draft.reads.append(read)
    if maker.cell.kind == "parameters" and literals(maker.cell).keys() >= {read.name}:
        draft.parameters[read.name] = literals(maker.cell)[read.name]
    elif _is_portable(read.name, maker):
        draft.portable[read.name] = maker
    elif maker.owner:
        draft.inputs[read.name] = read
    else:
        return _bring(draft, read, maker)
    return ()


def _bring(draft: _Draft, read: Read, maker: Unit) -> tuple[Read, ...]:
    """Let a whole untagged cell come along for a value it makes."""
    if maker.cell.id in draft.leading:
        return ()
    _check_simple(read, maker, draft.wiring)
    draft.leading[maker.cell.id] = maker
    return draft.wiring.of(maker)


def _check_simple(read: Read, maker: Unit, wiring: Wiring) -> None:
    advice = f"give that cell a step of its own: %%step {_step_name(read.name)}"
    if maker.cell.kind == "parameters":
        raise PromotionRefused(
            f"`{read.name}` is computed in the parameters cell, so a parameter given to a run would not reach it",
            where=maker.cell.where,
            hint="keep literals in the parameters cell and compute from them in another",
        )
    if maker.analysis.error:
        raise PromotionRefused(maker.analysis.error, where=maker.cell.where, hint="mend the cell")
    stepped = next((r for r in wiring.of(maker) if r.maker and r.maker.owner and not _is_portable(r.name, r.maker)), None)
    if stepped and stepped.maker:
        raise PromotionRefused(
            f"makes `{read.name}` for {read.reader.cell.where} out of `{stepped.name}` of step {stepped.maker.owner}, but is no step itself",
            where=maker.cell.where,
            hint=advice,
        )
    if maker.analysis.dynamic:
        raise PromotionRefused(f"makes `{read.name}` by code that cannot be read (exec, import *, %run)", where=maker.cell.where, hint=advice)


def _is_portable(name: str, maker: Unit) -> bool:
    """Whether `name`, as `maker` leaves it, is code: an import, function or class, or a literal of an untagged cell."""
    if maker.cell.kind in ("feature", "test") or name in maker.analysis.mutates:
        return False
    if name in maker.analysis.imports or name in maker.analysis.deferred:
        return True
    return name not in support_code([name], [portable_source(maker)]).leftover and maker.cell.kind == "code"


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


# --- refusals -------------------------------------------------------------------------------------------------


def _unmade(read: Read, wiring: Wiring) -> PromotionRefused:
    where = read.reader.cell.where
    if read.name in OUTPUT_NAMES:
        return PromotionRefused(f"reads IPython's `{read.name}`, another value in a run", where=where, hint="give that value a name of its own")
    later = wiring.made_later(read.name, read.reader)
    if later:
        owner = f"step {later.owner}" if later.owner else "an untagged cell"
        return PromotionRefused(
            f"reads `{read.name}`, which only {owner} makes, further down ({later.cell.where})",
            where=where,
            hint="put the cells in the order in which they run",
        )
    near = difflib.get_close_matches(read.name, sorted(set().union(*(unit.makes for unit in wiring.units))), n=3, cutoff=0.6)
    dynamic = next((u for u in wiring.units if u.analysis.dynamic and u.cell.index < read.reader.cell.index), None)
    hint = f"did you mean {' or '.join(near)}?" if near else "make it in a cell above, or write it out"
    if dynamic:
        hint = f"{dynamic.cell.where} may make it by exec, import * or %run: bind it by its name"
    return PromotionRefused(f"reads `{read.name}`, which no cell makes", where=where, hint=hint)


def _check_one_meaning(draft: _Draft) -> None:
    """By a name that comes from outside all cells mean one value, and none of the component's own cells has replaced it before."""
    inside = {unit.cell.id: unit for unit in (*draft.units, *draft.leading.values())}
    start: dict[str, Unit] = {}
    for read in draft.reads:
        maker = read.maker
        if maker is None or maker.cell.id in inside:
            continue
        own = next((u for u in inside.values() if read.name in u.makes and u.cell.index < read.reader.cell.index), None)
        other = start.setdefault(read.name, maker)
        if own or not (other is maker or _same_code(read.name, maker, other)):
            raise _two_meanings(draft, read, maker, own or other)


def _two_meanings(draft: _Draft, read: Read, maker: Unit, other: Unit) -> PromotionRefused:
    return PromotionRefused(
        f"reads `{read.name}` as {maker.cell.where} makes it anew, while step {draft.name} works with the one of {other.cell.where} too",
        where=read.reader.cell.where,
        hint="give one of the two another name, or split the step",
    )


def _same_code(name: str, one: Unit, other: Unit) -> bool:
    module = one.analysis.imports.get(name)
    if module is not None and module == other.analysis.imports.get(name):
        return True
    both = [support_code([name], [portable_source(unit)]) for unit in (one, other)]
    return name not in both[0].leftover | both[1].leftover and normalized(both[0].code) == normalized(both[1].code)


def _check_interleaving(draft: _Draft, wiring: Wiring) -> None:
    """What a component takes from another must be what that one has at its end."""
    for read in draft.inputs.values():
        maker = read.maker
        assert maker is not None
        again = next((u for u in wiring.units if u.owner == maker.owner and u.cell.index > maker.cell.index and read.name in u.makes), None)
        if again:
            raise PromotionRefused(
                f"reads `{read.name}` as {maker.cell.where} left it, but {again.cell.where} of the same step {maker.owner} changes it later",
                where=read.reader.cell.where,
                hint=f"make {again.cell.where} a step of its own",
            )
    _check_generators(draft, wiring)


def _check_generators(draft: _Draft, wiring: Wiring) -> None:
    """A random generator that two steps would each make anew would not go on where the first left it."""
    others = {u.owner for u in wiring.units if u.owner not in ("", draft.name)}
    for unit in draft.leading.values():
        named = {n.attr if isinstance(n, ast.Attribute) else n.id for n in _walk(unit.python) if isinstance(n, ast.Attribute | ast.Name)}
        users = {u.owner for u in wiring.units if u.owner in others and any(r.maker and r.maker.cell.id == unit.cell.id for r in wiring.of(u))}
        if named & GENERATORS and users:
            raise PromotionRefused(
                f"makes a random generator for the steps {', '.join(sorted({draft.name, *users}))}: each would start it anew",
                where=unit.cell.where,
                hint="make a generator of its own, with a seed, in each step",
            )


def _walk(source: str) -> Iterable[ast.AST]:
    tree = parse(source)
    return () if isinstance(tree, str) else ast.walk(tree)


def _ordered(drafts: Mapping[str, _Draft]) -> tuple[str, ...]:
    requires = {name: [r.maker.owner for r in draft.inputs.values() if r.maker] for name, draft in drafts.items()}
    try:
        return graph.order(requires)
    except BadInput as error:
        around = graph.cycle(requires)
        links = [_link(drafts[a], b) for a, b in itertools.pairwise(around)]
        hint = "; ".join(f"{r.reader.cell.where} reads `{r.name}` of step {r.maker.owner}" for r in links if r.maker)
        raise PromotionRefused(f"steps {error.message}", where=links[0].reader.cell.where, hint=f"{hint}: split one of these steps") from error


def _link(draft: _Draft, owner: str) -> Read:
    return next(read for read in draft.inputs.values() if read.maker and read.maker.owner == owner)


# --- the finished component -----------------------------------------------------------------------------------


def _outputs(draft: _Draft, drafts: Mapping[str, _Draft]) -> tuple[str, ...]:
    """What others take from it, its feature frames, and its own models."""
    taken = {name for other in drafts.values() for name, read in other.inputs.items() if read.maker and read.maker.owner == draft.name}
    own = frozenset().union(*(unit.makes for unit in draft.units))
    features = {unit.cell.name for unit in draft.units if unit.cell.kind == "feature"}
    models = {variable for unit in draft.units for variable in _models(unit.python) if variable in own}
    return tuple(sorted(taken | features | models))


def _models(source: str) -> Iterable[str]:
    """The variables that `%model` lines register."""
    for node in _walk(source):
        match node:
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value="model"), ast.Constant(value=str() as line)]):
                yield parse_line("model", line)["variable"]


def _component(draft: _Draft, outputs: tuple[str, ...], modules: Mapping[str, str]) -> Component:
    units = sorted([*draft.units, *draft.leading.values()], key=lambda unit: unit.cell.index)
    component = Component(
        name=draft.name,
        cells=tuple(unit.cell for unit in units),
        support=_support(draft),
        inputs={name: read.maker.owner for name, read in sorted(draft.inputs.items()) if read.maker},
        outputs=outputs,
        parameters=dict(sorted(draft.parameters.items())),
    )
    return replace(component, digest=digest_of(component, modules))


def digest_of(component: Component, modules: Mapping[str, str]) -> str:
    """What decides a component's result, besides its inputs' and parameters' values: code, names in and out, local modules."""
    packages = imported_packages(component.support).union(*(imported_packages(plain_python(cell.source)) for cell in component.cells))
    return json_digest(
        {
            "cells": [_cell_content(cell) for cell in component.cells],
            "support": normalized(component.support),
            "inputs": sorted(component.inputs),
            "outputs": list(component.outputs),
            "parameters": sorted(component.parameters),
            "modules": {name: modules[name] for name in sorted(packages) if name in modules},
        }
    )


def version_of(name: str, components: Iterable[Component]) -> str:
    """A pipeline's version: the hash of its components' digests."""
    return text_digest(name, *(part for component in components for part in (component.name, component.digest)))


def _cell_content(cell: Cell) -> list[str]:
    """What of a cell decides its result: its code and its magic's options; not comments, formatting or ids."""
    kind = cell.kind if cell.kind in ("feature", "test") else "code"
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in cell.options.items()} if kind != "code" else {}
    return [kind, cell.name if kind == "feature" else "", json_digest(options), normalized(plain_python(cell.source))]


def _packages(units: Sequence[Unit], support: str) -> frozenset[str]:
    return imported_packages(support).union(*(imported_packages(unit.python) for unit in units))


def _support(draft: _Draft) -> str:
    """Imports, functions, constants and module settings, in an order that runs: what sets the process up comes first."""
    sources = [portable_source(u) for u in draft.wiring.units if u.owner != draft.name and u.cell.index < draft.last and u.cell.kind != "parameters"]
    parameters = [u.python for u in draft.wiring.units if u.cell.kind == "parameters"]
    names = [name for name in draft.portable if draft.portable[name].cell.kind != "parameters"]
    code = support_code(names, sources).code + support_code([n for n in draft.portable if n not in names], parameters).code
    used = _packages(draft.units, code) | PROCESS_WIDE
    setups = [s for s in setup_statements(draft.wiring.units) if s.index < draft.last and s.packages & used]
    setups = [setup for setup in setups if not support_code(setup.reads, sources).leftover]
    first = [setup for setup in setups if setup.packages <= {"sys", "os"}]
    rest = [setup for setup in setups if setup not in first]
    return _settings(first, sources) + code + _settings(rest, sources)


def _settings(setups: Sequence[Setup], sources: Sequence[str]) -> str:
    if not setups:
        return ""
    needed = support_code(frozenset().union(*(setup.reads for setup in setups)), sources).code
    return needed + "".join(setup.text + "\n" for setup in setups)


def _step_name(name: str) -> str:
    return f"make_{name.lstrip('_')}"
