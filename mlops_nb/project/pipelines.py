"""Pipelines: promotion of notebooks, plans, runs, and headless capture of a whole notebook."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.environment import lock_text
from mlops_nb.errors import BadInput, NotFound, PromotionRefused
from mlops_nb.hashing import sha256_hex, text_digest
from mlops_nb.notebook.cells import plain_python, read_notebook
from mlops_nb.pipeline import plan as planning
from mlops_nb.pipeline.component import build, digest_of, drafted, literals
from mlops_nb.pipeline.files import MANIFEST, OWN_CELLS, changed_files, read_manifest, read_pipeline, write_pipeline
from mlops_nb.pipeline.reasons import Reason, explain
from mlops_nb.pipeline.wiring import imported_packages
from mlops_nb.project import event, history, new_id
from mlops_nb.records import Component, Fact, Pipeline, PlannedStep, RunResult, now_text
from mlops_nb.store.codec import from_json, row_json
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project

CURRENT = "select id, version, notebook, components from current_pipeline where name = ?"
LAST_PROMOTED = """
select pipeline.* from event join pipeline on pipeline.id = json_extract(event.payload, '$.pipeline')
where event.object = 'pipeline:' || ? and event.verb = 'promoted' order by event.ts desc, event.rowid desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promoted pipeline and what that did to its files; in a dry run, what it would write."""

    pipeline: Pipeline
    folder: Path
    written: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    dry_run: bool = False


class Pipelines:
    """`project.pipelines`."""

    def __init__(self, project: "Project") -> None:
        self.project = project

    # --- promotion ---

    def promote(self, notebook: str | Path, *, name: str = "", dry_run: bool = False) -> Promotion:
        """Make a pipeline out of a notebook's cells, write its files and record it. Raises PromotionRefused, NotebookError, BadInput."""
        pipeline = self.build(notebook, name=name)
        folder = self.folder(pipeline.name)
        self._check_owner(pipeline, folder)
        if dry_run:
            return Promotion(pipeline, folder, changed_files(pipeline, folder), dry_run=True)
        written, removed = write_pipeline(pipeline, folder)
        self._record(pipeline, promoted=True)
        return Promotion(pipeline, folder, written, removed)

    def build(self, notebook: str | Path, *, name: str = "") -> Pipeline:
        """The pipeline that a notebook makes, nothing written."""
        path = self._notebook(notebook)
        if name and name != (fit := pipeline_name(Path(name))):
            raise BadInput(f"--name: {name!r} is not fit for a folder", hint=f"letters, digits, _ and - are: {fit}")
        cells = read_notebook(path)
        if own := [cell for cell in cells if cell.id in OWN_CELLS]:
            raise PromotionRefused("is a cell that mlops_nb made", where=own[0].where, hint="promote the notebook this component was made from")
        recorded = self.project.relative(path)
        return build(
            cells,
            notebook=recorded,
            name=name or pipeline_name(path),
            observed=history.observed_runs(self.project, recorded),
            modules=self.modules(path.parent, (plain_python(cell.source) for cell in cells)),
        )

    def reasons(self, pipeline: Pipeline) -> tuple[Reason, ...]:
        """Why each component of a pipeline that was just built takes and gives what it does. Raises NotebookError, PromotionRefused."""
        cells = read_notebook(self.project.layout.root / pipeline.notebook)
        seen = history.observed_runs(self.project, pipeline.notebook)
        wiring, drafts = drafted(cells, notebook=pipeline.notebook, observed=seen)
        return explain(pipeline, wiring, drafts, home=self.project.layout.home)

    def folder(self, name: str) -> Path:
        """Where a pipeline's files are."""
        return self.project.layout.root / self.project.settings.pipelines / name

    def names(self) -> tuple[str, ...]:
        """The promoted pipelines."""
        return tuple(sorted(path.parent.name for path in self.folder("").glob(f"*/{MANIFEST}")))

    def current(self, name: str) -> Pipeline:
        """A promoted pipeline as its files say. Raises NotFound."""
        folder = self.folder(name)
        if not name or not (folder / MANIFEST).is_file():
            raise NotFound.named("pipeline", name, self.names(), hint="mlops-nb promote NOTEBOOK.ipynb makes one")
        pipeline = read_pipeline(folder, {})
        sources = (source for c in pipeline.components for source in (c.support, *(plain_python(cell.source) for cell in c.cells)))
        return read_pipeline(folder, self.modules((self.project.layout.root / pipeline.notebook).parent, sources))

    def modules(self, folder: Path, sources: Iterable[str]) -> dict[str, str]:
        """Digests of the project's own modules that `sources` import, each with all that it imports itself; mlops_nb is none of them."""
        places = (folder, self.project.layout.root, self.project.layout.root / "src")
        wanted = frozenset().union(*map(imported_packages, sources)) - {"mlops_nb"}
        return {name: _module_digest(name, places) for name in sorted(wanted) if _module_files(name, places)}

    def _notebook(self, notebook: str | Path) -> Path:
        path = Path(notebook)
        if not path.is_file():
            found = (p for p in self.project.layout.root.glob("**/*.ipynb") if ".mlops_nb" not in p.parts and p.is_file())
            near = map(self.project.relative, found)
            raise NotFound.named("notebook", str(notebook), near)
        return path.resolve()

    def _check_owner(self, pipeline: Pipeline, folder: Path) -> None:
        """Two notebooks of one name must not overwrite each other's pipeline."""
        other = read_manifest(folder).get("notebook")
        if isinstance(other, str) and other != pipeline.notebook and (self.project.layout.root / other).is_file():
            raise BadInput(f"pipeline {pipeline.name} belongs to {other}", where=pipeline.notebook, hint="promote it under another name: --name NAME")

    def _record(self, pipeline: Pipeline, *, promoted: bool = False) -> None:
        """Record a version that is not the current one; a promotion also where only its texts are new, since `pull` compares with them."""
        known = self.project.registry.rows(CURRENT, (pipeline.name,))
        same = bool(known) and (known[0]["version"], known[0]["notebook"]) == (pipeline.version, pipeline.notebook)
        if same and (not promoted or self._is_last_promotion(pipeline, known[0])):
            return
        row = {"id": new_id(), "name": pipeline.name, "version": pipeline.version, "notebook": pipeline.notebook, "created": now_text()}
        components = [component_data(component) for component in pipeline.components]
        payload = {"version": pipeline.version, "notebook": pipeline.notebook, "pipeline": row["id"]}
        verb = "promoted" if promoted else "edited"
        self.project.registry.record([Fact("pipeline", {**row, "components": components}), event(verb, f"pipeline:{pipeline.name}", payload)])

    def _is_last_promotion(self, pipeline: Pipeline, row: Mapping[str, Any]) -> bool:
        last = self.project.registry.rows(LAST_PROMOTED, (pipeline.name,))
        return bool(last) and last[0]["id"] == row["id"] and row["components"] == self.recorded_text(pipeline)

    def promoted_components(self, name: str, version: str) -> dict[str, dict[str, Any]]:
        """The components of `name` as they were last promoted, by name; {} where that is not recorded here, or was another version."""
        last = self.project.registry.rows(LAST_PROMOTED, (name,))
        if not last or last[0]["version"] != version:
            return {}
        return {component["name"]: component for component in from_json(last[0]["components"])}

    def recorded_text(self, pipeline: Pipeline) -> str:
        """A pipeline's components as the registry holds them: JSON, without secrets."""
        return row_json([component_data(component) for component in pipeline.components], Redactor(self.project.environ).value)

    # --- plans and runs ---

    def plan(
        self, target: str | Path, parameters: Mapping[str, Any] | None = None, *, selection: planning.Selection = planning.ALL
    ) -> tuple[PlannedStep, ...]:
        """For each step asked for of a pipeline (its name, or its notebook's path) whether it would run, and why."""
        from mlops_nb.project.running import environment_key

        pipeline = self.build(target) if _is_notebook(target) else self.current(str(target))
        return planning.plan(
            pipeline,
            parameters=parameters or {},
            lock=environment_key(lock_text()),
            history=history.earlier_steps(self.project, pipeline.name),
            current=history.standing(self.project),
            selection=selection,
        )

    def run(
        self,
        target: str | Path,
        parameters: Mapping[str, Any] | None = None,
        *,
        progress: bool | None = None,
        kernel: str = "",
        selection: planning.Selection = planning.ALL,
    ) -> RunResult:
        """Run a pipeline (its name, or its notebook's path: promoted first) headless, unchanged steps skipped.

        A failed step is no exception: the result's status and error say so. Raises NotFound for an unknown pipeline or parameter,
        PromotionRefused, and KeyboardInterrupt once the interrupted run is recorded.
        """
        from mlops_nb.project.running import PipelineRun, RunOptions

        pipeline = self.promote(target).pipeline if _is_notebook(target) else self.current(str(target))
        self._record(pipeline)  # files edited by hand are a version of their own
        planning.check_parameters(pipeline, parameters or {})
        selection.check(pipeline)
        return PipelineRun(self.project, pipeline, RunOptions(parameters or {}, kernel, progress, selection), lock=lock_text()).go()

    def runs(self, limit: int = 50) -> tuple[tuple[str, RunResult], ...]:
        """(kind, run) of the newest runs: `pipeline` or `notebook`."""
        return history.all_runs(self.project, limit)

    def show(self, run: str) -> RunResult:
        """One run with its steps, by the start of its id. Raises NotFound."""
        return history.find_run(self.project, run)

    # --- capture of a whole notebook ---

    def capture(
        self, notebook: str | Path, parameters: Mapping[str, Any] | None = None, *, progress: bool | None = None, kernel: str = ""
    ) -> RunResult:
        """Run a notebook top to bottom with its lineage recorded; skipped where its code and all it read are unchanged since a passed run."""
        from mlops_nb.project.running import NotebookRun, RunOptions

        path = self._notebook(notebook)
        pipeline = self.as_one_step(path)
        planning.check_parameters(pipeline, parameters or {})
        return NotebookRun(self.project, pipeline, RunOptions(parameters or {}, kernel, progress), lock=lock_text()).go()

    def as_one_step(self, path: Path) -> Pipeline:
        """A notebook as a pipeline of one component that holds all its cells."""
        cells = read_notebook(path, strict=False)
        parameters = {name: value for cell in cells if cell.kind == "parameters" for name, value in literals(cell).items()}
        modules = self.modules(path.parent, (plain_python(cell.source) for cell in cells))
        component = Component(pipeline_name(path), cells, parameters=parameters)
        component = replace(component, digest=digest_of(component, modules))
        recorded = self.project.relative(path)
        return Pipeline(recorded, recorded, (component,), component.digest)


