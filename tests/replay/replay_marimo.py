"""marimo's table of dataflow cases on our static layer: what its test calls of marimo, implemented on `notebook.analysis`.

A cell's refs are the names that its code, or a function it defines, reads and does not bind itself; its defs the names it binds. A cell's
parents are the cells that bind one of its refs: marimo's rule, where a name has one maker and cells have no order.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from replay_suites import load, stand_in, standing_in

from mlops_nb.notebook.analysis import analyze


@dataclass(frozen=True, slots=True)
class StaticCell:
    """What our analysis says of one cell, in marimo's words."""

    refs: set[str]
    defs: set[str]


def compile_cell(code: str, *, cell_id: str = "") -> StaticCell:
    del cell_id
    found = analyze(code)
    read_later = {name for names in found.deferred.values() for name in names}
    return StaticCell(refs=set(found.uses | (read_later - found.defs)), defs=set(found.defs))


@dataclass(slots=True)
class StaticGraph:
    """Cells and who stands on whom."""

    cells: dict[str, StaticCell] = field(default_factory=dict)

    def register_cell(self, cell_id: str, cell: StaticCell) -> None:
        self.cells[cell_id] = cell

    @property
    def parents(self) -> dict[str, set[str]]:
        return {one: {other for other in self.cells if other != one and self._makes(other, one)} for one in self.cells}

    @property
    def children(self) -> dict[str, set[str]]:
        return {one: {other for other in self.cells if other != one and self._makes(one, other)} for one in self.cells}

    def _makes(self, maker: str, reader: str) -> bool:
        return bool(self.cells[maker].defs & self.cells[reader].refs)


class Cases:
    """The cases of marimo's file; `differences` runs its own test function on one."""

    def __init__(self, tests: Path) -> None:
        self.found: list[str] = []
        self.compared = 0
        self.modules = _stand_ins()
        self.modules["marimo_cases"] = stand_in("marimo_cases")  # for its dataclass, which looks its module up
        with standing_in(self.modules):
            self.module = load(tests / "test_dataflow_cases.py", "marimo_cases", self._expect)
        self.cases = dict(enumerate(self.module.CASES))

    def differences(self, number: int) -> set[str]:
        """How our answers to one case differ from marimo's: `refs of 1 -x` is what only marimo says, `defs of 1 +x` what only we say."""
        self.found.clear()
        self.module.test_cases(self.cases[number])
        return set(self.found)

    def _expect(self, left: Callable[[], Any], right: Callable[[], Any], line: int) -> None:
        del line
        ours, theirs = left(), right()
        self.compared += 1
        names = left.__code__.co_names
        if isinstance(ours, dict):
            kind = "parents" if "parents" in names else "children"
            for cell, mine in ours.items():
                self._note(f"{kind} of {cell}", mine, set(theirs.get(cell, ())))
        else:
            cell = next(c for c in left.__closure__ or () if isinstance(c.cell_contents, str)).cell_contents
            self._note(f"{'refs' if 'refs' in names else 'defs'} of {cell}", ours, set(theirs))

    def _note(self, what: str, ours: set[str], theirs: set[str]) -> None:
        for sign, only in (("-", theirs - ours), ("+", ours - theirs)):
            if only:
                self.found.append(f"{what} {sign}{','.join(sorted(only))}")


def _stand_ins() -> dict[str, ModuleType]:
    found = [
        stand_in("marimo", __path__=[]),
        stand_in("marimo._ast", __path__=[], compiler=SimpleNamespace(compile_cell=compile_cell)),
        stand_in("marimo._dependencies", __path__=[]),
        stand_in("marimo._dependencies.dependencies", DependencyManager=SimpleNamespace(duckdb=SimpleNamespace(has=lambda: True))),
        stand_in("marimo._runtime", __path__=[], dataflow=SimpleNamespace(DirectedGraph=StaticGraph)),
        stand_in("marimo._types", __path__=[]),
        stand_in("marimo._types.ids", CellId_t=str),
    ]
    return {module.__name__: module for module in found}
