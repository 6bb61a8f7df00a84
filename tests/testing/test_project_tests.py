"""Registered tests: in a kernel's namespace, again headless, listed; real registry and artifacts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_nb.config import find_layout
from mlops_nb.errors import GateBlocked, NotFound
from mlops_nb.notebook.cells import parse_cell, plain_python
from mlops_nb.pipeline.step import StepSpec
from mlops_nb.project import Project, new_id
from mlops_nb.project.tests import counts, report
from mlops_nb.records import Cell, Fact, TestResult

FLIGHTS = pd.DataFrame({"origin": ["JFK", "LGA"], "delay": [3.0, 40.0]})


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / ".mlops_nb").mkdir()
    with Project(find_layout(tmp_path, {}), environ={}) as opened:
        yield opened


def cell_of(source: str, cell_id: str = "c1", notebook: str = "nb.ipynb") -> Cell:
    return parse_cell(source, id=cell_id, index=6, notebook=notebook)


def run_cell(
    project: Project, source: str, namespace: dict[str, Any], *, cell_id: str = "c1", before: tuple[str, ...] = (), **more: Any
) -> TestResult:
    return project.tests.run_cell(namespace, cell_of(source, cell_id), sources=(*before, plain_python(source)), session_id="s1", **more)


def made(
    project: Project, values: dict[str, Any], *, notebook: str = "nb.ipynb", status: str = "ran", parameters: dict[str, Any] | None = None
) -> str:
    """Record a run with one step that gave out `values`; returns its id."""
    run_id, at = new_id(), pd.Timestamp.now("UTC").isoformat()
    outputs = {name: project.artifacts.put(value, name=name, made_by=run_id) for name, value in values.items()}
    step = {
        "id": new_id(), "run_id": run_id, "component": "load", "position": 0, "key": "k", "status": status, "started": at, "seconds": 1.0,
        "inputs": {}, "outputs": outputs, "files": {}, "environment": {}, "parameters": parameters or {}, "notebook": "", "cell_id": "", "error": "",
        "reason": "",
    }  # fmt: skip
    run = {
        "id": run_id, "pipeline": "nb", "version": "v", "kind": "pipeline", "notebook": notebook, "parameters": parameters or {}, "actor": "ana",
        "started": at,
    }  # fmt: skip
    project.registry.record([Fact("run", run), Fact("step_run", step)])
    return run_id


# --- in a notebook ---


def test_a_passing_test_is_registered_recorded_and_shown(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_cell(project, "%%test data --on flights\nassert flights.origin.notna().all()\nassert len(flights) == 2", {"flights": FLIGHTS})
    assert (result.outcome, result.asserts, result.session_id) == ("passed", 2, "s1")
    assert result.artifacts == {"flights": project.artifacts.digest(FLIGHTS, name="flights")}
    assert capsys.readouterr().out.startswith("passed: test_flights (data, on flights), 2 asserts, ")
    (case,) = project.tests.cases()
    assert (case.name, case.kind, case.on, case.names, case.cell_id) == ("test_flights", "data", ("flights",), ("flights",), "c1")
    assert project.tests.results(["test_flights"]) == (result,)


def test_a_failing_test_blocks_and_says_where_and_why(project: Project) -> None:
    with pytest.raises(GateBlocked) as raised:
        run_cell(project, "%%test data --name late\n\nassert flights.delay.max() < 15", {"flights": FLIGHTS})
    text = str(raised.value)
    assert text.startswith("nb.ipynb:cell 7 (id c1), line 3: test late failed: assert flights.delay.max() < 15\n")
    assert "3 | assert flights.delay.max() < 15" in text
    assert "assert 40.0 < 15" in text.replace("np.float64(40.0)", "40.0")
    (result,) = project.tests.results(["late"])
    assert (result.outcome, result.line) == ("failed", 3)
    assert "< 15" in result.message


def test_a_warning_test_reports_and_goes_on(project: Project) -> None:
    shown: list[str] = []
    result = run_cell(project, "%%test data --severity warn\nassert 1 == 2", {}, show=shown.append)
    assert result.outcome == "failed"
    assert shown[0].startswith("WARNING failed: test_c1 (data)")
    assert "nb.ipynb:c1, line 2" in shown[0]
    assert "assert 1 == 2" in shown[0]


def test_bindings_do_not_leak(project: Project) -> None:
    namespace = {"x": 1}
    run_cell(project, "%%test infra\nx = 2\ny = 3\nassert x == 2", namespace)
    assert namespace == {"x": 1}


def test_a_value_nothing_can_store_is_recorded_without_a_digest(project: Project) -> None:
    shown: list[str] = []
    stream = (n for n in range(3))
    result = run_cell(project, "%%test infra --on stream\nassert stream", {"stream": stream}, show=shown.append)
    assert result.artifacts == {"stream": ""}
    assert "stream (generator) cannot be stored" in shown[0]


def test_a_misspelt_name_is_refused_with_near_names(project: Project) -> None:
    with pytest.raises(NotFound, match="no variable named 'flihgts'; did you mean 'flights'"):
        run_cell(project, "%%test data --on flihgts\nassert True", {"flights": FLIGHTS})
    assert project.tests.cases() == ()


def test_the_same_test_is_registered_once_and_a_changed_one_again(project: Project) -> None:
    def registered() -> int:
        return project.registry.rows("select count(*) as n from test_case")[0]["n"]

    run_cell(project, "%%test data\nassert x == 1", {"x": 1})
    run_cell(project, "%%test data\nassert x == 1  # more words\n", {"x": 1})
    assert registered() == 1
    run_cell(project, "%%test data\nassert x >= 1", {"x": 1})
    assert registered() == 2
    (case,) = project.tests.cases()
    assert ">=" in case.source
    verbs = project.registry.rows("select verb from event order by ts")
    assert [row["verb"] for row in verbs] == ["registered", "changed"]
    assert len(project.tests.results(["test_c1"])) == 3


def test_a_name_shared_by_two_cells_is_told_apart_as_the_file_does(project: Project, write_notebook) -> None:
    write_notebook("x = 1", "%%test data --on x\nassert x", "%%test data --on x\nassert x < 2")
    assert run_cell(project, "%%test data --on x\nassert x < 2", {"x": 1}, cell_id="c2").test == "test_x_2"
    assert run_cell(project, "%%test data --on x\nassert x", {"x": 1}, cell_id="c1").test == "test_x"


def test_recording_off_does_not_stop_a_test(tmp_path: Path) -> None:
    (tmp_path / ".mlops_nb").write_text("no folder")
    with Project(find_layout(tmp_path, {}), environ={}) as project:
        assert not project.registry.status().on
        assert run_cell(project, "%%test data\nassert x == 1", {"x": 1}).outcome == "passed"
        with pytest.raises(GateBlocked):
            run_cell(project, "%%test data\nassert x == 2", {"x": 1})


def test_in_a_step_the_run_is_named_and_what_it_read_is_stored(project: Project) -> None:
    run_id = made(project, {"flights": FLIGHTS})
    step = StepSpec(run_id=run_id, pipeline="nb", component="train", notebook="nb.ipynb")
    scores = {"auc": 0.7}
    result = run_cell(
        project, "%%test model --on scores\nassert scores['auc'] > limit", {"scores": scores, "limit": 0.6}, step=step, before=("limit = 0.6",)
    )
    assert result.run_id == run_id
    (case,) = project.tests.cases()
    assert case.step == "train"
    (checked,) = project.tests.run(["test_scores"])
    assert checked.result is not None
    assert (checked.result.outcome, checked.result.artifacts) == ("passed", {"scores": result.artifacts["scores"]})


# --- headless ---


def test_a_test_runs_again_in_a_fresh_namespace_on_the_newest_artifacts(project: Project) -> None:
    setup = ("import pandas as pd", "limit = 50", "def worst(frame):\n    return pd.Series(frame.delay).max()")
    run_cell(project, "%%test data --on flights\nassert worst(flights) < limit", {"flights": FLIGHTS, "worst": len, "limit": 50}, before=setup)
    made(project, {"flights": FLIGHTS.assign(delay=0.0)})
    newest = FLIGHTS.assign(delay=99.0)
    made(project, {"flights": newest})
    made(project, {"flights": FLIGHTS}, status="failed")
    made(project, {"flights": FLIGHTS}, notebook="other.ipynb")
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert (checked.result.outcome, checked.result.line) == ("failed", 2)
    assert "99.0) < 50" in checked.result.message
    assert checked.result.artifacts == {"flights": project.artifacts.digest(newest, name="flights")}
    assert checked.blocks
    assert report([checked], title="").exit_code == 1


def test_each_test_gets_values_of_its_own(project: Project) -> None:
    run_cell(project, "%%test data --name a --on rows\nrows.clear()\nassert not rows", {"rows": [1]}, cell_id="c1")
    run_cell(project, "%%test data --name b --on rows\nassert rows == [1]", {"rows": [1]}, cell_id="c2")
    made(project, {"rows": [1]})
    assert [checked.result.outcome for checked in project.tests.run() if checked.result] == ["passed", "passed"]


def test_parameters_of_the_newest_run_take_the_place_of_constants(project: Project) -> None:
    run_cell(project, "%%test data --on rows\nassert len(rows) == year", {"rows": [1], "year": 1}, before=("year = 1",))
    made(project, {"rows": [1, 2]}, parameters={"year": 2})
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert checked.result.outcome == "passed"


def test_without_artifacts_it_says_what_to_do(project: Project) -> None:
    run_cell(project, "%%test data --on rows\nassert rows", {"rows": [1]})
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert (checked.result.outcome, checked.result.asserts) == ("error", 0)
    assert checked.result.message == "no artifact holds rows; run the pipeline first: mlops-nb run nb.ipynb"
    made(project, {"others": [1]})
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert checked.result.message.startswith("no step of nb.ipynb gives out rows; run the pipeline again")


def test_a_damaged_artifact_is_an_error_not_a_pass(project: Project) -> None:
    run_cell(project, "%%test data --on rows\nassert True", {"rows": [1]})
    made(project, {"rows": [1]})
    digest = project.artifacts.digest([1], name="rows")
    file = project.layout.artifacts / digest[:2] / digest
    file.chmod(0o644)
    file.write_bytes(b"[2]")
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert checked.result.outcome == "error"
    assert "damaged" in checked.result.message


def test_a_module_beside_the_notebook_is_found(project: Project, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "beside_the_notebook.py").write_text("LIMIT = 3\n")
    cell = cell_of("%%test data --on rows\nassert len(rows) < LIMIT", notebook="work/nb.ipynb")
    sources = ("from beside_the_notebook import LIMIT", plain_python(cell.source))
    project.tests.run_cell({"rows": [1], "LIMIT": 3}, cell, sources=sources)
    made(project, {"rows": [1, 2]}, notebook="work/nb.ipynb")
    (checked,) = project.tests.run()
    assert checked.result is not None
    assert checked.result.outcome == "passed", checked.result.message


def test_names_kind_and_notebook_choose(project: Project) -> None:
    run_cell(project, "%%test data --name a\nassert True", {}, cell_id="c1")
    run_cell(project, "%%test infra --name b\nassert True", {}, cell_id="c2")
    (project.layout.root / "other.ipynb").write_text("{}")
    chosen = {
        "all": project.tests.run(),
        "by name": project.tests.run(["b"]),
        "by kind": project.tests.run(kind="data"),
        "by notebook": project.tests.run(notebook=str(project.layout.root / "other.ipynb")),
    }
    assert {how: [c.case.name for c in found] for how, found in chosen.items()} == {
        "all": ["a", "b"],
        "by name": ["b"],
        "by kind": ["a"],
        "by notebook": [],
    }
    with pytest.raises(NotFound, match="no test named 'c'; there are: a, b"):
        project.tests.run(["c"])
    with pytest.raises(NotFound, match=r"no notebook named '.*absent\.ipynb'"):
        project.tests.run(notebook=str(project.layout.root / "absent.ipynb"))


def test_a_test_whose_cell_is_gone_is_no_longer_listed(project: Project, write_notebook) -> None:
    run_cell(project, "%%test data --name a\nassert True", {}, cell_id="c1")
    run_cell(project, "%%test data --name b\nassert True", {}, cell_id="c9")
    write_notebook("x = 1", "%%test data --name a\nassert True")
    assert [c.case.name for c in project.tests.list()] == ["a"]


def test_a_changed_test_has_no_result_until_it_runs(project: Project) -> None:
    run_cell(project, "%%test data --name a\nassert True", {})
    (before,) = project.tests.list()
    assert before.result is not None
    case = project.tests.cases()[0]
    project.tests.register(replace(case, version="other"))
    (after,) = project.tests.list()
    assert after.result is None
    assert counts([after]) == "0 passed, 1 never run"


def test_a_secret_in_a_tests_code_is_not_stored_and_the_test_still_runs(project: Project, write_notebook) -> None:
    secret = "ghp_" + "cAnArY0123456789abcdefghijklmnopqrst"
    source = f"%%test infra --name keyed\ntoken = '{secret}'\nassert token.startswith('ghp_'), token"
    write_notebook("x = 1", source)
    run_cell(project, source, {})
    (checked,) = project.tests.run(["keyed"])
    assert checked.result is not None
    assert checked.result.outcome == "passed"
    with pytest.raises(GateBlocked):
        run_cell(project, source.replace("startswith", "endswith"), {})  # not saved
    (checked,) = project.tests.run(["keyed"])
    assert checked.result is not None
    assert checked.result.outcome == "error"
    assert checked.result.message.startswith("its code held a secret, which is not stored")
    project.registry.flush()
    written = b"".join(file.read_bytes() for file in project.layout.home.rglob("*") if file.is_file())
    assert b"keyed" in written
    assert secret.encode() not in written
