"""What starting costs: nothing heavy is imported before it is needed. Times are measured in bench/test_bench_imports.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"pandas", "pyarrow", "polars", "sklearn", "skops", "matplotlib", "papermill", "nbformat", "nbclient", "dask", "distributed"}
HEAVY |= {"tornado", "jupyter_server", "fastapi", "starlette", "uvicorn", "flask", "redis", "sqlite_utils", "pytest", "tqdm"}

PACKAGE = "import mlops_nb"
EXTENSION = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
answer = shell.extension_manager.load_extension("mlops_nb")
assert answer is None, answer
assert "mlops" in shell.magics_manager.magics["line"]
"""
CELL = EXTENSION + "shell.run_cell('x = 1', store_history=True, cell_id='a')\n"
COMMANDS = "from mlops_nb.cli import cli; cli.main(['--help'], standalone_mode=False)"


@pytest.mark.parametrize("code", [PACKAGE, EXTENSION, CELL, COMMANDS], ids=["import", "load_ext", "a first cell", "mlops-nb --help"])
def test_nothing_heavy_is_imported(code, tmp_path):
    assert imported(code, tmp_path) & HEAVY == set()


def test_the_check_sees_a_heavy_import(tmp_path):
    assert "sklearn" in imported("import sklearn", tmp_path) & HEAVY


def imported(code: str, folder: Path) -> set[str]:
    """The modules loaded after `code` ran in a process of its own."""
    answer = folder / "modules.json"
    script = f"{code}\nimport json, pathlib, sys\npathlib.Path({str(answer)!r}).write_text(json.dumps(list(sys.modules)))"
    environ = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "MLOPS_NB_HOME": str(folder / ".mlops_nb")}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(answer.read_text()))
