"""What runs and why, and what is reused. Pure: records in, records out.

A run key has five parts, one for each thing that decides a step's result (code, parameters, inputs, environment lock, seed), so that two keys
say which of them differ. What a step read from files and environment variables is known only after it ran: it is compared with
what was observed then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_nb.errors import NotFound
from mlops_nb.hashing import text_digest
from mlops_nb.notebook import graph
from mlops_nb.records import ArtifactRef, Component, Pipeline, PlannedStep, StepRun
from mlops_nb.store.codec import row_json
from mlops_nb.store.redaction import Redactor

PARTS = ("code", "parameters", "inputs", "lock", "seed")
PART_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Current:
    """How things stand now, asked only about what earlier runs read.

    `file` and `variable` give digests ('' where gone or unset), `holds` whether an artifact is whole.
    """

    file: Callable[[str], str] = lambda _: ""
    variable: Callable[[str], str] = lambda _: ""
    holds: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which steps of a run are asked for: `only` this one, all `until` this one in order, and which run again though nothing changed.

    `start`: this one and all that stand on it run again, `force`: all do. Names that are '' ask for nothing.
    """

    only: str = ""
    start: str = ""
    until: str = ""
    force: bool = False

    def check(self, pipeline: Pipeline) -> None:
        """Raise NotFound for a step that the pipeline has not."""
        names = [component.name for component in pipeline.components]
        for name in (self.only, self.start, self.until):
            if name and name not in names:
                raise NotFound.named("step", name, names, where=f"pipeline {pipeline.name}")

    def asked(self, pipeline: Pipeline) -> tuple[Component, ...]:
        """The components that take part, in order: of an `only`, those that it takes its inputs from too."""
        components, requires = pipeline.components, _requires(pipeline)
        if self.until:
            last = next(number for number, component in enumerate(components) if component.name == self.until)
            components = components[: last + 1]
        if self.only:
            components = tuple(c for c in components if c.name == self.only or c.name in graph.ancestors(requires, self.only))
        return components

    def forced(self, pipeline: Pipeline) -> frozenset[str]:
        """The components that run again in any case."""
        requires = _requires(pipeline)
        names = [component.name for component in pipeline.components]
        behind = {name for name in names if self.start and (name == self.start or self.start in graph.ancestors(requires, name))}
        return frozenset(names if self.force and not self.only else {self.only} - {""} | behind)


