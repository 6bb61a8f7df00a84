"""`%lineage` in a real kernel and `mlops-nb lineage` in a process: the same questions, answered alike."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from kernel_client import Kernel

CELLS = {
    "a": "trips = [[5, 9.5], [12, 17.0]]",
    "b": "def per_km(of):\n    return [price / km for km, price in of]",
    "c": "rates = per_km(trips)",
    "d": "if len(trips) > 99:\n    rates\nbest = min(rates)",
}


@pytest.fixture
def kernel(start_kernel):
    """A kernel with the extension, in which the cells have run."""
    started = start_kernel()
    assert started.run("%load_ext mlops_nb", "load").status == "ok"
    for cell_id, source in CELLS.items():
        assert started.run(source, cell_id).status == "ok"
    return started


def asked(kernel, question: str) -> str:
    answer = kernel.run(f"%lineage {question}", "ask")
    assert answer.status == "ok", answer.traceback
    return answer.text


def data(kernel, question: str):
    """What `--json` gives, as data."""
    kernel.run(f"%lineage {question} --json", "ask")
    answer = kernel.run("import json; print(json.dumps(_))", "show")
    return json.loads(answer.stdout)


def test_the_graph_comes_as_text_and_as_a_picture(kernel) -> None:
    shown = kernel.run("%lineage", "ask").results[0]
    assert "[4] rates = per_km(trips)  " in shown["text/plain"]
    assert "      <- [2] trips" in shown["text/plain"].split("\n")
    assert "<svg " in shown["text/html"]
    assert "The same as text" in shown["text/html"]
    assert asked(kernel, "--mermaid").startswith("flowchart TD\n")


def test_each_question_has_its_answer(kernel) -> None:
    assert "`rates` made by [4] (cell c) from" in asked(kernel, "why rates")
    assert "0 stale cells" in asked(kernel, "stale")
    assert "3 of 4 cell runs, certain" in asked(kernel, "slice rates")
    assert [dep["name"] for dep in data(kernel, "deps [4]")] == [dep["name"] for dep in data(kernel, "deps c")] == ["per_km", "trips"]
    assert "no cell has read or written a file" in asked(kernel, "files")
    assert data(kernel, "rerun b")["rerun"] == ["b", "c", "d"]
    kernel.run(CELLS["a"].replace("17", "19"), "a")
    assert [entry["cell_id"] for entry in data(kernel, "stale")] == ["c", "d"]
    assert [entry["cell_id"] for entry in data(kernel, "stale --any")] == ["c", "d"]


def test_asking_leaves_no_trace_in_what_is_asked(kernel) -> None:
    for question in ("", "why best", "slice best", "deps d"):
        asked(kernel, question)
    shown = [line.split("]")[0] for line in asked(kernel, "").split("\n") if line.startswith("[")]
    assert shown == ["[2", "[3", "[4", "[5"]
    assert "lineage" not in asked(kernel, "slice best --code")


def test_a_slice_is_written_and_never_over_another_file(kernel, tmp_path: Path) -> None:
    assert "Written to best.py" in asked(kernel, "slice best --to best.py")
    assert "best = min(rates)" in (tmp_path / "best.py").read_text()
    refused = kernel.run("%lineage slice rates --to best.py", "ask")
    assert refused.ename == "BadInput"
    assert "is there already" in refused.traceback
    asked(kernel, "slice best --to best.ipynb")
    assert json.loads((tmp_path / "best.ipynb").read_text())["nbformat"] == 4
    assert asked(kernel, "slice rates --code").startswith("# [2] cell a\ntrips = ")


def test_a_slice_stores_the_value_that_verify_compares_within_a_tolerance(kernel, mlops_nb_command) -> None:
    assert "Its value is stored (json" in asked(kernel, "slice rates")
    assert "rates: identical" in asked(kernel, "verify rates")
    kernel.run("import random; noisy = [0.1 + random.random() * 1e-12]", "n")
    assert "stored" in asked(kernel, "slice noisy")
    done = mlops_nb_command("verify", "noisy", "--rtol", "1e-6")
    assert (done.returncode, "equal within tolerance" in done.stdout) == (0, True), done.stdout + done.stderr
    assert "stored" not in asked(kernel, "slice noisy --no-pin")


def test_what_cannot_be_stored_is_said(kernel) -> None:
    kernel.run("import threading; lock = threading.Lock()", "n")
    assert "Its value is not stored" in asked(kernel, "slice lock")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("whi rates", "did you mean 'why'"),
        ("why rate", "did you mean 'rates'"),
        ("slice", "Missing argument"),
        ("slice rates --too x", "--to"),
        ("deps 99", "no cell ran as [99]"),
        ("deps", "Missing argument"),
        ("columns rates", "no frame with known columns named 'rates'"),
        ("rerun", "which cells were edited"),
        ("warn maybe", "is not one of"),
        ("slice 'rates", "no closing quotation"),
        ("verify rats", "did you mean 'rates'"),
        ("slice rates --to rates.doc", "none of .ipynb, .py"),
    ],
)
def test_bad_input_is_one_message(shared_kernel, question: str, said: str) -> None:
    answer = shared_kernel.run(f"%lineage {question}", "ask")
    assert answer.ename in ("BadInput", "NotFound")
    assert said in answer.traceback
    assert len(answer.traceback.splitlines()) <= 3


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory):
    """One kernel for the questions that change nothing."""
    started = Kernel(tmp_path_factory.mktemp("shared"), {})
    started.run("%load_ext mlops_nb", "load")
    for cell_id, source in CELLS.items():
        started.run(source, cell_id)
    yield started
    started.close()


def test_help_is_in_the_notebook(shared_kernel) -> None:
    page = shared_kernel.run("get_ipython().find_line_magic('lineage').__doc__", "ask").text
    for example in ("%lineage why model", "%lineage slice model --to model.py", "%lineage off", "%lineage warn on"):
        assert example in page
    assert "--no-pin" in shared_kernel.run("%lineage slice --help", "ask").stdout


def test_columns_are_told_with_their_origins(kernel) -> None:
    kernel.run("import pandas as pd\nframe = pd.DataFrame({'km': [5, 12], 'price': [9.5, 17.0]})", "f")
    kernel.run("frame['per_km'] = frame.price / frame.km", "g")
    assert [edge["from_column"] for edge in data(kernel, "columns frame per_km")] == ["price", "km"]
    assert "did you mean 'per_km'" in kernel.run("%lineage columns frame per_kn", "ask").traceback


# --- off and on -----------------------------------------------------------------------------------------------


def test_cells_between_off_and_on_are_not_recorded_and_on_says_how_many(kernel) -> None:
    assert "no longer recorded" in asked(kernel, "off")
    assert "off already" in asked(kernel, "off")
    kernel.run("trips = 1; extra = 2", "e")
    kernel.run("best = 0", "f")
    assert "3 cells ran unseen" in asked(kernel, "on")
    assert "are being recorded" in asked(kernel, "on")
    assert [run for run in data(kernel, "")["nodes"] if run["key"] in ("e", "f")] == []
    kernel.run("now = (trips, extra, best)", "g")
    assert data(kernel, "deps g") == []
    assert "no name named 'extra'" in kernel.run("%lineage why extra", "ask").traceback


def test_what_unseen_cells_may_have_changed_is_possible_and_what_is_as_it_was_is_certain(kernel) -> None:
    kernel.run("class Box:\n    pass\nbox = Box()\nkept = [1]", "x")
    asked(kernel, "off")
    kernel.run("box.value = 1\ntrips.append([1, 1.0])", "e")
    asked(kernel, "on")
    kernel.run("now = (box, trips, rates, kept)", "g")
    sure = {dep["name"]: dep["certainty"] for dep in data(kernel, "deps g")}
    assert sure == {"box": "possible", "trips": "possible", "rates": "certain", "kept": "certain"}
    assert data(kernel, "slice now")["certain"] is False


def test_names_bound_in_the_cell_that_stops_recording_have_no_writer(kernel) -> None:
    kernel.run("trips = 3\n%lineage off", "e")
    asked(kernel, "on")
    kernel.run("now = trips", "g")
    assert data(kernel, "deps g") == []


# --- warnings -------------------------------------------------------------------------------------------------


def test_warnings_name_the_reason_in_one_line_and_can_be_turned_off(kernel) -> None:
    again = {"c": CELLS["c"], "x": "trips.append([3, 4.0])"}
    assert kernel.run(again["x"], "x").stderr == ""
    assert kernel.run(again["x"], "x").stderr == ""
    asked(kernel, "warn on")
    assert kernel.run(again["c"], "c").stderr.startswith("mlops_nb: [9] read `trips` as [7] further down had left it (")
    assert kernel.run("clean = 1", "y").stderr == ""
    asked(kernel, "warn off")
    assert kernel.run(again["c"], "c").stderr == ""


def test_warnings_are_a_setting_and_headless_runs_stay_quiet(start_kernel, write_notebook, mlops_nb_command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.mlops_nb]\nwarnings = true\n")
    kernel = start_kernel()
    for cell_id, source in {"l": "%load_ext mlops_nb", "a": "x = []", "b": "x.append(1)"}.items():
        assert kernel.run(source, cell_id).stderr == ""
    assert "earlier run of this cell" in kernel.run("x.append(1)", "b").stderr
    same = "get_ipython().run_cell('x.append(1)', store_history=True, cell_id='z')"
    path = write_notebook("%load_ext mlops_nb\n%lineage warn on", "x = []", same, same, name="quiet.ipynb")
    assert mlops_nb_command("capture", path.name).returncode == 0
    assert [file for file in tmp_path.rglob("*.ipynb") if "%lineage warn off ends" in file.read_text()] == []


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """A folder with a captured notebook."""
    folder = tmp_path_factory.mktemp("captured")
    (folder / ".git").mkdir()
    cells = [*CELLS.values(), "open('best.txt', 'w').write(str(best))"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id=f"c{n}") for n, source in enumerate(cells)])
    nbformat.write(made, folder / "trips.ipynb")
    done = command(folder, "capture", "trips.ipynb")
    assert done.returncode == 0, done.stderr
    return folder


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """`mlops-nb` in a process of its own."""
    arguments = [sys.executable, "-c", "from mlops_nb.cli import main; main()", *words]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def told(folder: Path, question: str, *words: str) -> str:
    done = command(folder, "lineage", question, "trips.ipynb", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_answers_from_the_registry(captured) -> None:
    shown = told(captured, "show")
    assert "[3] rates = per_km(trips)" in shown
    assert "      -> file best.txt" in shown
    assert told(captured, "show", "--mermaid").startswith("flowchart TD\n")
    assert "graph.svg" in told(captured, "show", "--to", "graph.svg")
    assert (captured / "graph.svg").read_text().startswith("<svg ")
    assert "`best` made by [4] (cell c3)" in told(captured, "why", "best")
    assert "made by [5]" in told(captured, "why", "file:best.txt")
    assert {dep["cell_id"] for dep in json.loads(told(captured, "deps", "4", "--json"))} == {"c0", "c2"}
    assert [use["mode"] for use in json.loads(told(captured, "files", "--json"))] == ["write"]
    assert json.loads(told(captured, "stale", "--json")) == []
    assert "Written to best.py" in told(captured, "slice", "best", "--to", "best.py")
    assert told(captured, "slice", "best", "--code").startswith("# [1] cell c0\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "trip.ipynb"), "did you mean 'trips.ipynb'"),
        (("why", "trips.ipynb", "bst"), "did you mean 'best'"),
        (("whi", "trips.ipynb"), "did you mean 'why'"),
        (("why",), "Missing argument"),
        (("deps", "trips.ipynb", "c33"), "did you mean 'c3'"),
    ],
)
def test_the_command_exits_2_on_what_is_not_there(captured, words, said) -> None:
    done = command(captured, "lineage", *words)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_the_command_sees_edits_in_the_file(captured) -> None:
    assert "no cell was edited" in told(captured, "rerun")
    path = captured / "trips.ipynb"
    before = path.read_text()
    path.write_text(before.replace("price / km", "km / price"))
    assert json.loads(told(captured, "rerun", "--json")) == {"edited": ["c1"], "rerun": ["c1", "c2", "c3", "c4"]}
    path.write_text(before)
