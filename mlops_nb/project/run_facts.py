"""All that is recorded of one run: its steps, the code that ran, models, test results and packages, read once for `diff` and `report`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_nb.pipeline.files import OWN_CELLS, OWN_PREFIX
from mlops_nb.project import history
from mlops_nb.records import RunResult, StepRun, TestResult
from mlops_nb.store.codec import from_json

if TYPE_CHECKING:
    from mlops_nb.project import Project

RUN = "select kind, notebook, actor from run where id = ?"
COMPONENTS = "select components from pipeline where name = ? and version = ? order by created desc limit 1"
SOURCES = """
select cell_run.cell_id, source.text from cell_run join source on source.digest = cell_run.source join session on session.id = cell_run.session_id
where session.run_id = ? order by cell_run.started, cell_run.seq
"""
SURROUNDINGS = """
select session_environment.* from session_environment join session on session.id = session_id where session.run_id = ? order by session.started
"""
TESTS = """
select test_result.*, session.notebook as made_in from test_result join session on session.id = test_result.session_id
where test_result.run_id = ? order by test_result.created, test_result.rowid
"""
MODELS = """
select model.*, session.notebook as made_in from numbered_model_version as model join session on session.id = model.session_id
where model.run_id = ? order by model.number
"""

SUPPORT = OWN_PREFIX + "support"  # the id of the cell of code that came along

Sources = Mapping[str, str]  # cell id -> source, in order
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Executed:
    """An executed notebook as its JSON says: cells with their outputs; `cells` are empty where it is gone or cannot be read."""

    path: str
    cells: tuple[Mapping[str, Any], ...] = ()

    @property
    def sources(self) -> dict[str, str]:
        """Cell id -> source of what is the user's and of the code that came along, without the cells that load and save."""
        return {cell_id(cell): joined(cell.get("source")) for cell in self.cells if not is_machinery(cell)}


@dataclass(frozen=True, slots=True)
class Checked:
    """A test's newest result in a run, and the step that ran it."""

    step: str
    result: TestResult


@dataclass(frozen=True, slots=True)
class Measured:
    """A model version as a step of a run registered it: `label` is `name@number`."""

    step: str
    name: str
    label: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run. `code` is component -> cell id -> source; `requires` component -> name it takes -> component that makes it.

    What a skipped step has to show (models, tests, code) is what the run has to show that it stands for.
    """

    run: RunResult
    kind: str = "pipeline"
    notebook: str = ""
    actor: str = ""
    code: Mapping[str, Sources] = field(default_factory=dict)
    requires: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Measured, ...] = ()
    tests: tuple[Checked, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    commit: str = ""
    notebooks: Mapping[str, Executed] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with the value it had: the run's own where given, else the default."""
        used = {name: value for step in self.run.steps for name, value in step.parameters.items()}
        return {**self.defaults, **used, **self.run.parameters}

    def is_shown(self, step: str) -> bool:
        """Whether the executed notebook of a step is there."""
        return step in self.notebooks and bool(self.notebooks[step].cells)


def facts_of(project: "Project", reference: str) -> RunFacts:
    """What is recorded of the run whose id starts with `reference`. Raises NotFound, BadInput where several do."""
    run = history.find_run(project, reference)
    row = project.registry.rows(RUN, (run.id,))[0]
    components = _components(project, run)
    notebooks = {step.component: read_executed(project.layout.root / step.notebook, step.notebook) for step in run.steps if step.notebook}
    surroundings = _surroundings(project, run)
    return RunFacts(
        run,
        row["kind"],
        row["notebook"],
        row["actor"],
        code=_code(project, run, notebooks, components),
        requires=_requires(run.steps, components),
        defaults={name: value for component in components.values() for name, value in component["parameters"].items()},
        models=_models(project, run, row["kind"]),
        tests=_tests(project, run),
        packages=packages(str(surroundings.get("lock", ""))),
        python=surroundings.get("python", ""),
        commit=surroundings.get("commit_id", ""),
        notebooks=notebooks,
    )


def origin(step: StepRun) -> str:
    """The run in which a step really ran: for a skipped one the run it stands for, whose executed notebook it names.

    >>> origin(StepRun("s2", "r2", "load", 0, "", "skipped", "", 0.0, notebook=".mlops_nb/runs/r1/load.ipynb"))
    'r1'
    """
    return PurePosixPath(step.notebook).parent.name if step.status == "skipped" and step.notebook else step.run_id


def packages(lock: str) -> dict[str, str]:
    """Package -> version out of a lock text.

    >>> packages("numpy==2.0\\npandas==3.0")
    {'numpy': '2.0', 'pandas': '3.0'}
    """
    return {name: version for name, _, version in (line.partition("==") for line in lock.split("\n")) if name}


# --- executed notebooks ---------------------------------------------------------------------------------------


