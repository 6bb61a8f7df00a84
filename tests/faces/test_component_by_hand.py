"""A component's notebook opened by hand: its cells work, and the registry does not take them for another notebook's."""

import json
import os

import pytest

from mlops_nb.project import Project

CELLS = (
    "import pandas as pd",
    "%%step load\nreadings = pd.DataFrame({'station': ['a', 'b'], 'at': pd.to_datetime(['2013-01-01', '2013-01-02']), 'wind': [1.0, 2.0]})",
    ("%%feature wind --entity station --timestamp at\nreadings", ("step:all",)),
    ("%%test data --on wind\nassert len(wind) == 2", ("step:all",)),
    ("mean = float(wind.wind.mean())\n%model mean_wind mean --metrics mean=mean", ("step:all",)),
    "%%step report\nprint(mean)",
)
TABLES = ("test_case", "test_result", "feature_view", "materialization", "model_version")


@pytest.fixture
def project(tmp_path, write_notebook):
    (tmp_path / ".git").mkdir()
    path = write_notebook(*CELLS, name="windy.ipynb")
    with Project.find(tmp_path, environ=dict(os.environ)) as project:
        result = project.pipelines.run(path)
        assert result.status == "passed", result.error
        yield project


def counts(project):
    return {table: project.registry.rows(f"select count(*) as n from {table}")[0]["n"] for table in TABLES}


def test_its_cells_run_and_nothing_is_registered_for_them(project, start_kernel):
    before, definition = counts(project), project.features.file("wind").read_bytes() if project.features.file("wind").exists() else b""
    assert all(before.values())
    component = project.pipelines.folder("windy") / "all.ipynb"
    kernel = start_kernel(component.parent, JPY_SESSION_NAME=str(component))
    cells = json.loads(component.read_text())["cells"]
    answers = {cell["id"]: kernel.run("".join(cell["source"]), cell_id=cell["id"], tags=tuple(cell["metadata"].get("tags", ()))) for cell in cells}
    assert {answer.status for answer in answers.values()} == {"ok"}, answers
    assert "station" in answers["c2"].text
    assert answers["c3"].stdout.startswith("passed: test_wind")
    assert "mean_wind: not registered" in answers["c4"].text
    kernel.run("%unload_ext mlops_nb")
    assert counts(project) == before
    assert (project.features.file("wind").read_bytes() if project.features.file("wind").exists() else b"") == definition
    assert [checked.result.outcome for checked in project.tests.run()] == ["passed"]


def test_a_notebook_beside_the_components_is_one_of_its_own(project, start_kernel):
    mine = project.pipelines.folder("windy") / "mine.ipynb"
    kernel = start_kernel(mine.parent, JPY_SESSION_NAME=str(mine))
    kernel.run("%load_ext mlops_nb", "m0")
    assert kernel.run("%%test data --name two\nassert 1 + 1 == 2", "m1").status == "ok"
    kernel.run("%unload_ext mlops_nb")
    assert project.registry.rows("select notebook from test_case where name = 'two'") == [{"notebook": "pipelines/windy/mine.ipynb"}]
