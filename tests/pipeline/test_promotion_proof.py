"""`promote --verify`: the pipeline is proved equal to the notebook's own run, or the cell is named where it is not."""

import json
import os

import pytest

from mlops_nb.errors import PromotionRefused
from mlops_nb.project import Project
from mlops_nb.project.proving import prove

POINT = "class Point:\n    def __init__(self, *parts): self.parts = parts"


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".git").mkdir()
    with Project.find(tmp_path, environ=dict(os.environ)) as opened:
        yield opened


def verdicts(proof):
    return {(c.boundary.name, c.boundary.taker): c.verdict for c in proof.compared}


def events(project):
    rows = project.registry.rows("select verb, payload from event where verb in ('proved', 'not proved') order by rowid")
    return [(row["verb"], json.loads(row["payload"])) for row in rows]


def test_equal_values_prove_it_and_unchanged_notebooks_are_not_run_again(project, write_notebook):
    notebook = write_notebook(
        "import pandas as pd",
        "%%step make\nframe = pd.DataFrame({'v': [1.0, float('nan')]})\nnames = ['a', 'b']",
        "frame.head()",
        "%%step use\nframe['w'] = frame.v * 2",
        "%%step show\nprint(frame, names)",
    )
    first = prove(project, notebook)
    assert verdicts(first) == {("frame", "use"): "identical", ("names", "show"): "identical", ("frame", "show"): "identical"}
    assert first.proved
    again = prove(project, notebook)
    assert (again.proved, again.notebook_run) == (True, first.notebook_run)
    (project.layout.runs / first.notebook_run / "witness.seen.jsonl").unlink()
    assert prove(project, notebook).notebook_run != first.notebook_run
    assert [verb for verb, _ in events(project)] == ["proved"] * 3
    assert events(project)[0][1]["values"] == 3


def test_values_seen_in_a_plain_capture_are_not_believed_to_be_kept(project, write_notebook):
    notebook = write_notebook("%%step a\nx = 1", "%%step b\nprint(x)")
    captured = project.pipelines.capture(notebook)
    proof = prove(project, notebook)
    assert proof.proved
    assert proof.notebook_run != captured.id


def test_a_value_that_differs_is_named_with_its_cell(project, write_notebook, mlops_nb_command):
    write_notebook(
        "import random, time",
        "%%step steady\nx = [1]",
        "%%step draw\ndrawn = random.random()",
        "%%step again\nother = random.random()",
        "%%step show\nprint(x, drawn, other)",
    )
    answer = mlops_nb_command("promote", "nb.ipynb", "--verify", "--json")
    assert answer.returncode == 1, answer.stderr
    proof = json.loads(answer.stdout)["proof"]
    found = {value["name"]: value["verdict"] for value in proof["values"]}
    assert found == {"x": "identical", "drawn": "identical", "other": "different"}
    assert proof["proved"] is False
    shown = mlops_nb_command("promote", "nb.ipynb", "--verify")
    assert shown.returncode == 1
    assert "not proved equal to the notebook: 2 of 3 boundary values equal" in shown.stdout
    assert "nb.ipynb:cell 5 (id c4): `other` of step again differs" in shown.stdout
    assert events(project)[-1][1]["first"] == {"name": "other", "where": "nb.ipynb:cell 5 (id c4)", "verdict": "different"}


def test_pickles_are_compared_by_what_they_hold(project, write_notebook):
    notebook = write_notebook(
        POINT,
        "import time",
        "%%step make\nword = 'abc'",
        "%%step join\npoint = Point(word, 'abc')\nfar = Point(time.time() % 1000)\nplain = 1.0 + time.time_ns() % 1000 * 1e-14\nnear = Point(plain)",
        "%%step show\nprint(point, near, far, plain)",
    )
    proof = prove(project, notebook)
    compared = {c.boundary.name: c for c in proof.compared}
    assert compared["point"].notebook != compared["point"].pipeline, "one text in the notebook, two in the pipeline"
    assert {name: c.verdict for name, c in compared.items()} == {
        "word": "identical",
        "point": "equal within tolerance",
        "near": "equal within tolerance",
        "far": "different",
        "plain": "different",
    }
    assert proof.first.boundary.where == "nb.ipynb:cell 5 (id c4)"
    assert verdicts(prove(project, notebook, rtol=0.0))["near", "show"] == "different"


