"""Captured notebooks: recording a session's cell runs, and the state of a notebook's cells."""

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.environment import census
from mlops_nb.capture.lineage import cell_views
from mlops_nb.hashing import source_crc, text_digest
from mlops_nb.notebook.cells import read_notebook, source_id
from mlops_nb.records import Cell, CellRun, CellView, ColumnEdge, Edge, Fact, FileUse, now_text
from mlops_nb.store.codec import from_json
from mlops_nb.store.redaction import Redactor
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from mlops_nb.project import Project

MAX_RUNS = 5000  # the newest of a notebook; older ones decide no cell's present state
CENSUS_SECONDS = 30.0

RUNS = """
select * from (
    select cell_run.*, source.text from cell_run join source on source.digest = cell_run.source
    where cell_run.notebook = ? order by cell_run.started desc, cell_run.seq desc limit ?
) order by started, seq
"""
EDGES = (
    "select edge.from_run, edge.to_run, edge.name, edge.certainty from edge join cell_run on cell_run.id = edge.to_run where cell_run.notebook = ?"
)


@dataclass(frozen=True, slots=True)
class NotebookView:
    """A notebook's code cells with their states, in the file's order; `file_cells` are the cells as the file has them (none if it is gone).

    `recorded` are the states as recorded, whatever the file has become: the panel compares the source in the page, not the file's.
    """

    path: str
    cells: tuple[CellView, ...]
    file_cells: tuple[Cell, ...] = ()
    recorded: tuple[CellView, ...] = ()


class Recorder:
    """The session of one kernel: writes each cell run with its source and edges as one record."""

    def __init__(self, project: "Project", *, session_id: str, notebook: str) -> None:
        self.project = project
        self.id = session_id
        self.notebook = notebook
        self._redactor = Redactor(project.environ)
        self._census = threading.Thread(target=self._take_census, name="mlops_nb census", daemon=True)

    def on_run(self, run: CellRun, edges: Sequence[Edge]) -> None:
        """Record a cell run; what `capture.watch.Watcher` calls."""
        self.project.registry.record(run_facts(run, edges, self._redactor))

    def start_census(self) -> None:
        """Record commit, uncommitted changes and packages, on a thread."""
        self._census.start()

    def settle(self) -> None:
        """Wait until what surrounds the session is recorded."""
        if self._census.ident is not None:
            self._census.join(CENSUS_SECONDS)

    def _take_census(self) -> None:
        with unseen():
            found = asdict(census(self.project.layout.root))
        self.project.registry.record([Fact("session_environment", {**found, "session_id": self.id, "dirty": int(found["dirty"])})])


class Notebooks:
    """`project.notebooks`."""

    def __init__(self, project: "Project") -> None:
        self.project = project
        self._recorders: dict[str, Recorder] = {}

    def start_session(self, *, notebook: str, kernel_id: str = "", run_id: str = "") -> Recorder:
        """Begin a kernel's session: `notebook` relative to the root, '' outside one; `run_id` when a run of ours started the kernel."""
        from mlops_nb.project import actor, new_id

        recorder = Recorder(self.project, session_id=new_id(), notebook=notebook)
        row = {"id": recorder.id, "started": now_text(), "notebook": notebook, "kernel_id": kernel_id, "pid": os.getpid()}
        self.project.registry.record([Fact("session", {**row, "actor": actor(), "run_id": run_id})])
        self._recorders[recorder.id] = recorder
        recorder.start_census()
        return recorder

    def settle(self, session_id: str) -> None:
        """Wait until `session_environment` has the row of a session of this process."""
        if recorder := self._recorders.get(session_id):
            recorder.settle()

    def runs_of(self, path: str | Path, *, limit: int = MAX_RUNS) -> tuple[CellRun, ...]:
        """The newest cell runs of a notebook over all its sessions, oldest first."""
        rows = self.project.registry.rows(RUNS, (self.project.relative(path), limit))
        return tuple(run_of(row) for row in rows)

    def edges_of(self, path: str | Path) -> tuple[Edge, ...]:
        """The edges into the runs of a notebook."""
        return tuple(Edge(**row) for row in self.project.registry.rows(EDGES, (self.project.relative(path),)))

    def view(self, path: str | Path) -> NotebookView:
        """The states of a notebook's cells; of a file that is gone, those of the cells that ran. Raises NotebookError for a malformed file."""
        name = self.project.relative(path)
        runs, edges = self.runs_of(path), self.edges_of(path)
        if not Path(path).exists():
            gone = tuple(cell_views(runs, edges).values())
            return NotebookView(name, gone, recorded=gone)
        cells = tuple(cell for cell in read_notebook(path, strict=False) if cell.source.strip())
        known = named_alike(cells, runs)
        positions = {known.get(cell.id, cell.id): cell.index for cell in cells}
        recorded = states(cells, cell_views(runs, edges, positions=positions), known)
        return NotebookView(name, tuple(map(compared, recorded, cells)), cells, recorded)


# --- pure -----------------------------------------------------------------------------------------------------


def run_facts(run: CellRun, edges: Iterable[Edge], redactor: Redactor) -> list[Fact]:
    """The rows of one cell run: its source (named by the digest of its redacted text), itself, its edges."""
    text = redactor.text(run.source)
    digest = text_digest(text)
    columns = [list(astuple(edge)) for edge in run.columns]
    row = {name: getattr(run, name) for name in CellRun.__slots__} | {"source": digest, "columns": columns}
    joined = [Fact("edge", {"id": text_digest(e.from_run, e.to_run, e.name)[:32], **asdict(e)}) for e in edges]
    return [Fact("source", {"digest": digest, "text": text}), Fact("cell_run", row), *joined]


def run_of(row: dict[str, Any]) -> CellRun:
    """A row of cell_run joined with its source's text, as a record."""
    given = {name: row[name] for name in CellRun.__slots__} | {"source": row["text"]}
    for name in ("tags", "reads", "writes", "unchanged", "possible", "kept", "deletes"):
        given[name] = tuple(from_json(row[name]))
    for name in ("environment", "values", "skipped"):
        given[name] = from_json(row[name])
    given["files"] = tuple(FileUse(**use) for use in from_json(row["files"]))
    given["columns"] = tuple(ColumnEdge(*edge) for edge in from_json(row["columns"]))
    return CellRun(**given)


def named_alike(cells: Iterable[Cell], runs: Iterable[CellRun]) -> dict[str, str]:
    """For cells whose runs were sent without an id: their id in the file -> the id made from their source."""
    ran = {run.cell_id for run in runs}
    return {cell.id: source_id(cell.source) for cell in cells if cell.id not in ran and source_id(cell.source) in ran}


def states(cells: Iterable[Cell], views: dict[str, CellView], known: dict[str, str]) -> tuple[CellView, ...]:
    """The views of the file's cells, whether they ran or not; steps and tags are the file's."""
    back = {ran: own for own, ran in known.items()}
    found = []
    for cell in cells:
        view = views.get(known.get(cell.id, cell.id))
        if view is None:
            found.append(CellView(cell.id, "not run", step=cell.step, tags=cell.tags))
            continue
        upstream = tuple(back.get(name, name) for name in view.upstream)
        found.append(replace(view, cell_id=cell.id, step=cell.step, tags=cell.tags, upstream=upstream))
    return tuple(found)


def compared(view: CellView, cell: Cell) -> CellView:
    """The view, edited where the cell's source in the file is not what ran."""
    if view.state == "not run" or view.crc == source_crc(cell.source):
        return view
    return replace(view, state="edited", reason=f"changed since it ran as [{view.execution_count}]")
