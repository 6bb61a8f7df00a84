"""Sessions recorded into a real registry, and read back as a notebook's state."""

import json
import subprocess

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher
from mlops_nb.cli import cli
from mlops_nb.errors import NotebookError, NotFound
from mlops_nb.project import Project


@pytest.fixture
def project(tmp_path):
    (tmp_path / ".git").mkdir()
    with Project.find(tmp_path, environ={"MY_API_TOKEN": "canary-9f8e7d6c"}) as found:
        yield found


@pytest.fixture
def start(project):
    """Start a kernel's session on nb.ipynb; answers with a function that runs a cell."""
    watchers = []

    def session(**options):
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        recorder = project.notebooks.start_session(notebook="nb.ipynb", **options)
        watcher = Watcher(shell, recorder.on_run, notebook=recorder.notebook, session_id=recorder.id, layout_root=project.layout.root)
        watcher.start()
        watchers.append(watcher)

        def run(source, cell_id=None, tags=()):
            return shell.run_cell(source, store_history=True, cell_id=cell_id, cell_meta={"tags": list(tags)})

        run.recorder, run.watcher = recorder, watcher
        return run

    yield session
    for watcher in watchers:
        watcher.stop()
    InteractiveShell.clear_instance()


def states(project, path):
    return {view.cell_id: view.state for view in project.notebooks.view(path).cells}


def test_runs_come_back_as_they_were(project, start):
    run = start(kernel_id="k1")
    run("x = [1]", "c0", ("step:load",))
    run("y = x\nwith open('/dev/null') as f: pass", "c1")
    run("1 / 0", "c2")
    assert project.notebooks.runs_of(project.layout.root / "nb.ipynb") == tuple(run.watcher.history.runs)
    assert set(project.notebooks.edges_of(project.layout.root / "nb.ipynb")) == set(run.watcher.history.edges)


def test_the_session_and_what_surrounds_it(project, start):
    run = start(kernel_id="k1", run_id="r1")
    project.notebooks.settle(run.recorder.id)
    session = project.registry.rows("select * from session")[0]
    assert (session["id"], session["notebook"], session["kernel_id"], session["run_id"]) == (run.recorder.id, "nb.ipynb", "k1", "r1")
    around = project.registry.rows("select * from session_environment")[0]
    assert around["session_id"] == run.recorder.id
    assert "ipython==" in around["lock"]


def test_the_commit_and_the_uncommitted_part(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    (tmp_path / "a.py").write_text("x = 2\n")
    with Project.find(tmp_path) as project:
        project.notebooks.settle(project.notebooks.start_session(notebook="nb.ipynb").id)
        row = project.registry.rows("select * from session_environment")[0]
    assert len(row["commit_id"]) == 40
    assert row["dirty"] == 1
    assert "+x = 2" in row["diff"]
    assert json.loads(row["untracked"]) == []


def test_the_states_of_a_files_cells(project, start, write_notebook):
    path = write_notebook("x = 1", "y = x", "z = y", "1 / 0", "w = 1", "", ("late = 1", ("step:late",)))
    run = start()
    for number, source in enumerate(["x = 1", "y = x", "z = y", "1 / 0", "w = 0"]):
        run(source, f"c{number}")
    assert states(project, path) == {"c0": "fresh", "c1": "fresh", "c2": "fresh", "c3": "failed", "c4": "edited", "c6": "not run"}
    run("x = 2", "c0")
    assert states(project, path) == {"c0": "edited", "c1": "stale", "c2": "stale", "c3": "failed", "c4": "edited", "c6": "not run"}
    views = {view.cell_id: view for view in project.notebooks.view(path).cells}
    assert views["c1"].reason == "`x` rewritten by [6] after this ran"
    assert views["c4"].reason == "changed since it ran as [5]"
    assert views["c6"].step == "late"


def test_states_survive_the_kernel_and_a_new_session_joins(project, start, write_notebook):
    path = write_notebook("x = 1", "y = x")
    run = start()
    run("x = 1", "c0")
    run("y = x", "c1")
    run.watcher.stop()
    again = start()
    assert states(project, path) == {"c0": "fresh", "c1": "fresh"}
    again("x = 1", "c0")
    assert states(project, path)["c1"] == "stale"
    again("y = x", "c1")
    assert states(project, path) == {"c0": "fresh", "c1": "fresh"}


def test_cells_sent_without_ids_are_found_by_their_source(project, start, write_notebook):
    path = write_notebook("x = 1", "y = x")
    run = start()
    run("x = 1")
    run("y = x")
    views = project.notebooks.view(path).cells
    assert [(v.cell_id, v.state, v.upstream) for v in views] == [("c0", "fresh", ()), ("c1", "fresh", ("c0",))]


def test_a_file_that_is_gone_still_has_its_runs(project, start):
    run = start()
    run("x = 1", "c0")
    assert states(project, project.layout.root / "nb.ipynb") == {"c0": "fresh"}


def test_a_malformed_file_is_refused(project, tmp_path):
    (tmp_path / "nb.ipynb").write_text("{")
    with pytest.raises(NotebookError, match=r"nb\.ipynb"):
        project.notebooks.view(tmp_path / "nb.ipynb")


def test_no_secret_is_recorded(project, start):
    run = start()
    run("token = 'canary-9f8e7d6c'", "c0")
    run("raise ValueError(token)", "c1")
    project.registry.flush()
    kept = b"".join(file.read_bytes() for file in project.layout.home.rglob("*") if file.is_file())
    assert b"canary-9f8e7d6c" not in kept
    assert b"token = " in kept
    assert "canary" not in str(project.notebooks.runs_of(project.layout.root / "nb.ipynb"))


def test_one_source_run_twice_is_kept_once(project, start):
    run = start()
    run("x = 1", "c0")
    run("x = 1", "c0")
    assert len(project.registry.rows("select * from source")) == 1
    assert len(project.registry.rows("select * from cell_run")) == 2


def command(project, *arguments):
    from mlops_nb.cli import Session

    return cli.main([*arguments], standalone_mode=False, obj=Session(project=project))


def test_the_command_shows_cells_with_their_states(project, start, write_notebook):
    path = write_notebook("x = 1", "y = x")
    run = start()
    run("x = 1", "c0")
    report = command(project, "notebook", str(path))
    assert report.title == "nb.ipynb: 1 fresh, 1 not run"
    assert "y = x" in report.text(200)
    cells = json.loads(report.json())["cells"]
    assert [(c["cell_id"], c["state"]) for c in cells] == [("c0", "fresh"), ("c1", "not run")]


def test_the_command_names_near_notebooks(project, write_notebook, tmp_path):
    write_notebook("x = 1", name="flights.ipynb")
    with pytest.raises(NotFound, match=r"flights\.ipynb"):
        command(project, "notebook", str(tmp_path / "flihgts.ipynb"))
