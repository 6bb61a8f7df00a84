"""`mlops_nb.lineage()` gives the same answers in plain IPython, in a kernel, under papermill, and from the registry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlops_nb
from mlops_nb.errors import BadInput, MlopsError, NotFound

CELLS = (
    "%load_ext mlops_nb\nimport csv, random",
    "rows = [[3, 4.5], [1, 2.0]]\nwith open('prices.csv', 'w') as file:\n    csv.writer(file).writerows(rows)",
    "with open('prices.csv') as file:\n    prices = list(csv.reader(file))",
    "def total(of):\n    return sum(float(price) for _, price in of)",
    "prices.append(['2', '1.5'])",
    "if len(prices) > 99:\n    rows\nsum_of_all = total(prices)",
    "sum_of_all * 2",
)
ASK = """
def told(lin, edit):
    ids = [f"c{n}" for n in range(7)]
    found = lin.slice("sum_of_all")
    return {
        "cells": [(view.cell_id, view.state, view.reason) for view in lin.cells() if view.cell_id in ids],
        "deps": [[(d.cell_id, d.name, d.certainty, d.notebook) for d in lin.deps(cell)] for cell in ids],
        "slice": [[run.cell_id for run in found.cells], found.certain, found.code, found.notebook()["cells"][2]["source"]],
        "inputs": [(use.path, use.digest) for use in found.files],
        "stale": [list(entry) for entry in lin.stale()],
        "rerun": lin.rerun_set(edit),
        "files": [(use.path, use.mode, use.digest, use.cell_id, use.execution_count) for use in lin.files()],
        "why": [lin.why("sum_of_all"), lin.why("file:prices.csv")],
    }
"""
EDIT = {"c3": "def total(of):\n    return 0"}
WRITE = f"{ASK}\nimport json, mlops_nb\nwith open('answers.json', 'w') as file:\n    json.dump(told(mlops_nb.lineage(), {EDIT!r}), file)"
IN_IPYTHON = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for source, cell_id in json.loads(sys.argv[1]):
    assert shell.run_cell(source, store_history=True, cell_id=cell_id).success, source
"""


@pytest.fixture
def plain(tmp_path):
    """Run (source, id) pairs in plain IPython, in a process of its own, and answer with what they wrote."""
    folder = tmp_path / "plain"
    (folder / ".git").mkdir(parents=True)

    def run(cells) -> dict:
        environ = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
        arguments = [sys.executable, "-c", IN_IPYTHON, json.dumps(cells)]
        done = subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((folder / "answers.json").read_text())

    return run


def in_kernel(kernel, folder: Path, cells) -> dict:
    for source, cell_id in cells:
        answer = kernel.run(source, cell_id)
        assert answer.status == "ok", answer.traceback
    return json.loads((folder / "answers.json").read_text())


def from_registry(path: Path) -> dict:
    """The answers of another process's registry: this one is in another folder."""
    scope: dict = {}
    exec(ASK, scope)
    return json.loads(json.dumps(scope["told"](mlops_nb.lineage(notebook=path), EDIT)))


def named(cells) -> list[tuple[str, str]]:
    return [(source, f"c{number}") for number, source in enumerate(cells)] + [(WRITE, "ask")]


def test_the_same_answers_everywhere(plain, start_kernel, write_notebook, mlops_nb_command, tmp_path) -> None:
    wanted = plain(named(CELLS))
    folders = [tmp_path / "kernel", tmp_path / "headless"]
    for folder in folders:
        (folder / ".git").mkdir(parents=True)
    live = in_kernel(start_kernel(folders[0]), folders[0], named(CELLS))
    path = write_notebook(*CELLS, WRITE, name="prices.ipynb", folder=folders[1])
    captured = mlops_nb_command("capture", "prices.ipynb", folder=folders[1])
    assert captured.returncode == 0, captured.stdout + captured.stderr
    headless = json.loads((folders[1] / "answers.json").read_text())
    for other in (live, headless, from_registry(path)):
        assert {key: value for key, value in other.items() if wanted[key] != value and key != "files"} == {}
        assert [use for use in other["files"] if use[0] == "prices.csv"] == [use for use in wanted["files"] if use[0] == "prices.csv"]


