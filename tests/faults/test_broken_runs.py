"""Runs that break, at the command line: they stop there, say where, keep everything, and go on from there once mended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = "%%step load\nrows = [1, 2, 3]"
BEFORE = ("scale = 2", ("step:double",))
DOUBLE = "%%step double\ndoubled = [row * scale for row in rows]"
CHECK = "%%test data --on doubled\nassert len(doubled) == len(rows)"
TOTAL = "%%step total\ntotal = sum(doubled)"

BREAKS = {
    "a broken cell": (DOUBLE + "\n1 / 0", CHECK, "cell 3 (id c2)", "ZeroDivisionError: division by zero"),
    "a failing data test": (DOUBLE, CHECK + " + 1", "cell 4 (id c3)", "assert 3 == (3 + 1)"),
    "a killed kernel": (DOUBLE + "\nimport os\nos.kill(os.getpid(), 9)", CHECK, "cell 3 (id c2)", "the kernel died (SIGKILL"),
}


@pytest.fixture
def ask(mlops_nb_command):
    """A command's exit code and JSON."""

    def run(*arguments):
        answer = mlops_nb_command(*arguments, "--json")
        return answer.returncode, json.loads(answer.stdout)

    return run


def recorded(root: Path) -> set[tuple[str, str]]:
    """(cell, status) of every recorded cell run of the pipeline's steps."""
    from mlops_nb.project import Project

    with Project.find(root, environ=dict(os.environ)) as project:
        rows = project.registry.rows("select cell_id, cell_run.status from cell_run")
        assert project.registry.rows("pragma integrity_check")[0]["integrity_check"] == "ok"
    return {(row["cell_id"], row["status"]) for row in rows}


@pytest.mark.parametrize("what", BREAKS)
def test_a_run_that_breaks_stops_says_where_loses_nothing_and_goes_on(write_notebook, ask, tmp_path, what):
    double, check, place, error = BREAKS[what]
    write_notebook(LOAD, BEFORE, double, check, TOTAL)
    code, failed = ask("run", "nb.ipynb")
    assert code == 1
    assert [(step["component"], step["status"]) for step in failed["steps"]] == [("load", "ran"), ("double", "failed"), ("total", "not run")]
    assert failed["error"].startswith(f"nb.ipynb:{place}: in step double: ")
    assert error in failed["error"]

    kept = tmp_path / failed["steps"][1]["notebook"]
    assert failed["steps"][1]["notebook"] in failed["error"]
    states = {cell["id"]: cell["metadata"]["papermill"]["status"] for cell in json.loads(kept.read_text())["cells"]}
    assert (states["c1"], states["mlops-nb-save"]) == ("completed", "pending")
    assert "failed" in states.values()
    assert not list(kept.parent.glob("total.ipynb"))

    assert {("c0", "ok"), ("mlops-nb-load", "ok"), ("c1", "ok")} <= recorded(tmp_path)  # of the broken step's kernel too
    assert ask("show", failed["id"]) == (0, failed)

    write_notebook(LOAD, BEFORE, DOUBLE, CHECK, TOTAL)
    code, mended = ask("run", "nb.ipynb")
    assert (code, mended["status"]) == (0, "passed")
    assert [(step["component"], step["status"]) for step in mended["steps"]] == [("load", "skipped"), ("double", "ran"), ("total", "ran")]
    assert ask("show", failed["id"]) == (0, failed)


def test_two_runs_at_once_both_pass_and_are_both_recorded(write_notebook, ask, tmp_path):
    write_notebook(LOAD, BEFORE, DOUBLE, CHECK, TOTAL)
    command = [sys.executable, "-c", "from mlops_nb.cli import main; main()", "run", "nb.ipynb", "--json"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [(err, code) for _, err, code in answers] == [("", 0)] * 2
    runs = [json.loads(out) for out, _, _ in answers]
    assert {run["id"] for run in runs} == {run["id"] for run in ask("runs")[1]}
    assert runs[0]["steps"][1]["outputs"] == runs[1]["steps"][1]["outputs"]
    assert [step["status"] for step in ask("run", "nb.ipynb")[1]["steps"]] == ["skipped"] * 3


def test_a_cells_error_does_not_steer_the_terminal(write_notebook, mlops_nb_command):
    write_notebook("%%step load\nraise ValueError('\\x1b]0;title\\x07\\x1b[31mred\\x9b2J\\x08')")
    answer = mlops_nb_command("run", "nb.ipynb")
    assert answer.returncode == 1
    assert "ValueError" in answer.stdout
    assert not {"\x1b", "\x07", "\x08", "\x9b"} & set(answer.stdout + answer.stderr)


def test_what_stands_in_the_place_of_a_steps_answer_is_no_answer(write_notebook, ask):
    write_notebook("%%step load\nimport os\nopen(os.environ['MLOPS_NB_STEP'].replace('.step.', '.done.'), 'w').write('{')\n1 / 0")
    code, failed = ask("run", "nb.ipynb")
    assert (code, failed["steps"][0]["status"]) == (1, "failed")
    assert "ZeroDivisionError" in failed["error"]


def test_an_error_nobody_foresaw_is_one_message_without_secrets_and_debug_shows_where(mlops_nb_command, tmp_path):
    secret = "canary-4f5e6d7c8b"
    name = os.fsdecode(f"{secret}-".encode() + b"\xff.ipynb")  # no text, so that SQLite takes no such name
    (tmp_path / name).write_text('{"cells": [{"cell_type": "code", "source": "%%step a\\n1", "metadata": {}}], "metadata": {}}')
    short, long = (mlops_nb_command(*words, "run", name, FLIGHTS_TOKEN=secret) for words in ((), ("--debug",)))
    assert (short.returncode, long.returncode) == (1, 1)
    assert short.stderr.startswith("error: UnicodeEncodeError: ")
    assert ("Traceback" in short.stderr, "Traceback" in long.stderr) == (False, True)
    assert secret not in short.stderr + long.stderr
