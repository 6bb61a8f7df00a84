"""What differs between two runs. Pure: what is recorded of each in, differences out."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops_nb.project.run_facts import SUPPORT, RunFacts
from mlops_nb.records import ArtifactRef, StepRun
from mlops_nb.store.codec import row_json

Area = Literal["run", "step", "parameter", "package", "variable", "data", "input", "output", "metric", "test"]
Pair = tuple[str, StepRun | None, StepRun | None]

DONE = ("ran", "skipped")
NOT_RUN = "not run"
CODE, LOCK = 0, 3  # parts of a run key


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: `before` in the first run, `after` in the second; None where it is not there at all."""

    area: Area
    step: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A cell whose source differs, as a unified diff. `counts` is false where only comments or formatting do."""

    step: str
    cell: str
    diff: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step in both runs: statuses ('' where it is not there), seconds, and in what it differs."""

    step: str
    before: str
    after: str
    seconds: tuple[float, float]
    differing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two runs; the time that they took is told, but is none. `unknown` are steps whose code one of them does not show."""

    before: RunFacts
    after: RunFacts
    changes: tuple[Change, ...]
    code: tuple[CodeChange, ...]
    steps: tuple[StepPair, ...]
    unknown: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing but times and run ids differs."""
        return not self.changes and not self.code


def compare(before: RunFacts, after: RunFacts) -> Comparison:
    """The differences, in the order in which one follows from another: code, parameters, packages, data, inputs, outputs, metrics, tests."""
    pairs = _pairs(before, after)
    code = tuple(change for pair in pairs for change in _code(pair, before, after))
    changes = (
        *_mapping("run", "", _about(before), _about(after)),
        *(change for pair in pairs for change in _ends(pair)),
        *_mapping("parameter", "", before.parameters, after.parameters),
        *_packages(before, after),
        *(change for pair in pairs for change in _used_and_made(pair)),
        *_mapping("metric", "", _metrics(before), _metrics(after)),
        *_mapping("test", "", _outcomes(before), _outcomes(after)),
    )
    unknown = tuple(
        name for name, *steps in pairs if any(step and name not in facts.code for step, facts in zip(steps, (before, after), strict=True))
    )
    return Comparison(before, after, changes, code, tuple(_told(pair, changes, code) for pair in pairs), unknown)


def _pairs(before: RunFacts, after: RunFacts) -> tuple[Pair, ...]:
    old, new = ({step.component: step for step in facts.run.steps} for facts in (before, after))
    return tuple((name, old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new]))


# --- the run as a whole ---------------------------------------------------------------------------------------


def _about(facts: RunFacts) -> dict[str, Any]:
    run = facts.run
    known = {"pipeline": run.pipeline, "version": run.version, "kind": facts.kind, "status": run.status}
    return {name: value for name, value in {**known, "commit": facts.commit, "python": facts.python}.items() if value}


def _packages(before: RunFacts, after: RunFacts) -> list[Change]:
    """The packages that differ; where they are not known, whether the environment's digest in the run keys does."""
    if before.packages and after.packages:
        return _mapping("package", "", before.packages, after.packages)
    old, new = (", ".join(sorted({_part(step, LOCK) for step in facts.run.steps} - {""})) for facts in (before, after))
    return [Change("package", "", "environment", old, new)] if old and new and old != new else []


def _metrics(facts: RunFacts) -> dict[tuple[str, str], Any]:
    return {(model.step, f"{model.name}.{name}"): value for model in facts.models for name, value in model.metrics.items()}


def _outcomes(facts: RunFacts) -> dict[tuple[str, str], Any]:
    told = ((test.step, test.result.test, ": ".join(filter(None, (test.result.outcome, test.result.message)))) for test in facts.tests)
    return {(step, name): outcome for step, name, outcome in told}


# --- steps ----------------------------------------------------------------------------------------------------


def _ends(pair: Pair) -> list[Change]:
    """How a step ended, where that differs; that it ran or was skipped makes no difference."""
    name, before, after = pair
    old, new = _outcome(before), _outcome(after)
    if old != new:
        return [Change("step", name, "status", old, new)]
    return _mapping("step", name, _error(before), _error(after))


def _outcome(step: StepRun | None) -> str | None:
    return None if step is None else "passed" if step.status in DONE else step.status


