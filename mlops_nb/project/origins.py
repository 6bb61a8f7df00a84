"""What made a model, gathered from a step's specification or from the lineage of a notebook session."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.lineage import History
from mlops_nb.hashing import text_digest
from mlops_nb.models.versions import CodeCell, Origin
from mlops_nb.notebook.analysis import analyze
from mlops_nb.notebook.cells import plain_python
from mlops_nb.pipeline.component import literals
from mlops_nb.pipeline.files import read_pipeline
from mlops_nb.pipeline.step import StepSpec, hashed, observed
from mlops_nb.records import Cell, CellRun, Fact, Severity
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from mlops_nb.project import Project

ENVIRONMENT = "select * from session_environment where session_id = ?"


def in_step(project: "Project", step: StepSpec, *, history: History | None, session_id: str) -> tuple[Origin, dict[str, str]]:
    """The origin of a model made in `step`, and the sources of its cells by digest: the step's own cells and those of all steps before it."""
    cells = _pipeline_cells(project, step)
    runs = tuple(history.runs) if history else ()
    files = {path: digest for before in step.upstream for path, digest in before.files.items()} | _files(project, runs)
    parameters = {name: value for before in step.upstream for name, value in before.parameters.items()} | dict(step.parameters)
    origin = Origin(
        cells=tuple(dict.fromkeys(_code(step.notebook, cell.id, cell.source) for cell in cells)),
        inputs={name: ref.digest for name, ref in step.inputs.items()},
        files=files,
        parameters=parameters,
        pipeline=step.pipeline,
        component=step.component,
        upstream={**{before.component: before.digest for before in step.upstream}, step.component: step.digest},
        seed=step.seed,
        tests=_tests(project, step.notebook),
    )
    return _with_session(project, origin, session_id, lock=step.lock), {text_digest(cell.source): cell.source for cell in cells}


def in_notebook(project: "Project", variable: str, *, cell: Cell | None, history: History | None, session_id: str) -> tuple[Origin, dict[str, str]]:
    """The origin of a model made in a notebook, and the sources by digest: the slice of the runs behind `variable`.

    The running `cell` is part of it where it makes the variable; where it only registers it, it is not.
    """
    found = analyze(plain_python(cell.source)) if cell else None
    here = found is not None and variable in found.defs | found.mutates
    names = found.uses if found and here else {variable}
    runs = history.slice(names) if history else ()
    used = [_code(run.notebook, run.cell_id, run.source) for run in runs]
    sources = {text_digest(run.source): run.source for run in runs}
    if cell and here:
        used.append(_code(cell.notebook, cell.id, cell.source))
        sources[text_digest(cell.source)] = cell.source
    notebook = cell.notebook if cell else ""
    origin = Origin(
        cells=tuple(dict.fromkeys(used)),
        files=_files(project, runs),
        parameters={name: value for run in runs if "parameters" in run.tags for name, value in _literals(run).items()},
        tests=_tests(project, notebook),
    )
    return _with_session(project, origin, session_id), sources


def source_facts(sources: Mapping[str, str]) -> list[Fact]:
    """The cells' sources, for traces to show."""
    return [Fact("source", {"digest": digest, "text": text}) for digest, text in sources.items()]


def _literals(run: CellRun) -> dict[str, Any]:
    return literals(Cell(id=run.cell_id, index=-1, source=run.source, kind="parameters"))


def _code(notebook: str, cell_id: str, source: str) -> CodeCell:
    return CodeCell(notebook, cell_id, text_digest(source))


def _pipeline_cells(project: "Project", step: StepSpec) -> tuple[Cell, ...]:
    """The cells of the step and of those before it, as they stand in the pipeline's files; tests have their own place in the manifest."""
    with unseen():
        components = read_pipeline(project.pipelines.folder(step.pipeline), {}).components
    chain = {before.component for before in step.upstream} | {step.component}
    return tuple(cell for c in components if c.name in chain for cell in c.cells if cell.kind != "test")


def _files(project: "Project", runs: Iterable[CellRun]) -> dict[str, str]:
    """The files that runs read from outside; one whose digest is still being made is hashed now."""
    return hashed(observed(runs, project.layout.home)[0], project.layout.root)


def _tests(project: "Project", notebook: str) -> tuple[tuple[str, str, Severity], ...]:
    return tuple((case.name, case.version, case.severity) for case in project.tests.required(notebook)) if notebook else ()


def _with_session(project: "Project", origin: Origin, session_id: str, *, lock: str = "") -> Origin:
    """Add commit, uncommitted code and environment of a session; long texts by their digests, '' for none."""
    project.notebooks.settle(session_id)
    rows: Sequence[Mapping[str, Any]] = project.registry.rows(ENVIRONMENT, (session_id,))
    if not rows:
        return replace(origin, lock=lock)
    row = rows[0]
    return replace(
        origin,
        commit=row["commit_id"],
        diff=_digest(row["diff"]),
        untracked=_digest(row["untracked"]),
        lock=lock or _digest(row["lock"]),
        python=row["python"],
    )


def _digest(text: str) -> str:
    return text_digest(text) if text and text != "[]" else ""
