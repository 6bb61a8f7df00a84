"""The values that cross from one component to another, and where in the notebook's own run each has to be looked at. Pure.

What a component hands on is compared with what the notebook holds just before the cell that reads it there: whatever changed it until
then, seen or not, counts. What no component takes (models, feature frames) is compared with what the maker's last cell leaves.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlops_nb.pipeline.drafts import Draft
from mlops_nb.pipeline.wiring import Unit
from mlops_nb.records import Cell, Component, Pipeline

# Cells with this tag are passed over by nbclient.
NOT_EXECUTED = "skip-execution"


@dataclass(frozen=True, slots=True)
class Boundary:
    """`name` of component `maker`, made in the cell at `made`; in the notebook its value is the one after the cell `after`.

    `taker` is the component that takes it and `read` the place of its reading cell; '' for what no component takes.
    """

    name: str
    maker: str
    made: str
    after: str
    taker: str = ""
    read: str = ""

    @property
    def where(self) -> str:
        """The place to name where the values differ: the cell that reads it, else the one that makes it."""
        return self.read or self.made


def boundaries(pipeline: Pipeline, drafts: Mapping[str, Draft], cells: Iterable[Cell]) -> tuple[Boundary, ...]:
    """Every boundary value of a pipeline, in the order of the notebook's `cells`."""
    order = [cell.id for cell in cells if cell.source.strip() and NOT_EXECUTED not in cell.tags]
    found: dict[Boundary, None] = {}
    for component in pipeline.components:
        found |= dict.fromkeys(_taken(component, drafts, order))
    taken = {(one.maker, one.name) for one in found}
    for component in pipeline.components:
        names = [name for name in component.outputs if (component.name, name) not in taken]
        found |= dict.fromkeys(_kept(drafts[component.name], names))
    return tuple(sorted(found, key=lambda one: order.index(one.after) if one.after in order else -1))


def wanted(found: Iterable[Boundary]) -> dict[str, tuple[str, ...]]:
    """The names to be looked at after each cell, by its id."""
    names: dict[str, dict[str, None]] = {}
    for one in found:
        names.setdefault(one.after, {})[one.name] = None
    return {cell_id: tuple(sorted(of_cell)) for cell_id, of_cell in names.items()}


def _taken(component: Component, drafts: Mapping[str, Draft], order: Sequence[str]) -> Iterator[Boundary]:
    draft = drafts[component.name]
    for name, owner in component.inputs.items():
        maker = draft.inputs[name].maker
        for read in draft.reads:
            if read.name == name and maker is not None and read.maker is not None and read.maker.cell.id == maker.cell.id:
                yield Boundary(name, owner, maker.cell.where, _before(read.reader, order), component.name, read.reader.cell.where)


def _before(reader: Unit, order: Sequence[str]) -> str:
    """The cell that runs just before `reader`; '' where that cell is not run at all."""
    place = order.index(reader.cell.id) if reader.cell.id in order else 0
    return order[place - 1] if place else ""


def _kept(draft: Draft, names: Iterable[str]) -> Iterator[Boundary]:
    last = max(draft.units, key=lambda unit: unit.cell.index)
    for name in names:
        made = next(unit for unit in reversed(draft.units) if name in unit.makes)
        yield Boundary(name, draft.name, made.cell.where, last.cell.id)