def test_files_handed_over_are_compared_too(project, write_notebook):
    notebook = write_notebook(
        "import time\nfrom pathlib import Path",
        "%%step write\nPath('same.txt').write_text('1')\nPath('other.txt').write_text(str(time.time()))",
        "%%step read\nsame, other = (Path(name).read_text() for name in ('same.txt', 'other.txt'))",
    )
    proof = prove(project, notebook)
    assert verdicts(proof) == {("file:same.txt", "read"): "identical", ("file:other.txt", "read"): "different"}
    assert (proof.proved, proof.first.boundary.where) == (False, "nb.ipynb:cell 3 (id c2)")


def test_what_only_the_run_shows_is_compared_as_well(project, write_notebook):
    notebook = write_notebook("%%step a\nxs = [1]\nname = 'x' + 's'", "%%step b\nprint(eval(name))")
    assert ("xs", "b") not in {(n, c.name) for c in project.pipelines.build(notebook).components for n in c.inputs}
    assert verdicts(prove(project, notebook)) == {("xs", "b"): "identical", ("name", "b"): "identical"}


def test_models_and_features_that_nobody_takes_are_compared(project, write_notebook):
    notebook = write_notebook(
        "%load_ext mlops_nb\nimport pandas as pd",
        "%%feature sizes --entity k --timestamp t\npd.DataFrame({'k': ['a'], 't': pd.to_datetime(['2013-01-01']), 'v': [1.5]})",
        "%%step fit\nmodel = {'weight': 2.0}\n%model heavy model",
    )
    assert verdicts(prove(project, notebook)) == {("sizes", ""): "identical", ("model", ""): "identical"}


BROKEN = [
    ("the notebook fails", ("%%step a\nx = 1", "1 / 0", "%%step b\nprint(x)"), "nb.ipynb:cell 2 (id c1): ZeroDivisionError"),
    ("the pipeline fails", ("%%step a\nx = (i for i in [1])", "%%step b\nprint(x)"), "cannot be stored"),
]


@pytest.mark.parametrize(("sources", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_nothing_half_done_is_proved(project, write_notebook, sources, message):
    proof = prove(project, write_notebook(*sources))
    assert not proof.proved
    assert message in proof.error
    assert [verb for verb, _ in events(project)] == ["not proved"]


def test_a_cell_that_is_not_run_leaves_its_value_unproved(project, write_notebook):
    notebook = write_notebook("%%step a\nx = [1]", ("%%step b\ny = x", ("skip-execution",)))
    assert not prove(project, notebook).proved


def test_what_the_run_shows_may_refuse_the_promotion(project, write_notebook):
    notebook = write_notebook("%%step a\nx = [1]", "get_ipython().user_ns['x' + ''].append(2)", "%%step b\nprint(x)")
    with pytest.raises(PromotionRefused, match=r"nb\.ipynb:cell 2 \(id c1\)"):
        prove(project, notebook)


def test_refusal_comes_before_any_run(project, write_notebook):
    with pytest.raises(PromotionRefused, match="reads `nowhere`, which no cell makes"):
        prove(project, write_notebook("%%step a\nprint(nowhere)"))
    assert project.registry.rows("select * from run") == []


def test_verify_and_dry_run_exclude_each_other(write_notebook, mlops_nb_command):
    write_notebook("%%step a\nx = 1")
    answer = mlops_nb_command("promote", "nb.ipynb", "--verify", "--dry-run")
    assert answer.returncode == 2
    assert "give one of them" in answer.stderr
