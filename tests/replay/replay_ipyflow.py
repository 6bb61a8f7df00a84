"""ipyflow's tests on our engine: what they call of ipyflow, implemented on a real shell with a real Watcher.

What stands for what:

* `run_cell` runs the cell in the shell, watched. A cell without an id is a new one; a cell that raises fails the test, as in ipyflow's suite.
* A slice is the runs behind one run, as positions in the order of execution. ipyflow's slices have statements, ours cells: counts of
  statements are not judged.
* `test_and_clear_waiter_usage_detected` is true when a cell that ran since the last call was stale the moment it had run: it had read
  a name of a stale cell.
* ipyflow's order ANY_ORDER lets a later cell make an earlier one stale wherever it stands: `stale_symbols` says what is stale so. IN_ORDER
  and the schedule DAG_BASED: the state in the notebook's order, the cells in the order of their ids.
* The `$` before a name, which makes ipyflow run cells by itself, is taken off.
* `waiting_cells` and `ready_cells` together are what we call stale (made from something stale, to be run again).
"""

import itertools
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from replay_suites import load, stand_in, standing_in, tests_of
from traitlets.config import Config

from mlops_nb.capture.lineage import slice_runs
from mlops_nb.capture.symbols import Symbols
from mlops_nb.capture.watch import Watcher

IN_ORDER, ANY_ORDER = "in order", "any order"
REACTIVE = re.compile(r"\$(?=[a-z])")
SETUP = "import sys\nsys.path.append({folder!r})\nimport logging\n"


