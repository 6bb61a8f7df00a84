"""What to run again after an edit, so that the kernel holds what a run from top to bottom would give. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mlops_nb.capture.lineage import names_read, names_written
from mlops_nb.records import CellRun


@dataclass(frozen=True, slots=True)
class Doing:
    """What a cell does when it runs: reads, binds anew, changes in place (`changes`: names it reads, or reaches by others)."""

    cell_id: str
    reads: frozenset[str]
    binds: frozenset[str]
    changes: frozenset[str] = frozenset()

    @property
    def writes(self) -> frozenset[str]:
        """All it leaves other than it was."""
        return self.binds | self.changes


def doing_of(run: CellRun) -> Doing:
    """What a cell did when it ran."""
    reads, writes = frozenset(names_read(run)), frozenset(names_written(run))
    changes = frozenset(run.kept) | (writes & reads) | (frozenset(run.possible) & writes)
    return Doing(run.cell_id, reads, writes - changes, changes)


def rerun_cells(cells: Iterable[Doing], edited: Mapping[str, Doing]) -> tuple[str, ...]:
    """The cells to run, in the order of `cells` (the notebook's), after those in `edited` came to do something else.

    The edited ones, the cells below that read what these make or made before, and the cells above that make anew what was changed in
    place since, with those that change it before it is read.
    """
    before = list(cells)
    after = [edited.get(cell.cell_id, cell) for cell in before]
    wanted = {cell.cell_id for cell in after if cell.cell_id in edited}
    while True:
        grown = wanted | _below(before, after, wanted)
        grown |= _makers(before, after, grown)
        if grown == wanted:
            return tuple(cell.cell_id for cell in after if cell.cell_id in wanted)
        wanted = grown


def _below(before: list[Doing], after: list[Doing], wanted: Collection[str]) -> set[str]:
    """The cells that read what a cell to run writes, or wrote: until another cell makes it anew."""
    found: set[str] = set()
    dirty: set[str] = set()
    for old, new in zip(before, after, strict=True):
        runs = new.cell_id in wanted or not dirty.isdisjoint(new.reads)
        if runs:
            found.add(new.cell_id)
            dirty |= old.writes | new.writes
        else:
            found |= {new.cell_id} if not dirty.isdisjoint(new.binds) else set()  # the name is another cell's now: give it back
            dirty -= new.binds
    return found


def _makers(before: list[Doing], after: list[Doing], wanted: Collection[str]) -> set[str]:
    """The cells whose work a cell to run must find undone by nothing: it reads a name that it, or a cell further down, left otherwise."""
    found: set[str] = set()
    for place, cell in enumerate(after):
        if cell.cell_id in wanted:
            for name in cell.reads:
                if any(name in later.writes for later in before[place:]):
                    found |= _chain(after, place, name)
    return found


def _chain(cells: list[Doing], place: int, name: str) -> set[str]:
    """The cells above `place` that make `name` as it is there: the last that binds it, and those that change it after that."""
    found: set[str] = set()
    for cell in reversed(cells[:place]):
        if name in cell.writes:
            found.add(cell.cell_id)
        if name in cell.binds:
            break
    return found
