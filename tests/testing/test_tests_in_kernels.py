"""`%%test` and `%model` in real kernels, and as gates of a headless run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_nb.config import find_layout
from mlops_nb.project import Project

SETUP = "import pandas as pd\nlimit = 15"
LOAD = "flights = pd.DataFrame({'delay': [3.0, 40.0]})"
TEST = "%%test data --on flights\n\nworst = flights.delay.max()\nassert worst < limit"


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    def read(sql: str) -> list[dict[str, Any]]:
        with Project(find_layout(tmp_path)) as project:
            return project.registry.rows(sql)

    return read


def test_a_test_cell_in_a_notebook(start_kernel, write_notebook, read) -> None:
    path = write_notebook("%load_ext mlops_nb", SETUP, LOAD, TEST, TEST.replace("< limit", "> limit"))
    kernel = start_kernel(JPY_SESSION_NAME=str(path))
    for number, source in enumerate(("%load_ext mlops_nb", SETUP, LOAD)):
        assert kernel.run(source, f"c{number}").status == "ok"
    failed = kernel.run(TEST, "c3")
    assert (failed.status, failed.ename) == ("error", "GateBlocked")
    for words in ("nb.ipynb:cell (id c3), line 4: test test_flights failed", "4 | assert worst < limit", "40.0) < 15"):
        assert words in failed.evalue
    assert "site-packages" not in failed.traceback
    passed = kernel.run(TEST.replace("< limit", "> limit"), "c4")
    assert passed.status == "ok", passed.evalue
    assert passed.stdout.startswith("passed: test_flights_2 (data, on flights), 1 assert, ")
    assert kernel.run("worst", "c5").ename == "NameError"
    kernel.close()
    assert [(r["test"], r["outcome"], r["line"]) for r in read("select * from test_result order by created")] == [
        ("test_flights", "failed", 4),
        ("test_flights_2", "passed", 0),
    ]
    assert {row["files"] for row in read("select files from cell_run where cell_id in ('c3', 'c4')")} == {"[]"}


def test_a_model_in_a_notebook_is_traced_to_its_cells(start_kernel, write_notebook, mlops_nb_command, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("dep,late\n1,0\n2,0\n3,1\n4,1\n")
    cells = (
        "%load_ext mlops_nb",
        "import pandas as pd\nfrom sklearn.linear_model import LogisticRegression",
        "rows = pd.read_csv('rows.csv')",
        "unrelated = 1",
        "model = LogisticRegression().fit(rows[['dep']], rows.late)",
        "scores = {'accuracy': model.score(rows[['dep']], rows.late)}",
        "%model late model --metrics scores",
        "%%test model --on model\nassert model.coef_[0][0] > 0",
    )
    path = write_notebook(*cells)
    kernel = start_kernel(JPY_SESSION_NAME=str(path))
    for number, source in enumerate(cells):
        answer = kernel.run(source, f"c{number}")
        assert answer.status == "ok", answer.evalue
    kernel.close()
    shown = mlops_nb_command("model", "trace", "late", "--json")
    assert shown.returncode == 0, shown.stderr
    trace = json.loads(shown.stdout)
    assert [cell["cell_id"] for cell in trace["cells"]] == ["c1", "c2", "c4"]
    assert list(trace["data"]) == ["rows.csv"]
    assert trace["metrics"] == {"accuracy": 1.0}
    assert trace["gate"] == {"passed": True, "ok": ["test_model"], "blocked": {}, "warned": {}, "summary": "tests: 1 passed"}


PIPELINE = (
    "%load_ext mlops_nb",
    SETUP,
    ("worst_delay = 10", ("parameters",)),
    "%%step load\nflights = pd.DataFrame({'delay': [3.0, float(worst_delay)]})",
    TEST,
    "%%step train\nmodel = {'mean': flights.delay.mean()}\nscore = model['mean']\n%model late model --metrics score",
    "%%test model --name sound\nassert score < 10 and model",
)


def test_tests_are_gates_of_a_headless_run_and_run_again_after_it(write_notebook, mlops_nb_command, read) -> None:
    write_notebook(*PIPELINE)
    passed = mlops_nb_command("run", "nb.ipynb")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    again = mlops_nb_command("test", "--json")
    assert again.returncode == 0, again.stdout
    assert [(t["name"], t["outcome"]) for t in json.loads(again.stdout)] == [("sound", "passed"), ("test_flights", "passed")]
    trace = json.loads(mlops_nb_command("model", "trace", "late", "--json").stdout)
    assert trace["gate"]["summary"] == "tests: 2 passed"
    assert [step["component"] for step in trace["steps"]] == ["load", "train"]
    assert trace["manifest"]["parameters"] == {"worst_delay": 10}
    assert "nb.ipynb" not in trace["data"]

    failed = mlops_nb_command("run", "nb.ipynb", "-p", "worst_delay=99")
    assert failed.returncode != 0
    assert "nb.ipynb:cell 5 (id c4)" in failed.stderr + failed.stdout
    (last, *_) = read("select * from test_result order by created desc, rowid desc")
    assert (last["test"], last["outcome"], last["line"]) == ("test_flights", "failed", 4)
    steps = read("select component, status from step_run order by started desc, position desc limit 2")
    assert {row["component"]: row["status"] for row in steps} == {"load": "failed", "train": "not run"}
    assert read("select count(*) as n from test_case")[0]["n"] == 2
