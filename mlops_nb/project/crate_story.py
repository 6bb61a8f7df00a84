"""What happened, as a crate tells it: pipeline runs and cell runs as steps that took and gave items. Pure: records in, records out."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.records import ArtifactRef, CellRun, Edge, RunResult, StepRun

README = "README.md"
WORKFLOW = "workflow.ipynb"
LOCK = "environment/requirements.txt"
DIFF = "environment/uncommitted.diff"


@dataclass(frozen=True, slots=True)
class Item:
    """Something taken or given: an artifact or a file (by digest, sha256 or xxh3-128), a web address, or a variable that was not stored.

    `maker` tells apart the states of one variable that was not stored: the run that left it.
    """

    kind: str
    name: str
    digest: str = ""
    size: int = -1
    type_name: str = ""
    maker: str = ""

    @property
    def key(self) -> str:
        """What makes it this one and no other."""
        return "\0".join((self.kind, self.digest) if self.stored else (self.kind, self.name, self.digest, self.maker))

    @property
    def stored(self) -> bool:
        """Whether it is an artifact."""
        return self.kind not in {"file", "url", "variable"}


@dataclass(frozen=True, slots=True)
class Activity:
    """One execution of one step. `code` is its file in the crate; `before` says which earlier run it is taken from, '' for this one."""

    id: str
    name: str
    code: str
    started: str
    seconds: float
    error: str = ""
    inputs: tuple[Item, ...] = ()
    outputs: tuple[Item, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    before: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What a crate tells: who ran what when. `code` path in the crate -> text of the steps' files; `parts` the workflow's cells in order."""

    id: str
    name: str
    description: str
    started: str
    seconds: float
    version: str
    activities: tuple[Activity, ...]
    code: Mapping[str, str]
    parts: tuple[tuple[str, str], ...]
    error: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    agent: str = "unknown"
    python: str = ""
    lock: str = ""
    diff: str = ""
    commit_url: str = ""

    def ends(self) -> tuple[dict[str, Item], dict[str, Item]]:
        """What comes from outside, and what no later step takes: the workflow's inputs and outputs by key, files and artifacts only."""
        taken = {item.key: item for a in self.activities for item in a.inputs if item.kind != "variable"}
        given = {item.key: item for a in self.activities for item in a.outputs if item.kind != "variable"}
        return {k: item for k, item in taken.items() if k not in given}, {k: item for k, item in given.items() if k not in taken}

    def items(self) -> tuple[Item, ...]:
        """Everything taken or given, each once."""
        return tuple({item.key: item for activity in self.activities for item in (*activity.inputs, *activity.outputs)}.values())


# --- stories --------------------------------------------------------------------------------------------------


def story_of_run(result: RunResult, components: Sequence[Mapping[str, Any]], texts: Mapping[str, str], earlier: Mapping[str, StepRun]) -> Story:
    """A pipeline run. `texts` component -> the notebook that ran; `earlier` component -> the step run that a skipped one was taken from."""
    parts = {component["name"]: tuple((cell["id"], cell["source"]) for cell in component["code"]) for component in components}
    activities: list[Activity] = []
    code: dict[str, str] = {}
    for step in result.steps:
        did = earlier.get(step.component) if step.status == "skipped" else step
        if did is None or step.status == "not run":
            continue
        path = f"components/{step.component}.ipynb"
        code[path] = texts.get(step.component) or notebook_text(parts.get(step.component, ()))
        activities.append(_step_activity(did, path, before=did.run_id if did is not step else ""))
    return Story(
        id=result.id,
        name=f"{result.pipeline} {result.id[:8]}",
        description=f"Run {result.id} of {result.pipeline}: {result.status}. {_counts(result)}",
        started=result.started,
        seconds=result.seconds,
        version=result.version,
        activities=tuple(activities),
        code=code,
        parts=tuple(part for cells in parts.values() for part in cells),
        error=result.error or ("" if result.status == "passed" else result.status),
        parameters=result.parameters,
    )


def _counts(result: RunResult) -> str:
    kinds = [step.status for step in result.steps]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _step_activity(step: StepRun, path: str, *, before: str) -> Activity:
    return Activity(
        id=step.id,
        name=step.component,
        code=path,
        started=step.started,
        seconds=step.seconds,
        error=step.error or ("" if step.status == "ran" else step.status),
        inputs=(*(_artifact(name, ref) for name, ref in step.inputs.items()), *(_file(path, digest) for path, digest in step.files.items())),
        outputs=(*(_artifact(name, ref) for name, ref in step.outputs.items()), *(_file(path, digest) for path, digest in step.written.items())),
        parameters=step.parameters,
        before=before,
    )


