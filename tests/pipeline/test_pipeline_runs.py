"""Whole runs in real kernels: what runs, what is skipped, how it stops, and how it goes on."""
# ruff: noqa: E501 (a case is read along its line)

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_nb.notebook.cells import plain_python
from mlops_nb.project import Project

LOAD = "%%step load\nrows = json.loads(pathlib.Path('data.json').read_text())[:n]"
DOUBLE = "%%step double\ndoubled = [row * scale for row in rows]"
CHECK = "%%test data --on doubled\nassert len(doubled) == len(rows)"
TOTAL = "%%step total\ntotal = sum(doubled)\nprint(total)"


@pytest.fixture
def home(tmp_path, write_notebook):
    """A project with data.json; `home(double=...)` writes its notebook with other cells."""
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "data.json").write_text("[1, 2, 3, 40]")

    def write(*, load=LOAD, double=DOUBLE, check=CHECK, total=TOTAL):
        return write_notebook("import json, pathlib", ("n = 3\nscale = 2", ("parameters",)), load, double, check, total, folder=folder)

    write.root = tmp_path
    write.data = folder / "data.json"
    return write


@pytest.fixture
def project(home):
    opened = Project.find(home.root, environ=dict(os.environ))
    yield opened
    opened.close()


def statuses(result):
    return {step.component: step.status for step in result.steps}


ALL = ("load", "double", "total")


def every(status):
    return dict.fromkeys(ALL, status)


def outputs(result):
    return {name: ref.digest for step in result.steps for name, ref in step.outputs.items()}


def plain_run(notebook, folder, monkeypatch):
    """The namespace after the notebook's cells ran one after the other in one namespace."""
    monkeypatch.chdir(folder)
    scope = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        exec(plain_python("".join(cell["source"])), scope)
    return scope


def test_a_run_gives_what_the_notebook_gives_and_is_not_repeated(home, project, monkeypatch):
    notebook = home()
    first = project.pipelines.run(notebook)
    assert (first.status, statuses(first)) == ("passed", every("ran"))
    scope = plain_run(notebook, home.data.parent, monkeypatch)
    assert outputs(first) == {name: project.artifacts.digest(scope[name], name=name) for name in ("rows", "doubled")}

    second = project.pipelines.run(notebook)
    assert statuses(second) == every("skipped")
    assert {step.reason for step in second.steps} == {f"unchanged since run {first.id[:8]}"}
    assert outputs(second) == outputs(first)
    assert second.seconds < 2

    executed = json.loads((home.root / first.steps[2].notebook).read_text())["cells"]
    assert [cell["id"] for cell in executed] == ["mlops-nb-load", "c5", "mlops-nb-save"]
    assert executed[1]["outputs"][0]["text"] in ("12\n", ["12\n"])


def test_only_what_a_change_reaches_runs_again(home, project):
    notebook = home()
    first = project.pipelines.run(notebook)

    changed = project.pipelines.run(notebook, {"scale": 3})
    assert statuses(changed) == {"load": "skipped", "double": "ran", "total": "ran"}
    assert changed.steps[1].reason == "parameter scale changed: 2 -> 3"
    assert changed.steps[2].reason == "input `doubled` changed"
    assert statuses(project.pipelines.run(notebook, {"scale": 3})) == every("skipped")
    assert statuses(project.pipelines.run(notebook)) == every("skipped")

    home(double=DOUBLE.replace("rows]", "rows]  # a comment"))
    assert statuses(project.pipelines.run(notebook)) == every("skipped")

    home.data.write_text("[1, 2, 3, 41]")
    cut_off = project.pipelines.run(notebook)
    assert statuses(cut_off) == {**every("skipped"), "load": "ran"}
    assert cut_off.steps[0].reason == "file notebooks/data.json changed"

    path = project.layout.artifacts / outputs(first)["rows"][:2] / outputs(first)["rows"]
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    planned = project.pipelines.plan(notebook)
    assert planned[0].reason == "output `rows` is missing or damaged"
    mended = project.pipelines.run(notebook)
    assert statuses(mended) == {**every("skipped"), "load": "ran"}
    assert project.artifacts.get(mended.steps[0].outputs["rows"]) == [1, 2, 3]


FAILURES = [
    ("a broken cell", {"double": "%%step double\ndoubled = [row * scale for row in rows]\n1 / 0"}, "nb.ipynb:cell 4 (id c3)", "ZeroDivisionError"),
    ("a killed kernel", {"double": "%%step double\nimport os\ndoubled = rows\nos.kill(os.getpid(), 9)"}, "nb.ipynb:cell 4 (id c3)", "the kernel died (SIGKILL"),
    ("a failing data test", {"check": CHECK + "\nassert doubled[0] > 100"}, "nb.ipynb:cell 5 (id c4)", "doubled[0] > 100"),
    ("an output that nothing can store", {"double": "%%step double\ndoubled = (row for row in rows)", "check": "1"}, "double.ipynb:save cell", "doubled"),
    ("an exit", {"double": "%%step double\ndoubled = rows\nraise SystemExit(0)"}, "nb.ipynb:cell 4 (id c3)", "SystemExit"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "where", "error"), [f[1:] for f in FAILURES], ids=[f[0] for f in FAILURES])
