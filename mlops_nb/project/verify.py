"""Verification: the slice behind a value runs again headless, and what it leaves is compared with what was recorded."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.lineage import slice_runs, writers_of
from mlops_nb.capture.slices import inputs_of, outputs_of, slice_notebook
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.hashing import FileHasher
from mlops_nb.pipeline.files import notebook_text, write_atomically
from mlops_nb.pipeline.run import Execution, execute_notebook
from mlops_nb.project import closeness, event, new_id
from mlops_nb.project.notebooks import run_of
from mlops_nb.project.running import NOTEBOOK_VARIABLE, RUN_VARIABLE, Progress, RunOptions, kernel_setup
from mlops_nb.project.scratch import Scratch
from mlops_nb.project.verification import (
    FILE,
    Check,
    Verdict,
    Verification,
    artifacts_close,
    by_the_way,
    environment_notes,
    input_notes,
    session_of,
)
from mlops_nb.project.verify_steps import verify_run
from mlops_nb.records import ArtifactRef, CellRun, Edge, Fact, FileUse, ModelVersion, now_text
from mlops_nb.store.redaction import MARK, Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project

KEEP_ID = "mlops-nb-keep"
DEFAULT_RTOL = 1e-9
_DIGEST = 16  # characters of a value's digest

# Sessions of people and of whole notebooks; a pipeline step's cells stand on what it loads.
_OF_NOTEBOOKS = """
from cell_run join session on session.id = cell_run.session_id left join run on run.id = session.run_id
where coalesce(run.kind, 'notebook') = 'notebook' and (:notebook = '' or cell_run.notebook = :notebook)
"""
WROTE = f"""
select cell_run.session_id, cell_run.notebook {_OF_NOTEBOOKS}
and exists (select 1 from json_each(cell_run.writes) where value = :name) order by cell_run.started desc, cell_run.seq desc limit 1
"""  # noqa: S608 (no value in it)
WROTE_FILE = f"""
select cell_run.session_id, cell_run.notebook {_OF_NOTEBOOKS}
and exists (select 1 from json_each(cell_run.files) where json_extract(value, '$.path') = :name and json_extract(value, '$.mode') = 'write')
order by cell_run.started desc, cell_run.seq desc limit 1
"""  # noqa: S608 (no value in it)
NAMES = f"select distinct value {_OF_NOTEBOOKS.replace('from cell_run', 'from cell_run, json_each(cell_run.writes)', 1)} and value not like '%:%'"
FILES = f"""
select distinct json_extract(value, '$.path') as value {_OF_NOTEBOOKS.replace("from cell_run", "from cell_run, json_each(cell_run.files)", 1)}
and json_extract(value, '$.mode') = 'write'
"""
RUNS = "select cell_run.*, source.text from cell_run join source on source.digest = cell_run.source where cell_run.session_id = ? order by seq"
EDGES = """
select edge.from_run, edge.to_run, edge.name, edge.certainty from edge join cell_run on cell_run.id = edge.to_run where cell_run.session_id = ?
"""
PINS = "select * from pin where notebook = ? and name = ? order by created desc"


@dataclass(frozen=True, slots=True)
class Target:
    """What is verified: the slice behind it, the variable or file in it, and the stored value, where there is one."""

    label: str
    runs: tuple[CellRun, ...]
    variable: str = ""
    path: str = ""
    stored: ArtifactRef | None = None

    @property
    def notebook(self) -> str:
        """The notebook the slice is from."""
        return self.runs[-1].notebook


# --- pins -----------------------------------------------------------------------------------------------------


def pin(project: "Project", notebook: str, name: str, value: Any, run_id: str) -> ArtifactRef:
    """Store the present value of `name`, as cell run `run_id` left it, so that a verification can compare it within a tolerance.

    Raises NotStorable where no serializer takes it.
    """
    ref = project.artifacts.put(value, name=name, made_by=run_id)
    row = {"id": new_id(), "notebook": notebook, "name": name, "artifact": ref.digest, "kind": ref.kind, "type_name": ref.type_name}
    project.registry.record([Fact("pin", {**row, "size": ref.size, "run_id": run_id, "created": now_text()})])
    return ref


# --- verify ---------------------------------------------------------------------------------------------------


def verify(project: "Project", name: str, *, notebook: str = "", at: str = "", rtol: float = DEFAULT_RTOL) -> Verification:
    """Run the slice behind `name` again in a folder of its own and compare what it leaves.

    `name` is a variable of a captured notebook (of `notebook`, where given), a model version's reference, or a file (`file:PATH`, or a path
    that exists); `at` is the execution count or id of the run after which the variable had the value (default: the newest). The user's
    files are only read.

    Raises:
        NotFound: nothing recorded makes `name`; near names are listed.
        BadInput: the slice cannot run by itself.
    """
    target = find_target(project, name, notebook=notebook, at=at)
    scratch = Scratch(project.layout.root, project.layout.home / "verify" / new_id())
    whole = True
    try:
        found = verify_run(project, target, scratch, rtol) if isinstance(target, ModelVersion) else _Rerun(project, target, scratch, rtol).go()
        whole = False
    finally:
        scratch.remove(whole=whole)
    payload = {"verdict": found.verdict, "cells": found.cells, "first": asdict(found.first) if found.first else None}
    project.registry.record([event("verified", f"value:{found.label}", payload, human=False)])
    return found


class _Rerun:
    """One verification."""

    def __init__(self, project: "Project", target: Target, scratch: Scratch, rtol: float) -> None:
        self.project = project
        self.target = target
        self.scratch = scratch
        self.rtol = rtol
        self.source = scratch.work / (_relative_notebook(target.notebook) or "slice.ipynb")
        self.executed = scratch.folder / "executed.ipynb"
        self.cell_ids: dict[str, str] = {}  # run -> its cell in the slice's notebook
        self.moved: list[str] = []  # cells in which paths of the project are written out

    def go(self) -> Verification:
        """Prepare, run, compare."""
        runs = self.target.runs
        _check_runnable(runs)
        inputs = self.scratch.prepare(inputs_of(runs), outputs_of(runs))
        self._write_notebook()
        begun = time.monotonic()
        execution = self._execute()
        checks = tuple(self._checks())
        verdict, value = self._verdict(checks, execution)
        moved = [f"paths of the project written out in {', '.join(self.moved)} were led to the scratch folder"] if self.moved else []
        notes = (*moved, *input_notes(inputs), *environment_notes(self.project, runs[-1].session_id, runs))
        return Verification(
            id=self.scratch.folder.name,
            label=self.target.label,
            verdict=verdict,
            cells=len(runs),
            seconds=time.monotonic() - begun,
            value=value,
            checks=checks,
            first=next((check for check in checks if check.differs), None),
            inputs=inputs,
            notebook=self.project.relative(self.executed),
            error=execution.error,
            failed_cell=execution.cell_id,
            notes=notes,
            runs=runs,
        )

    def _write_notebook(self) -> None:
        """The slice as a notebook, with a cell at its end that keeps the value."""
        commit = str(session_of(self.project, self.target.runs[-1].session_id).get("commit_id", ""))
        title = f"Slice behind {self.target.label}"
        made = slice_notebook(self.target.runs, title=title, kernel=self.project.settings.kernel, commit=commit)
        for cell in made["cells"]:
            if run := cell["metadata"].get("mlops_nb", {}).get("run"):
                self.cell_ids[run] = cell["id"]
                written = cell["source"]
                cell["source"] = self.scratch.in_here(written)
                self.moved += [cell["id"]] if cell["source"] != written else []
        if self.target.variable:
            arguments = f"get_ipython(), {self.target.variable!r}, {str(self.scratch.kept)!r}"
            source = f"from mlops_nb.project import scratch as _mlops_nb_scratch\n_mlops_nb_scratch.keep({arguments})"
            made["cells"].append({"cell_type": "code", "execution_count": None, "id": KEEP_ID, "metadata": {}, "outputs": [], "source": source})
        self.source.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.source, notebook_text(made))
        write_atomically(self.scratch.folder / "slice.ipynb", notebook_text(made))

    def _execute(self) -> Execution:
        outside = [use.path for use in outputs_of(self.target.runs) if self.scratch.place(use.path) is None]
        own = {**self.scratch.guarded(self.project.environ, outside), NOTEBOOK_VARIABLE: str(self.source), RUN_VARIABLE: ""}
        progress = Progress(len(self.target.runs) + 2, shown=None)
        progress.begins("verify")
        try:
            return execute_notebook(
                self.source,
                self.executed,
                kernel=kernel_setup(self.project, RunOptions(), cwd=self.source.parent, own=own),
                on_cell=progress.at,
                redact=Redactor(self.project.environ).value,
                before="%load_ext mlops_nb",
            )
        finally:
            progress.close()

    def _checks(self) -> list[Check]:
        """Every name and file that a run of the slice left, as it was and as it is made again."""
        again = self._rerun_runs()
        found = []
        hasher = FileHasher()
        last = {use.path: run.id for run in self.target.runs for use in run.files if use.mode == "write"}
        for run in self.target.runs:
            other = again.get(self.cell_ids[run.id])
            place = (run.id, run.cell_id, run.execution_count)
            for name, digest in run.values.items():
                rerun = other.values.get(name, "") if other else ""
                found.append(Check(*place, name, digest if len(digest) == _DIGEST else "", rerun))
            left = [use for use in run.files if use.mode == "write" and last[use.path] == run.id and use.size >= 0]
            found += [Check(*place, FILE + use.path, use.digest, self._file_digest(use, hasher)) for use in left]
        return found

    def _rerun_runs(self) -> dict[str, CellRun]:
        """The runs that the slice's kernel recorded, by cell of its notebook."""
        from mlops_nb.project import Project

        with Project(self.scratch.layout, environ=self.project.environ) as scratch:
            query = "select cell_run.*, source.text from cell_run join source on source.digest = cell_run.source order by started, seq"
            return {row["cell_id"]: run_of(row) for row in scratch.registry.rows(query)}

    def _file_digest(self, use: FileUse, hasher: FileHasher) -> str:
        place = self.scratch.place(use.path)
        try:
            return hasher.digest(place) if place else ""
        except OSError:
            return "none"

    # --- verdict ---

    def _verdict(self, checks: Sequence[Check], execution: Execution) -> tuple[Verdict, str]:
        """The verdict, and what it rests on."""
        if execution.error:
            return "different", f"the slice stopped: {execution.error}"
        own = [check for check in checks if check.name == (self.target.variable or FILE + self.target.path)]
        last = own[-1] if own and own[-1].compared else None
        if last and not last.differs:
            return "identical", f"digest {last.recorded}"
        found = self._file_close() if self.target.path else self._value_close()
        if found is not None:
            return found
        if last:
            return "different", f"digest {last.recorded} was recorded, {last.rerun} came out"
        return by_the_way(checks)

    def _value_close(self) -> tuple[Verdict, str] | None:
        """Compare with the stored value; None where there is none, or none came out that can be stored."""
        stored = self.target.stored
        said: Mapping[str, Any] = json.loads(self.scratch.kept.read_text(encoding="utf-8")) if self.scratch.kept.exists() else {}
        if stored is None:
            return None
        if "artifact" not in said:
            return ("different", f"{self.target.variable} was not made again") if "digest" not in said else None
        return artifacts_close(self.project, self.scratch, (stored, ArtifactRef(**said["artifact"])), rtol=self.rtol)

    def _file_close(self) -> tuple[Verdict, str] | None:
        """Compare with the user's file, where that is still the recorded one."""
        original, place = self.scratch.original(self.target.path), self.scratch.place(self.target.path)
        recorded = next(use.digest for use in outputs_of(self.target.runs) if use.path == self.target.path)
        if place is None or not place.is_file() or not original.is_file() or FileHasher().digest(original) != recorded:
            return None
        if closeness.files_close(original, place, rtol=self.rtol):
            return "equal within tolerance", f"of {self.rtol:g}, to the file"
        return None


