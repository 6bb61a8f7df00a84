"""Executing one notebook in a real kernel: what the kernel is told, how it ends, and what is kept."""

import itertools
import json
import os
from pathlib import Path

import pytest

from mlops_nb.errors import NotebookError, NotFound
from mlops_nb.notebook.cells import read_notebook
from mlops_nb.pipeline.run import KernelSetup, execute_notebook
from mlops_nb.store.redaction import Redactor


@pytest.fixture(params=[None, ("json",)], ids=["started", "forked"])
def execute(tmp_path, write_notebook, request):
    """Run cells in a kernel of each kind; returns how it ended and the kept notebook's cells."""

    def run(*cells, environ=None, timeout=0.0, **given):
        source, target = write_notebook(*cells), tmp_path / "out" / "executed.ipynb"
        kernel = KernelSetup({**os.environ, **(environ or {})}, tmp_path, timeout=timeout, modules=request.param)
        ended = execute_notebook(source, target, kernel=kernel, **given)
        return ended, json.loads(target.read_text())["cells"]

    return run


def text(cell):
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def test_the_kernel_knows_folder_environment_ids_and_tags(execute, tmp_path):
    before = (Path.cwd(), dict(os.environ))
    told = []
    ended, cells = execute(
        "import os\nprint(os.getcwd(), os.environ['CITY'])\ndef tell(info):\n    print(info.cell_id, info.cell_meta['tags'])\n"
        "get_ipython().events.register('pre_run_cell', tell)",
        ("1", ("step:a", "x")),
        environ={"CITY": "Berlin"},
        on_cell=lambda done, total, cell: told.append((done, total, cell)),
        before="1",
    )
    assert ended.error == ""
    assert text(cells[0]) == f"{tmp_path} Berlin\n"
    assert text(cells[1]) == "c1 ['step:a', 'x']\n"
    assert told == [(0, 3, "mlops-nb-before"), (1, 3, "c0"), (2, 3, "c1"), (3, 3, "")]
    assert (Path.cwd(), dict(os.environ)) == before


def test_parameters_are_injected_below_their_cell(execute):
    ended, cells = execute(("year = 2013\ncity = ''", ("parameters",)), "print(year, city)", parameters={"year": 2014, "city": 'a "b"\n\\'})
    assert ended.error == ""
    assert [cell["id"] for cell in cells] == ["c0", "mlops-nb-injected-parameters", "c1"]
    assert text(cells[2]) == '2014 a "b"\n\\\n'


ENDS = [
    ("an exception", "1 / 0", "ZeroDivisionError: division by zero"),
    ("a kernel killed", "import os; os.kill(os.getpid(), 9)", "the kernel died (SIGKILL; out of memory?)"),
    ("a kernel that exits", "import os; os._exit(3)", "the kernel exited with code 3"),
    ("an exit in code", "raise SystemExit(0)", "SystemExit: 0"),
    ("no Python", "1 +* 2", "SyntaxError: invalid syntax"),
]


