"""The same three steps (iris, a forest, its accuracy) as a script, by papermill three times, and as a pipeline; and many runs in a row."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from mlops_nb.pipeline.forking import close_all
from mlops_nb.pipeline.run import KernelSetup, execute_notebook

ROUNDS = 5
RUNS = 300
COLD_TO_SCRIPT, COLD_TO_PAPERMILL = 2.5, 0.4
UNCHANGED_CLI, UNCHANGED_MAGIC, STEP = 0.3, 0.02, 0.25  # seconds
IMPORTS = "from sklearn.datasets import load_iris\nfrom sklearn.ensemble import RandomForestClassifier\nfrom sklearn.metrics import accuracy_score"
STEPS = {
    "load": "X, y = load_iris(return_X_y=True, as_frame=True)",
    "fit": "model = RandomForestClassifier(50, random_state=0).fit(X, y)",
    "score": "accuracy = accuracy_score(y, model.predict(X))\nprint(accuracy)",
}
GIVES = {"load": ("X", "y"), "fit": ("X", "y", "model"), "score": ()}
THRICE = """
import papermill
for name in ("load", "fit", "score"):
    papermill.execute_notebook(f"{name}.ipynb", f"out-{name}.ipynb", kernel_name="python3", progress_bar=False)
"""


SESSION = """
import json, time
from mlops_nb.project import Project
project, times = Project.find(), []
for _ in range(9):
    begun = time.perf_counter()
    result = project.pipelines.run("iris", progress=False)
    times.append(time.perf_counter() - begun)
    assert {step.status for step in result.steps} == {"skipped"}
print(json.dumps(times))
"""
CLI = str(Path(sys.executable).with_name("mlops-nb"))


def write(path: Path, *sources: str) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    nbformat.write(notebook, path)


@pytest.fixture
def folder(tmp_path):
    """The three steps in each form."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "script.py").write_text("\n".join([IMPORTS, *STEPS.values()]))
    write(tmp_path / "iris.ipynb", f"%load_ext mlops_nb\n{IMPORTS}", *(f"%%step {name}\n{source}" for name, source in STEPS.items()))
    before = ""
    for name, source in STEPS.items():
        read = f"import pickle\n{', '.join(GIVES[before])} = pickle.load(open('{before}.pickle', 'rb'))" if before else ""
        keep = f"import pickle\npickle.dump(({', '.join(GIVES[name])}), open('{name}.pickle', 'wb'))" if GIVES[name] else ""
        write(tmp_path / f"{name}.ipynb", IMPORTS, read, source, keep)
        before = name
    (tmp_path / "thrice.py").write_text(THRICE)
    return tmp_path


def took(folder: Path, *command: str) -> float:
    """Seconds of wall clock."""
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begun


def cold(folder: Path) -> float:
    """A first run, the registry aside (which a project makes once)."""
    subprocess.run([CLI, "runs"], cwd=folder, check=True, capture_output=True)
    seconds = took(folder, CLI, "run", "iris.ipynb")
    unchanged = took(folder, CLI, "run", "iris.ipynb")
    subprocess.run(["rm", "-rf", ".mlops_nb"], cwd=folder, check=True)
    took_of.setdefault("unchanged, CLI", []).append(unchanged)
    return seconds


took_of: dict[str, list[float]] = {}


@pytest.mark.slow
def test_a_pipeline_costs_little_more_than_a_script(folder, capsys):
    took_of.clear()
    for _ in range(ROUNDS):
        for name, measure in {
            "plain script": lambda: took(folder, sys.executable, "script.py"),
            "papermill x 3": lambda: took(folder, sys.executable, "thrice.py"),
            "pipeline, cold": lambda: cold(folder),
        }.items():
            took_of.setdefault(name, []).append(measure())
    subprocess.run([CLI, "run", "iris.ipynb"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", SESSION], cwd=folder, check=True, capture_output=True, text=True)
    took_of["unchanged, in a session"] = json.loads(done.stdout.splitlines()[-1])
    median = {name: statistics.median(seconds) for name, seconds in took_of.items()}
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(f"{name:<26}{seconds:>7.3f} s" for name, seconds in median.items()) + "\n")
    assert median["pipeline, cold"] <= COLD_TO_PAPERMILL * median["papermill x 3"]
    assert median["pipeline, cold"] <= COLD_TO_SCRIPT * median["plain script"]
    assert median["unchanged, CLI"] <= UNCHANGED_CLI
    assert median["unchanged, in a session"] <= UNCHANGED_MAGIC


@pytest.mark.slow
def test_many_runs_in_a_row_stall_nowhere_and_leave_nothing(tmp_path, capsys):
    """Each in a fresh kernel; a stall would be a second more than the others."""
    write(tmp_path / "one.ipynb", "import os; print(os.getpid())")
    kernel = KernelSetup(dict(os.environ), tmp_path, modules=("pandas",))
    seconds, pids = [], set()
    for _ in range(RUNS):
        begun = time.perf_counter()
        ended = execute_notebook(tmp_path / "one.ipynb", tmp_path / "out.ipynb", kernel=kernel)
        seconds.append(time.perf_counter() - begun)
        assert ended.error == ""
        pids.add(int(json.loads((tmp_path / "out.ipynb").read_text())["cells"][0]["outputs"][0]["text"]))
    close_all()
    with capsys.disabled():
        sys.stdout.write(f"\n{RUNS} fresh kernels: median {statistics.median(seconds):.3f} s, longest but the first {max(seconds[1:]):.3f} s\n")
    assert len(pids) == RUNS
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert max(seconds[1:]) <= statistics.median(seconds) + 1
    assert statistics.median(seconds) <= STEP
