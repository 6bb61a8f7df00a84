"""`mlops-nb diff`: two runs that differ in one known thing are told to differ in that, and in what follows from it."""

import json
import os
import shutil

import pytest

from mlops_nb.cli.runs import diff_report
from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project import Project
from mlops_nb.project.comparing import Change, compare
from mlops_nb.project.run_facts import Checked, Executed, Measured, RunFacts, facts_of
from mlops_nb.records import ArtifactRef, RunResult, StepRun, TestResult

# --- pure -----------------------------------------------------------------------------------------------------


def ref(digest):
    return ArtifactRef(digest, "json", "int", 1)


def step(component="load", **known):
    given = {"key": "c-p-i-l-s", "status": "ran", "notebook": f"runs/r/{component}.ipynb", **known}
    return StepRun("s", "r", component, 0, started="", seconds=1.0, **given)


def facts(*steps, status="passed", parameters=None, **known):
    run = RunResult("r" * 32, "p", "v", status, "2026-01-01T00:00:00+00:00", 1.0, parameters or {}, steps or (step(),))
    return RunFacts(run, **{"code": {s.component: {"c1": "x = 1"} for s in run.steps}, **known})


def checked(outcome, message=""):
    return Checked("load", TestResult("t", "sane", "", outcome, "error", message, 0, 1, 0.0, ""))


def measured(**metrics):
    return Measured("load", "clf", "clf@1", metrics)


CASES = {
    "parameter of the run over the default": (
        facts(defaults={"n": 3}),
        facts(defaults={"n": 3}, parameters={"n": 4}),
        [("parameter", "", "n", 3, 4)],
    ),
    "an integer is no float": (facts(defaults={"n": 3}), facts(defaults={"n": 3.0}), [("parameter", "", "n", 3, 3.0)]),
    "a parameter more": (facts(), facts(defaults={"m": None}), [("parameter", "", "m", None, None)]),
    "a file": (facts(step(files={"a": "1", "b": "2"})), facts(step(files={"a": "1", "b": "3"})), [("data", "load", "b", "2", "3")]),
    "a variable": (facts(step(environment={"TZ": "1"})), facts(step()), [("variable", "load", "TZ", "1", None)]),
    "an input": (facts(step(inputs={"x": ref("1")})), facts(step(inputs={"x": ref("2")})), [("input", "load", "x", "1", "2")]),
    "an output": (facts(step(outputs={"x": ref("1")})), facts(step(outputs={"x": ref("2")})), [("output", "load", "x", "1", "2")]),
    "a written file": (facts(step(written={"o": "1"})), facts(step(written={"o": "2"})), [("output", "load", "file:o", "1", "2")]),
    "a metric": (facts(models=(measured(auc=0.7),)), facts(models=(measured(auc=0.8),)), [("metric", "load", "clf.auc", 0.7, 0.8)]),
    "a test": (facts(tests=(checked("passed"),)), facts(tests=(checked("failed", "no"),)), [("test", "load", "sane", "passed", "failed: no")]),
    "a package": (
        facts(packages={"a": "1", "b": "1"}),
        facts(packages={"a": "2", "b": "1"}),
        [("package", "", "a", "1", "2")],
    ),
    "an environment of which only the digest is known": (
        facts(step(key="c-p-i-l-s")),
        facts(step(key="c-p-i-m-s")),
        [("package", "", "environment", "l", "m")],
    ),
    "a commit": (facts(commit="a"), facts(commit="b"), [("run", "", "commit", "a", "b")]),
    "a step more": (facts(step()), facts(step(), step("fit")), [("step", "fit", "status", None, "passed")]),
    "a failed step has no outputs to compare": (
        facts(step(outputs={"x": ref("1")})),
        facts(step(status="failed", error="in step load: no\n  the executed notebook: runs/r"), status="failed"),
        [("run", "", "status", "passed", "failed"), ("step", "load", "status", "passed", "failed")],
    ),
    "two errors": (
        facts(step(status="failed", error="one\n  runs/a")),
        facts(step(status="failed", error="two\n  runs/b")),
        [("step", "load", "error", "one", "two")],
    ),
    "a step that was not run says nothing more": (
        facts(step(inputs={"x": ref("1")}, parameters={"n": 1}), defaults={"n": 1}),
        facts(step(status="not run", key=""), defaults={"n": 1}),
        [("step", "load", "status", "passed", "not run")],
    ),
}

