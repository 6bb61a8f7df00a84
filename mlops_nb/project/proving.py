"""Proof that a pipeline equals its notebook: both run headless, and every value that crosses from one component to another is compared.

The notebook runs once, top to bottom, in one kernel under witness (see `witness`); the pipeline runs as always, unchanged steps reused.
Nothing half-done counts: a value that is missing on either side is not proved.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_nb.capture.environment import lock_text
from mlops_nb.config import WITNESS_VARIABLE
from mlops_nb.errors import DamagedArtifact, Untrusted
from mlops_nb.notebook.cells import read_notebook
from mlops_nb.pipeline.boundaries import Boundary, boundaries, wanted
from mlops_nb.pipeline.component import drafted
from mlops_nb.pipeline.run import Execution
from mlops_nb.project import closeness, event, history
from mlops_nb.project.running import NotebookRun, RunOptions
from mlops_nb.project.witness import Seen, read_seen, write_request
from mlops_nb.records import ArtifactRef, CellRun, Pipeline, PlannedStep, RunResult, StepRun

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.project.pipelines import Promotion

Verdict = Literal["identical", "equal within tolerance", "different", "unknown"]
INEXACT_KINDS = frozenset({"pickle", "skops"})
ROUNDS = 3  # a run may show capture more boundaries, which the next one has to look at


@dataclass(frozen=True, slots=True)
class Compared:
    """One boundary with the digests of its value in the notebook and in the pipeline ('' where there is none); `detail` says more."""

    boundary: Boundary
    verdict: Verdict
    notebook: str = ""
    pipeline: str = ""
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether the two values are equal."""
        return self.verdict in ("identical", "equal within tolerance")


@dataclass(frozen=True, slots=True)
class Proof:
    """A promotion with both runs compared. `error` is what stopped one of them."""

    promotion: "Promotion"
    notebook_run: str
    pipeline_run: str = ""
    compared: tuple[Compared, ...] = ()
    error: str = ""

    @property
    def proved(self) -> bool:
        """Whether both ran to their ends and every value is equal."""
        return not self.error and bool(self.pipeline_run) and all(one.holds for one in self.compared)

    @property
    def first(self) -> Compared | None:
        """The first value, in the notebook's order, that is not equal."""
        return next((one for one in self.compared if not one.holds), None)


def prove(project: "Project", notebook: str | Path, *, name: str = "", rtol: float = 1e-9, progress: bool | None = None, kernel: str = "") -> Proof:
    """Promote a notebook, run it and its pipeline, compare, and record the outcome. Raises PromotionRefused, NotebookError, BadInput."""
    options = RunOptions(kernel=kernel, progress=progress)
    captured = _witnessed(project, notebook, name, options)
    promotion = project.pipelines.promote(notebook, name=name)
    proof = Proof(promotion, captured.id, error=captured.error)
    if not proof.error:
        run = project.pipelines.run(promotion.pipeline.name, progress=progress, kernel=kernel)
        compared = tuple(_compare_all(project, promotion.pipeline, captured, run, rtol=rtol))
        proof = replace(proof, pipeline_run=run.id, compared=compared, error=run.error)
    project.registry.record([event("proved" if proof.proved else "not proved", f"pipeline:{promotion.pipeline.name}", _payload(proof))])
    project.registry.flush()
    return proof


def _payload(proof: Proof) -> dict[str, object]:
    first = proof.first
    return {
        "version": proof.promotion.pipeline.version,
        "notebook": proof.promotion.pipeline.notebook,
        "runs": [proof.notebook_run, proof.pipeline_run],
        "values": len(proof.compared),
        "equal": sum(one.holds for one in proof.compared),
        "first": {"name": first.boundary.name, "where": first.boundary.where, "verdict": first.verdict} if first else None,
        "error": proof.error,
    }


# --- the notebook's run ---------------------------------------------------------------------------------------


def _witnessed(project: "Project", notebook: str | Path, name: str, options: RunOptions) -> RunResult:
    """A run of the notebook in which every boundary value was looked at: an earlier one, where nothing has changed since."""
    after: dict[str, tuple[str, ...]] = {}
    for _ in range(ROUNDS):
        more = wanted(_boundaries(project, project.pipelines.build(notebook, name=name)))
        after = {cell_id: tuple(sorted({*after.get(cell_id, ()), *more.get(cell_id, ())})) for cell_id in after | more}
        run = _WitnessedRun(project, project.pipelines.as_one_step(Path(notebook).resolve()), options, after=after).go()
        if run.error or not _missing(after, wanted(_boundaries(project, project.pipelines.build(notebook, name=name)))):
            break
    return run


def _boundaries(project: "Project", pipeline: Pipeline) -> tuple[Boundary, ...]:
    cells = read_notebook(project.layout.root / pipeline.notebook)
    _, drafts = drafted(cells, notebook=pipeline.notebook, observed=history.observed_runs(project, pipeline.notebook))
    return boundaries(pipeline, drafts, cells)


def _missing(after: Mapping[str, tuple[str, ...]], needed: Mapping[str, tuple[str, ...]]) -> bool:
    return any(name not in after.get(cell_id, ()) for cell_id, names in needed.items() for name in names)


