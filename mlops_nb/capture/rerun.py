"""What to run again after an edit, so that the kernel holds what a run from top to bottom would give. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mlops_nb.capture.lineage import names_read, names_written
from mlops_nb.notebook.flow import Facts
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


def doing_of(run: CellRun, facts: Facts, *, ran: bool = True) -> Doing:
    """What a cell does: by the code (`facts`, of an edited cell the new code: `ran` is false), and as it did when it ran.

    What it binds on some paths only counts as a change of what was there.
    """
    code = facts.analysis
    reads = frozenset(names_read(run)) if ran else frozenset(n for n in names_read(run) if ":" in n)
    writes = frozenset(names_written(run)) if ran else frozenset()
    reads |= code.uses | frozenset(n for names in code.deferred.values() for n in names)
    writes |= code.defs | code.mutates
    return Doing(run.cell_id, reads, facts.always, writes - facts.always)


def rerun_cells(cells: Iterable[Doing], edited: Mapping[str, Doing]) -> tuple[str, ...]:
    """The cells to run, in the order of `cells` (the notebook's), after those in `edited` came to do something else.

    The edited ones; the cells below that read what these make or made; and, so that each finds what it would find in a run from top to
    bottom, the cells that make anew what was changed or bound otherwise since, with all that write the same names after them.
    """
    before = list(cells)
    after = [edited.get(cell.cell_id, cell) for cell in before]
    changed = {cell.cell_id for cell in after if cell.cell_id in edited}
    restored: set[str] = set()
    while True:
        known = len(changed), len(restored)
        changed |= _below(before, after, changed)
        restored |= _makers(before, after, changed | restored)
        restored |= _later_writers(before, after, changed | restored)
        if known == (len(changed), len(restored)):
            return tuple(cell.cell_id for cell in after if cell.cell_id in changed | restored)


def _below(before: list[Doing], after: list[Doing], changed: Collection[str]) -> set[str]:
    """The cells that read what a changed cell writes, or wrote: until another cell makes it anew."""
    found: set[str] = set()
    dirty: set[str] = set()
    for old, new in zip(before, after, strict=True):
        if new.cell_id in changed or not dirty.isdisjoint(new.reads):
            found.add(new.cell_id)
            dirty |= old.writes | new.writes
        else:
            dirty -= new.binds
    return found


def _makers(before: list[Doing], after: list[Doing], wanted: Collection[str]) -> set[str]:
    """The cells whose work has to be done again for the wanted ones: names that later cells, or they themselves, left otherwise."""
    found: set[str] = set()
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if new.cell_id in wanted:
            later = frozenset[str]().union(*(cell.writes for cell in before[place:]))
            lost = old.writes - new.binds if new is not old else frozenset()
            for name in ((new.reads | new.changes) & later) | lost:
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


def _later_writers(before: list[Doing], after: list[Doing], wanted: Collection[str]) -> set[str]:
    """The cells that write what wanted cells above them write too: the last word is theirs."""
    found: set[str] = set()
    rewritten: set[str] = set()
    for old, new in zip(before, after, strict=True):
        if new.cell_id in wanted or not rewritten.isdisjoint(new.writes):
            found.add(new.cell_id)
            rewritten |= new.writes | (old.writes if new is not old else frozenset())
    return found
