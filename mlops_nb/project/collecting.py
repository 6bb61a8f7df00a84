"""Garbage collection: reads what is stored and what is still needed, and removes the rest. Nothing in the registry is deleted."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.environment import lock_text
from mlops_nb.errors import MlopsError, NotFound, RegistryError
from mlops_nb.pipeline import plan
from mlops_nb.project import event, history
from mlops_nb.project.garbage import PastRun, Policy, Sorted, Stored, kept_runs, seconds, sort_out
from mlops_nb.project.running import SEED, environment_key
from mlops_nb.records import Component, Pipeline, StepRun
from mlops_nb.store.codec import from_json
from mlops_nb.store.schema import columns

if TYPE_CHECKING:
    from mlops_nb.project import Project

RUNS = "select id, pipeline, kind, status, started from run_status order by started desc, rowid desc"
STEPS = "select run_id, key, inputs, outputs, notebook from step_run"
TESTED = "select run_id, artifacts from test_result where run_id != ''"
MANIFESTS = """
select model_version.manifest, model_version.run_id, coalesce(session.notebook, '') as notebook
from model_version left join session on session.id = model_version.session_id
"""
PIPELINES = "select distinct pipeline, notebook from run where kind = 'pipeline'"
ARTIFACTS = "select digest from artifact"
NOTEBOOKS = "select distinct notebook from test_case"

RUN, SKIPPABLE, MODEL, TEST = "of a run that is kept", "of a step that would be skipped", "behind a model version", "tests would read it"
HELD = {"materialization": "values of a feature view", "model_version": "a model version", "pin": "pinned for verification"}
UNREADABLE = "of a pipeline that cannot be read"
UNRECORDED = "not recorded here"  # of a lost registry, perhaps
CODE, LOCK = 0, 3  # parts of a run key
STALE_SUFFIXES = (".ipynb", ".step.json", ".done.json")  # of what a step leaves in its run's folder
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Collection:
    """What a garbage collection removed, or with `dry_run` would remove; `busy` are files that came into use, or could not be removed."""

    found: Sorted
    removed: tuple[Stored, ...]
    busy: tuple[Stored, ...] = ()
    dry_run: bool = False

    @property
    def size(self) -> int:
        """Bytes removed."""
        return sum(file.size for file in self.removed)


def collect(project: "Project", policy: Policy, *, dry_run: bool = False) -> Collection:
    """Remove the artifacts and executed notebooks that nothing needs. Raises RegistryError where the registry cannot say what is needed."""
    _check_registry(project)
    stored = tuple(_stored(project))  # listed first: what becomes needed from now on is young, or is there already
    found = sort_out(stored, _needed(project, policy), policy)
    if dry_run:
        return Collection(found, found.garbage, dry_run=True)
    gone = {file for file in found.garbage if remove(project.layout.home / file.path, file)}
    removed = tuple(file for file in found.garbage if file in gone)
    done = Collection(found, removed, tuple(file for file in found.garbage if file not in gone))
    if removed:
        project.registry.record([event("collected", "store:files", {"files": len(removed), "bytes": done.size})])
    return done


def _check_registry(project: "Project") -> None:
    """Without the facts everything would seem to be garbage."""
    layout = project.layout
    settled = project.registry.flush()
    hint = "mlops-nb doctor says what is wrong; nothing was removed"
    status = project.registry.status()
    if not settled or not status.on or status.set_aside or any(layout.spool.glob("*.refused")):
        raise RegistryError(
            f"not all that was recorded is in the registry: {status.reason or 'records are waiting or set aside'}", where=str(layout.home), hint=hint
        )


# --- what is there --------------------------------------------------------------------------------------------


def _stored(project: "Project") -> Iterator[Stored]:
    """The artifacts, and what steps left in the runs' folders."""
    for path in project.layout.artifacts.glob("[0-9a-f][0-9a-f]/*"):
        if _DIGEST.fullmatch(path.name):
            yield from _file(project, path, path.name)
    for path in project.layout.runs.glob("*/*"):
        suffix = next((suffix for suffix in STALE_SUFFIXES if path.name.endswith(suffix)), "")
        if suffix:
            yield from _file(project, path, project.relative(path.with_name(path.name.removesuffix(suffix) + ".ipynb")))


def _file(project: "Project", path: Path, reference: str) -> Iterator[Stored]:
    with contextlib.suppress(OSError):  # gone meanwhile
        stat = path.stat()
        yield Stored(path.relative_to(project.layout.home).as_posix(), reference, stat.st_size, stat.st_mtime)


def remove(path: Path, file: Stored) -> bool:
    """Remove the file at `path`; whether it is gone: one that was used since `file` was looked at stays."""
    try:
        if path.stat().st_mtime != file.modified:
            return False
        path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if path.parent.parent.name == "runs":  # an artifact's folder stays: another process may be about to write into it
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return True


# --- what is needed -------------------------------------------------------------------------------------------


def _needed(project: "Project", policy: Policy) -> dict[str, str]:
    """Reference -> why it is needed; of several reasons the first here."""
    rows = project.registry.rows(RUNS)
    kept = kept_runs([PastRun(r["id"], r["pipeline"], r["kind"], r["status"], seconds(r["started"])) for r in rows], policy)
    found: dict[str, str] = {}
    for reason, references in (
        *_held(project),
        (MODEL, _models(project)),
        (RUN, _of_runs(project, kept)),
        *_of_skippable(project, kept),
        (TEST, _of_tests(project)),
        (UNRECORDED, _unrecorded(project, runs={row["id"] for row in rows})),
    ):
        for reference in references:
            found.setdefault(reference, reason)
    return found