SAME = {
    "ran and skipped": (facts(step()), facts(step(status="skipped"))),
    "a default and the same value given": (facts(defaults={"n": 3}), facts(defaults={"n": 3}, parameters={"n": 3})),
    "not a number": (facts(models=(measured(auc=float("nan")),)), facts(models=(measured(auc=float("nan")),))),
    "one error, kept in two places": (facts(step(status="failed", error="no\n  runs/a")), facts(step(status="failed", error="no\n  runs/b"))),
}


@pytest.mark.parametrize("case", CASES)
def test_one_difference_is_told_as_itself(case):
    before, after, changes = CASES[case]
    found = compare(before, after)
    assert list(found.changes) == [Change(*change) for change in changes]
    assert not found.equal


@pytest.mark.parametrize("case", SAME)
def test_what_makes_no_difference_is_none(case):
    found = compare(*SAME[case])
    assert (found.changes, found.code, found.equal) == ((), (), True)


def test_code_that_came_along_is_compared_only_where_both_show_it():
    shown = {"load": Executed("load.ipynb", ({"id": "c1"},))}
    code = {"load": {"mlops-nb-support": "import json", "c1": "x = 1"}}
    other = {"load": {"mlops-nb-support": "import csv", "c1": "x = 1"}}
    assert [c.cell for c in compare(facts(code=code, notebooks=shown), facts(code=other, notebooks=shown)).code] == ["mlops-nb-support"]
    assert compare(facts(code=code, notebooks=shown), facts(code={"load": {"c1": "x = 1"}})).code == ()


def test_code_that_nothing_shows_is_said_to_be_unknown():
    found = compare(facts(), facts(code={}))
    assert (found.unknown, found.code) == (("load",), ())
    assert "The code of step load is not known" in diff_report(found).text()


def test_comments_do_not_count_where_the_keys_are_equal():
    edited = facts(code={"load": {"c1": "x = 1  # one"}})
    assert [c.counts for c in compare(facts(), edited).code] == [False]
    other = facts(step(key="d-p-i-l-s"), code={"load": {"c1": "x = 1  # one"}})
    assert [c.counts for c in compare(facts(), other).code] == [True]


def test_metrics_that_json_has_no_number_for_are_told():
    report = diff_report(compare(facts(models=(measured(auc=float("nan")),)), facts(models=(measured(auc=1.0),))))
    assert json.loads(report.json())["changes"][0]["before"] == {"$": "float", "v": "nan"}
    assert "nan" in report.text()


# --- real runs ------------------------------------------------------------------------------------------------

