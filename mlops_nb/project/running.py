"""Running a pipeline, or a whole notebook: step by step, each decision with the real digests of its inputs, every fact recorded as it happens."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.environment import python_text
from mlops_nb.config import STEP_VARIABLE
from mlops_nb.errors import BadInput, MlopsError, StepFailed
from mlops_nb.hashing import text_digest
from mlops_nb.notebook import graph
from mlops_nb.notebook.cells import plain_python, read_notebook
from mlops_nb.pipeline import plan, sharing, step
from mlops_nb.pipeline.files import OWN_CELLS, OWN_PREFIX, component_notebook
from mlops_nb.pipeline.forking import warm_up
from mlops_nb.pipeline.preloading import modules_of, stored_with
from mlops_nb.pipeline.run import Execution, KernelSetup, execute_notebook
from mlops_nb.project import actor, event, history, new_id
from mlops_nb.records import ArtifactRef, Component, Fact, Pipeline, PlannedStep, RunResult, RunStatus, StepRun, now_text
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from tqdm import tqdm as tqdm_type

    from mlops_nb.project import Project

RUN_VARIABLE = "MLOPS_NB_RUN"
NOTEBOOK_VARIABLE = "JPY_SESSION_NAME"  # as jupyter_server names it
BROKEN = "stopped by an error of mlops_nb"
SEED = 0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run: parameters, kernel spec ('': the settings', else this interpreter's), a progress bar (None: in a terminal or a notebook), steps."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    kernel: str = ""
    progress: bool | None = None
    selection: plan.Selection = plan.ALL


def environment_key(lock: str) -> str:
    """What of the environment decides a result: the installed packages (`lock` is their text) and Python itself."""
    return text_digest(lock, python_text())


class Progress:
    """One bar over all cells of a run: on stderr, in a notebook on stdout, since Jupyter paints stderr as an error."""

    def __init__(self, total: int, *, shown: bool | None) -> None:
        self.bar: tqdm_type[Any] | None = None
        self.base = 0
        in_notebook = type(sys.stdout).__module__ == "ipykernel.iostream"
        if in_notebook or sys.stderr.isatty() if shown is None else shown:
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit="cell", file=sys.stdout if in_notebook else sys.stderr, leave=False, dynamic_ncols=True)

    def begins(self, name: str) -> None:
        """Show which step runs."""
        if self.bar is not None:
            self.bar.set_description(name)

    def at(self, done: int, *_: object) -> None:
        """`done` cells of the running step are through."""
        if self.bar is not None:
            self.bar.update(self.base + done - self.bar.n)

    def ends(self, cells: int) -> None:
        """A step with `cells` cells is over, or was skipped."""
        self.base += cells
        self.at(0)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


def kernel_setup(
    project: "Project", options: RunOptions, *, cwd: Path, own: Mapping[str, str], modules: tuple[str, ...] | None = None
) -> KernelSetup:
    """The kernel for one notebook: the project's environment with a fixed hash seed, so that sets have one order in every run."""
    environ = {"PYTHONHASHSEED": str(SEED), **project.environ, **own}
    return KernelSetup(environ, cwd, options.kernel or project.settings.kernel, project.settings.step_timeout, modules)


