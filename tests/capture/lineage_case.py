"""One case of lineage: a session, a target, and the executions that the target stands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """A session and what must be in the slice of `target`.

    `cells` run in order; a pair is (cell id, source), for cells that run twice or are edited. `needs`, `extra`, `spare` and `possible` are
    numbers of executions, counted from 1: needed ones; ones that may be in the slice, since only a run shows that they do not matter;
    those of `needs` without which the value happens to be the same; and those that may hang on `possible` edges. `files` are there before.
    """

    name: str
    cells: tuple[str | tuple[str, str], ...]
    target: str
    needs: str
    extra: str = ""
    spare: str = ""
    possible: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    topic: str = ""

    @property
    def executions(self) -> list[tuple[str, str, int]]:
        """Cell id, source and execution count of each."""
        pairs = [(f"c{n}", cell) if isinstance(cell, str) else cell for n, cell in enumerate(self.cells, start=1)]
        return [(cell_id, source, n) for n, (cell_id, source) in enumerate(pairs, start=1)]


def numbers(text: str) -> set[int]:
    """`"1 3"` as numbers."""
    return set(map(int, text.split()))
