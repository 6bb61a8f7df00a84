"""Model versions: what made a model as one manifest, whose hash is the version's id (pure).

The manifest holds no run id, time or metric: the same code, data, parameters and environment are the same version whoever
runs it and whenever. Metrics belong to the record, not to the id: they follow from what the manifest names.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.hashing import json_digest
from mlops_nb.notebook.grammar import parse_line
from mlops_nb.records import ArtifactRef, ModelVersion, Severity
from mlops_nb.store.codec import python_scalar, row_json

REFERENCE = re.compile(r"(?P<name>\w+)(?:@(?P<which>[0-9a-f]+))?")
SHORTEST_ID = 4  # fewer characters of an id are not taken for one


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A read `%model` line; `metrics` are (metric, expression) pairs, the metric '' for a mapping or a variable's own name."""

    name: str
    variable: str
    metrics: tuple[tuple[str, str], ...] = ()


def parse_model_line(line: str, *, where: str = "") -> ModelLine:
    """`NAME VARIABLE [--metrics M]`; raises BadInput with the usage and near names.

    >>> parse_model_line("flight_late classifier --metrics auc=a, scores")
    ModelLine(name='flight_late', variable='classifier', metrics=(('auc', 'a'), ('', 'scores')))
    """
    values = parse_line("model", line, where=where)
    return ModelLine(values["name"], values["variable"], values["metrics"])


def evaluate_metrics(asked: ModelLine, namespace: Mapping[str, Any]) -> dict[str, float]:
    """The metrics' values in `namespace`; raises NotFound for an unknown name, BadInput for what is no finite number.

    >>> evaluate_metrics(parse_model_line("m v --metrics auc=a/2 scores"), {"a": 1.5, "scores": {"brier": 0.2}})
    {'auc': 0.75, 'brier': 0.2}
    """
    found: dict[str, Any] = {}
    for metric, expression in asked.metrics:
        value = _evaluated(expression, namespace)
        if not metric and isinstance(value, Mapping):
            found.update(value)
        elif metric or expression.isidentifier():
            found[metric or expression] = value
        else:
            raise BadInput(f"--metrics {expression} is no mapping, and has no name", hint=f"write NAME={expression}")
    return checked_metrics(found)


def _evaluated(expression: str, namespace: Mapping[str, Any]) -> Any:
    try:
        return eval(expression, dict(namespace))  # noqa: S307 (the user's own expression, in the user's namespace)
    except NameError as error:
        known = (name for name in namespace if not name.startswith("_"))
        raise NotFound.named("variable", str(error.name), known, where=f"--metrics {expression}") from error


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """`metrics` as plain finite floats (numpy scalars are taken); raises BadInput naming the metric."""
    return {_metric_name(name): _finite(name, value) for name, value in metrics.items()}


def _metric_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise BadInput(f"a metric's name is text, not {name!r}")
    return name


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool):
        raise BadInput(f"metric {name} is {value}, not a number")
    number = float(value) if isinstance(value, Real) else _scalar(name, value)
    if not math.isfinite(number):
        raise BadInput(f"metric {name} is {number}", hint="a metric is a finite number: leave it out where there is none")
    return number


def _scalar(name: str, value: Any) -> float:
    """The number in a numpy (or other array library's) value without dimensions."""
    if getattr(value, "ndim", None) == 0 and getattr(getattr(value, "dtype", None), "kind", "") in "iuf":
        return float(value)
    raise BadInput(f"metric {name} is a {type(value).__name__}, not a number")


