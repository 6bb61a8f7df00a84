"""The public view of lineage: what made a value, what is stale, what to run again; of the running kernel or of a recorded notebook."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.capture.lineage import History, names_read
from mlops_nb.capture.rerun import doing_of, rerun_cells
from mlops_nb.capture.slices import inputs_of, slice_code, slice_notebook, slice_script
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.notebook.analysis import facts_of_cell
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.notebook.flow import Facts
from mlops_nb.project.notebooks import run_of
from mlops_nb.records import Cell, CellRun, CellView, Certainty, ColumnEdge, Edge, FileUse

if TYPE_CHECKING:
    from mlops_nb.project import Project

Order = Literal["notebook", "any"]

WRITERS_ELSEWHERE = """
select cell_run.*, source.text from cell_run join source on source.digest = cell_run.source, json_each(cell_run.files) as used
where json_extract(used.value, '$.mode') = 'write' and json_extract(used.value, '$.path') = ? and json_extract(used.value, '$.digest') = ?
order by cell_run.started desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A cell read `name` as cell `cell_id`, in its execution `execution_count`, had left it; `file:PATH` is a file, `state:...` see `CellRun`.

    `notebook` is another one's path where the file was written there.
    """

    cell_id: str
    execution_count: int
    name: str
    certainty: Certainty
    notebook: str = ""


@dataclass(frozen=True, slots=True)
class FileLine:
    """One use of one file by one execution of a cell."""

    path: str
    mode: Literal["read", "write"]
    digest: str
    cell_id: str
    execution_count: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The executions that a value needs, in the order they ran. `certain`: no edge among them is a guess.

    `files` are those read from outside the slice, with their hashes; `environment` is what the session recorded of commit, packages and Python.
    """

    names: tuple[str, ...]
    cells: tuple[CellRun, ...]
    files: tuple[FileUse, ...]
    certain: bool
    edges: tuple[Edge, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """The cells as one text of Python, headed by their numbers."""
        return slice_code(self.cells)

    @property
    def script(self) -> str:
        """A script that makes the value again."""
        return slice_script(self.cells, title=self.title, commit=str(self.environment.get("commit_id", "")))

    @property
    def title(self) -> str:
        """What it is, in words."""
        return f"What {', '.join(self.names)} came from"

    def notebook(self, kernel: str = "python3") -> dict[str, Any]:
        """A notebook (nbformat 4 as a dict) that makes the value again."""
        return slice_notebook(self.cells, title=self.title, kernel=kernel, commit=str(self.environment.get("commit_id", "")))


class Lineage:
    """Lineage of one notebook. Cells are named by their id (the latest execution is meant) or by an execution count.

    Example::

        lin = mlops_nb.lineage()
        lin.slice("model").code
        lin.stale()
    """

    def __init__(
        self, history: History, *, notebook: str = "", project: "Project | None" = None, names: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self._history = history
        self._project = project
        self._names = names
        self.notebook = notebook

    # --- questions ---

    def cells(self) -> tuple[CellView, ...]:
        """Each cell that ran, with its state and the reason, in the notebook's order."""
        places = self._places()
        return tuple(sorted(self._history.views().values(), key=lambda view: places.get(view.cell_id, len(places))))

    def runs(self) -> tuple[CellRun, ...]:
        """Each execution of each cell, in the order they ran."""
        return tuple(self._history.runs)

    def deps(self, cell: int | str) -> tuple[Dependency, ...]:
        """What a cell stands on: `certain` where it surely read it, `possible` where that is inferred. Raises NotFound."""
        run = self._run(cell)
        by_id = {earlier.id: earlier for earlier in self._history.runs}
        inside = [
            Dependency(by_id[edge.from_run].cell_id, by_id[edge.from_run].execution_count, edge.name, edge.certainty)
            for edge in self._history.edges
            if edge.to_run == run.id and edge.from_run in by_id
        ]
        return (*inside, *self._from_elsewhere(run, {found.name for found in inside}))

    def slice(self, *names: str) -> Slice:
        """The executions behind the present values of `names` (a variable, or `file:PATH`). Raises NotFound with near names."""
        if not names:
            raise BadInput("slice takes the name of a variable, or file:PATH", hint='lin.slice("model")')
        for name in names:
            self._check(name)
        runs = self._history.slice(names)
        inside = {run.id for run in runs}
        edges = tuple(edge for edge in self._history.edges if edge.to_run in inside and edge.from_run in inside)
        heads = [sure for name in names for _, sure in self._history.writers[name]]
        certain = all(edge.certainty == "certain" for edge in edges) and "possible" not in heads
        return Slice(names, runs, inputs_of(runs), certain, edges, self._environment(runs))

    def stale(self, *, order: Order = "notebook") -> list[tuple[str, str]]:
        """(cell id, reason) of the cells that no longer show what their code gives.

        With order "notebook" a cell is stale where a run from top to bottom would give something else; with "any", where anything it was
        computed from was made anew since, wherever that cell stands.
        """
        if order == "any":
            from mlops_nb.capture.symbols import stale_symbols

            return list(stale_symbols(self._history.runs, self._history.edges).items())
        return [(view.cell_id, view.reason) for view in self.cells() if view.state == "stale"]

    def rerun_set(self, edits: Mapping[str, str] | Iterable[str]) -> list[str]:
        """The cells to run, in order, after the cells in `edits` (id -> new source, or ids alone) were edited.

        Cells that make anew what has been changed in place since are among them. Raises NotFound.
        """
        given = dict(edits) if isinstance(edits, Mapping) else {cell_id: self._run(cell_id).source for cell_id in edits}
        latest = {run.cell_id: run for run in self._history.runs}
        for cell_id in given:
            if cell_id not in latest:
                raise NotFound.named("cell", cell_id, latest, where=self.notebook)
        places = self._places()
        ordered = sorted(latest.values(), key=lambda run: places.get(run.cell_id, len(places)))
        edited = {cell_id: doing_of(latest[cell_id], _facts(cell_id, source), ran=False) for cell_id, source in given.items()}
        return list(rerun_cells((doing_of(run, _facts(run.cell_id, run.source)) for run in ordered), edited))

    def files(self) -> tuple[FileLine, ...]:
        """The files that cells read and wrote, with the hashes of what they held, in the order of the executions."""
        return tuple(FileLine(use.path, use.mode, use.digest, run.cell_id, run.execution_count) for run in self._history.runs for use in run.files)

    def columns(self, name: str, column: str = "") -> tuple[ColumnEdge, ...]:
        """What the columns of frame `name` (or one of them) were made from, by the latest execution that wrote each."""
        found: dict[str, list[ColumnEdge]] = {}
        for run in self._history.runs:
            fresh: dict[str, list[ColumnEdge]] = {}
            for edge in run.columns:
                if edge.to_name == name and column in ("", edge.to_column):
                    fresh.setdefault(edge.to_column, []).append(edge)
            found |= fresh
        return tuple(edge for edges in found.values() for edge in edges)

    def why(self, name: str) -> str:
        """In words: which execution made `name`, out of what, and whether that still holds. Raises NotFound."""
        self._check(name)
        by_id = {run.id: run for run in self._history.runs}
        views = self._history.views()
        lines = []
        for writer, sure in self._history.writers[name]:
            run = by_id[writer]
            verb = "may have been changed" if sure == "possible" else "changed in place" if name in (*run.kept, *names_read(run)) else "made"
            lines.append(f"`{name}` {verb} by [{run.execution_count}] (cell {run.cell_id}){_out_of(self.deps(run.execution_count))}")
            lines += [f"  {use.mode} {use.path} ({use.digest[:12] or 'no hash'})" for use in run.files]
            view = views.get(run.cell_id)
            if view is not None and view.state in ("stale", "failed"):
                lines.append(f"  {view.state}: {view.reason}")
        lines += [f"  column {edge.to_column} from {edge.from_name}.{edge.from_column} ({edge.certainty})" for edge in self.columns(name)[:40]]
        return "\n".join(lines)

    def names(self) -> tuple[str, ...]:
        """The variables that cells made and that are still there, and the files they wrote (`file:PATH`)."""
        there = None if self._names is None else set(self._names())
        return tuple(sorted(name for name in self._history.writers if there is None or name in there or name.startswith("file:")))

    # --- inside ---

    def _check(self, name: str) -> None:
        if name not in self._history.writers:
            hint = "it has been deleted" if name in self._history.gone else "cells that ran before %load_ext mlops_nb are not known"
            raise NotFound.named("name", name, self._history.writers, where=self.notebook, hint=hint)

    def _places(self) -> dict[str, int]:
        """The order of cells: the file's, then that of their first run."""
        places = dict(self._history.positions)
        for run in self._history.runs:
            places.setdefault(run.cell_id, len(places))
        return places

    def _run(self, cell: int | str) -> CellRun:
        for run in reversed(self._history.runs):
            if cell == (run.execution_count if isinstance(cell, int) else run.cell_id):
                return run
        known = [str(run.execution_count) if isinstance(cell, int) else run.cell_id for run in self._history.runs]
        raise NotFound.named("cell", str(cell), known, where=self.notebook)

    def _from_elsewhere(self, run: CellRun, known: set[str]) -> list[Dependency]:
        """Cells of other notebooks and sessions that wrote exactly what this one read."""
        found: list[Dependency] = []
        for use in run.files:
            if self._project is None or use.mode != "read" or not use.digest or f"file:{use.path}" in known:
                continue
            for row in self._project.registry.rows(WRITERS_ELSEWHERE, (use.path, use.digest)):
                writer = run_of(row)
                found.append(Dependency(writer.cell_id, writer.execution_count, f"file:{use.path}", "certain", writer.notebook))
        return found

    def _environment(self, runs: Sequence[CellRun]) -> Mapping[str, Any]:
        if self._project is None or not runs:
            return {}
        self._project.notebooks.settle(runs[-1].session_id)
        rows = self._project.registry.rows("select * from session_environment where session_id = ?", (runs[-1].session_id,))
        return rows[0] if rows else {}


def recorded(project: "Project", notebook: str | Path, *, session: str = "") -> Lineage:
    """The lineage of a notebook as recorded: of `session`, else of its newest session that wrote anything. Raises NotFound."""
    runs = project.notebooks.runs_of(notebook)
    name = project.relative(notebook)
    if not runs:
        known = [row["notebook"] for row in project.registry.rows("select distinct notebook from cell_run")]
        raise NotFound.named("recorded notebook", name, known, hint=f"mlops-nb capture {notebook}")
    wanted = session or next((run.session_id for run in reversed(runs) if run.writes or run.files), runs[-1].session_id)
    own = [run for run in runs if run.session_id == wanted]
    inside = {run.id for run in own}
    edges = [edge for edge in project.notebooks.edges_of(notebook) if edge.to_run in inside]
    view = project.notebooks.view(notebook)
    positions = {cell.id: cell.index for cell in view.file_cells}
    return Lineage(History.rebuilt(sorted(own, key=lambda run: run.seq), edges, positions), notebook=name, project=project)


def _facts(cell_id: str, source: str) -> Facts:
    """What a cell's code does; a wrong magic line makes it plain code."""
    try:
        return facts_of_cell(parse_cell(source, id=cell_id))
    except BadInput:
        return facts_of_cell(Cell(id=cell_id, index=-1, source=source, body=source))


def _out_of(deps: Sequence[Dependency]) -> str:
    parts = [f"`{dep.name}` [{dep.execution_count}]{'?' * (dep.certainty == 'possible')}" for dep in deps]
    return f" from {', '.join(parts)}" if parts else ""
