"""The cells of the benchmark of capture, run in one shell: `python bench_capture_cells.py plain|capture|extension|ipyflow`.

Prints JSON: case -> CPU milliseconds a cell, of all threads, and the peak memory in MB. Needs nothing of this project but what it measures.
"""

import itertools
import json
import statistics
import sys
import time
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

SETTLE = 0.13  # seconds in which threads that write down what ran finish: their CPU counts too
FIRST = """
import math
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.datasets import make_classification
x = 0
"""
FUNCTION = "def f(n):\n    return n + 1"
DATA = """
df = pd.DataFrame({"a": range(1_000_000), "k": [n % 100 for n in range(1_000_000)]}).assign(v=lambda d: d.a / 3)
big = list(range(1_000_000))
features, target = make_classification(80_000, 40, random_state=0)
small = pd.DataFrame({"a": range(100), "b": "text"})
small.to_csv("small.csv")
"""
MANY = "".join(f"v{n} = [{n}]\nw{n} = {n}.5\nt{n} = 'text {n}'\nd{n} = {{'n': {n}}}\n" for n in range(245)) + "def g(n):\n    return f(n)\n"

KIND = sys.argv[1]
numbers = itertools.count()
shell = InteractiveShell.instance()
shell.history_manager.enabled = False  # IPython's own, which writes on a thread: what that takes depends on how fast cells follow each other


def start() -> list[object]:
    """Switch on what is measured; gives the list of recorded runs, where there is one."""
    runs: list[object] = []
    if KIND == "capture":
        from mlops_nb.capture.watch import Watcher

        Watcher(shell, lambda run, _: runs.append(run), notebook="", session_id="s", layout_root=Path.cwd()).start()
    elif KIND == "extension":
        run("%load_ext mlops_nb")
    elif KIND == "ipyflow":
        run("%load_ext ipyflow")
    return runs


def run(source: str) -> None:
    """One cell, a new one each time."""
    number = next(numbers)
    named = None if KIND == "ipyflow" else f"cell-{number}"  # ipyflow without its frontend cannot place a cell that has an id
    done = shell.run_cell(source.replace("@", str(number)), store_history=True, cell_id=named)
    if not done.success:
        raise SystemExit(f"failed: {source}: {done.error_before_exec or done.error_in_exec}")


def cost(source: str, *, times: int = 7, together: int = 1) -> float:
    """CPU ms of one cell: the median of `times` batches of `together` cells, with a pause after each in which they are written down."""
    took = []
    for _ in range(times):
        before = time.process_time()
        for _ in range(together):
            run(source)
        time.sleep(SETTLE)
        took.append((time.process_time() - before) * 1000 / together)
    return statistics.median(took)


def recorded(runs: list[object]) -> int:
    """How many runs were recorded, where this project records."""
    if KIND == "extension":
        import mlops_nb

        return len(mlops_nb.lineage().cells())
    return len(runs)


def peak_memory() -> float:
    """MB, of this process alone: unlike the value of `getrusage`, that in /proc does not take over its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """All cases in order."""
    run("x = 0\ny = 2")
    runs = start()
    run(FIRST)
    for number in range(4):
        run(f"few{number} = [{number}]")
    found = {"trivial cell, 10 variables": cost("x = y + @", together=50)}
    run(FUNCTION)
    found["loop of 1e6 in a cell"] = cost("t = 0\nfor i in range(1_000_000):\n    t += i", together=2)
    found["1e5 calls of a function"] = cost("for i in range(100_000):\n    f(i)", together=5)
    run(DATA)
    found["len() of a list of 1e6"] = cost("n = len(big)", together=10)
    found["append to a list of 1e6"] = cost("big.append(@)", together=10)
    found["groupby, 1e6 rows"] = cost("means = df.groupby('k').v.mean()", together=5)
    found["new column, 1e6 rows"] = cost("df['x'] = df.a * 2", together=5)
    found["read_csv of a small file"] = cost("small = pd.read_csv('small.csv')", together=5)
    found["fit of a model"] = cost("model = LogisticRegression(max_iter=200).fit(features, target)")
    found["100 open()"] = cost("for n in range(100):\n    open('small.csv').close()", together=5)
    run(MANY)
    found["trivial cell, 1,000 variables"] = cost("x = y + @", together=50)
    found["trivial cell after a pause"] = cost("x = y + @", times=11)
    found["peak memory, MB"] = peak_memory()
    cells = next(numbers) - 2  # the first ran before anything was switched on, the last number is of none
    if KIND in ("capture", "extension") and recorded(runs) < cells:
        raise SystemExit(f"recorded {recorded(runs)} of {cells} runs")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