class PipelineRun:
    """One run of one pipeline."""

    def __init__(self, project: "Project", pipeline: Pipeline, options: RunOptions, *, lock: str) -> None:
        self.project = project
        self.pipeline = pipeline
        self.options = options
        self.packages = text_digest(lock)
        self.lock = environment_key(lock)
        self.id = new_id()
        self.started = now_text()
        self.folder = project.layout.runs / self.id
        self.history = history.earlier_steps(project, pipeline.name)
        self.current = history.standing(project)
        self.steps: dict[str, StepRun] = {}
        self.redactor = Redactor(project.environ)
        # one more where parameters are injected
        sizes = [len(component_notebook(component)["cells"]) + bool(component.parameters) for component in pipeline.components]
        self.sizes = dict(zip((c.name for c in pipeline.components), sizes, strict=True))
        self.progress = Progress(sum(sizes), shown=options.progress)
        folder = (project.layout.root / pipeline.notebook).parent
        self.cwd = folder if folder.is_dir() else project.layout.root
        self.modules: dict[str, tuple[str, ...]] = {}  # component -> what its code imports, where kernels are forked

    def go(self) -> RunResult:
        """Run the steps in order up to the first that fails; the rest is recorded as not run. KeyboardInterrupt and errors pass through."""
        begun = time.monotonic()
        record_start(self.project, self.result("running", 0.0), kind="pipeline", notebook=self.pipeline.notebook)
        status: RunStatus = "failed"
        error = BROKEN
        try:
            self._warm_up()
            failure = self._steps()
            status, error = ("failed", str(failure)) if failure else ("passed", "")
        except KeyboardInterrupt:
            status, error = "interrupted", "interrupted"
            raise
        except MlopsError as stopped:
            error = str(stopped)
            raise
        finally:
            self.progress.close()
            self._not_run()
            result = self.result(status, time.monotonic() - begun, error)
            record_end(self.project, result)
        return result

    def result(self, status: RunStatus, seconds: float, error: str = "") -> RunResult:
        """The run as it stands."""
        steps = tuple(self.steps.values())
        return RunResult(self.id, self.pipeline.name, self.pipeline.version, status, self.started, seconds, self.options.parameters, steps, error)

    def _warm_up(self) -> None:
        """Have the libraries of the steps that will run imported, while the first of them is prepared."""
        planned = plan.plan(
            self.pipeline,
            parameters=self.options.parameters,
            lock=self.lock,
            history=self.history,
            current=self.current,
            seed=SEED,
            selection=self.options.selection,
        )
        will = {step.component for step in planned if step.action == "run"}
        if not will or (self.options.kernel or self.project.settings.kernel):
            return
        places = (self.cwd, self.project.layout.root, self.project.layout.root / "src")
        for component in self.pipeline.components:
            sources = (component.support, *(plain_python(cell.source) for cell in component.cells))
            self.modules[component.name] = modules_of(sources, places)
        setup = kernel_setup(self.project, self.options, cwd=self.cwd, own={})
        wanted = [module for name, modules in self.modules.items() if name in will for module in modules]
        warm_up(setup.environ, self.cwd, [*wanted, *stored_with(wanted)])

    def _steps(self) -> StepFailed | None:
        selection = self.options.selection
        forced = selection.forced(self.pipeline)
        for component in selection.asked(self.pipeline):
            self.progress.begins(component.name)
            parameters = plan.used_parameters(component, self.options.parameters)
            inputs = plan.inputs_of(component, {name: done.outputs for name, done in self.steps.items()})
            planned = plan.decide(
                self.pipeline.name,
                component,
                parameters=parameters,
                inputs=inputs,
                lock=self.lock,
                history=self.history,
                current=self.current,
                seed=SEED,
                forced=component.name in forced,
            )
            if selection.only and not planned.reuse and component.name not in forced:
                raise BadInput(f"step {component.name}, on which {selection.only} stands, is not up to date: {planned.reason}", hint="run it first")
            if planned.reuse:
                self._skip(component, planned, planned.reuse)
            elif failure := self._run(component, planned, inputs, parameters):
                return failure
            self.progress.ends(self.sizes[component.name])
        return None

    def _step(self, component: Component, **known: Any) -> StepRun:
        position = len(self.steps)
        return StepRun(new_id(), self.id, component.name, position, **{"key": "", "started": now_text(), "seconds": 0.0, **known})

    def _keep(self, done: StepRun) -> None:
        self.steps[done.component] = done
        record_step(self.project, done)

    def _skip(self, component: Component, planned: PlannedStep, old: StepRun) -> None:
        same = {name: getattr(old, name) for name in ("inputs", "outputs", "files", "written", "environment", "parameters", "notebook")}
        self._keep(self._step(component, key=planned.key, status="skipped", reason=planned.reason, **same))

    def _run(self, component: Component, planned: PlannedStep, inputs: Mapping[str, ArtifactRef], parameters: Mapping[str, Any]) -> StepFailed | None:
        target = self.folder / f"{component.name}.ipynb"
        pending = self._step(
            component,
            key=planned.key,
            status="failed",
            inputs=inputs,
            parameters=parameters,
            notebook=self.project.relative(target),
            reason=planned.reason,
        )
        begun = time.monotonic()
        try:
            execution = self._execute(component, pending)
        except KeyboardInterrupt:
            self._keep(replace(pending, status="interrupted", seconds=time.monotonic() - begun, error="interrupted"))
            raise
        done = step.read_done(self._spec_path(component, "done"))
        if execution.error or done is None:
            failure = self._failure(component, execution, target)
            self._keep(replace(pending, seconds=execution.seconds, cell_id=execution.cell_id, error=failure.message))
            return failure
        self._keep(
            replace(
                pending,
                status="ran",
                seconds=execution.seconds,
                outputs=done.outputs,
                files=done.files,
                environment=done.environment,
                written=done.written,
            ),
        )
        return None

    def _execute(self, component: Component, pending: StepRun) -> Execution:
        spec_path = self._spec_path(component, "step")
        step.write_spec(spec_path, self._spec(component, pending), self.redactor.value)
        source = self.project.pipelines.folder(self.pipeline.name) / f"{component.name}.ipynb"
        return execute_notebook(
            source,
            self.folder / f"{component.name}.ipynb",
            kernel=kernel_setup(
                self.project,
                self.options,
                cwd=self.cwd,
                modules=self.modules.get(component.name),
                own={STEP_VARIABLE: str(spec_path), RUN_VARIABLE: self.id, NOTEBOOK_VARIABLE: str(source)},
            ),
            parameters=pending.parameters,
            on_cell=self.progress.at,
            redact=self.redactor.value,
        )

    def _spec(self, component: Component, pending: StepRun) -> step.StepSpec:
        requires = {c.name: c.requires for c in self.pipeline.components}
        before = graph.ancestors(requires, component.name)
        return step.StepSpec(
            run_id=self.id,
            pipeline=self.pipeline.name,
            component=component.name,
            notebook=self.pipeline.notebook,
            digest=component.digest,
            key=pending.key,
            inputs=pending.inputs,
            outputs=component.outputs,
            parameters=pending.parameters,
            upstream=tuple(self._upstream(c) for c in self.pipeline.components if c.name in before),
            lock=self.packages,
            seed=SEED,
            changed=sharing.changed_elsewhere(self.pipeline, component),
            kept=sharing.read_elsewhere(self.pipeline, component),
        )

    def _upstream(self, component: Component) -> step.Upstream:
        done = self.steps[component.name]
        inputs, outputs = ({name: ref.digest for name, ref in refs.items()} for refs in (done.inputs, done.outputs))
        data = {path: digest for path, digest in done.files.items() if not path.endswith(".py")}
        return step.Upstream(component.name, component.digest, done.key, inputs, outputs, data, done.parameters)

    def _spec_path(self, component: Component, kind: str) -> Path:
        return self.folder / f"{component.name}.{kind}.json"

    def _failure(self, component: Component, execution: Execution, target: Path) -> StepFailed:
        error = execution.error or "the step ended without storing its outputs"
        place = self._place(component, execution.cell_id)
        return StepFailed(
            f"in step {component.name}: {self.redactor.text(error)}",
            where=place,
            hint=f"the executed notebook: {self.project.relative(target)}; mend the cell and run again, passed steps are not repeated",
        )

    def _place(self, component: Component, cell_id: str) -> str:
        """The cell in the source notebook, where it is still there."""
        source = self.project.layout.root / self.pipeline.notebook
        cells = {cell.id: cell for cell in (read_notebook(source, strict=False) if source.is_file() else component.cells)}
        if cell_id in cells:
            return cells[cell_id].where
        what = cell_id.removeprefix(OWN_PREFIX) + " cell" if cell_id in OWN_CELLS else f"cell (id {cell_id})"
        return f"{component.name}.ipynb" + (f":{what}" if cell_id else "")

    def _not_run(self) -> None:
        asked = {component.name for component in self.options.selection.asked(self.pipeline)}
        for component in self.pipeline.components:
            if component.name not in self.steps:
                reason = "a step before it did not pass" if component.name in asked else "not asked for"
                self._keep(self._step(component, status="not run", reason=reason))