def read_executed(path: Path, name: str) -> Executed:
    """The executed notebook at `path`; without cells where it is gone or no notebook any more."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return Executed(name, tuple(cell for cell in cells if isinstance(cell, dict)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Executed(name)


def joined(text: Any) -> str:
    """A text of a notebook file, which may be a list of lines."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def cell_id(cell: Mapping[str, Any]) -> str:
    """A cell's id."""
    return str(cell.get("id", ""))


def is_machinery(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is no code of the pipeline: text, or one that sets parameters, loads or saves."""
    tags = cell.get("metadata", {}).get("tags", ())
    own = cell_id(cell) in OWN_CELLS and cell_id(cell) != SUPPORT
    return own or cell.get("cell_type") != "code" or "injected-parameters" in tags or joined(cell.get("source")) == "%load_ext mlops_nb"


# --- reading --------------------------------------------------------------------------------------------------


def _components(project: "Project", run: RunResult) -> dict[str, Row]:
    """The components of the pipeline's version as promoted; none where it was edited by hand, or is a whole notebook."""
    rows = project.registry.rows(COMPONENTS, (run.pipeline, run.version))
    return {component["name"]: component for component in from_json(rows[0]["components"])} if rows else {}


def _code(project: "Project", run: RunResult, notebooks: Mapping[str, Executed], components: Mapping[str, Row]) -> dict[str, Sources]:
    """What ran, as the executed notebooks show it; where one is gone, as it was promoted, or recorded cell by cell."""
    found: dict[str, Sources] = {}
    for step in run.steps:
        executed = notebooks.get(step.component)
        if executed and executed.cells:
            found[step.component] = executed.sources
        elif step.component in components:
            found[step.component] = {cell["id"]: cell["source"] for cell in components[step.component]["code"]}
        elif len(run.steps) == 1:
            found[step.component] = {row["cell_id"]: row["text"] for row in project.registry.rows(SOURCES, (origin(step),))}
    return found


def _requires(steps: Sequence[StepRun], components: Mapping[str, Row]) -> dict[str, Mapping[str, str]]:
    """Who takes what from whom: as promoted, else by what the steps took and gave; a file that one wrote and a later one read counts too."""
    makers: dict[str, str] = {}
    writers: dict[str, str] = {}
    found: dict[str, Mapping[str, str]] = {}
    for step in steps:
        promoted = components[step.component]["inputs"] if step.component in components else {}
        seen = {name: makers[name] for name in step.inputs if name in makers}
        files = {f"file:{path}": writers[path] for path in step.files if path in writers}
        found[step.component] = {**seen, **promoted, **files}
        makers |= dict.fromkeys(step.outputs, step.component)
        writers |= dict.fromkeys(step.written, step.component)
    return found


def _surroundings(project: "Project", run: RunResult) -> Row:
    """Packages, Python and commit of the newest session among those in which the steps ran."""
    rows = [row for made in dict.fromkeys(origin(step) for step in run.steps) for row in project.registry.rows(SURROUNDINGS, (made,))]
    return rows[-1] if rows else {}


def _tests(project: "Project", run: RunResult) -> tuple[Checked, ...]:
    newest: dict[tuple[str, str], Checked] = {}
    for step in run.steps:
        for row in _of_step(project.registry.rows(TESTS, (origin(step),)), step, run):
            plain = {name: row[name] for name in TestResult.__slots__ if name != "artifacts"}
            newest[step.component, row["test"]] = Checked(step.component, TestResult(**plain, artifacts=from_json(row["artifacts"])))
    return tuple(newest.values())


def _models(project: "Project", run: RunResult, kind: str) -> tuple[Measured, ...]:
    """The models that the steps registered. A step that ran again and made the same version is that version's, whichever run was first."""
    earlier = history.earlier_steps(project, run.pipeline, kind)
    newest: dict[tuple[str, str], Measured] = {}
    for step in run.steps:
        runs = [origin(step), *_equals(step, earlier)]
        rows = next((found for made in runs if (found := _of_step(project.registry.rows(MODELS, (made,)), step, run))), ())
        for row in rows:
            label = f"{row['name']}@{row['number']}"
            newest[step.component, row["name"]] = Measured(step.component, row["name"], label, from_json(row["metrics"]))
    return tuple(newest.values())


def _equals(step: StepRun, earlier: Iterable[StepRun]) -> list[str]:
    """The runs in which the same step ran on exactly the same, newest first."""
    same = (other for other in earlier if (other.component, other.key, other.status) == (step.component, step.key, "ran"))
    return [other.run_id for other in same if other.key and (other.files, other.environment) == (step.files, step.environment)]


def _of_step(rows: Sequence[Row], step: StepRun, run: RunResult) -> Sequence[Row]:
    """Those that the step's own kernel recorded; a whole notebook has but one kernel."""
    return [row for row in rows if len(run.steps) == 1 or PurePosixPath(row["made_in"]).stem == step.component]