# --- targets --------------------------------------------------------------------------------------------------


def find_target(project: "Project", name: str, *, notebook: str = "", at: str = "") -> Target | ModelVersion:
    """What `name` stands for: a variable, a file, a model version (itself where a pipeline's run made it).

    Raises NotFound with near names, BadInput.
    """
    asked = {"notebook": project.relative(notebook) if notebook else "", "name": name}
    if notebook and not project.registry.rows("select 1 from cell_run where notebook = ? limit 1", (asked["notebook"],)):
        captured = [row["notebook"] for row in project.registry.rows("select distinct notebook from cell_run where notebook != ''")]
        raise NotFound.named(
            "captured notebook", asked["notebook"], captured, hint="mlops-nb capture NOTEBOOK.ipynb runs one with its lineage recorded"
        )
    if name.startswith(FILE) or _is_path(name):
        return _file_target(project, name.removeprefix(FILE), asked)
    if "@" not in name and (rows := project.registry.rows(WROTE, asked)):
        return _variable_target(project, name, rows[0], at)
    versions = project.models.list()
    if "@" in name or name in {version.name for version in versions}:
        version = project.models.show(name)
        return version if version.run_id else _model_target(project, version)
    names = {row["value"] for row in project.registry.rows(NAMES, {"notebook": asked["notebook"]})} | {version.name for version in versions}
    where = asked["notebook"] if notebook else ""
    raise NotFound.named("recorded value", name, names, where=where, hint="a variable of a captured notebook, MODEL@3, or file:PATH")