class NotebookRun:
    """One run of a whole notebook with its lineage recorded: a pipeline of one step that has no outputs."""

    def __init__(self, project: "Project", pipeline: Pipeline, options: RunOptions, *, lock: str) -> None:
        self.project = project
        self.pipeline = pipeline
        self.component = pipeline.components[0]
        self.options = options
        self.lock = environment_key(lock)
        self.id = new_id()
        self.started = now_text()
        self.current = history.standing(project)
        self.target = project.layout.runs / self.id / f"{self.component.name}.ipynb"
        self.redactor = Redactor(project.environ)

    def go(self) -> RunResult:
        """Run the notebook unless it is unchanged since a passed run. KeyboardInterrupt and errors pass through."""
        planned = self._planned()
        if planned.reuse:
            return self._unchanged(planned, planned.reuse)
        begun = time.monotonic()
        pending = StepRun(new_id(), self.id, self.component.name, 0, planned.key, "failed", self.started, 0.0, error=BROKEN)
        pending = replace(pending, parameters=self._parameters(), notebook=self.project.relative(self.target), reason=planned.reason)
        record_start(self.project, self._result("running", 0.0, pending), kind="notebook", notebook=self.pipeline.notebook)
        done = pending
        try:
            done = self._finished(pending, self._execute(pending))
        except KeyboardInterrupt:
            done = replace(pending, status="interrupted", error="interrupted")
            raise
        finally:
            status: RunStatus = "passed" if done.status == "ran" else "interrupted" if done.status == "interrupted" else "failed"
            record_step(self.project, replace(done, seconds=time.monotonic() - begun))
            result = self._result(status, time.monotonic() - begun, done)
            record_end(self.project, result)
        return result

    def _planned(self) -> PlannedStep:
        return plan.decide(
            self.pipeline.name,
            self.component,
            parameters=self._parameters(),
            inputs={},
            lock=self.lock,
            history=history.earlier_steps(self.project, self.pipeline.name, "notebook"),
            current=self.current,
        )

    def _unchanged(self, planned: PlannedStep, old: StepRun) -> RunResult:
        """Nothing ran and nothing is recorded: the run that stands for it is the earlier one."""
        earlier = history.find_run(self.project, old.run_id)
        return replace(earlier, steps=(replace(old, status="skipped", reason=planned.reason, seconds=0.0),))

    def _parameters(self) -> dict[str, Any]:
        return plan.used_parameters(self.component, self.options.parameters)

    def _execute(self, pending: StepRun) -> Execution:
        source = self.project.layout.root / self.pipeline.notebook
        progress = Progress(len(read_notebook(source, strict=False)), shown=self.options.progress)
        progress.begins(self.component.name)
        try:
            return execute_notebook(
                source,
                self.target,
                kernel=kernel_setup(self.project, self.options, cwd=source.parent, own={RUN_VARIABLE: self.id, NOTEBOOK_VARIABLE: str(source)}),
                parameters=pending.parameters if self.options.parameters else {},
                on_cell=progress.at,
                redact=self.redactor.value,
                before="%load_ext mlops_nb",
            )
        finally:
            progress.close()

    def _finished(self, pending: StepRun, execution: Execution) -> StepRun:
        if execution.error:
            cells = {cell.id: cell for cell in self.component.cells}
            where = cells[execution.cell_id].where if execution.cell_id in cells else f"{self.component.name}.ipynb"
            hint = f"the executed notebook: {self.project.relative(self.target)}"
            failure = StepFailed(self.redactor.text(execution.error), where=where, hint=hint)
            return replace(pending, cell_id=execution.cell_id, error=str(failure))
        files, variables = step.observed(history.runs_of(self.project, self.id), self.project.layout.home, notebook=self.pipeline.notebook)
        environment = {name: self.current.variable(name) for name in variables}
        root = self.project.layout.root
        left = step.hashed(step.written(history.runs_of(self.project, self.id), self.project.layout.home), root)
        known = {path: digest for path, digest in left.items() if digest}
        return replace(pending, status="ran", error="", files=step.hashed(files, root), environment=environment, written=known)

    def _result(self, status: RunStatus, seconds: float, done: StepRun) -> RunResult:
        version = self.pipeline.version
        return RunResult(self.id, self.pipeline.name, version, status, self.started, seconds, self._parameters(), (done,), done.error)


