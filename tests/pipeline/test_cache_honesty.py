"""What is skipped is what a run would give again: each change that may matter is noticed, those that cannot matter are not."""
# ruff: noqa: E501 (a case is read along its line)

import json
import os

import nbformat
import pytest

from mlops_nb.errors import BadInput
from mlops_nb.pipeline.plan import Selection
from mlops_nb.project import Project
from mlops_nb.project.running import environment_key

CELLS = {
    "imports": "import os\nimport json\nimport sys\nsys.path.append('lib')\nimport helper\nimport far",
    "parameters": ("n = 2\ntop = 10", ("parameters",)),
    "prepare": "%%step prepare\nrows = [helper.scaled(v) for v in json.load(open('data.json'))][:n]",
    "write": "%%step prepare\nwith open('handed.json', 'w') as file:\n    json.dump(rows, file)",
    "read": "%%step read\nhanded = json.load(open('handed.json'))\ncity = os.environ.get('CITY', '')",
    "view": "%%feature view --entity k --timestamp t --ttl 3h\nimport pandas as pd\npd.DataFrame({'k': [1], 't': pd.to_datetime(['2013-01-01']), 'v': [sum(rows)]})",
    "check": "%%test data --on handed\nassert len(handed) <= top",
    "total": "%%step total\ntotal = sum(handed) + len(view) + len(city) + far.BASE\nprint(total)",
}