@pytest.mark.parametrize(("source", "error"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
def test_a_cell_that_stops_is_named_and_the_notebook_kept(execute, source, error):
    ended, cells = execute("print('before')", source, "print('behind')")
    assert ended.cell_id == "c1"
    assert ended.error.startswith(error)
    assert text(cells[0]) == "before\n"
    assert cells[2]["outputs"] == []
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == ["completed", "failed", "pending"]


def test_a_kernel_that_does_not_start_is_an_end_too(execute):
    ended, cells = execute("1", environ={"PYTHONHOME": "/nonexistent"})
    assert ended.error == "the kernel did not start: Kernel died before replying to kernel_info"
    assert (ended.cell_id, cells[0]["outputs"]) == ("", [])


def test_a_cell_may_take_only_so_long(execute):
    ended, _ = execute("import time; time.sleep(60)", timeout=1)
    assert ended.error == "took longer than 1 s"


def test_the_kept_notebook_has_no_secrets(execute):
    secret = "hunter22-canary"
    environ = {"DB_PASSWORD": secret}
    _, cells = execute(
        ("password = ''", ("parameters",)), f"print('{secret}')\n'{secret}'", parameters={"password": secret}, redact=Redactor(environ).value
    )
    assert secret not in json.dumps(cells)
    assert text(cells[2]) == "<redacted>\n"


def test_what_a_cell_prints_is_kept_in_one_piece(execute):
    """However it came: the kernel sends what is there at each flush, and a secret may lie over two of them."""
    redact = Redactor({"API_TOKEN": "hunter22hunter22"}).value
    pieces = "import sys, time\nfor piece in ('my hunter22', 'hunter22', ' is'):\n    print(piece, end='', flush=True)\n    time.sleep(0.3)\n"
    ended, cells = execute(pieces + "print('trouble', file=sys.stderr)\nprint('after')\n1 / 0", redact=redact)
    assert ended.error == "ZeroDivisionError: division by zero"
    streams = [(output["name"], "".join(output["text"])) for output in cells[0]["outputs"] if output["output_type"] == "stream"]
    assert next(text for name, text in streams if name == "stdout").startswith("my <redacted> is")
    assert all(first[0] != second[0] for first, second in itertools.pairwise(streams))


def test_old_notebooks_without_ids_get_stable_ones(tmp_path):
    old = {
        "nbformat": 4,
        "nbformat_minor": 4,
        "metadata": {},
        "cells": [{"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1"}],
    }
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(old))
    ids = []
    for number in range(2):
        target = tmp_path / f"{number}.ipynb"
        assert execute_notebook(path, target, kernel=KernelSetup(dict(os.environ), tmp_path)).error == ""
        ids.append([cell["id"] for cell in json.loads(target.read_text())["cells"]])
    assert ids[0] == ids[1]


def test_cells_of_one_id_are_told_apart(tmp_path, write_notebook, recwarn):
    path = write_notebook("1", "2")
    path.write_text(path.read_text().replace('"c1"', '"c0"'))
    told = []
    ended = execute_notebook(
        path, tmp_path / "out.ipynb", kernel=KernelSetup(dict(os.environ), tmp_path), on_cell=lambda _, __, cell: told.append(cell)
    )
    assert (ended.error, told) == ("", [*(cell.id for cell in read_notebook(path)), ""])
    assert not recwarn.list


@pytest.mark.parametrize(
    ("old", "new"), [('"nbformat": 4', '"nbformat": 2'), ('"nbformat": 4', '"nbformat": "x"'), ('"metadata": {}', '"metadata": []')]
)
def test_a_file_that_papermill_cannot_take_is_named(tmp_path, old, new):
    text = '{"cells": [{"cell_type": "code", "metadata": {}, "outputs": [], "source": "1"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}'
    path = tmp_path / "odd.ipynb"
    path.write_text(text.replace(old, new))
    with pytest.raises(NotebookError, match=r"odd\.ipynb: is no notebook that can run"):
        execute_notebook(path, tmp_path / "out.ipynb", kernel=KernelSetup(dict(os.environ), tmp_path))


def test_what_cannot_run_is_said_before_a_kernel_starts(tmp_path, write_notebook):
    kernel = KernelSetup(dict(os.environ), tmp_path)
    (tmp_path / "bad.ipynb").write_text("{")
    with pytest.raises(NotebookError, match=r"bad\.ipynb"):
        execute_notebook(tmp_path / "bad.ipynb", tmp_path / "out.ipynb", kernel=kernel)
    with pytest.raises(NotFound, match=r"no kernel named 'pyhton3'; did you mean 'python3'"):
        execute_notebook(write_notebook("1"), tmp_path / "out.ipynb", kernel=KernelSetup(dict(os.environ), tmp_path, name="pyhton3"))
