"""Model versions in a project: registered from a notebook session and from a step, listed, shown, traced."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlops_nb.capture.lineage import Effect, History
from mlops_nb.config import find_layout
from mlops_nb.errors import BadInput, NotFound, NotStorable
from mlops_nb.hashing import json_digest, source_crc, text_digest
from mlops_nb.models.versions import CodeCell
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.pipeline.step import StepSpec, Upstream
from mlops_nb.project import Project, new_id
from mlops_nb.project.models import label, listed, shown, traced
from mlops_nb.records import CellRun, Fact, FileUse, ModelVersion, TestCase, TestResult, now_text

NOTEBOOK = "nb.ipynb"
SECRET = "ghp_" + "cAnArY0123456789abcdefghijklmnopqrst"
FRAME = pd.DataFrame({"dep": [1.0, 2.0, 3.0, 4.0]})
MODEL = LogisticRegression(random_state=3).fit(FRAME, ["no", "no", "yes", "yes"])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / ".mlops_nb").mkdir()
    with Project(find_layout(tmp_path, {}), environ={"FLIGHTS_TOKEN": SECRET}) as opened:
        yield opened


def start_session(project: Project, session_id: str = "s1", *, diff: str = "- a\n+ b\n", run_id: str = "") -> None:
    session = {"id": session_id, "started": now_text(), "notebook": NOTEBOOK, "kernel_id": "k", "pid": 1, "actor": "ana", "run_id": run_id}
    code = {"commit_id": "c0ffee" * 6, "dirty": int(bool(diff)), "diff": diff, "untracked": ""}
    environment = {"session_id": session_id, **code, "lock": "numpy==2.0\npandas==3.0\n", "python": "3.11.9", "platform": "linux"}
    project.registry.record([Fact("session", session), Fact("session_environment", environment)])


def ran(cell_id: str, source: str, *, tags: tuple[str, ...] = (), files: tuple[FileUse, ...] = ()) -> CellRun:
    known = {"session_id": "s1", "notebook": NOTEBOOK, "execution_count": 1, "seconds": 0.1, "status": "ok", "crc": source_crc(source)}
    seq = int(cell_id[1:])
    started = f"2013-01-01T00:00:{seq:02d}.000000Z"
    return CellRun(id=new_id(), seq=seq, cell_id=cell_id, source=source, started=started, tags=tags, files=files, **known)


def session_history(training: str = "model = fit(flights, depth)") -> History:
    """Parameters, load, an unrelated cell, train, evaluate."""
    history = History()
    history.add(ran("c1", "depth = 3\nrate = 0.1", tags=("parameters",)), Effect(reads={}, writes={"depth": "certain", "rate": "certain"}))
    load = ran("c2", "flights = pd.read_csv('flights.csv')", files=(FileUse("flights.csv", "read", "f1"), FileUse("out.csv", "write", "f2")))
    history.add(load, Effect(reads={}, writes={"flights": "certain"}))
    history.add(ran("c3", "other = 1"), Effect(reads={}, writes={"other": "certain"}))
    history.add(ran("c4", training), Effect(reads={"flights": "certain", "depth": "certain"}, writes={"model": "certain"}))
    history.add(ran("c5", "scores = evaluate(model)"), Effect(reads={"model": "certain"}, writes={"scores": "certain"}))
    return history


def register(project: Project, *, history: History | None = None, source: str = "%model late model --metrics scores", **more: Any) -> ModelVersion:
    cell = parse_cell(source, id="c6", index=-1, notebook=NOTEBOOK)
    given = {"metrics": {"auc": 0.75}, "history": history or session_history(), "cell": cell, "session_id": "s1", **more}
    return project.models.register("late", "model", MODEL, **given)


# --- from a notebook ---


def test_a_version_knows_the_cells_files_parameters_and_environment_behind_the_variable(project: Project) -> None:
    start_session(project)
    version = register(project)
    manifest = version.manifest
    assert [cell["cell"] for cell in manifest["code"]["cells"]] == ["c1", "c2", "c4"]
    assert manifest["data"] == {"inputs": {}, "files": {"flights.csv": "f1"}}
    assert manifest["parameters"] == {"depth": 3, "rate": 0.1}
    assert (manifest["code"]["commit"], manifest["code"]["diff"]) == ("c0ffee" * 6, text_digest("- a\n+ b\n"))
    assert manifest["environment"] == {"lock": text_digest("numpy==2.0\npandas==3.0\n"), "python": "3.11.9"}
    assert manifest["signature"] == {"n_features": 1, "features": ["dep"], "classes": ["no", "yes"]}
    assert manifest["seeds"] == {"random_state": 3}
    assert (version.number, version.metrics, version.artifact.kind) == (1, {"auc": 0.75}, "skops")
    assert version.id == json_digest(manifest)
    assert project.artifacts.get(version.artifact).predict(FRAME).tolist() == ["no", "no", "yes", "yes"]


def test_a_cell_that_makes_and_registers_the_model_is_part_of_it(project: Project) -> None:
    source = "model = fit(flights, 4)\n%model late model"
    version = register(project, source=source)
    assert [cell["cell"] for cell in version.manifest["code"]["cells"]] == ["c2", "c6"]
    assert version.manifest["code"]["cells"][-1]["source"] == text_digest(source)


def test_the_same_manifest_is_the_same_version_with_one_event(project: Project) -> None:
    start_session(project)
    first, again = register(project), register(project)
    assert first == again
    assert len(project.models.list()) == 1
    assert [row["verb"] for row in project.registry.rows("select verb from event")] == ["registered"]


def test_other_code_is_another_version(project: Project) -> None:
    first = register(project)
    second = register(project, history=session_history("model = fit(flights, depth, more=True)"))
    assert (first.number, second.number) == (1, 2)
    assert [v.id for v in project.models.list("late")] == [first.id, second.id]
    assert project.models.show("late") == second
    assert project.models.show("late@1") == project.models.show(f"late@{first.id[:6]}") == first


def test_metrics_do_not_decide_the_version(project: Project) -> None:
    first = register(project)
    assert register(project, metrics={"auc": 0.9}).id == first.id
    assert project.models.show("late").metrics == {"auc": 0.75}
    assert project.registry.rows("select count(*) as n from event")[0]["n"] == 2


@dataclass(frozen=True)
class Refused:
    words: str
    kind: type[Exception] = BadInput
    name: str = "late"
    value: Any = MODEL
    metrics: Mapping[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "refused",
    [
        Refused("write late_1", name="late-1"),
        Refused("metric auc is inf", metrics={"auc": float("inf")}),
        Refused("model", NotStorable, value=(n for n in ())),
    ],
    ids=lambda refused: refused.words,
)
def test_what_cannot_be_a_version_is_refused(project: Project, refused: Refused) -> None:
    with pytest.raises(refused.kind, match=refused.words):
        project.models.register(refused.name, "model", refused.value, metrics=refused.metrics)
    assert project.models.list() == ()


def test_an_unknown_model_is_named_with_near_names(project: Project) -> None:
    register(project)
    with pytest.raises(NotFound, match="no model named 'lat'; did you mean 'late'"):
        project.models.show("lat")


def test_secrets_reach_neither_manifest_nor_registry(project: Project) -> None:
    history = session_history(f"model = fit(flights, token='{SECRET}')")
    history.runs[0] = ran("c1", f"depth = 3\nkey = '{SECRET}'", tags=("parameters",))
    history.add(history.runs.pop(0), Effect(reads={}, writes={}))
    version = register(project, history=history, metrics={f"auc {SECRET}": 0.5})
    project.registry.flush()
    written = b"".join(file.read_bytes() for file in project.layout.home.rglob("*") if file.is_file())
    assert version.id.encode() in written
    assert SECRET.encode() not in written
    assert SECRET not in json.dumps(version.manifest)
    assert version.id == json_digest(project.models.show("late").manifest)


# --- in a step ---


def promoted(project: Project, write_notebook) -> None:
    write_notebook(
        "import pandas as pd",
        ("depth = 3", ("parameters",)),
        "%%step load\nflights = pd.read_csv('flights.csv')",
        "%%step aside\nunrelated = 1",
        "%%step train\nmodel = (flights, depth)\n%model late model",
        "%%test model --on model --name sound\nassert model",
        "%%step late\nafter = model",
    )
    project.pipelines.promote(project.layout.root / NOTEBOOK)


def step_of(project: Project, **more: Any) -> StepSpec:
    flights = project.artifacts.put([1], name="flights", made_by="r1")
    upstream = Upstream("load", "d-load", key="k1", outputs={"flights": flights.digest}, files={"flights.csv": "f1"}, parameters={"year": 2013})
    given = {
        "run_id": "r1", "pipeline": "nb", "component": "train", "notebook": NOTEBOOK, "digest": "d-train", "inputs": {"flights": flights},
        "outputs": ("model",), "parameters": {"depth": 3}, "upstream": (upstream,), "lock": "lock-digest", "seed": 7,
    }  # fmt: skip
    return StepSpec(**{**given, **more})


def record_run(project: Project, artifact: Any, flights: Any) -> None:
    run = {
        "id": "r1",
        "pipeline": "nb",
        "version": "v",
        "kind": "pipeline",
        "notebook": NOTEBOOK,
        "parameters": {},
        "actor": "ana",
        "started": now_text(),
    }
    facts = [Fact("run", run)]
    for position, (component, outputs) in enumerate({"load": {"flights": flights}, "aside": {}, "train": {"model": artifact}}.items()):
        same = {"run_id": "r1", "key": "k", "status": "ran", "started": now_text(), "seconds": 1.5, "inputs": {}, "files": {}, "environment": {}}
        rest = dict.fromkeys(("notebook", "cell_id", "error", "reason"), "")
        row = {**same, **rest, "parameters": {}, "id": new_id(), "component": component, "position": position, "outputs": outputs}
        facts.append(Fact("step_run", row))
    project.registry.record(facts)


def record_result(project: Project, case: TestCase, **more: Any) -> None:
    given = {
        "id": new_id(), "test": case.name, "version": case.version, "outcome": "passed", "severity": "error", "message": "", "line": 0, "asserts": 1,
        "seconds": 0.0, "created": now_text(), "run_id": "r1", **more,
    }  # fmt: skip
    result = TestResult(**given)
    project.registry.record([Fact("test_result", {name: getattr(result, name) for name in TestResult.__slots__})])


def test_a_version_made_in_a_step_knows_the_steps_before_it(project: Project, write_notebook) -> None:
    promoted(project, write_notebook)
    start_session(project, run_id="r1")
    step = step_of(project)
    manifest = register(project, step=step, history=History()).manifest
    assert [(c["notebook"], c["cell"]) for c in manifest["code"]["cells"]] == [(NOTEBOOK, "c2"), (NOTEBOOK, "c4")]
    assert manifest["code"]["upstream"] == {"load": "d-load", "train": "d-train"}
    assert (manifest["code"]["pipeline"], manifest["code"]["component"]) == ("nb", "train")
    assert manifest["data"] == {"inputs": {"flights": step.inputs["flights"].digest}, "files": {"flights.csv": "f1"}}
    assert manifest["parameters"] == {"depth": 3, "year": 2013}
    assert manifest["environment"]["lock"] == "lock-digest"
    assert manifest["seeds"] == {"random_state": 3, "step": 7}
    (test,) = manifest["tests"]
    assert test["name"] == "sound"


def test_run_ids_and_times_do_not_decide_the_version(project: Project, write_notebook) -> None:
    promoted(project, write_notebook)
    first = register(project, step=step_of(project), history=History())
    assert register(project, step=step_of(project, run_id="r2"), history=History()).id == first.id


def test_a_trace_shows_what_made_it_and_whether_its_tests_passed(project: Project, write_notebook) -> None:
    promoted(project, write_notebook)
    start_session(project, run_id="r1")
    step = step_of(project)
    version = register(project, step=step, history=History())
    record_run(project, version.artifact, step.inputs["flights"])
    trace = project.models.trace("late")
    assert [cell.first_line for cell in trace.cells] == ["%%step load", "%%step train"]
    assert [(s.component, s.seconds) for s in trace.steps] == [("load", 1.5), ("train", 1.5)]
    assert trace.data == {"flights": step.inputs["flights"].digest, "flights.csv": "f1"}
    assert trace.environment == {"lock": "lock-digest", "python": "3.11.9", "packages": 2, "commit": "c0ffee" * 6, "dirty": True}
    gate = project.models.gate(version)
    assert gate.summary == "tests: 0 passed, 1 blocked: sound (never ran)"
    text = traced(trace, gate).text(140)
    for words in ("late@1", "%%step train", "flights.csv", "with uncommitted changes", "2 packages", "blocked: never ran", "depth"):
        assert words in text
    json.loads(traced(trace, gate).json())


def test_the_gate_opens_on_a_pass_against_this_artifact_alone(project: Project, write_notebook) -> None:
    promoted(project, write_notebook)
    version = register(project, step=step_of(project), history=History())
    record_run(project, version.artifact, version.artifact)
    (case,) = project.tests.required(NOTEBOOK)
    project.tests.register(case)
    record_result(project, case, artifacts={"model": "ab" * 32}, run_id="r0")
    assert project.models.gate(version).blocked == {"sound": f"ran against another model (abababab, not {version.artifact.digest[:8]})"}
    record_result(project, case, artifacts={"model": version.artifact.digest})
    assert project.models.gate(version).passed
    record_result(project, case, artifacts={"model": version.artifact.digest}, outcome="failed", message="assert 0")
    assert project.models.gate(version).blocked == {"sound": "failed: assert 0"}
    report = shown(version, project.models.gate(version))
    assert "1 blocked: sound (failed: assert 0)" in report.text(140)
    assert json.loads(report.json())["gate"]["passed"] is False


def test_a_list_names_versions_with_their_metrics(project: Project) -> None:
    assert "no model yet" in listed(()).text(100)
    version = register(project)
    text = listed(project.models.list()).text(140)
    assert label(version) in text
    assert "auc=0.75" in text
    assert json.loads(listed(project.models.list()).json())[0]["number"] == 1


def test_cells_are_hashed_as_they_were_written() -> None:
    assert CodeCell(NOTEBOOK, "c1", text_digest("x = 1")) != CodeCell(NOTEBOOK, "c1", text_digest("x = 1 "))