def _is_path(name: str) -> bool:
    return not name.isidentifier() and "@" not in name and (Path(name).exists() or "/" in name or "." in name)


def _variable_target(project: "Project", name: str, row: Mapping[str, Any], at: str) -> Target:
    session = _session_runs(project, row["session_id"])
    runs = session[: _place_of(session, at, name) + 1] if at else session
    heads = _heads(runs, name)
    if not heads:
        raise NotFound(f"{name} was not made before {at}", where=row["notebook"])
    return Target(name, _slice(project, row["session_id"], runs, heads), variable=name, stored=_pinned(project, name, runs, heads))


def _pinned(project: "Project", name: str, runs: Sequence[CellRun], heads: Sequence[str]) -> ArtifactRef | None:
    """The newest pin of the value as the last of `heads` left it; those after the pinned one may not have changed it."""
    left = {run.id: run.values.get(name, "") for run in runs}
    as_now = {head for head in heads if head == heads[-1] or (left[head] and left[head] == left[heads[-1]])}
    pins = [row for row in project.registry.rows(PINS, (runs[-1].notebook, name)) if row["run_id"] in as_now]
    return ArtifactRef(pins[0]["artifact"], pins[0]["kind"], pins[0]["type_name"], pins[0]["size"]) if pins else None


def _place_of(runs: Sequence[CellRun], at: str, name: str) -> int:
    """The place of the run that `at` names by its count or its id."""
    places = [i for i, run in enumerate(runs) if str(run.execution_count) == at.strip("[]") or run.id.startswith(at)]
    if not places:
        raise NotFound.named("cell run", at, (str(run.execution_count) for run in runs if name in run.writes), where=runs[-1].notebook)
    return places[-1]


