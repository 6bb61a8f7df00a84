"""The magics in a real kernel, driven as JupyterLab drives it."""

from pathlib import Path

from mlops_nb.config import find_layout
from mlops_nb.project import Project

FRAME = """
import pandas as pd
readings = pd.DataFrame({"station": ["a", "a", "b"], "at": pd.to_datetime(["2013-01-01", "2013-01-02", "2013-01-01"]), "wind": [1.0, 2.0, 3.0]})
"""


def loaded(start_kernel, **environ: str):
    kernel = start_kernel(**environ)
    assert kernel.run("%load_ext mlops_nb", "load").status == "ok"
    return kernel


def test_a_step_cell_runs_as_ordinary_code_with_its_own_line_numbers(start_kernel) -> None:
    kernel = loaded(start_kernel)
    assert kernel.run("%%step first\nimport asyncio\nawait asyncio.sleep(0)\nx = 5\nx + 1", "c1").text == "6"
    failed = kernel.run("%%step second\ny = 1\n1 / 0", "c2")
    assert failed.ename == "ZeroDivisionError"
    assert "line 3" in failed.traceback


def test_a_bad_step_line_says_what_is_wrong_in_one_line(start_kernel) -> None:
    answer = loaded(start_kernel).run("%%step two words here\nx = 1", "c1")
    assert answer.status == "error"
    assert len(answer.traceback.splitlines()) <= 3
    assert "step" in answer.traceback


def test_a_step_line_below_a_comment_says_where_it_belongs(start_kernel) -> None:
    kernel = loaded(start_kernel)
    for kind, line in (("step", "first"), ("test", "data"), ("feature", "f --entity a --timestamp t")):
        answer = kernel.run(f"# the data\n%%{kind} {line}\nassert True", "c1")
        assert answer.ename == "BadInput"
        assert f"%%{kind} {line} does not stand in the first line" in answer.traceback
    assert kernel.run("\n%%step first\nx = 5\nx", "c2").text == "5"