def _held(project: "Project") -> Iterator[tuple[str, Iterable[str]]]:
    """What a fact of its own says to be stored: feature values, model versions, pins, and whatever table comes to name an artifact."""
    for table in sorted(table for table, known in columns().items() if "artifact" in known):
        rows = project.registry.rows(f"select artifact from {table}")  # noqa: S608 (our own table's name)
        yield HELD.get(table, f"recorded in {table}"), [row["artifact"] for row in rows]


def _models(project: "Project") -> Iterator[str]:
    """The data of each model version, and the executed notebook that registered it."""
    for row in project.registry.rows(MANIFESTS):
        yield from _DIGEST.findall(row["manifest"])
        if row["run_id"]:
            yield project.relative(project.layout.runs / row["run_id"] / Path(row["notebook"]).name)


def _of_runs(project: "Project", kept: frozenset[str]) -> Iterator[str]:
    """All that the steps of kept runs took, gave and show, skipped ones too, and what their tests looked at."""
    for row in project.registry.rows(STEPS):
        if row["run_id"] in kept:
            yield from _references(row)
    for row in project.registry.rows(TESTED):
        if row["run_id"] in kept:
            yield from filter(None, from_json(row["artifacts"]).values())


def _references(row: Mapping[str, str]) -> Iterator[str]:
    for refs in (row["inputs"], row["outputs"]):
        yield from (ref["digest"] for ref in from_json(refs).values())
    yield row["notebook"]


def _of_tests(project: "Project") -> Iterator[str]:
    """What `mlops-nb test` would read."""
    for row in project.registry.rows(NOTEBOOKS):
        yield from (ref.digest for ref in project.tests.newest(row["notebook"]).artifacts.values())


def _unrecorded(project: "Project", *, runs: set[str]) -> Iterator[str]:
    """What no fact tells of: every artifact is recorded as it is stored, every run as it begins."""
    artifacts = {row["digest"] for row in project.registry.rows(ARTIFACTS)}
    yield from (path.name for path in project.layout.artifacts.glob("[0-9a-f][0-9a-f]/*") if path.name not in artifacts)
    yield from (project.relative(path) for path in project.layout.runs.glob("*/*.ipynb") if path.parent.name not in runs)


# --- what would be skipped ------------------------------------------------------------------------------------


def _of_skippable(project: "Project", kept: frozenset[str]) -> Iterator[tuple[str, list[str]]]:
    """What each pipeline's earlier steps gave and show, where a run with the parameters and inputs that they had would skip them now."""
    locks = {_part(row["key"], LOCK) for row in project.registry.rows(STEPS) if row["run_id"] in kept}
    now = environment_key(lock_text())
    current = replace(history.standing(project), holds=lambda digest: (project.layout.artifacts / digest[:2] / digest).is_file())

    def skips(step: StepRun, pipeline: Pipeline, component: Component) -> bool:
        return _is_skippable(step, pipeline, component, current, now=now, locks=locks)

    notebooks: dict[str, list[str]] = {}
    for row in project.registry.rows(PIPELINES):
        notebooks.setdefault(row["pipeline"], []).append(row["notebook"])
    for name, made_from in notebooks.items():
        steps = [step for step in history.earlier_steps(project, name) if step.status == "ran"]
        try:
            pipelines = tuple(_pipelines(project, name, made_from))
        except MlopsError:
            yield UNREADABLE, _all_of(steps)
        else:
            yield SKIPPABLE, _all_of(step for pipeline in pipelines for step in _chain(pipeline, steps, skips))


def _pipelines(project: "Project", name: str, notebooks: Iterable[str]) -> Iterator[Pipeline]:
    """The pipeline as its files say, and as its notebook would be promoted now. Raises BadInput where the files cannot be read."""
    with contextlib.suppress(NotFound):
        yield project.pipelines.current(name)
    for notebook in notebooks:
        with contextlib.suppress(MlopsError):  # one that is just being edited may be refused: its files count
            yield project.pipelines.build(project.layout.root / notebook, name=name)


def _chain(pipeline: Pipeline, steps: Sequence[StepRun], skips: Callable[[StepRun, Pipeline, Component], bool]) -> Iterator[StepRun]:
    """The steps that a run, with some parameters, would skip: what they took is what such steps before them gave."""
    given: set[tuple[str, str, str]] = set()  # component, output, digest
    for component in pipeline.components:
        for step in steps:
            taken = {(maker, name, step.inputs[name].digest) for name, maker in component.inputs.items() if name in step.inputs}
            if step.component == component.name and taken <= given and skips(step, pipeline, component):
                given |= {(component.name, name, ref.digest) for name, ref in step.outputs.items()}
                yield step


def _is_skippable(step: StepRun, pipeline: Pipeline, component: Component, current: plan.Current, *, now: str, locks: set[str]) -> bool:
    """Whether a run would skip this step, given its parameters and inputs, in the environment `now` or one of those behind `locks`."""
    given: dict[str, Any] = {"parameters": step.parameters, "inputs": step.inputs, "lock": now, "seed": SEED}
    key = plan.run_key(pipeline.name, component, **given)
    if _part(key, CODE) != _part(step.key, CODE) or _part(step.key, LOCK) not in {*locks, _part(key, LOCK)}:
        return False
    return plan.decide(pipeline.name, component, **given, history=(replace(step, key=key),), current=current).action == "skip"


def _part(key: str, part: int) -> str:
    parts = key.split("-")
    return parts[part] if len(parts) > part else ""


def _all_of(steps: Iterable[StepRun]) -> list[str]:
    return [reference for step in steps for reference in (*(ref.digest for ref in (*step.inputs.values(), *step.outputs.values())), step.notebook)]