pytestmark = pytest.mark.usefixtures("ran")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A project with data, a helper module that imports another, and its notebook; `home(name=source)` writes it with other cells."""
    tmp_path = tmp_path_factory.mktemp("cached")
    (tmp_path / ".git").mkdir()
    (tmp_path / "data.json").write_text("[1, 2, 3]")
    (tmp_path / "helper.py").write_text("import deeper\n\n\ndef scaled(value):\n    return value * deeper.FACTOR\n")
    (tmp_path / "deeper.py").write_text("FACTOR = 2\n")
    (tmp_path / "lib" / "inside").mkdir(parents=True)
    (tmp_path / "lib" / "far.py").write_text("import importlib\n\nBASE = importlib.import_module('inside.core').BASE\n")
    (tmp_path / "lib" / "inside" / "core.py").write_text("BASE = 0\n")

    def write(order=tuple(CELLS), prose=(), **changed):
        notebook = nbformat.v4.new_notebook()
        for name in order:
            cell = changed.get(name, CELLS[name])
            source, tags = (cell, ()) if isinstance(cell, str) else cell
            notebook.cells += [nbformat.v4.new_markdown_cell(text, id=f"{name}-{number}") for number, text in enumerate(prose)]
            notebook.cells.append(nbformat.v4.new_code_cell(source, id=name, metadata={"tags": list(tags)} if tags else {}))
        nbformat.write(notebook, tmp_path / "nb.ipynb")
        return tmp_path / "nb.ipynb"

    write.root = tmp_path
    return write


@pytest.fixture(scope="module")
def project(home):
    opened = Project.find(home.root, environ={**os.environ, "CITY": "Berlin"})
    yield opened
    opened.close()


@pytest.fixture
def ran(home, project):
    """The pipeline of the notebook as it stands in CELLS, run."""
    result = project.pipelines.run(home())
    assert result.status == "passed", result.error
    assert set(planned(project, home.root / "nb.ipynb").values()) == {"skip"}
    return result


def planned(project, notebook, **given):
    return {step.component: step.action for step in project.pipelines.plan(notebook, **given)}


def first_to_run(project, notebook, **given):
    return next((name for name, action in planned(project, notebook, **given).items() if action == "run"), "")


def test_all_that_may_change_a_result_is_noticed(home, project, monkeypatch):
    notebook = home.root / "nb.ipynb"

    def edited(name, text):
        path = home.root / name
        old = path.read_text()
        path.write_text(text)
        found = first_to_run(project, notebook)
        path.write_text(old)
        return found

    assert edited("data.json", "[1, 2, 4]") == "prepare"
    assert edited("helper.py", "import deeper\n\n\ndef scaled(value):\n    return value + deeper.FACTOR\n") == "prepare"
    assert edited("deeper.py", "FACTOR = 3\n") == "prepare"
    assert edited("lib/far.py", "BASE = 1\n") == "total"
    assert edited("lib/inside/core.py", "BASE = 1\n") == "total"
    assert edited("handed.json", "[7]") == "prepare"
    assert first_to_run(project, notebook) == ""

    for changed, step in [
        ({"parameters": ("n = 3\ntop = 10", ("parameters",))}, "prepare"),
        ({"parameters": ("n = 2\ntop = 11", ("parameters",))}, "read"),
        ({"check": CELLS["check"] + "\nassert handed"}, "read"),
        ({"check": CELLS["check"].replace("--on", "--severity warn --on")}, "read"),
        ({"view": CELLS["view"].replace("3h", "4h")}, "view"),
        ({"view": CELLS["view"].replace("--entity k", "--entity k --owner me")}, "view"),
        ({"total": CELLS["total"].replace("len(view)", "len(view) * 2")}, "total"),
    ]:
        assert first_to_run(project, home(**changed)) == step, changed
    home()
    assert first_to_run(project, notebook, parameters={"n": 1}) == "prepare"
    monkeypatch.setattr("mlops_nb.project.pipelines.lock_text", lambda: "other packages")
    assert first_to_run(project, notebook) == "prepare"


def test_an_environment_variable_that_a_step_read_counts(home):
    other = Project.find(home.root, environ={**os.environ, "CITY": "Ulm"})
    assert planned(other, home.root / "nb.ipynb") == {"prepare": "skip", "view": "skip", "read": "run", "total": "run"}
    other.close()


@pytest.mark.parametrize("name", ["rows", "view"])
def test_a_damaged_artifact_is_made_again(home, project, ran, name):
    step = next(step for step in ran.steps if name in step.outputs)
    path = project.layout.artifacts / step.outputs[name].digest[:2] / step.outputs[name].digest
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert first_to_run(project, home.root / "nb.ipynb") == step.component


def test_what_cannot_change_a_result_is_not_noticed(home, project):
    swapped = ("parameters", "imports", "prepare", "write", "read", "view", "check", "total")
    spaced = CELLS["prepare"].replace("rows = [", "# the rows\n\nrows   =  [")
    for changed in [
        {"prepare": spaced},
        {"prose": ("# A title", "Some words.")},
        {"order": swapped},
        {"total": (CELLS["total"].removeprefix("%%step total\n"), ("step:total",))},
        {"imports": CELLS["imports"] + "\nimport math  # for nobody"},
        {"check": CELLS["check"] + "  # enough"},
    ]:
        assert set(planned(project, home(**changed)).values()) == {"skip"}, changed


def test_a_file_handed_on_is_the_one_of_these_parameters(home, project):
    """Back at old parameters, the file between the steps is still that of the other ones."""
    notebook = home.root / "nb.ipynb"
    ended = [json.loads((home.root / "handed.json").read_text())]
    for parameters in ({"n": 3}, {}, {"n": 3}):
        result = project.pipelines.run(notebook, parameters)
        handed = next(step.outputs["handed"] for step in result.steps if step.component == "read")
        ended.append(project.artifacts.get(handed))
    assert ended == [[2, 4], [2, 4, 6], [2, 4], [2, 4, 6]]


def test_capture_before_or_after_runs_nothing_again(home, project):
    notebook = home.root / "nb.ipynb"
    for _ in range(2):
        assert project.pipelines.capture(notebook).status == "passed"
        assert {step.status for step in project.pipelines.run(notebook).steps} == {"skipped"}
    assert {step.status for step in project.pipelines.run("nb").steps} == {"skipped"}


def test_python_itself_counts():
    assert environment_key("same") == environment_key("same") != environment_key("other")


def test_a_part_of_the_pipeline_runs_when_asked(home, project):
    notebook = home.root / "nb.ipynb"

    def run(**selected):
        result = project.pipelines.run(notebook, selection=Selection(**selected))
        assert result.status == "passed", result.error
        return {step.component: step.status for step in result.steps}

    assert run(only="total") == {"view": "skipped", "prepare": "skipped", "read": "skipped", "total": "ran"}
    assert run(start="read") == {"prepare": "skipped", "view": "skipped", "read": "ran", "total": "ran"}
    assert run(until="prepare") == {"prepare": "skipped", "view": "not run", "read": "not run", "total": "not run"}
    assert set(run(force=True).values()) == {"ran"}
    changed = home(view=CELLS["view"].replace("3h", "5h"))
    with pytest.raises(BadInput, match="step view, on which total stands, is not up to date"):
        project.pipelines.run(changed, selection=Selection(only="total"))
    shown = project.pipelines.show(project.pipelines.runs(1)[0][1].id)
    assert shown.status == "failed"
    assert {step.component: step.status for step in shown.steps}["total"] == "not run"