def _error(step: StepRun | None) -> dict[str, str]:
    """What was raised; further lines say where the executed notebook is."""
    return {"error": step.error.split("\n")[0]} if step and step.error else {}


def _used_and_made(pair: Pair) -> list[Change]:
    """What a step read and gave in both runs, as far as it got there."""
    name, before, after = pair
    if before is None or after is None or NOT_RUN in (before.status, after.status):
        return []
    taken = _mapping("input", name, _digests(before.inputs), _digests(after.inputs))
    if before.status not in DONE or after.status not in DONE:
        return taken
    return [
        *_mapping("data", name, before.files, after.files),
        *_mapping("variable", name, before.environment, after.environment),
        *taken,
        *_mapping("output", name, {**_digests(before.outputs), **_written(before)}, {**_digests(after.outputs), **_written(after)}),
    ]


def _digests(refs: Mapping[str, ArtifactRef]) -> dict[str, str]:
    return {name: ref.digest for name, ref in refs.items()}


def _written(step: StepRun) -> dict[str, str]:
    return {f"file:{path}": digest for path, digest in step.written.items()}


def _part(step: StepRun | None, part: int) -> str:
    parts = step.key.split("-") if step else []
    return parts[part] if len(parts) > part else ""


def _is_code_known(pair: Pair, before: RunFacts, after: RunFacts) -> bool:
    name, *steps = pair
    return all(step is None or name in facts.code for step, facts in zip(steps, (before, after), strict=True))


def _code(pair: Pair, before: RunFacts, after: RunFacts) -> list[CodeChange]:
    """The cells of a step that differ. Code that came along is compared only where both runs show it."""
    name, *steps = pair
    if not _is_code_known(pair, before, after):
        return []
    old, new = dict(before.code.get(name, {})), dict(after.code.get(name, {}))
    if any(step and not facts.is_shown(name) for step, facts in zip(steps, (before, after), strict=True)):
        old.pop(SUPPORT, None)
        new.pop(SUPPORT, None)
    keys = {_part(step, CODE) for step in steps}
    counts = len(keys) > 1 or "" in keys  # equal keys: only comments or formatting
    ids = [cell for cell in dict.fromkeys([*old, *new]) if old.get(cell) != new.get(cell)]
    return [CodeChange(name, cell, unified(f"{name}:{cell}", old.get(cell), new.get(cell)), counts) for cell in ids]


def unified(where: str, before: str | None, after: str | None) -> str:
    """A unified diff of two sources; None is a cell that is not there.

    >>> print(unified("load:c1", "n = 1", "n = 2"))
    --- load:c1
    +++ load:c1
    @@ -1 +1 @@
    -n = 1
    +n = 2
    """
    left, right = ("/dev/null" if text is None else where for text in (before, after))
    old, new = ((text.split("\n") if text else []) for text in (before, after))
    return "\n".join(difflib.unified_diff(old, new, left, right, lineterm=""))


def _told(pair: Pair, changes: Iterable[Change], code: Iterable[CodeChange]) -> StepPair:
    name, before, after = pair
    areas = ["code" if change.counts else "comments" for change in code if change.step == name]
    if before and after and NOT_RUN not in (before.status, after.status):
        areas += [change.area for change in _mapping("parameter", name, before.parameters, after.parameters)]
    areas += [change.area for change in changes if change.step == name and change.area != "step"]
    seconds = (before.seconds if before else 0.0, after.seconds if after else 0.0)
    return StepPair(name, before.status if before else "", after.status if after else "", seconds, tuple(dict.fromkeys(areas)))


def _mapping(area: Area, step: str, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> list[Change]:
    """What differs between two mappings; a key may be a pair of step and name. Compared as JSON: NaN equals NaN, 1 is not 1.0.

    >>> [(c.name, c.before, c.after) for c in _mapping("parameter", "", {"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})]
    [('b', 2, 3), ('c', None, 4)]
    """
    found = []
    for key in dict.fromkeys([*before, *after]):
        told: tuple[str, str] = key if isinstance(key, tuple) else (step, key)
        if (key in before) != (key in after) or row_json([before.get(key)]) != row_json([after.get(key)]):
            found.append(Change(area, *told, before.get(key), after.get(key)))
    return found
