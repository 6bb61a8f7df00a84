"""`mlops-nb status` says what stands, not what once was."""

import os

from mlops_nb.project import Project
from mlops_nb.project.overview import overview


def test_a_test_taken_out_of_its_notebook_is_no_longer_counted(tmp_path, write_notebook):
    (tmp_path / ".git").mkdir()
    kept = "%%test data --name kept\nassert x == 1"
    path = write_notebook("%%step load\nx = 1", kept, "%%test data --name dropped\nassert x < 2")
    with Project.find(tmp_path, environ=dict(os.environ)) as project:
        assert project.pipelines.run(path).status == "passed"
        assert [test["name"] for test in overview(project).data["tests"]] == ["dropped", "kept"]
        assert overview(project).values["tests"] == "2 passed, 0 failed"
        write_notebook("%%step load\nx = 1", kept)
        assert [test["name"] for test in overview(project).data["tests"]] == ["kept"]
        assert overview(project).values["tests"] == "1 passed, 0 failed"
