"""Verification of a model that a pipeline's run made: the whole pipeline runs again in a folder of its own."""

import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops_nb.project import history
from mlops_nb.project.scratch import Scratch
from mlops_nb.project.verification import FILE, Check, Verdict, Verification, artifacts_close, environment_notes, input_notes
from mlops_nb.records import FileUse, ModelVersion, Pipeline, RunResult, StepRun

if TYPE_CHECKING:
    from mlops_nb.project import Project


def verify_run(project: "Project", version: ModelVersion, scratch: Scratch, rtol: float) -> Verification:
    """Run the pipeline that made `version` again, with the parameters of then, and compare each step's outputs and the model.

    Raises NotFound where the pipeline's files are gone.
    """
    from mlops_nb.project import Project

    run = history.find_run(project, version.run_id)
    pipeline = project.pipelines.current(run.pipeline)
    inputs = scratch.prepare(_inputs(run), _outputs(run))
    _bring(project, pipeline, scratch)
    begun = time.monotonic()
    with Project(scratch.layout, environ=scratch.guarded(project.environ)) as again:
        result = again.pipelines.run(run.pipeline, run.parameters)
        made = [other for other in again.models.list() if other.name == version.name]
    shutil.copytree(scratch.layout.runs, scratch.folder / "steps", ignore=shutil.ignore_patterns("*.json"))
    checks = tuple(check for step in run.steps for check in _checks(step, result))
    verdict, value = _verdict(project, version, made, result, scratch, rtol=rtol) if made else ("different", _why(result))
    failed = next((step for step in result.steps if step.status == "failed"), None)
    return Verification(
        id=scratch.folder.name,
        label=f"{version.name}@{version.number}",
        verdict=verdict,
        cells=sum(len(component.cells) for component in pipeline.components),
        seconds=time.monotonic() - begun,
        value=value,
        checks=checks,
        first=next((check for check in checks if check.differs), None),
        inputs=inputs,
        notebook=project.relative(scratch.folder / "steps"),
        error=failed.error if failed else "",
        failed_cell=failed.cell_id if failed else "",
        notes=(*input_notes(inputs), *_code_notes(version, pipeline), *environment_notes(project, version.session_id)),
    )


def _verdict(
    project: "Project", version: ModelVersion, made: list[ModelVersion], result: RunResult, scratch: Scratch, *, rtol: float
) -> tuple[Verdict, str]:
    if result.status != "passed":
        return "different", _why(result)
    return artifacts_close(project, scratch, (version.artifact, made[-1].artifact), rtol=rtol)


def _why(result: RunResult) -> str:
    return f"the pipeline stopped: {result.error}" if result.error else "the pipeline no longer registers this model"


def _bring(project: "Project", pipeline: Pipeline, scratch: Scratch) -> None:
    """Copy the pipeline's files and its notebook."""
    folder = project.pipelines.folder(pipeline.name)
    target = scratch.work / project.relative(folder)
    shutil.copytree(folder, target)
    for file in target.glob("*.ipynb"):
        file.write_text(scratch.in_here(file.read_text(encoding="utf-8")), encoding="utf-8")
    notebook = project.layout.root / pipeline.notebook
    place = scratch.work / pipeline.notebook
    place.parent.mkdir(parents=True, exist_ok=True)
    if notebook.is_file():
        shutil.copy2(notebook, place)


def _inputs(run: RunResult) -> tuple[FileUse, ...]:
    """The files that the run read and did not make itself."""
    made = {path for step in run.steps for path in step.written}
    found = {path: digest for step in run.steps for path, digest in step.files.items() if path not in made}
    return tuple(FileUse(path, "read", digest) for path, digest in found.items())


def _outputs(run: RunResult) -> tuple[FileUse, ...]:
    return tuple(FileUse(path, "write", digest) for step in run.steps for path, digest in step.written.items())


def _checks(step: StepRun, result: RunResult) -> list[Check]:
    """What a step gave, as it was and as it is made again."""
    again = next((other for other in result.steps if other.component == step.component), None)
    outputs: Mapping[str, str] = {name: ref.digest for name, ref in again.outputs.items()} if again else {}
    place = (step.id, step.component, step.position + 1)
    found = [Check(*place, name, ref.digest, outputs.get(name, "")) for name, ref in step.outputs.items()]
    written = again.written if again else {}
    return found + [Check(*place, FILE + path, digest, written.get(path, "")) for path, digest in step.written.items()]


def _code_notes(version: ModelVersion, pipeline: Pipeline) -> list[str]:
    """The steps whose code is not what made the model."""
    then = version.manifest["code"]["upstream"]
    now = {component.name: component.digest for component in pipeline.components}
    return [f"step {name} changed since" if name in now else f"step {name} is gone" for name in then if now.get(name) != then[name]]