def test_an_error_in_a_feature_cell_shows_the_users_lines_alone(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run(FRAME, "c1")
    failed = kernel.run('%%feature f --entity station --timestamp at\nreadings["windd"]', "c2")
    assert failed.ename == "KeyError"
    assert "readings[" in failed.traceback
    assert "features.py" not in failed.traceback


def test_a_feature_cell_binds_its_frame_writes_its_file_and_is_found(start_kernel, tmp_path: Path) -> None:
    kernel = loaded(start_kernel)
    kernel.run(FRAME, "c1")
    options = '--entity station --timestamp at --ttl 3h --owner ana --tags weather --description "Wind at a station"'
    source = f'%%feature station_wind {options}\nreadings[["station", "at", "wind"]]'
    made = kernel.run(source, "c2")
    assert made.status == "ok", made.traceback
    assert "station" in made.text
    assert kernel.run("station_wind.shape", "c3").text == "(3, 3)"
    assert (tmp_path / "features" / "station_wind.py").is_file()
    assert "station_wind" in kernel.run("%mlops feature search wind", "c4").text


def test_a_failing_test_cell_stops_and_shows_the_values(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run(FRAME, "c1")
    failed = kernel.run("%%test data --on readings --name rows_are_many\nassert len(readings) == 4", "c2")
    assert failed.status == "error"
    assert "assert 3 == 4" in failed.traceback
    warned = kernel.run("%%test data --on readings --severity warn\nassert len(readings) == 4", "c3")
    assert warned.status == "ok"
    passed = kernel.run("%%test data --on readings\nassert len(readings) == 3\nleft_over = 1", "c4")
    assert passed.status == "ok", passed.traceback
    assert kernel.run("left_over", "c5").ename == "NameError"


def test_a_model_cell_registers_a_version_that_traces_back_to_its_cells(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run("import numpy as np\nfrom sklearn.linear_model import LogisticRegression", "c1")
    kernel.run("X = np.arange(20.0).reshape(-1, 1); y = (X.ravel() > 9).astype(int)", "c2")
    made = kernel.run("clf = LogisticRegression().fit(X, y)\nmetrics = {'accuracy': clf.score(X, y)}\n%model threshold clf --metrics metrics", "c3")
    assert made.status == "ok", made.traceback
    trace = kernel.run("print(get_ipython().run_line_magic('mlops', 'model trace threshold').text())", "c4")
    assert trace.status == "ok", trace.traceback
    for cell in ("c1", "c2", "c3"):
        assert cell in trace.stdout


def test_an_unknown_command_or_variable_names_near_ones(start_kernel) -> None:
    kernel = loaded(start_kernel)
    assert "status" in kernel.run("%mlops statu", "c1").traceback
    kernel.run("classifier = 1", "c2")
    assert "classifier" in kernel.run("%model m clasifier", "c3").traceback


def test_near_names_are_the_users_own(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run("height = 3", "c1")
    for cell in ("%model m xyz", "%%test data --on xyz\nassert True"):
        answer = kernel.run(cell, "c2")
        assert "no variable named 'xyz'; there are: height" in answer.traceback
        assert "get_ipython" not in answer.traceback


def test_json_in_a_notebook_is_data_to_go_on_with(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run("%mlops doctor --json", "c1")
    assert kernel.run("sorted(_[0])", "c2").text == "['found', 'level', 'remedy', 'what']"


def test_a_run_in_a_notebook_shows_its_progress_and_no_file_of_ours_is_the_cells(start_kernel, write_notebook, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.mlops_nb]\n")
    path = write_notebook("%%step one\nx = 1", "%%step two\ny = x + 1", name="small.ipynb")
    kernel = loaded(start_kernel, JPY_SESSION_NAME=str(tmp_path / "other.ipynb"))
    ran = kernel.run(f"%mlops run {path.name}", "c1")
    assert "small: passed" in ran.text, ran.traceback
    assert "two" in ran.stdout
    assert "cell/s" in ran.stdout
    assert ran.stderr == ""
    kernel.run(FRAME, "c2")
    assert kernel.run("%%feature f --entity station --timestamp at\nreadings", "c3").status == "ok"
    kernel.run("%unload_ext mlops_nb", "c4")
    with Project(find_layout(tmp_path, {}), environ={}) as project:
        rows = project.registry.rows("select cell_id, files from cell_run where notebook = 'other.ipynb'")
    assert {row["cell_id"]: row["files"] for row in rows} == dict.fromkeys(("load", "c1", "c2", "c3"), "[]")


def test_commands_can_be_asked_for_help_in_the_notebook(start_kernel) -> None:
    kernel = loaded(start_kernel)
    assert "promote" in kernel.run("%mlops --help", "c1").stdout
    for magic in ("%%step", "%%feature", "%%test", "%model", "%mlops"):
        page = kernel.run(
            f"get_ipython().inspector.info(get_ipython().find_magic('{magic.strip('%')}', "
            f"'{'cell' if magic.startswith('%%') else 'line'}'))['docstring']",
            "c2",
        )
        assert magic in page.text, magic


def test_loading_twice_and_unloading_leave_a_working_shell(start_kernel) -> None:
    kernel = loaded(start_kernel)
    assert kernel.run("%load_ext mlops_nb", "c1").status == "ok"
    assert kernel.run("%reload_ext mlops_nb\n1 + 1", "c2").text == "2"
    assert kernel.run("%unload_ext mlops_nb", "c3").status == "ok"
    after = kernel.run("x = 3\nx", "c4")
    assert (after.text, after.deltas) == ("3", [])


def test_deltas_tell_states_and_reasons_as_cells_run(start_kernel) -> None:
    kernel = loaded(start_kernel)
    kernel.run("x = 1", "a")
    kernel.run("y = x + 1", "b")
    again = kernel.run("x = 2", "a")
    views = {cell["cell_id"]: cell for delta in again.deltas for cell in delta["cells"]}
    assert views["b"]["state"] == "stale"
    assert "`x`" in views["b"]["reason"]
    failed = kernel.run("x +", "c")
    assert failed.deltas[-1]["cells"][0]["state"] == "failed"
    seqs = [delta["seq"] for delta in again.deltas + failed.deltas]
    assert seqs == sorted(set(seqs))


def test_the_cell_that_loads_the_extension_is_recorded_too(start_kernel) -> None:
    kernel = start_kernel()
    answer = kernel.run("x = 1\n%load_ext mlops_nb\ny = 2", "load")
    views = {cell["cell_id"]: cell for delta in answer.deltas for cell in delta["cells"]}
    assert views["load"]["state"] == "fresh"
    assert set(views["load"]["writes"]) == {"x", "y"}
    assert kernel.run("x + y", "next").deltas[-1]["cells"][0]["upstream"] == ["load"]


def test_doctor_says_what_is_wrong_with_the_settings(mlops_nb_command, tmp_path: Path) -> None:
    assert mlops_nb_command("doctor").returncode == 0
    (tmp_path / "pyproject.toml").write_text("[tool.mlops_nb]\nfeaturs = 'x'\n")
    sick = mlops_nb_command("doctor", "--json")
    assert sick.returncode == 1
    assert "features" in sick.stdout  # the near name


def test_half_a_quote_is_a_message(start_kernel) -> None:
    answer = loaded(start_kernel).run("%mlops feature search 'wind", "c1")
    assert answer.ename == "BadInput"