# --- facts ----------------------------------------------------------------------------------------------------


def record_start(project: "Project", run: RunResult, *, kind: str, notebook: str) -> None:
    """The run as begun: it stays `running` where the driver dies."""
    row = {"id": run.id, "pipeline": run.pipeline, "version": run.version, "kind": kind, "notebook": notebook, "parameters": run.parameters}
    project.registry.record(
        [Fact("run", {**row, "actor": actor(), "started": run.started}), event("started", f"run:{run.id}", {"pipeline": run.pipeline})]
    )


def record_end(project: "Project", run: RunResult) -> None:
    """How the run ended."""
    row = {"run_id": run.id, "finished": now_text(), "status": run.status, "seconds": run.seconds, "error": run.error}
    project.registry.record([Fact("run_end", row), event(run.status, f"run:{run.id}", {"seconds": run.seconds}, human=False)])
    project.registry.flush()


def record_step(project: "Project", done: StepRun) -> None:
    """What became of a step."""
    row = {name: getattr(done, name) for name in StepRun.__slots__ if name != "written"}
    # As pairs: under a key like API_TOKEN the redactor would take a digest for the secret itself.
    observed = {name: [[key, digest] for key, digest in sorted(row[name].items())] for name in ("files", "environment")}
    observed["files"] += [[path, digest, "write"] for path, digest in sorted(done.written.items())]
    project.registry.record([Fact("step_run", {**row, **observed})])