CELLS = (
    "%load_ext mlops_nb\nimport json, pathlib",
    ("n = 3", ("parameters",)),
    "%%step load\nrows = json.loads(pathlib.Path('data.json').read_text())[:n]",
    "%%step fit\nweights = {'mean': sum(rows) / len(rows)}\nerror = weights['mean'] - 2\n%model mean weights --metrics error=error",
    "%%test data --name enough --on rows\nassert len(rows) > 1",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A project and its runs by what was done before them."""
    import nbformat

    root = tmp_path_factory.mktemp("project")
    (root / ".git").mkdir()
    (root / "data.json").write_text("[1, 2, 3, 40]")

    def write(**edits):
        cells = [cell if isinstance(cell, tuple) else (cell, ()) for cell in CELLS]
        made = [
            nbformat.v4.new_code_cell(edits.get(f"c{n}", source), id=f"c{n}", metadata={"tags": list(tags)}) for n, (source, tags) in enumerate(cells)
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=made), root / "nb.ipynb")
        return str(root / "nb.ipynb")

    with Project.find(root, environ=dict(os.environ)) as project:
        made = {"first": project.pipelines.run(write(), progress=False)}
        made["again"] = project.pipelines.run(write(), progress=False)
        made["parameter"] = project.pipelines.run(write(), {"n": 4}, progress=False)
        (root / "data.json").write_text("[1, 2, 4, 40]")
        made["data"] = project.pipelines.run(write(), progress=False)
        (root / "data.json").write_text("[1, 2, 3, 40]")
        made["code"] = project.pipelines.run(write(c3=CELLS[3].replace("- 2", "- 1  # less")), progress=False)
        made["failed"] = project.pipelines.run(write(c3="%%step fit\nweights = {'mean': rows[0] / 0}"), progress=False)
        yield project, made


def told(runs, one, other):
    project, made = runs
    found = compare(facts_of(project, made[one].id), facts_of(project, made[other].id[:10]))
    return found, {(change.area, change.step, change.name) for change in found.changes}


def test_a_run_that_skipped_everything_equals_the_one_before(runs):
    found, changes = told(runs, "first", "again")
    assert changes == set()
    assert found.equal
    assert [(pair.before, pair.after, pair.differing) for pair in found.steps] == [("ran", "skipped", ())] * 2
    assert "are equal" in diff_report(found).title


def test_a_parameter_and_what_follows(runs):
    found, changes = told(runs, "first", "parameter")
    assert changes == {
        ("parameter", "", "n"),
        ("output", "load", "rows"),
        ("input", "fit", "rows"),
        ("output", "fit", "weights"),
        ("metric", "fit", "mean.error"),
    }
    assert [pair.differing for pair in found.steps] == [("parameter", "output"), ("input", "output", "metric")]
    assert next((c.before, c.after) for c in found.changes if c.area == "metric") == (0.0, 9.5)


def test_a_file_and_what_follows(runs):
    _, changes = told(runs, "first", "data")
    followed = {("output", "load", "rows"), ("input", "fit", "rows"), ("output", "fit", "weights"), ("metric", "fit", "mean.error")}
    assert changes == {("data", "load", "data.json"), *followed}


def test_code_is_told_as_a_diff_of_its_cell(runs):
    found, changes = told(runs, "first", "code")
    assert changes == {("run", "", "version"), ("metric", "fit", "mean.error")}
    assert [(c.step, c.cell, c.counts) for c in found.code] == [("fit", "c3", True)]
    assert "-error = weights['mean'] - 2\n+error = weights['mean'] - 1  # less" in found.code[0].diff


def test_a_failed_run_is_told_by_its_step(runs):
    found, changes = told(runs, "first", "failed")
    assert changes == {("run", "", "version"), ("run", "", "status"), ("step", "fit", "status"), ("metric", "fit", "mean.error")}
    assert next((c.before, c.after) for c in found.changes if c.area == "step") == ("passed", "failed")
    assert found.code[0].diff.endswith("+weights = {'mean': rows[0] / 0}")


def test_code_is_known_without_executed_notebooks(runs):
    project, made = runs
    kept = project.layout.runs / made["code"].id / "fit.ipynb"
    moved = shutil.move(kept, project.layout.home / "aside.ipynb")
    try:
        found, _ = told(runs, "first", "code")
        assert [c.cell for c in found.code] == ["c3"]
        assert not found.unknown
    finally:
        shutil.move(moved, kept)


def test_whole_notebooks_can_be_compared(runs):
    project, _ = runs
    notebook = project.layout.root / "plain.ipynb"
    ids = []
    for value in ("1", "2"):
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": f"x = {value}"}
        notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        ids.append(project.pipelines.capture(str(notebook), progress=False).id)
    found = compare(*(facts_of(project, run) for run in ids))
    assert [c.diff.split("\n")[-2:] for c in found.code] == [["-x = 1", "+x = 2"]]
    shutil.rmtree(project.layout.runs / ids[0])
    again = compare(*(facts_of(project, run) for run in ids))
    assert [c.diff for c in again.code] == [c.diff for c in found.code]


def test_an_unknown_run_is_named(runs):
    project, made = runs
    near = made["first"].id[:7] + "x"
    with pytest.raises(NotFound, match=f"did you mean .*{made['first'].id[:8]}"):
        facts_of(project, near)
    with pytest.raises(BadInput, match="runs start with"):
        facts_of(project, "")


def test_the_command_answers_in_text_and_json(runs, mlops_nb_command):
    project, made = runs
    first, other = made["first"].id[:8], made["parameter"].id[:8]
    done = mlops_nb_command("diff", first, other, "--json", folder=project.layout.root)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["equal"], answer["before"]["id"]) == (False, made["first"].id)
    assert {"area": "parameter", "step": "", "name": "n", "before": 3, "after": 4} in answer["changes"]
    text = mlops_nb_command("diff", first, first, folder=project.layout.root)
    assert text.stdout.startswith(f"Runs {first} and {first} are equal")
    unknown = mlops_nb_command("diff", first, "zz", folder=project.layout.root)
    assert (unknown.returncode, "no run named 'zz'" in unknown.stderr) == (2, True)