def _artifact(name: str, ref: ArtifactRef) -> Item:
    return Item(ref.kind, name, ref.digest, ref.size, ref.type_name)


def _file(path: str, digest: str, size: int = -1) -> Item:
    return Item("url" if "://" in path else "file", path, digest, size)


def story_of_cells(runs: Sequence[CellRun], edges: Iterable[Edge], *, name: str, version: str) -> Story:
    """Cell runs in the order they ran, at least one; `edges` those between them and perhaps others."""
    into: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        into.setdefault((edge.to_run, edge.name), []).append(edge.from_run)
    known = {run.id: run for run in runs}
    paths = _cell_paths(runs)
    activities = tuple(_cell_activity(run, paths[run.cell_id, run.source], into, known) for run in runs)
    failed = next((run.error for run in reversed(runs) if run.status != "ok"), "")
    first, last = runs[0], runs[-1]
    span = dt.datetime.fromisoformat(last.started) - dt.datetime.fromisoformat(first.started)
    return Story(
        id=f"{first.id}-{last.id}",
        name=name,
        description=f"{len(runs)} cell runs of {first.notebook or 'a session'} as they were recorded: {name}.",
        started=first.started,
        seconds=max(span.total_seconds() + last.seconds, 0.0),
        version=version,
        activities=activities,
        code={paths[run.cell_id, run.source]: run.source for run in runs},
        parts=tuple((run.cell_id, run.source) for run in runs),
        error=failed,
    )


def _cell_paths(runs: Iterable[CellRun]) -> dict[tuple[str, str], str]:
    """(cell id, source) -> the file of a cell's code: one each version that ran."""
    found: dict[tuple[str, str], str] = {}
    for run in runs:
        found.setdefault((run.cell_id, run.source), f"cells/{len(found) + 1:03d}.py")
    return found


def _cell_activity(run: CellRun, path: str, into: Mapping[tuple[str, str], Sequence[str]], known: Mapping[str, CellRun]) -> Activity:
    taken = [_variable(name, known.get(maker), maker) for name in run.reads for maker in into.get((run.id, name), ())]
    given = [_variable(name, run, run.id) for name in run.writes]
    uses = [(use.mode, _file(use.path, use.digest, use.size)) for use in run.files]
    return Activity(
        id=run.id,
        name=f"[{run.execution_count}] {run.step or run.cell_id}",
        code=path,
        started=run.started,
        seconds=run.seconds,
        error=(run.error or "failed") if run.status != "ok" else "",
        inputs=(*taken, *(item for mode, item in uses if mode == "read")),
        outputs=(*given, *(item for mode, item in uses if mode == "write")),
    )


def _variable(name: str, run: CellRun | None, maker: str) -> Item:
    return Item("variable", name, run.values.get(name, "") if run else "", maker=maker)


# --- its files ---------------------------------------------------------------------------------------------------


def texts_of(story: Story) -> dict[str, str]:
    """The text files of the crate, but its metadata."""
    found = {README: readme_text(story), WORKFLOW: notebook_text(story.parts), **story.code}
    if story.lock:
        found[LOCK] = story.lock
    if story.diff:
        found[DIFF] = story.diff
    return found


def readme_text(story: Story) -> str:
    """What is where, for people."""
    lines = [
        f"# {story.name}",
        story.description,
        f"- `{WORKFLOW}`: the code that ran, in order; the code of each step is in `{next(iter(story.code)).rpartition('/')[0]}/`",
        *([f"- `{LOCK}`: the installed packages"] if story.lock else []),
        *([f"- `{DIFF}`: what was not committed"] if story.diff else []),
        "- `data/` and `artifacts/`: the data, where they were copied; the others are named by their digests",
        "- `ro-crate-metadata.json`: what ran when, on what, with which result ([RO-Crate](https://w3id.org/ro/crate/), Provenance Run Crate)",
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:]) + "\n"


def notebook_text(parts: Iterable[tuple[str, str]]) -> str:
    """(cell id, source) pairs as a notebook without outputs."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"part-{n}",
            "metadata": {"mlops_nb": {"cell": cell_id}},
            "source": source,
            "execution_count": None,
            "outputs": [],
        }
        for n, (cell_id, source) in enumerate(parts, 1)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"