def test_what_the_answers_are(plain) -> None:
    found = plain(named(CELLS))
    assert [state for _, state, _ in found["cells"]] == ["fresh"] * 7
    assert ["c4", "prices", "certain", ""] in found["deps"][5]
    assert ["c2", "prices", "certain", ""] in found["deps"][4]
    assert ["c1", "rows", "possible", ""] in found["deps"][5]
    assert ["c1", "file:prices.csv", "certain", ""] in found["deps"][2]
    assert found["slice"][:2] == [["c0", "c1", "c2", "c3", "c4", "c5"], False]
    assert found["inputs"] == []
    assert found["rerun"] == ["c3", "c5", "c6"]
    assert found["why"][0].startswith("`sum_of_all` made by [6] (cell c5) from")
    assert {use[1] for use in found["files"] if use[3] in ("c1", "c2")} == {"write", "read"}


def test_what_is_stale_is_the_same_live_and_recorded(plain, start_kernel, write_notebook, tmp_path) -> None:
    again = [*named(CELLS)[:-1], ("prices.append(['9', '7.5'])", "c4"), (WRITE, "ask")]
    wanted = plain(again)
    folder = tmp_path / "kernel"
    (folder / ".git").mkdir(parents=True)
    path = write_notebook(*CELLS[:4], "prices.append(['9', '7.5'])", *CELLS[5:], WRITE, name="prices.ipynb", folder=folder)
    live = in_kernel(start_kernel(folder, JPY_SESSION_NAME=str(path)), folder, again)
    recorded = from_registry(path)
    reasons = dict(map(tuple, wanted["stale"]))
    assert reasons["c4"] == "read `prices` as an earlier run of this cell had left it"
    assert "`prices` rewritten by [8]" in reasons["c5"]
    assert "stale cell [6]" in reasons["c6"]
    assert wanted["stale"] == live["stale"] == recorded["stale"]
    assert wanted["deps"] == live["deps"] == recorded["deps"]


def test_a_file_of_another_notebook_leads_to_the_cell_that_wrote_it(write_notebook, mlops_nb_command, tmp_path, monkeypatch) -> None:
    (tmp_path / ".git").mkdir()
    write_notebook("open('made.txt', 'w').write('5')", name="maker.ipynb")
    path = write_notebook("text = open('made.txt').read()", name="reader.ipynb")
    for name in ("maker.ipynb", "reader.ipynb"):
        assert mlops_nb_command("capture", name).returncode == 0
    monkeypatch.chdir(tmp_path)
    (found,) = mlops_nb.lineage(path).deps("c0")
    assert (found.notebook, found.cell_id, found.name, found.certainty) == ("maker.ipynb", "c0", "file:made.txt", "certain")
    assert "maker.ipynb [1]" in mlops_nb_command("lineage", "show", "reader.ipynb").stdout


def test_unknown_names_are_told_with_near_ones(write_notebook, mlops_nb_command, tmp_path, monkeypatch) -> None:
    (tmp_path / ".git").mkdir()
    path = write_notebook("height = 3", "area = height ** 2")
    assert mlops_nb_command("capture", path.name).returncode == 0
    monkeypatch.chdir(tmp_path)
    lin = mlops_nb.lineage(path)
    for ask, said in (
        (lambda: lin.slice("heigt"), "did you mean 'height'"),
        (lambda: lin.why("heigt"), "did you mean 'height'"),
        (lambda: lin.deps("c9"), "no cell named 'c9'"),
        (lambda: lin.rerun_set({"c9": "x"}), "no cell named 'c9'"),
        (lambda: mlops_nb.lineage("nb2.ipynb"), "did you mean 'nb.ipynb'"),
    ):
        with pytest.raises(NotFound, match=said):
            ask()
    with pytest.raises(BadInput, match="takes the name"):
        lin.slice()


def test_without_the_extension_it_says_what_to_do() -> None:
    with pytest.raises(MlopsError, match="load_ext mlops_nb first"):
        mlops_nb.lineage()
