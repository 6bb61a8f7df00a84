"""What starting costs, as CPU time of processes of their own: medians, over bare Python."""

import os
import statistics
import subprocess
import sys

import pytest

RUNS = 9
IMPORT_LIMIT = 60  # milliseconds over bare Python
LOAD_LIMIT = 250
BARE = "pass"
PACKAGE = "import mlops_nb"
SHELL = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
LOADED = SHELL + "shell.extension_manager.load_extension('mlops_nb')"


@pytest.mark.parametrize(("code", "base", "limit"), [(PACKAGE, BARE, IMPORT_LIMIT), (LOADED, SHELL, LOAD_LIMIT)], ids=["import", "load_ext"])
def test_starting_costs_little(code, base, limit, tmp_path, record_property):
    cpu_ms(code, tmp_path)  # makes the registry, which a project does once
    cost = statistics.median(cpu_ms(code, tmp_path) - cpu_ms(base, tmp_path) for _ in range(RUNS))
    record_property("milliseconds", cost)
    print(f"{code[-40:]}: {cost:.0f} ms CPU over its base")
    assert cost <= limit


def cpu_ms(code, folder):
    """Milliseconds of CPU that a Python running `code` takes, its child processes included."""
    environ = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "MLOPS_NB_HOME": str(folder / ".mlops_nb")}
    before = os.times()
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return 1000 * (after.children_user + after.children_system - before.children_user - before.children_system)
