"""A model that a pipeline's run made: the pipeline runs again elsewhere, and the model is compared."""

import os

import pytest

from mlops_nb.project import Project
from mlops_nb.project.verify import verify

LOAD = "%%step load\nrows = pd.read_csv('in.csv')[:n]"
TRAIN = "%%step train\nmodel = LogisticRegression().fit(rows[['a']], rows.b)\nrows.to_csv('used.csv', index=False)"
IMPORTS = "import os\nimport pandas as pd\nfrom sklearn.linear_model import LogisticRegression"


@pytest.fixture
def project(tmp_path, write_notebook):
    """A pipeline that ran once with n=5."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "in.csv").write_text("a,b\n1,0\n2,0\n3,1\n4,1\n5,1\n6,0\n")
    write_notebook(IMPORTS, ("n = 4", ("parameters",)), LOAD, TRAIN, ("%model late model", ("step:train",)), name="late.ipynb")
    with Project.find(tmp_path, environ=dict(os.environ)) as opened:
        assert opened.pipelines.run(tmp_path / "late.ipynb", {"n": 5}).status == "passed"
        yield opened


def test_the_pipeline_runs_again_with_its_parameters_and_the_differences_are_named(project, tmp_path):
    used = tmp_path / "used.csv"
    used.write_text("mine")
    found = verify(project, "late@1")
    assert (found.verdict, found.error) == ("identical", ""), found
    compared = [(check.cell_id, check.name) for check in found.checks if check.compared]
    assert compared == [
        ("load", "rows"),
        ("train", "model"),
        ("train", "file:used.csv"),
    ]
    assert not any(check.differs for check in found.checks)
    assert used.read_text() == "mine"
    assert len(project.models.list()) == 1
    (tmp_path / "in.csv").write_text("a,b\n1,0\n2,1\n3,1\n4,1\n5,0\n6,0\n")
    changed = verify(project, "late")
    assert changed.verdict == "different"
    assert (changed.first.cell_id, changed.first.name) == ("load", "rows")
    assert changed.notes[0].startswith("file changed since: in.csv")
    assert (tmp_path / changed.notebook).is_dir()