def _requires(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    return {component.name: component.requires for component in pipeline.components}


ALL = Selection()


def used_parameters(component: Component, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values a component runs with: the run's own where given, else its defaults."""
    return {name: parameters.get(name, default) for name, default in component.parameters.items()}


def check_parameters(pipeline: Pipeline, parameters: Mapping[str, Any]) -> None:
    """Raise NotFound for a parameter that no component has."""
    known = {name for component in pipeline.components for name in component.parameters}
    for name in parameters:
        if name not in known:
            raise NotFound.named(
                "parameter", name, known, where=f"pipeline {pipeline.name}", hint="parameters are the literals of the cell tagged `parameters`"
            )


def run_key(pipeline: str, component: Component, *, parameters: Mapping[str, Any], inputs: Mapping[str, ArtifactRef], lock: str, seed: int) -> str:
    """What a step's result hangs on, as text of five parts; equal keys mean equal results, observed files and variables aside."""
    parts = (
        text_digest(pipeline, component.name, component.digest),
        text_digest(row_json(dict(sorted(parameters.items())))),
        text_digest(*(text for name in sorted(inputs) for text in (name, inputs[name].digest))),
        text_digest(lock),
        text_digest(str(seed)),
    )
    return "-".join(part[:PART_LENGTH] for part in parts)


def plan(
    pipeline: Pipeline,
    *,
    parameters: Mapping[str, Any],
    lock: str,
    history: Sequence[StepRun],
    current: Current,
    seed: int = 0,
    selection: Selection = ALL,
) -> tuple[PlannedStep, ...]:
    """Each step asked for, in order: run or skip, with the reason. Behind a step that runs all do; their inputs may turn out the same."""
    check_parameters(pipeline, parameters)
    selection.check(pipeline)
    forced = selection.forced(pipeline)
    outputs: dict[str, Mapping[str, ArtifactRef]] = {}
    steps = []
    for component in selection.asked(pipeline):
        waiting = [name for name in component.requires if name not in outputs]
        if waiting:
            steps.append(PlannedStep(component.name, "run", f"step {waiting[0]} will run before it"))
            continue
        step = decide(
            pipeline.name,
            component,
            parameters=used_parameters(component, parameters),
            inputs=inputs_of(component, outputs),
            lock=lock,
            history=history,
            current=current,
            seed=seed,
            forced=component.name in forced,
        )
        if step.reuse:
            outputs[component.name] = step.reuse.outputs
        steps.append(step)
    return tuple(steps)


def inputs_of(component: Component, outputs: Mapping[str, Mapping[str, ArtifactRef]]) -> dict[str, ArtifactRef]:
    """A component's inputs out of what the steps before it gave."""
    return {name: outputs[maker][name] for name, maker in component.inputs.items()}


def decide(
    pipeline: str,
    component: Component,
    *,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, ArtifactRef],
    lock: str,
    history: Sequence[StepRun],
    current: Current,
    seed: int = 0,
    forced: bool = False,
) -> PlannedStep:
    """Whether one step has to run, its inputs being known. `history` holds earlier step runs, newest first."""
    key = run_key(pipeline, component, parameters=parameters, inputs=inputs, lock=lock, seed=seed)
    if forced:
        return PlannedStep(component.name, "run", "asked for", key)
    earlier = [step for step in history if step.component == component.name]
    passed = [step for step in earlier if step.status == "ran"]
    same = [step for step in passed if step.key == key]
    reuse = next((step for step in same if not _changes(step, component, current)), None)
    if reuse:
        return PlannedStep(component.name, "skip", f"unchanged since run {reuse.run_id[:8]}", key, reuse)
    if same:
        reason = _changes(same[0], component, current)
    elif earlier and earlier[0].status in ("failed", "interrupted") and earlier[0].key == key:
        reason = f"{earlier[0].status} in run {earlier[0].run_id[:8]}"
    else:
        reason = _difference(passed[0], key, parameters, inputs) if passed else "first run"
    return PlannedStep(component.name, "run", reason, key)


def _changes(step: StepRun, component: Component, current: Current) -> str:
    """What is not as it was when `step` ran with this key; '' where all is."""
    for path, digest in sorted(step.files.items()):
        now = current.file(path)
        if now != digest:
            return f"file {path} {'changed' if now else 'is gone'}"
    for path, digest in sorted(step.written.items()):
        now = current.file(path)
        if now != digest:
            return f"file {path}, which it writes, {'changed' if now else 'is gone'}"
    for name, digest in sorted(step.environment.items()):
        if current.variable(name) != digest:
            return f"environment variable {name} changed"
    for name in component.outputs:
        if name not in step.outputs or not current.holds(step.outputs[name].digest):
            return f"output `{name}` is missing or damaged"
    return ""


def _difference(last: StepRun, key: str, parameters: Mapping[str, Any], inputs: Mapping[str, ArtifactRef]) -> str:
    """Which parts of two keys differ, in words."""
    differing = {part for part, old, new in zip(PARTS, last.key.split("-"), key.split("-"), strict=False) if old != new}
    reasons = ["code changed"] if "code" in differing else []
    reasons += _changed_parameters(last.parameters, parameters) if "parameters" in differing else []
    reasons += [f"input `{name}` changed" for name in sorted(inputs) if _digest(last.inputs, name) not in ("", inputs[name].digest)]
    reasons += ["environment lock changed"] if "lock" in differing else []
    reasons += ["seed changed"] if "seed" in differing else []
    return "; ".join(reasons) or "its inputs or parameters are others than before"


def _changed_parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    differing = [name for name in sorted(new) if name in old and row_json([old[name]]) != row_json([new[name]])]
    return [f"parameter {name} changed: {_shown(name, old[name])} -> {_shown(name, new[name])}" for name in differing]


def _shown(name: str, value: Any) -> str:
    """A parameter's value for a message, unless its name says that it is a secret."""
    return repr(Redactor({}).value({name: value})[name])


def _digest(refs: Mapping[str, ArtifactRef], name: str) -> str:
    return refs[name].digest if name in refs else ""