class _WitnessedRun(NotebookRun):
    """A headless run of a notebook that also stores the values of `after`: cell id -> names."""

    def __init__(self, project: "Project", pipeline: Pipeline, options: RunOptions, *, after: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(project, pipeline, options, lock=lock_text())
        self.after = after
        self.folder = project.layout.runs / self.id

    def _planned(self) -> PlannedStep:
        planned = super()._planned()
        if planned.reuse and not self._was_witnessed(planned.reuse):
            return replace(planned, action="run", reason="not every boundary value of the recorded run was kept", reuse=None)
        return planned

    def _was_witnessed(self, old: StepRun) -> bool:
        seen = read_seen(self.project.layout.runs / old.run_id)
        found = [seen.get((cell_id, name)) for cell_id, names in self.after.items() for name in names if cell_id]
        return all(one and one.ref and self.project.artifacts.holds(one.ref.digest) for one in found)

    def _execute(self, pending: StepRun) -> Execution:
        request = write_request(self.folder, self.after)
        plain = self.project
        self.project = copy.copy(plain)  # the same registry, but kernels that are told of the witness
        self.project.environ = {**plain.environ, WITNESS_VARIABLE: str(request)}
        try:
            return super()._execute(pending)
        finally:
            self.project = plain


# --- the comparison -------------------------------------------------------------------------------------------


def _compare_all(project: "Project", pipeline: Pipeline, captured: RunResult, run: RunResult, *, rtol: float) -> Iterator[Compared]:
    seen = read_seen(project.layout.runs / captured.id)
    outputs = {(step.component, name): ref for step in run.steps for name, ref in step.outputs.items()}
    for boundary in _boundaries(project, pipeline):
        ours = outputs.get((boundary.maker, boundary.name))
        yield _compare(project, boundary, seen.get((boundary.after, boundary.name)), ours, rtol=rtol)
    yield from _compare_files(pipeline, run.steps, captured, history.runs_of(project, captured.id))


def _compare(project: "Project", boundary: Boundary, seen: Seen | None, ours: ArtifactRef | None, *, rtol: float) -> Compared:
    if seen is None or seen.ref is None or ours is None:
        why = seen.error if seen and seen.error else "the notebook's value was not seen" if ours else "the pipeline did not make it"
        return Compared(boundary, "unknown", seen.ref.digest if seen and seen.ref else "", ours.digest if ours else "", why)
    verdict, detail = _values(project, seen.ref, ours, rtol=rtol)
    return Compared(boundary, verdict, seen.ref.digest, ours.digest, detail)


def _values(project: "Project", theirs: ArtifactRef, ours: ArtifactRef, *, rtol: float) -> tuple[Verdict, str]:
    """Equal bytes; pickles and models, whose bytes may differ for equal values, also by what they hold."""
    if theirs.digest == ours.digest:
        return "identical", ""
    if theirs.type_name != ours.type_name:
        return "different", f"a {theirs.type_name} in the notebook, a {ours.type_name} in the pipeline"
    if not {theirs.kind, ours.kind} <= INEXACT_KINDS:
        return "different", ""
    try:
        found = _looked_into(project, theirs, ours, rtol=rtol)
    except (DamagedArtifact, Untrusted) as error:
        return "different", f"other bytes, and the value cannot be looked into: {error.message}"
    return ("equal within tolerance", found) if found else ("different", f"not within {rtol:g}")


def _looked_into(project: "Project", theirs: ArtifactRef, ours: ArtifactRef, *, rtol: float) -> str:
    """How two values of other bytes are equal; '' where they are not."""
    if theirs.kind == ours.kind == "pickle":
        data = [project.artifacts.read_bytes(ref.digest) for ref in (theirs, ours)]
        if closeness.pickles_close(data[0], data[1], rtol=rtol):
            return f"within {rtol:g}, by what the pickles say"
    return f"within {rtol:g}" if closeness.close(project.artifacts.get(theirs), project.artifacts.get(ours), rtol=rtol) else ""


def _compare_files(pipeline: Pipeline, steps: Iterable[StepRun], captured: RunResult, runs: Iterable[CellRun]) -> Iterator[Compared]:
    """Files that one step writes and another reads, by their digests when they were read."""
    writers: dict[str, str] = {}
    cells = {cell.id: (cell, component.name) for component in pipeline.components for cell in component.cells}
    done = [(run, *cells[run.cell_id]) for run in runs if run.cell_id in cells]
    for step in steps:
        for path, digest in step.files.items():
            uses = [(run, cell, use) for run, cell, owner in done if owner == step.component for use in run.files if use.path == path]
            if path in writers and writers[path] != step.component and uses:
                run, cell, use = uses[0]
                theirs = use.digest or captured.steps[0].written.get(path, "")
                made = next((c.where for r, c, owner in done if owner == writers[path] and any(u.path == path for u in r.files)), cell.where)
                boundary = Boundary(f"file:{path}", writers[path], made, run.cell_id, step.component, cell.where)
                verdict: Verdict = "unknown" if not theirs or not digest else "identical" if theirs == digest else "different"
                yield Compared(boundary, verdict, theirs, digest)
        writers |= dict.fromkeys(step.written, step.component)
