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
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mlops_nb.errors import BadInput, PromotionRefused
from mlops_nb.hashing import json_digest, text_digest
from mlops_nb.notebook import graph
from mlops_nb.notebook.analysis import normalized
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.grammar import parse_line
from mlops_nb.notebook.syntax import parse
from mlops_nb.pipeline.drafts import Draft, check_interleaving, check_star_imports, check_stateful, draft_all, taken_from
from mlops_nb.pipeline.handover import Follows, handovers
from mlops_nb.pipeline.hazards import shared_generator, shared_object
from mlops_nb.pipeline.portable import is_portable, literals
from mlops_nb.pipeline.wiring import Read, Unit, Wiring, imported_packages, wire
from mlops_nb.records import Cell, CellRun, Component, Pipeline

__all__ = ["build", "digest_of", "drafted", "literals", "version_of"]


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
    wiring, drafts = drafted(cells, notebook=notebook, observed=observed)
    ordered = _ordered(drafts, handovers(wiring, drafts))
    given = {owner: _outputs(drafts[owner], drafts) for owner in ordered}
    components = tuple(_component(drafts[owner], given[owner], modules or {}) for owner in ordered)
    return Pipeline(name=name, notebook=notebook, components=components, version=version_of(name, components))


def drafted(cells: Iterable[Cell], *, notebook: str, observed: Mapping[str, CellRun] | None = None) -> tuple[Wiring, dict[str, Draft]]:
    """Who makes what each cell reads, and the components in the making, checked. Raises PromotionRefused."""
    wiring = wire(_owned_features(cells), observed or {})
    _check_cells(wiring, notebook)
    wiring = _with_tests(wiring)
    drafts = draft_all(wiring)
    if hazard := shared_object(wiring) or shared_generator(wiring):
        raise hazard
    for draft in drafts.values():
        check_interleaving(draft)
    check_stateful(drafts, wiring)
    check_star_imports(wiring)
    return wiring, drafts


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
        makers = [r.maker for r in wiring.of(unit) if r.maker and r.maker.owner and not is_portable(r.name, r.maker, wiring)]
        return replace(unit, owner=max(makers, key=lambda maker: maker.cell.index).owner) if makers else unit

    units = {unit.cell.id: placed(unit) for unit in wiring.units}
    reads = {
        cell_id: tuple(replace(r, reader=units[cell_id], maker=units[r.maker.cell.id] if r.maker else None) for r in reads)
        for cell_id, reads in wiring.reads.items()
    }
    return Wiring(tuple(units.values()), reads)


# --- the order ------------------------------------------------------------------------------------------------


def _ordered(drafts: Mapping[str, Draft], follows: Iterable[Follows]) -> tuple[str, ...]:
    requires = {name: [r.maker.owner for r in draft.inputs.values() if r.maker] for name, draft in drafts.items()}
    _check_cycle(requires, drafts)
    for one in follows:
        requires[one.after] = [*requires[one.after], one.before]
        if graph.cycle(requires):
            raise PromotionRefused(
                f"{one.message}, so step {one.after} has to come behind {one.before}, and also before it",
                where=one.where,
                hint="split one of these steps",
            )
    return graph.order(requires)


def _check_cycle(requires: Mapping[str, list[str]], drafts: Mapping[str, Draft]) -> None:
    try:
        graph.order(requires)
    except BadInput as error:
        around = graph.cycle(requires)
        links = [_link(drafts[a], b) for a, b in itertools.pairwise(around)]
        hint = "; ".join(f"{r.reader.cell.where} reads `{r.name}` of step {r.maker.owner}" for r in links if r.maker)
        raise PromotionRefused(f"steps {error.message}", where=links[0].reader.cell.where, hint=f"{hint}: split one of these steps") from error


def _link(draft: Draft, owner: str) -> Read:
    return next(read for read in draft.inputs.values() if read.maker and read.maker.owner == owner)


# --- the finished component -----------------------------------------------------------------------------------


def _outputs(draft: Draft, drafts: Mapping[str, Draft]) -> tuple[str, ...]:
    """What others take from it, its feature frames, and its own models."""
    taken = taken_from(draft, drafts)
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


def _walk(source: str) -> Iterable[ast.AST]:
    tree = parse(source)
    return () if isinstance(tree, str) else ast.walk(tree)


def _component(draft: Draft, outputs: tuple[str, ...], modules: Mapping[str, str]) -> Component:
    units = sorted([*draft.units, *draft.leading.values()], key=lambda unit: unit.cell.index)
    component = Component(
        name=draft.name,
        cells=tuple(unit.cell for unit in units),
        support=draft.support,
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
