"""Plays sessions of cells, each in a process forked off from one where shell and libraries are loaded, so that none sees what another left.

As a script it answers JSON lines; `Player` talks to it. A session is given as executions: cell id, source, execution count.
"""

import ast
import builtins
import gc
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 60  # of one session, which takes a few hundredths of one

Executions = Sequence[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class Played:
    """What a session left: the target's value as text, each execution's error, and what the watcher says (execution numbers)."""

    value: str
    errors: list[str]
    slice: list[int]
    certain: list[int]  # what the certain edges alone lead to
    edges: list[str]
    failures: int


class Player:
    """The process that forks; `play` runs one session in a folder."""

    def __init__(self) -> None:
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)

    def play(self, executions: Executions, target: str, *, folder: Path, watch: bool = False) -> Played:
        job = {"executions": list(executions), "target": target, "folder": str(folder), "watch": watch}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "died" in answer:
            raise RuntimeError(f"the session {job} died: {answer['died']}")
        return Played(**answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


def names_in(expression: str) -> list[str]:
    """The variables that an expression reads.

    >>> names_in("len(x) + y")
    ['x', 'y']
    """
    found = {node.id for node in ast.walk(ast.parse(expression, mode="eval")) if isinstance(node, ast.Name)}
    return sorted(found - set(dir(builtins)))


def shown(value: object) -> str:
    """A value as text that is equal where the values are."""
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame | pd.Series):
        types = value.dtypes if isinstance(value, pd.Series) else list(value.dtypes)
        return f"{type(value).__name__} {types} {value.to_dict()}"
    if isinstance(value, np.ndarray):
        return f"ndarray {value.dtype} {value.shape} {value.tolist()}"
    return repr(value)


def play(shell, job: dict) -> dict:
    """Run the executions in the shell; what they left."""
    watcher, runs = None, []
    if job["watch"]:
        from mlops_nb.capture.watch import Watcher

        folder = Path(job["folder"])
        watcher = Watcher(shell, lambda run, _edges: runs.append(run), notebook="", session_id="s", layout_root=folder)
        watcher.start()
    errors = []
    for cell_id, source, count in job["executions"]:
        shell.execution_count = count
        shell.user_ns["In"].extend([""] * (count - len(shell.user_ns["In"])))
        ended = shell.run_cell(source, store_history=True, cell_id=cell_id)
        errors.append("" if ended.success else type(ended.error_before_exec or ended.error_in_exec).__name__)
    found = lineage(watcher, names_in(job["target"])) if watcher else {"slice": [], "certain": [], "edges": [], "failures": 0}
    if watcher:
        watcher.stop()
    try:
        value = shown(eval(job["target"], shell.user_ns))
    except Exception as error:  # noqa: BLE001 (a session without a needed cell may fail in any way)
        value = f"raised {type(error).__name__}"
    return {"value": value, "errors": errors, **found}


def lineage(watcher, names: list[str]) -> dict:
    """The slice of the names, by all edges and by the certain ones."""
    from mlops_nb.capture.lineage import slice_runs

    history = watcher.history
    number = {run.id: run.seq for run in history.runs}
    edges = [edge for edge in history.edges if edge.from_run in number]
    certain = [edge for edge in edges if edge.certainty == "certain"]
    heads = [writer for name in names for writer, sure in history.writers.get(name, ()) if sure == "certain"]
    return {
        "slice": [run.seq for run in history.slice(names)],
        "certain": [run.seq for run in slice_runs(history.runs, certain, heads)],
        "edges": [f"{number[e.from_run]}-{e.name}{'?' * (e.certainty == 'possible')}->{number[e.to_run]}" for e in edges],
        "failures": watcher.failures,
    }


def become(folder: str) -> None:
    """Make the forked process a fresh one: its own folder, seeds and output."""
    import numpy as np

    signal.alarm(MAX_SECONDS)
    os.chdir(folder)
    sys.path.insert(0, "")
    random.seed()
    np.random.seed()  # noqa: NPY002 (the legacy generator is what notebooks use)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


def serve() -> None:
    """Answer each line of stdin from a fork."""
    import pandas as pd  # noqa: F401 (loaded once for all sessions)
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401
    import sklearn.linear_model
    import sklearn.model_selection
    import sklearn.pipeline
    import sklearn.tree  # noqa: F401
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_cell("pass", store_history=False)  # what a shell's first cell loads
    gc.collect()
    gc.freeze()  # so that a fork's collections touch no page of this process
    encode = json.JSONEncoder().encode  # a session may patch json.dumps
    for line in sys.stdin:
        job = json.loads(line)
        if job["watch"]:
            import mlops_nb.capture.watch  # noqa: F401 (before the fork, so that it is loaded once)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                become(job["folder"])
                answer = play(shell, job)
            except BaseException as error:  # noqa: BLE001 (told to the test)
                answer = {"died": repr(error)}
            os.write(writer, encode(answer).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answers:
            text = answers.read()
        os.waitpid(child, 0)
        sys.stdout.write((text or encode({"died": "with no word"})) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