def component_data(component: Component) -> dict[str, Any]:
    """A component as the registry and `--json` show it."""
    return {
        "name": component.name,
        "cells": [cell.id for cell in component.cells],
        "code": [{"id": cell.id, "index": cell.index, "kind": cell.kind, "source": cell.source, "tags": list(cell.tags)} for cell in component.cells],
        "support": component.support,
        "inputs": dict(component.inputs),
        "outputs": list(component.outputs),
        "parameters": dict(component.parameters),
        "digest": component.digest,
    }


def pipeline_name(path: Path) -> str:
    """The notebook's stem, fit for a folder.

    >>> pipeline_name(Path("notebooks/Flight delays.ipynb"))
    'Flight_delays'
    """
    return "".join(char if char.isalnum() or char in "_-" else "_" for char in path.stem)


def is_component(notebook: Path | None) -> bool:
    """Whether promotion wrote this notebook: the pipeline.toml beside it lists it."""
    if notebook is None or not (notebook.parent / MANIFEST).is_file():
        return False
    try:
        tables = tomllib.loads((notebook.parent / MANIFEST).read_text(encoding="utf-8")).get("component", ())
    except (OSError, ValueError):  # what is wrong with the file, %step load says
        return False
    return any(isinstance(table, dict) and table.get("notebook") == notebook.name for table in tables)


def _is_notebook(target: str | Path) -> bool:
    return str(target).endswith(".ipynb") or Path(target).is_file()


def _module_files(name: str, places: Iterable[Path]) -> tuple[Path, ...]:
    """The files of a local module or package; () where it is none."""
    for place in places:
        if (place / f"{name}.py").is_file():
            return (place / f"{name}.py",)
        if (place / name).is_dir() and (found := tuple(sorted((place / name).rglob("*.py")))):
            return found
    return ()


def _module_digest(name: str, places: tuple[Path, ...]) -> str:
    """The digest of a local module's files and of the local modules they import."""
    seen: dict[str, tuple[Path, ...]] = {}
    todo = [name]
    while todo:
        module = todo.pop()
        files = _module_files(module, places)
        if module in seen or not files:
            continue
        seen[module] = files
        todo += sorted(frozenset().union(*(imported_packages(file.read_text(encoding="utf-8", errors="replace")) for file in files)))
    return text_digest(*(text for module in sorted(seen) for file in seen[module] for text in (file.name, sha256_hex(file.read_bytes()))))