def test_a_run_stops_at_what_fails_and_goes_on_from_there(home, project, cells, where, error):
    notebook = home(**cells)
    failed = project.pipelines.run(notebook)
    assert failed.status == "failed"
    assert statuses(failed) == {"load": "ran", "double": "failed", "total": "not run"}
    assert failed.error.startswith(f"{where}: in step double: ")
    assert error in failed.error
    kept = home.root / failed.steps[1].notebook
    assert kept.name in failed.error
    assert json.loads(kept.read_text())["nbformat"] == 4
    assert project.pipelines.show(failed.id[:10]) == failed

    home()
    mended = project.pipelines.run(notebook)
    assert statuses(mended) == {"load": "skipped", "double": "ran", "total": "ran"}


def test_a_step_that_fails_for_a_passing_reason_is_run_again(home, project):
    notebook = home(double="%%step double\nimport pathlib\nassert pathlib.Path('ready').exists()\ndoubled = rows")
    failed = project.pipelines.run(notebook)
    assert failed.status == "failed"
    assert project.pipelines.plan(notebook)[1].reason == f"failed in run {failed.id[:8]}"
    (home.data.parent / "ready").touch()
    assert project.pipelines.run(notebook).status == "passed"


def test_an_environment_variable_that_a_step_read_counts(home, project):
    notebook = home(double="%%step double\nimport os\ndoubled = [os.environ.get('CITY', '')] + rows[1:]", total="%%step total\ntotal = doubled")
    project.environ["CITY"] = "Berlin"
    first = project.pipelines.run(notebook)
    assert first.status == "passed", first.error
    assert statuses(project.pipelines.run(notebook)) == every("skipped")
    project.environ["CITY"] = "Paris"
    again = project.pipelines.run(notebook)
    assert again.steps[1].reason == "environment variable CITY changed"
    assert statuses(again) == {**every("ran"), "load": "skipped"}


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


WAITING = "%%step double\nimport os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\ndoubled = rows"


# A shell starts its background jobs, and so these tests perhaps, with Ctrl-C ignored; children inherit that.
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def started(notebook):
    command = [sys.executable, "-c", HEED + "from mlops_nb.cli import main; main()", "run", str(notebook)]
    driver = subprocess.Popen(command, cwd=notebook.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid = notebook.parent / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    return driver, int(pid.read_text())


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_an_interrupted_run_kills_its_kernel_and_is_recorded(home, project, sign):
    driver, kernel = started(home(double=WAITING))
    driver.send_signal(sign)
    _, err = driver.communicate(timeout=30)
    assert (driver.returncode, err.strip()) == (130, "interrupted")
    wait_for(lambda: not is_running(kernel), 10)
    result = project.pipelines.show(project.pipelines.runs()[0][1].id)
    assert result.status == "interrupted"
    assert statuses(result) == {"load": "ran", "double": "interrupted", "total": "not run"}


def test_the_next_run_goes_on_where_a_killed_driver_stopped(home, project):
    driver, kernel = started(home(double=WAITING))
    driver.kill()
    driver.communicate(timeout=30)
    os.killpg(os.getpgid(kernel), signal.SIGKILL)
    assert project.pipelines.runs()[0][1].status == "running"
    again = project.pipelines.run(home())
    assert statuses(again) == {"load": "skipped", "double": "ran", "total": "ran"}


def test_components_can_be_opened_by_hand(home, project, start_kernel):
    project.pipelines.run(home())
    component = project.pipelines.folder("nb") / "total.ipynb"
    kernel = start_kernel(component.parent, JPY_SESSION_NAME=str(component))
    cells = json.loads(component.read_text())["cells"]
    answers = [kernel.run("".join(cell["source"]), cell_id=cell["id"]) for cell in cells]
    assert [answer.status for answer in answers] == ["ok"] * len(cells), answers
    assert answers[1].stdout == "12\n"


def test_a_captured_notebook_is_run_once(home, project):
    notebook = home()
    first = project.pipelines.capture(notebook)
    assert (first.status, first.steps[0].status) == ("passed", "ran"), first.error
    runs = project.registry.rows("select cell_id, notebook, step from cell_run order by started")
    assert [run["cell_id"] for run in runs] == [f"c{n}" for n in range(6)]
    assert {run["notebook"] for run in runs} == {"notebooks/nb.ipynb"}
    executed = json.loads((home.root / first.steps[0].notebook).read_text())
    assert [cell["id"] for cell in executed["cells"]] == [f"c{n}" for n in range(6)]

    second = project.pipelines.capture(notebook)
    assert (second.id, second.steps[0].status) == (first.id, "skipped")
    assert second.steps[0].reason == f"unchanged since run {first.id[:8]}"
    home.data.write_text("[5, 6, 7]")
    assert project.pipelines.capture(notebook).steps[0].reason == "file notebooks/data.json changed"


def test_a_captured_notebook_that_fails_says_where(home, project):
    failed = project.pipelines.capture(home(total="%%step total\ntotal = 1 / 0"))
    assert failed.status == "failed"
    assert failed.error.startswith("nb.ipynb:cell 6 (id c5): ZeroDivisionError")
    assert project.pipelines.capture(home()).status == "passed"