def _file_target(project: "Project", name: str, asked: Mapping[str, str]) -> Target:
    paths = dict.fromkeys((project.relative(name), name))
    for path in paths:
        if rows := project.registry.rows(WROTE_FILE, {**asked, "name": path}):
            runs = _session_runs(project, rows[0]["session_id"])
            return Target(FILE + path, _slice(project, rows[0]["session_id"], runs, _heads(runs, FILE + path)), path=path)
    known = [row["value"] for row in project.registry.rows(FILES, {"notebook": asked["notebook"]})]
    raise NotFound.named("recorded file", next(iter(paths)), known, hint="a file that a cell of a captured notebook wrote")


def _model_target(project: "Project", version: ModelVersion) -> Target:
    """The cells behind a version that a notebook registered: what its variable stood on at that moment."""
    label = f"{version.name}@{version.number}"
    variable = str(version.manifest["variable"])
    runs = [run for run in _session_runs(project, version.session_id) if run.started <= version.created]
    heads = _heads(runs, variable)
    if not heads:
        raise NotFound(f"the cells behind {label} were not recorded", hint="it can be traced, but not run again: mlops-nb model trace " + label)
    found = _slice(project, version.session_id, runs, heads)
    return Target(label, found, variable=variable, stored=version.artifact)


def _heads(runs: Iterable[CellRun], name: str) -> tuple[str, ...]:
    """The runs that made the present value of `name`, or may have changed it since."""
    return tuple(run_id for run_id, _ in writers_of(runs).get(name, ()))


def _session_runs(project: "Project", session_id: str) -> tuple[CellRun, ...]:
    return tuple(run_of(row) for row in project.registry.rows(RUNS, (session_id,)))


def _slice(project: "Project", session_id: str, runs: Sequence[CellRun], heads: Iterable[str]) -> tuple[CellRun, ...]:
    edges = (Edge(**row) for row in project.registry.rows(EDGES, (session_id,)))
    return slice_runs(runs, edges, heads)


# --- pure -----------------------------------------------------------------------------------------------------


def _relative_notebook(notebook: str) -> str:
    return "" if Path(notebook).is_absolute() or notebook.startswith("..") else notebook


def _check_runnable(runs: Sequence[CellRun]) -> None:
    """Raises BadInput where what was recorded is not what ran."""
    for run in runs:
        if MARK in run.source:
            where = f"{run.notebook}:[{run.execution_count}] (id {run.cell_id})"
            raise BadInput(
                "a secret was taken out of this cell before it was recorded, so it cannot run again", where=where, hint="read it from os.environ"
            )
