"""What earlier runs did, read from the registry, and how the files, variables and artifacts they used stand now."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.environment import variable_digest
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.hashing import FileHasher
from mlops_nb.pipeline.plan import Current
from mlops_nb.records import ArtifactRef, CellRun, FileUse, RunResult, StepRun
from mlops_nb.store.codec import from_json

if TYPE_CHECKING:
    from mlops_nb.project import Project

# A cell run's files and variables of all sessions of a run.
CELLS_OF_RUN = """
select cell_run.* from cell_run join session on session.id = cell_run.session_id where session.run_id = ? order by cell_run.started, cell_run.seq
"""
STEPS = """
select step_run.* from step_run join run on run.id = step_run.run_id
where run.pipeline = ? and run.kind = ? and step_run.status in ('ran', 'failed', 'interrupted')
order by step_run.started desc, step_run.rowid desc limit 2000
"""
OBSERVED = """
select * from (select cell_run.*, row_number() over (partition by cell_id order by started desc, rowid desc) as nth
               from cell_run where notebook = ?) where nth = 1
"""
RUNS = "select * from run_status {where} order by started desc, rowid desc"
RUN_STEPS = "select * from step_run where run_id = ? order by position"


def earlier_steps(project: "Project", pipeline: str, kind: str = "pipeline") -> tuple[StepRun, ...]:
    """The step runs of a pipeline that really ran, newest first."""
    return tuple(_with_notebook(_step_of(row), project.layout.root) for row in project.registry.rows(STEPS, (pipeline, kind)))


def observed_runs(project: "Project", notebook: str) -> dict[str, CellRun]:
    """The latest run of each cell of a notebook, by cell id."""
    return {row["cell_id"]: _cell_run_of(row) for row in project.registry.rows(OBSERVED, (notebook,))}


def runs_of(project: "Project", run_id: str) -> tuple[CellRun, ...]:
    """All cell runs that a headless run recorded, in order."""
    return tuple(_cell_run_of(row) for row in project.registry.rows(CELLS_OF_RUN, (run_id,)))


def find_run(project: "Project", prefix: str) -> RunResult:
    """The run whose id starts with `prefix`, with its steps. Raises NotFound, BadInput where several do."""
    rows = project.registry.rows(RUNS.format(where="where id like ? || '%'"), (prefix,))
    if not rows:
        raise NotFound.named("run", prefix, (row["id"][:8] for row in project.registry.rows(RUNS.format(where=""))), hint="mlops-nb runs lists them")
    if len(rows) > 1:
        raise BadInput(f"{len(rows)} runs start with {prefix!r}: " + ", ".join(row["id"][:12] for row in rows[:6]), hint="give more of the id")
    return result_of(rows[0], tuple(_step_of(row) for row in project.registry.rows(RUN_STEPS, (rows[0]["id"],))))


def all_runs(project: "Project", limit: int) -> tuple[tuple[str, RunResult], ...]:
    """(kind, run) of the newest runs, without their steps."""
    rows = project.registry.rows(RUNS.format(where="") + " limit ?", (limit,))
    return tuple((row["kind"], result_of(row)) for row in rows)


def standing(project: "Project") -> Current:
    """How things stand now."""
    hasher = FileHasher()

    def file(path: str) -> str:
        try:
            return hasher.digest(project.layout.root / path)
        except OSError:
            return ""

    return Current(file=file, variable=lambda name: variable_digest(project.environ.get(name)), holds=project.artifacts.holds)


def result_of(row: Mapping[str, Any], steps: tuple[StepRun, ...] = ()) -> RunResult:
    """A row of run_status as a record."""
    return RunResult(
        id=row["id"],
        pipeline=row["pipeline"],
        version=row["version"],
        status=row["status"],
        started=row["started"],
        seconds=row["seconds"],
        parameters=from_json(row["parameters"]),
        steps=steps,
        error=row["error"],
    )


def _step_of(row: Mapping[str, Any]) -> StepRun:
    given = {name: row[name] for name in StepRun.__slots__ if name != "written"}
    given["environment"] = dict(from_json(row["environment"]))
    files = from_json(row["files"])
    given["files"] = {path: digest for path, digest, *mode in files if not mode}
    given["written"] = {path: digest for path, digest, *mode in files if mode}
    given["parameters"] = from_json(row["parameters"])
    for name in ("inputs", "outputs"):
        given[name] = {key: ArtifactRef(**ref) for key, ref in from_json(row[name]).items()}
    return StepRun(**given)


def _with_notebook(step: StepRun, root: Path) -> StepRun:
    """A step that gives nothing out has only its executed notebook to show: once that is gone, it counts as a file that the step wrote."""
    if step.status != "ran" or step.outputs or not step.notebook or (root / step.notebook).exists():
        return step
    return replace(step, written={**step.written, step.notebook: "executed"})


def _cell_run_of(row: Mapping[str, Any]) -> CellRun:
    given = {name: row[name] for name in CellRun.__slots__}
    for name in ("tags", "reads", "writes", "unchanged"):
        given[name] = tuple(from_json(row[name]))
    files = tuple(FileUse(**use) for use in from_json(row["files"]))
    return CellRun(**{**given, "files": files, "environment": from_json(row["environment"])})