# --- the manifest ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeCell:
    """A cell that took part: where it is, and the sha256 of its source."""

    notebook: str
    cell_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What made a model, as it was captured. `diff` and `untracked` are digests of the uncommitted part of the code.

    `inputs` name -> artifact digest, `files` path -> content digest (both are data), `upstream` component -> its run key,
    `tests` (name, version, severity) that are asked of it.
    """

    cells: tuple[CodeCell, ...] = ()
    commit: str = ""
    diff: str = ""
    untracked: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lock: str = ""
    python: str = ""
    pipeline: str = ""
    component: str = ""
    upstream: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    tests: tuple[tuple[str, str, Severity], ...] = ()


def manifest(name: str, variable: str, origin: Origin, *, artifact: ArtifactRef, value: Any) -> dict[str, Any]:
    """Everything that made model `name`, in one order whatever order it was seen in."""
    seeds = seeds_of(value)
    return {
        "name": name,
        "variable": variable,
        "code": {
            "cells": [{"notebook": c.notebook, "cell": c.cell_id, "source": c.source} for c in origin.cells],
            "commit": origin.commit,
            "diff": origin.diff,
            "untracked": origin.untracked,
            "pipeline": origin.pipeline,
            "component": origin.component,
            "upstream": dict(sorted(origin.upstream.items())),
        },
        "data": {"inputs": dict(sorted(origin.inputs.items())), "files": dict(sorted(origin.files.items()))},
        "parameters": json.loads(row_json(dict(sorted(origin.parameters.items())))),
        "environment": {"lock": origin.lock, "python": origin.python},
        "artifact": {"digest": artifact.digest, "kind": artifact.kind, "type": artifact.type_name},
        "signature": signature_of(value),
        "seeds": {**({} if origin.seed is None else {"step": origin.seed}), **seeds},
        "tests": [{"name": test, "version": version, "severity": severity} for test, version, severity in sorted(origin.tests)],
    }


def version_id(of: Mapping[str, Any]) -> str:
    """The id of the version that manifest `of` describes."""
    return json_digest(of)


def signature_of(value: Any) -> dict[str, Any]:
    """What a scikit-learn style model takes and gives: number and names of features, classes; only what it says itself."""
    found: dict[str, Any] = {}
    if (count := getattr(value, "n_features_in_", None)) is not None:
        found["n_features"] = int(count)
    if (names := getattr(value, "feature_names_in_", None)) is not None:
        found["features"] = [str(name) for name in names]
    if (classes := getattr(value, "classes_", None)) is not None:
        found["classes"] = [str(label) for label in classes]
    return found


def seeds_of(value: Any) -> dict[str, Any]:
    """The `random_state` parameters of a scikit-learn style model: numbers and None as they are, generators by their type."""
    parameters = getattr(value, "get_params", None)
    if not callable(parameters) or isinstance(value, type):
        return {}
    found = {name: state for name, state in parameters(deep=True).items() if name.rpartition("__")[2] == "random_state"}
    plain = {name: python_scalar(state) for name, state in sorted(found.items())}
    return {name: state if state is None or isinstance(state, int) else type(state).__name__ for name, state in plain.items()}


# --- references -----------------------------------------------------------------------------------------------


def resolve(reference: str, versions: Sequence[ModelVersion]) -> ModelVersion:
    """The version `NAME` (newest), `NAME@3` (by number) or `NAME@<start of its id>` names; `versions` in order of number.

    Raises:
        BadInput: it is no reference, or more than one id starts so.
        NotFound: there is no such model or version.
    """
    match = REFERENCE.fullmatch(reference)
    if not match:
        raise BadInput(f"{reference!r} names no model version", hint="write NAME, NAME@3 or NAME@<start of its id>")
    ours = [v for v in versions if v.name == match["name"]]
    if not ours:
        raise NotFound.named("model", match["name"], (v.name for v in versions), hint="register one with %model NAME VARIABLE in a notebook")
    which = match["which"]
    if which is None:
        return ours[-1]
    return _chosen(reference, which, ours)


def _chosen(reference: str, which: str, ours: Iterable[ModelVersion]) -> ModelVersion:
    known = list(ours)
    numbered = [v for v in known if str(v.number) == which]
    found = numbered or [v for v in known if len(which) >= SHORTEST_ID and v.id.startswith(which)]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(f"{len(found)} versions start with {reference!r}", hint="give more of the id")
    there = ", ".join(f"@{v.number} ({v.id[:8]})" for v in known[-6:])
    raise NotFound(f"no version {reference!r}; there are: {there}")
