"""What a recorded cell takes on disk: 1,000 trivial cells through the whole extension, in a kernel of its own process."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

CELLS = 1000
LIMIT = 1024  # bytes a cell

SCRIPT = r"""
import sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.history_manager.enabled = False
for number, source in enumerate(["%load_ext mlops_nb", "x = 0", *(f"x = x + {n}" for n in range(int(sys.argv[1])))]):
    assert shell.run_cell(source, store_history=True, cell_id=f"cell-{number}").success
shell.run_cell("%unload_ext mlops_nb")
"""


def recorded(home: Path, cells: int) -> Path:
    """The registry after a session of `cells` trivial cells, committed and closed."""
    environ = {**os.environ, "IPYTHONDIR": str(home / "ipython"), "MLOPS_NB_HOME": str(home / ".mlops_nb")}
    subprocess.run([sys.executable, "-c", SCRIPT, str(cells)], check=True, timeout=300, cwd=home, env=environ, capture_output=True)
    return home / ".mlops_nb" / "registry" / "registry.db"


def sizes(registry: Path) -> dict[str, int]:
    """Bytes of the file as it is, and of a vacuumed copy; the write-ahead log is taken in before."""
    copy = registry.with_name("vacuumed.db")
    with closing(sqlite3.connect(registry)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        db.execute("vacuum into ?", (str(copy),))
        runs = db.execute("select count(*) from cell_run").fetchone()[0]
        edges = db.execute("select count(*) from edge").fetchone()[0]
    return {"as it is": registry.stat().st_size, "vacuumed": copy.stat().st_size, "runs": runs, "edges": edges}


@pytest.mark.slow
def test_a_trivial_cell_takes_a_kilobyte_of_registry_at_most(tmp_path: Path, capsys: Any) -> None:
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    few, many = (sizes(recorded(tmp_path / name, cells)) for name, cells in (("few", 0), ("many", CELLS)))
    assert many["runs"] - few["runs"] == many["edges"] == CELLS
    each = {name: (many[name] - few[name]) / CELLS for name in ("as it is", "vacuumed")}
    with capsys.disabled():
        sys.stdout.write(f"\nregistry, bytes a trivial cell with one edge: {json.dumps(each)}\n")
    assert max(each.values()) <= LIMIT
