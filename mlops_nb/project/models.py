"""Model versions: registered from a notebook or a step, listed, shown and traced."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlops_nb.display import Report, Table, counted, moment, shorten
from mlops_nb.errors import BadInput
from mlops_nb.hashing import text_digest
from mlops_nb.models.trace import Trace, trace
from mlops_nb.models.versions import checked_metrics, manifest, resolve, version_id
from mlops_nb.notebook.grammar import identifier
from mlops_nb.project import event, origins
from mlops_nb.project import history as runs
from mlops_nb.project.tests import case_of
from mlops_nb.records import ArtifactRef, Cell, Fact, ModelVersion, StepRun, TestCase, now_text
from mlops_nb.store.codec import from_json
from mlops_nb.store.redaction import Redactor
from mlops_nb.testing.gates import GateDecision, decide

if TYPE_CHECKING:
    from mlops_nb.capture.lineage import History
    from mlops_nb.pipeline.step import StepSpec
    from mlops_nb.project import Project

VERSIONS = "select * from numbered_model_version order by name, number"
ONE = "select * from numbered_model_version where id = ?"
LEAST_DIGEST = 12  # characters of a digest in a table


class Models:
    """The model versions of a project."""

    def __init__(self, project: "Project") -> None:
        self.project = project

    # --- register ---

    def register(
        self,
        name: str,
        variable: str,
        value: Any,
        *,
        metrics: Mapping[str, Any],
        history: "History | None" = None,
        cell: Cell | None = None,
        session_id: str = "",
        step: "StepSpec | None" = None,
    ) -> ModelVersion:
        """Store `value` and record the version of model `name` that it is; the same manifest is the same version.

        In a step what made it comes from the pipeline, in a notebook from the cells that `history` shows behind `variable`.

        Raises:
            BadInput: the name is no identifier, or a metric is no finite number.
            NotStorable: no serializer takes `value`.
        """
        where = cell.where if cell else ""
        _check_name(name, where)
        numbers = checked_metrics(metrics)
        artifact = self.project.artifacts.put(value, name=variable, made_by=step.run_id if step else session_id)
        if step:
            origin, sources = origins.in_step(self.project, step, history=history, session_id=session_id)
        else:
            origin, sources = origins.in_notebook(self.project, variable, cell=cell, history=history, session_id=session_id)
        made = Redactor(self.project.environ).value(manifest(name, variable, origin, artifact=artifact, value=value))
        version = ModelVersion(
            id=version_id(made),
            name=name,
            number=0,
            artifact=artifact,
            metrics=numbers,
            manifest=made,
            created=now_text(),
            run_id=step.run_id if step else "",
            session_id=session_id,
        )
        self.project.registry.record([*origins.source_facts(sources), _fact(version), _registered(version)])
        stored = self.project.registry.rows(ONE, (version.id,))
        return _version_of(stored[0]) if stored else version

    # --- questions ---

    def list(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """All versions by name and number; raises NotFound where there is no model `name`."""
        versions = tuple(_version_of(row) for row in self.project.registry.rows(VERSIONS))
        if name is None:
            return versions
        resolve(name, versions)
        return tuple(v for v in versions if v.name == name)

    def show(self, reference: str) -> ModelVersion:
        """The version that NAME (newest), NAME@3 or NAME@<start of its id> names; raises NotFound with near names."""
        return resolve(reference, self.list())

    def trace(self, reference: str) -> Trace:
        """What made a version: cells, data, parameters, environment, code state and the steps before it."""
        version = self.show(reference)
        session = self.project.registry.rows(origins.ENVIRONMENT, (version.session_id,))
        return trace(version, sources=self._sources(version), steps=self._steps(version), session=session[0] if session else {})

    def gate(self, version: ModelVersion) -> GateDecision:
        """Whether the tests its manifest requires passed against exactly this artifact and the data its run made."""
        required = tuple(self._case(test) for test in version.manifest["tests"])
        results = self.project.tests.results(case.name for case in required)
        artifacts = {**_digests_of(self._steps(version)), **version.manifest["data"]["inputs"]}
        artifacts[version.manifest["variable"]] = version.artifact.digest
        for result in reversed(results):
            if (version.run_id and result.run_id == version.run_id) or (not version.run_id and result.session_id == version.session_id):
                artifacts = {**result.artifacts, **artifacts}
        return decide(required, results, {name: digest for name, digest in artifacts.items() if digest})

    def _case(self, test: Mapping[str, Any]) -> TestCase:
        rows = self.project.registry.rows("select * from test_case where name = ? and version = ? limit 1", (test["name"], test["version"]))
        return case_of(rows[0]) if rows else TestCase(test["name"], "infra", "", "", "", severity=test["severity"], version=test["version"])

    def _steps(self, version: ModelVersion) -> tuple[StepRun, ...]:
        return runs.find_run(self.project, version.run_id).steps if version.run_id else ()

    def _sources(self, version: ModelVersion) -> dict[str, str]:
        digests = tuple({cell["source"] for cell in version.manifest["code"]["cells"]})
        marks = ",".join("?" * len(digests))
        return {row["digest"]: row["text"] for row in self.project.registry.rows(f"select * from source where digest in ({marks})", digests)}  # noqa: S608 (marks only)


# --- words ----------------------------------------------------------------------------------------------------


def label(version: ModelVersion) -> str:
    """How a version is named: `flight_late@3 (1f2e3d4c)`."""
    return f"{version.name}@{version.number} ({version.id[:8]})"


def listed(versions: Sequence[ModelVersion]) -> Report:
    """Versions in a table, the newest of each model last."""
    rows = tuple(
        (label(v), moment(v.created), "run" if v.run_id else "notebook", _metrics(v.metrics), v.artifact.type_name.rpartition(".")[2])
        for v in versions
    )
    return Report(
        title=f"{counted(len({v.name for v in versions}), 'model')}, {counted(len(versions), 'version')}",
        tables=(Table(("version", "made", "by", "metrics", "type"), rows, empty="no model yet: %model NAME VARIABLE in a notebook registers one"),),
        data=[_data(v) for v in versions],
    )


def shown(version: ModelVersion, gate: GateDecision) -> Report:
    """One version with its metrics, signature and tests."""
    signature = version.manifest["signature"]
    values = {
        "metrics": _metrics(version.metrics),
        "type": version.artifact.type_name,
        "artifact": f"{version.artifact.digest[:LEAST_DIGEST]} ({version.artifact.kind}, {version.artifact.size:,} bytes)",
        "features": shorten(", ".join(signature.get("features", ())) or str(signature.get("n_features", "not said")), 100),
        "classes": ", ".join(signature.get("classes", ())),
        "made": f"{moment(version.created)} {'in run ' + version.run_id[:8] if version.run_id else 'in a notebook'}",
        "id": version.id,
    }
    return Report(
        title=label(version),
        values={name: value for name, value in values.items() if value},
        notes=(gate.summary, f"What made it: mlops-nb model trace {version.name}@{version.number}"),
        data={**_data(version), "manifest": version.manifest, "gate": _gate_data(gate)},
    )


def traced(found: Trace, gate: GateDecision) -> Report:
    """A trace as tables: cells, data, parameters, environment, steps, tests."""
    version = found.version
    environment = found.environment
    dirty = " with uncommitted changes" if environment["dirty"] else ""
    return Report(
        title=label(version),
        values={
            "metrics": _metrics(version.metrics) or "none",
            "artifact": f"{version.artifact.digest[:LEAST_DIGEST]} {version.artifact.type_name}",
            "commit": f"{environment['commit'][:LEAST_DIGEST] or 'none'}{dirty}",
            "environment": f"{environment['python']}, {environment['packages']} packages, lock {environment['lock'][:LEAST_DIGEST]}",
            "seeds": ", ".join(f"{name}={seed}" for name, seed in version.manifest["seeds"].items()) or "none",
        },
        tables=(
            Table(("cell", "first line"), tuple((f"{c.notebook}:{c.cell_id}", c.first_line) for c in found.cells), "Cells", cut=("first line",)),
            Table(("data", "hash"), tuple((name, digest[:LEAST_DIGEST]) for name, digest in found.data.items()), "Data", "none seen"),
            Table(("parameter", "value"), tuple(version.manifest["parameters"].items()), "Parameters", "none"),
            Table(
                ("component", "status", "seconds"),
                tuple((s.component, s.status, s.seconds) for s in found.steps),
                "Steps",
                "made in a notebook, not in a run",
            ),
            Table(("test", "verdict"), tuple(verdicts(gate).items()), "Tests", "none required"),
        ),
        notes=(gate.summary,),
        data={
            **_data(version),
            "manifest": version.manifest,
            "cells": [asdict(cell) for cell in found.cells],
            "data": found.data,
            "environment": environment,
            "steps": [asdict(step) for step in found.steps],
            "gate": _gate_data(gate),
        },
    )


def verdicts(gate: GateDecision) -> dict[str, str]:
    """Each required test and its verdict, what blocks first."""
    blocked = {name: f"blocked: {reason}" for name, reason in gate.blocked.items()}
    return {**blocked, **{name: f"warned: {reason}" for name, reason in gate.warned.items()}, **dict.fromkeys(gate.ok, "passed")}


def _gate_data(gate: GateDecision) -> dict[str, Any]:
    return {"passed": gate.passed, "ok": list(gate.ok), "blocked": dict(gate.blocked), "warned": dict(gate.warned), "summary": gate.summary}


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in metrics.items())


def _data(version: ModelVersion) -> dict[str, Any]:
    return {
        "id": version.id,
        "name": version.name,
        "number": version.number,
        "metrics": dict(version.metrics),
        "artifact": asdict(version.artifact),
        "created": version.created,
        "run_id": version.run_id,
        "session_id": version.session_id,
    }


# --- rows -----------------------------------------------------------------------------------------------------


def _check_name(name: str, where: str) -> None:
    try:
        identifier(name)
    except ValueError as error:
        raise BadInput(f"a model's name: {error}", where=where) from error


def _fact(version: ModelVersion) -> Fact:
    artifact = version.artifact
    return Fact(
        "model_version",
        {
            "id": version.id,
            "name": version.name,
            "artifact": artifact.digest,
            "kind": artifact.kind,
            "type_name": artifact.type_name,
            "size": artifact.size,
            "metrics": version.metrics,
            "manifest": version.manifest,
            "run_id": version.run_id,
            "session_id": version.session_id,
            "created": version.created,
        },
    )


def _registered(version: ModelVersion) -> Fact:
    """The event; registering the same once more with the same metrics is no second event."""
    about = f"model:{version.name}"
    made = event(
        "registered", about, {"version": version.id, "metrics": version.metrics}, cause=version.run_id or version.session_id, human=not version.run_id
    )
    return Fact("event", {**made.row, "id": text_digest(about, version.id, repr(sorted(version.metrics.items())))})


def _version_of(row: Mapping[str, Any]) -> ModelVersion:
    plain = {name: row[name] for name in ("id", "name", "number", "created", "run_id", "session_id")}
    artifact = ArtifactRef(row["artifact"], row["kind"], row["type_name"], row["size"])
    return ModelVersion(**plain, artifact=artifact, metrics=from_json(row["metrics"]), manifest=json.loads(row["manifest"]))


def _digests_of(steps: Iterable[StepRun]) -> dict[str, str]:
    return {name: ref.digest for step in steps for name, ref in step.outputs.items()}