class NotJudgedError(Exception):
    """An assertion on something of ipyflow's that we have no counterpart of."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One assertion: its line in ipyflow's file, what it is about, what ipyflow expects and what we say."""

    line: int
    about: str
    expected: Any
    ours: Any


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer on staleness: its place in the test (`3`: the third assertion, `2:4`: cell 4 at the second look at all cells)."""

    place: str
    expected: bool
    ours: bool


@dataclass(slots=True)
class Told:
    """What one test told us: its comparisons in order, the lines of those we do not judge, and what broke it."""

    compared: list[Compared] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    broken: str = ""
    known_failing: bool = False
    cells: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    slices: dict[int, set[int]] = field(default_factory=dict)

    def judgements(self) -> list["Judged"]:
        """What is judged of staleness, in order: each assertion, and each cell at each point where the test looked at all cells."""
        found: list[Judged] = []
        looks = 0
        for _, group in itertools.groupby(self.compared, key=lambda compared: id(compared.ours) if isinstance(compared.ours, States) else 0):
            together = list(group)
            if isinstance(together[0].ours, States):
                looks += 1
                found += _judged_cells(looks, together)
            else:
                found += [Judged(str(len(found) + n), c.expected, c.ours) for n, c in enumerate(together, 1)]
        return found


class Session:
    """One notebook in a shell: its cells by id, where they stand, which of their runs was stale."""

    def __init__(self, shell: InteractiveShell, folder: Path, order: str) -> None:
        self.shell, self.order = shell, order
        self.settings = Settings(flow_order=order)
        for name in shell.user_ns.keys() - {"__name__", "__builtin__", "__builtins__"}:  # as `shell.reset`, which collects all garbage each time
            del shell.user_ns[name]
        shell.user_ns_hidden.clear()
        shell.init_user_ns()
        shell.execution_count = 1
        self.watcher = Watcher(shell, lambda *_: None, notebook="", session_id="replay", layout_root=folder)
        self.places: list[str] = []
        self.symbols = Symbols()
        self.detected = False
        self.told = Told()

    @property
    def history(self) -> Any:
        return self.watcher.history

    def run(self, code: str, cell_id: Any = None, cell_pos: Any = None, ignore_exceptions: bool = False) -> Any:
        """Run a cell and note whether it was stale the moment it had run."""
        del cell_pos  # the tests that we replay never give one
        number = len(self.history.runs) + 1
        name = f"c{number if cell_id is None else cell_id}"
        self.told.cells.append(REACTIVE.sub("", textwrap.dedent(code).strip("\n")))
        result = self.shell.run_cell(self.told.cells[-1], store_history=True, cell_id=name)
        self.place(name)
        run = self.history.runs[-1]
        self.symbols.add(run, [edge for edge in self.history.edges if edge.to_run == run.id])
        reason = self.stale_cells().get(name, "")
        self.detected |= bool(reason)
        self.told.reasons.append(reason)
        error = result.error_before_exec or result.error_in_exec
        if error is not None and not ignore_exceptions:
            raise error
        return cell_id

    def place(self, name: str) -> None:
        """Say where the cells stand (see this module's text)."""
        if name not in self.places:
            self.places.append(name)
        order = sorted(self.places, key=lambda known: int(known[1:]))
        self.history.positions = {known: place for place, known in enumerate(order)}

    def slice_of(self, number: int) -> set[int]:
        """The positions, in the order of execution, of the runs behind run `number`."""
        runs = self.history.runs
        wanted = {run.id for run in slice_runs(runs, self.history.edges, {runs[number - 1].id})}
        self.told.slices[number] = {place for place, run in enumerate(runs, 1) if run.id in wanted}
        return self.told.slices[number]

    def stale(self) -> set[int]:
        """The cells, by the numbers that ipyflow's tests give them, that are stale now, or failed."""
        failed = {run.cell_id: run.status == "error" for run in self.history.runs}
        return {int(name[1:]) for name, broken in failed.items() if broken} | {int(name[1:]) for name in self.stale_cells()}

    def stale_cells(self) -> dict[str, str]:
        """Cell -> why it is stale, in the order that the test asks for."""
        if IN_ORDER not in (self.settings.flow_order, self.settings.exec_schedule):
            return self.symbols.stale()
        return {name: view.reason for name, view in self.history.views().items() if view.state == "stale"}

    def take_detected(self) -> bool:
        """Whether a cell that ran since the last call was stale."""
        detected, self.detected = self.detected, False
        return detected


def _judged_cells(look: int, together: Sequence[Compared]) -> list[Judged]:
    """The cells at one look; where the test says only which are ready, or only which wait, nothing is known of the others."""
    states = together[0].ours
    stale = frozenset().union(*(compared.expected for compared in together))
    known = states.cells | stale if {compared.about for compared in together} == {"waiting", "ready"} else stale
    return [Judged(f"{look}:{cell}", cell in stale, cell in states.ours) for cell in sorted(known)]


@dataclass(frozen=True, slots=True)
class States:
    """The answer to `check_and_link_multiple_cells`: the cells stale now, all cells, and each cell's sources."""

    ours: frozenset[int]
    cells: frozenset[int]
    cell_parents: dict[int, set[int]]

    @property
    def waiting_cells(self) -> "Side":
        return Side("waiting", self)

    @property
    def ready_cells(self) -> "Side":
        return Side("ready", self)

    def __getattr__(self, name: str) -> Any:
        raise NotJudgedError(name)


@dataclass(frozen=True, slots=True)
class Side:
    """Half of what is stale: ipyflow says which cells to run again first, we say which are stale."""

    name: str
    states: States


class Replay:
    """Runs tests of a module of ipyflow's suite on one shell after another's end."""

    def __init__(self, suite: Path, work: Path) -> None:
        self.suite, self.work = suite, work
        InteractiveShell.clear_instance()
        self.shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        self.shell.register_magic_function(lambda _: None, magic_name="flow")
        self.session: Session | None = None
        self.modules: dict[str, ModuleType] = {}
        self.order = ANY_ORDER
        self.setup: tuple[str, ...] = ()

    def close(self) -> None:
        InteractiveShell.clear_instance()

    def load(self, name: str) -> dict[str, FunctionType]:
        """The test functions of `name`.py."""
        self.modules = _stand_ins(self)
        with standing_in(self.modules):
            module = load(self.suite / f"{name}.py", f"test.{name}", self.expect)
        for asserted, stale in EXPECTED_STALE.items():
            if asserted in vars(module):
                setattr(module, asserted, self.staleness(asserted, stale))
        module.num_stmts_in_slice = lambda number: Statements(self.session.slice_of(number))
        self.modules[f"test.{name}"] = module
        return tests_of(module)

    def run(self, test: Callable[[], None]) -> Told:
        """Run one test function in a fresh session."""
        with standing_in(self.modules), warnings.catch_warnings(), self._session() as session:
            warnings.simplefilter("ignore")  # those of their cells
            session.told.known_failing = hasattr(test, "known_failing")
            try:
                test()
            except Exception as error:  # noqa: BLE001 (a cell of theirs that fails is reported as such)
                session.told.broken = f"{type(error).__name__}: {error}"
        return session.told

    @contextmanager
    def _session(self) -> Iterator[Session]:
        path = list(sys.path)
        self.session = session = Session(self.shell, self.work, self.order)
        session.shell.run_cell(SETUP.format(folder=str(self.suite)) + "\n".join(self.setup))
        session.watcher.start()
        try:
            yield session
        finally:
            session.watcher.stop()
            sys.path[:] = path
            sys.modules.pop("fakelib", None)

    # --- what the tests call ---

    def expect(self, left: Callable[[], Any], right: Callable[[], Any], line: int) -> None:
        """Note what an assertion of theirs compares."""
        told = self.session.told
        try:
            ours, expected = left(), right()
        except NotJudgedError as reason:
            told.passed_over.append(f"line {line}: {reason}")
            return
        if isinstance(ours, Statements):
            told.passed_over.append(f"line {line}: a count of statements")
            return
        about = "cells"
        if isinstance(ours, Side):
            about, ours, expected = ours.name, ours.states, frozenset(expected or ())
        elif isinstance(ours, str):
            ours, expected = cells_of_text(ours), cells_of_text(expected)
        told.compared.append(Compared(line, about, expected, ours))

    def staleness(self, name: str, expected: bool) -> Callable[..., None]:
        """What stands for `assert_detected` and the like."""

        def judge(msg: str = "") -> None:
            del msg
            line = sys._getframe(1).f_lineno
            self.session.told.compared.append(Compared(line, name, expected, self.session.take_detected()))

        return judge

    def make_flow_fixture(self, flow_direction: str = ANY_ORDER, setup_stmts: tuple[str, ...] = (), **_: Any) -> tuple[None, Any]:
        self.order, self.setup = flow_direction, tuple(setup_stmts)
        return None, self._run_cell

    def _run_cell(self, code: str, **given: Any) -> Any:
        return self.session.run(code, **given)  # of the session that there is when the test runs

    def check(self) -> States:
        history = self.session.history
        parents = {int(name[1:]): {int(up[1:]) for up in view.upstream} for name, view in history.views().items()}
        return States(frozenset(self.session.stale()), frozenset(parents), parents)


EXPECTED_STALE = {
    "assert_detected": True,
    "assert_not_detected": False,
    "assert_false_positive": False,  # ipyflow calls it stale and says itself that it is not
    "assert_false_negative": True,  # ipyflow does not find it and says itself that it is stale
}


def cells_of_text(text: str) -> frozenset[int]:
    """The cells that a slice as text has."""
    return frozenset(int(line.removeprefix("# Cell ")) for line in text.splitlines() if line.startswith("# Cell "))


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of a slice, of which only the cells are judged."""

    cells: set[int]


class _Cells:
    """`cells()`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def at_timestamp(self, number: int) -> Any:
        def found() -> set[int]:
            return self.session.slice_of(number)

        return SimpleNamespace(compute_slice_stmts=lambda: Statements(found()), make_cell_dict_slice=lambda: dict.fromkeys(found(), ""))

    def make_cell_dict_from_closure(self, statements: Statements) -> dict[int, str]:
        return dict.fromkeys(sorted(statements.cells), "")

    def set_cell_positions(self, positions: dict[int, int]) -> None:
        self.session.places.sort(key=lambda name: positions[int(name[1:])])


def _format_slice(cells: dict[int, str], **_: Any) -> str:
    return "\n".join(f"# Cell {number}" for number in cells)


@dataclass
class Settings:
    """The settings that the tests set; of them only the order means something to us."""

    flow_order: str = ANY_ORDER
    exec_schedule: str = ""
    mark_waiting_symbol_usages_unsafe: bool = True
    dynamic_slicing_enabled: bool = True
    static_slicing_enabled: bool = True


@dataclass
class Unset:
    """ipyflow's settings come in two records; the second has none that we need."""


class _Flow:
    """`flow()`."""

    def __init__(self, replay: Replay) -> None:
        object.__setattr__(self, "replay", replay)

    @property
    def mut_settings(self) -> Any:
        return self.replay.session.settings

    @mut_settings.setter
    def mut_settings(self, settings: Settings) -> None:
        self.replay.session.settings = settings

    settings = Unset()

    def test_and_clear_waiter_usage_detected(self) -> bool:
        return self.replay.session.take_detected()

    def check_and_link_multiple_cells(self) -> States:
        return self.replay.check()

    def __getattr__(self, name: str) -> Any:
        raise NotJudgedError(f"flow().{name}")


def _known_failing(test: FunctionType) -> FunctionType:
    test.known_failing = True
    return test


def _stand_ins(replay: Replay) -> dict[str, ModuleType]:
    flow = _Flow(replay)
    schedules = SimpleNamespace(DAG_BASED=IN_ORDER, HYBRID_DAG_LIVENESS_BASED="hybrid", LIVENESS_BASED="liveness")
    utils = stand_in(
        "test.utils",
        make_flow_fixture=replay.make_flow_fixture,
        assert_bool=None,  # what calls it is replaced as a whole, see EXPECTED_STALE
        skipif_known_failing=_known_failing,
    )
    found = [
        stand_in("test", __path__=[], utils=utils),
        utils,
        stand_in("ipyflow", __path__=[]),
        stand_in("ipyflow.config", FlowDirection=SimpleNamespace(IN_ORDER=IN_ORDER, ANY_ORDER=ANY_ORDER), ExecutionSchedule=schedules),
        stand_in("ipyflow.data_model", __path__=[]),
        stand_in("ipyflow.data_model.cell", cells=lambda: _Cells(replay.session)),
        stand_in("ipyflow.data_model.symbol", Symbol=object),
        stand_in("ipyflow.flow", DataflowSettings=Unset, MutableDataflowSettings=Settings),
        stand_in("ipyflow.singletons", flow=lambda: flow),
        stand_in("ipyflow.slicing", __path__=[]),
        stand_in("ipyflow.slicing.mixin", format_slice=_format_slice),
        stand_in("pyccolo", __path__=[]),
        stand_in("pyccolo.extra_builtins", EMIT_EVENT="len"),  # the name of a builtin that is there while cells run
    ]
    return {module.__name__: module for module in found}
