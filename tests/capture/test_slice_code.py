"""Slices as code, script and notebook: they run, and give what the session gave."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mlops_nb.capture.slices import slice_code, slice_notebook, slice_script
from mlops_nb.hashing import source_crc
from mlops_nb.pipeline.files import notebook_text
from mlops_nb.pipeline.run import KernelSetup, execute_notebook
from mlops_nb.records import CellRun, FileUse


def run_of(count: int, source: str, **known) -> CellRun:
    """A cell run as it would have been recorded, execution count `count`."""
    return CellRun(
        **{
            "id": f"run{count}",
            "session_id": "s",
            "seq": count,
            "notebook": "nb.ipynb",
            "cell_id": f"c{count}",
            "execution_count": count,
            "source": source,
            "crc": source_crc(source),
            "started": f"2026-01-01T00:00:{count:02}.000000Z",
            "seconds": 0.1,
            "status": "ok",
            **known,
        }
    )


FEATURE = """%%feature ages --entity name --timestamp at
import pandas as pd
frame = pd.DataFrame({"name": ["a"], "at": pd.to_datetime(["2020-01-01"]), "age": [n]})
frame"""

# name -> (cells as (count, source) or (count, source, what else is recorded), what `repr(x)` is at the end, whether the script needs IPython)
CASES = {
    "plain": ([(1, "a = 1"), (4, "x = a + 1")], "2", False),
    "a step": ([(1, "%%step load\nx = 3")], "3", False),
    "a step below blank lines": ([(1, "\n\n%%step load\nx = 3")], "3", False),
    "our own magics": ([(1, "%load_ext mlops_nb\nx = 1\n%mlops status\nif x:\n    %model m x\nx += 1\n%lineage why x")], "2", False),
    "what looks like a magic in a text": ([(1, 'x = """\n%model m x\n"""')], r"'\n%model m x\n'", False),
    "a magic that only shows": ([(1, "%matplotlib inline\nx = 1"), (2, "%whos")], "1", False),
    "a timed statement": ([(1, "%time x = sum([1, 2])")], "3", False),
    "a timed cell": ([(1, "%%time\nx = sum([1, 2])")], "3", False),
    "a captured cell": ([(1, "%%capture\nprint(1)\nx = 5")], "5", False),
    "a captured cell whose output counts": ([(1, "%%capture out\nprint('said')"), (2, "x = out.stdout")], r"'said\n'", True),
    "a shell command": ([(1, "a = 'hello'"), (2, "lines = !echo {a}\nx = lines[0]")], "'hello'", True),
    "a cell magic": ([(1, "%%writefile told.txt\nhello\nyou"), (2, "x = open('told.txt').read()")], r"'hello\nyou\n'", True),
    "display": ([(1, "display(1)\nx = 1")], "1", False),
    "the last value": ([(3, "a = 2\na * 21"), (4, "print('between')"), (5, "x = _")], "42", False),
    "the last value but one": ([(3, "1 + 1"), (4, "3 + 3"), (5, "x = __")], "2", False),
    "a value by its count": ([(7, "10 + 1"), (9, "x = _7 + Out[7]")], "22", False),
    "a value over several lines": ([(7, "[\n  1,\n  2,\n]"), (9, "x = Out[7]")], "[1, 2]", False),
    "a chain of values": ([(3, "2"), (4, "_ * 2"), (5, "_4 * 2"), (6, "x = _")], "8", False),
    "an underscore of the user's": ([(1, "for _ in range(3): pass"), (2, "'shown'"), (3, "x = _")], "2", False),
    "a source by its count": ([(2, "a = 'ä'"), (5, "x = In[2] + _i2")], "\"a = 'ä'a = 'ä'\"", False),
    "the last source": ([(4, "a = 1"), (5, "x = _i")], "'a = 1'", False),
    "a failed cell": (
        [(1, "x = 1"), (2, "x = x + 1\n1 / 0\nx = 99", {"status": "error", "error": "ZeroDivisionError"}), (3, "x *= 10")],
        "20",
        False,
    ),
    "a failed cell with a long text": ([(1, 'x = """a\n  b"""\n1 / 0', {"status": "error", "error": "ZeroDivisionError"})], r"'a\n  b'", False),
    "the same cell twice": ([(1, "x = 0"), (2, "x += 1", {"cell_id": "b"}), (3, "x += 1", {"cell_id": "b", "id": "again"})], "2", False),
    "await": ([(1, "import asyncio\nasync def get(v):\n    await asyncio.sleep(0)\n    return v"), (2, "x = await get(6)\ny = x")], "6", False),
    "one loop for all cells": (
        [(1, "import asyncio\ntask = asyncio.ensure_future(asyncio.sleep(0, 8)) if await asyncio.sleep(0, True) else None"), (2, "x = await task")],
        "8",
        False,
    ),
    "a failed cell that awaits": (
        [(1, "import asyncio\nx = await asyncio.sleep(0, 4)\n1 / 0", {"status": "error", "error": "ZeroDivisionError"})],
        "4",
        False,
    ),
    "future imports": ([(1, "a = 1"), (2, "from __future__ import annotations\ndef f(v: Unknown): return v\nx = f(a)")], "1", False),
    "a feature": ([(1, "n = 7"), (2, FEATURE), (3, "x = int(ages.age.iloc[0])")], "7", False),
    "a feature that a training set is made of": (
        [
            (1, "n = 7"),
            (2, FEATURE.replace("--timestamp at", "--timestamp at --ttl 3h --tags a,b")),
            (3, "from mlops_nb import training_set\nspine = ages[['name', 'at']].copy()"),
            (4, "x = int(training_set(spine, ages, timestamp='at').age.iloc[0])"),
        ],
        "7",
        False,
    ),
    "a test that changes something": ([(1, "x = []"), (2, "%%test data --on x\nx.append(1)\nassert x"), (3, "x = x + [2]")], "[1, 2]", False),
    "a test that binds what it reads": ([(1, "x = [3]"), (2, "%%test data --on x\nx = x + [1]\nassert len(x) == 2")], "[3]", False),
    "test functions": ([(1, "x = []"), (2, "%%test data --on x\ndef test_it():\n    x.append(1)\n    assert x")], "[1]", False),
    "code that is no Python": ([(1, "x = 1"), (2, "def (", {"status": "error", "error": "SyntaxError"})], "1", None),
}


def runs_of(case: str) -> list[CellRun]:
    return [run_of(cell[0], cell[1], **(cell[2] if len(cell) > 2 else {})) for cell in CASES[case][0]]


@pytest.mark.parametrize("case", [name for name, entry in CASES.items() if entry[2] is not None])
def test_a_script_gives_what_the_session_gave(case, tmp_path):
    script = slice_script(runs_of(case), title="Slice of x", commit="abc")
    assert ("InteractiveShell" in script) == CASES[case][2]
    assert "# [" in script
    (tmp_path / "slice.py").write_text(script + "\nprint('x is', repr(x))\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "slice.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, script + done.stderr
    assert done.stdout.splitlines()[-1] == f"x is {CASES[case][1]}", script


@pytest.fixture(scope="module")
def combined(tmp_path_factory):
    """All cases in one kernel, one after the other: repr(x) after each, and the executed notebook."""
    folder = tmp_path_factory.mktemp("slices")
    cells, places = [], {}
    for number, case in enumerate(CASES):
        made = slice_notebook(runs_of(case), title=case, kernel="")
        assert made["cells"][0]["cell_type"] == "markdown"
        asked = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "print('x is', repr(x))"}
        fresh = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "%reset -f"}
        for cell in (*made["cells"], asked, fresh):
            cells.append({**cell, "id": f"{number}-{len(cells)}"})
        places[case] = len(cells) - 2
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "all.ipynb").write_text(notebook_text(document), encoding="utf-8")
    done = execute_notebook(folder / "all.ipynb", folder / "done.ipynb", kernel=KernelSetup(dict(os.environ), folder))
    assert done.error == "", done
    executed = nbformat.read(folder / "done.ipynb", as_version=4).cells
    return {case: executed[place]["outputs"][0]["text"].strip() for case, place in places.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_notebook_gives_what_the_session_gave(case, combined):
    assert combined[case] == f"x is {CASES[case][1]}"


@pytest.mark.parametrize("case", CASES)
def test_a_notebook_is_valid_and_its_cells_say_which_run_they_are(case):
    runs = runs_of(case)
    made = slice_notebook(runs, title="Slice of x", kernel="python3")
    nbformat.validate(nbformat.from_dict(made))
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [cell["metadata"]["mlops_nb"]["run"] for cell in code] == [run.id for run in runs]
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])


def test_a_notebook_says_what_it_is_and_keeps_tags():
    runs = [
        run_of(1, "a = open('in.csv').read()", tags=("parameters",), files=(FileUse("in.csv", "read", "d" * 32, 5),)),
        run_of(2, "open('out.csv', 'w').write(a); 1 / 0", status="error", error="E", files=(FileUse("out.csv", "write", "e" * 32, 5),)),
        run_of(3, "x = open('out.csv').read()", files=(FileUse("out.csv", "read", "e" * 32, 5),), cell_id="so/me id!" * 20),
    ]
    head, one, two, three = slice_notebook(runs, title="Slice of x", kernel="", commit="abc123")["cells"]
    assert head["source"].splitlines()[0] == "# Slice of x"
    for said in ("nb.ipynb", "abc123", "3 cell runs", "reads in.csv (xxh3 dddddddddddddddd)", "writes out.csv"):
        assert said in head["source"]
    assert "reads out.csv" not in head["source"]
    assert one["metadata"]["tags"] == ["parameters"]
    assert two["metadata"]["tags"] == ["raises-exception"]
    assert "tags" not in three["metadata"]
    assert one["source"] == runs[0].source


def test_code_heads_each_cell_and_runs_in_ipython(tmp_path):
    runs = [run_of(1, "a = !echo 4"), run_of(6, "import asyncio\nx = int(a[0]) + await asyncio.sleep(0, 1)", notebook="other.ipynb")]
    code = slice_code(runs)
    assert "# [1] cell c1 of nb.ipynb\n" in code
    assert "# [6] cell c6 of other.ipynb\n" in code
    (tmp_path / "slice.ipy").write_text(code + "print('x is', x)\n")
    environ = {**os.environ, "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-m", "IPython", "--colors=nocolor", "-c", Path(tmp_path / "slice.ipy").read_text()]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "x is 5", done.stderr


def test_our_own_magics_leave_the_rest_of_a_cell_as_it_was_written():
    source = "%load_ext mlops_nb\nlines = !ls\n%matplotlib inline\nif lines:\n    %mlops status\nx = 1"
    cell = slice_notebook([run_of(1, source)], title="t", kernel="")["cells"][1]
    assert cell["source"] == "# %load_ext mlops_nb\nlines = !ls\n%matplotlib inline\nif lines:\n    pass  # %mlops status\nx = 1"
