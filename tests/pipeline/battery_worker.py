"""Runs small notebooks straight and as components, each component in a process of its own, and says whether they agree.

Reads a JSON list of [sources, files] on stdin, writes one of [verdicts, details, digests] a notebook on stdout. A verdict is `equal`, `different`,
`refused` (by promotion), or `stopped` (an error at run time); there are two, built without and with what capture saw.
"""

import ast
import contextlib
import importlib
import io
import json
import os
import pickle
import re
import sys
import tempfile
import types
from dataclasses import replace
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from mlops_nb.capture.watch import Watcher
from mlops_nb.errors import MlopsError, PromotionRefused
from mlops_nb.hashing import source_crc
from mlops_nb.notebook.analysis import of_cell
from mlops_nb.notebook.cells import parse_cell, plain_python
from mlops_nb.pipeline.component import build
from mlops_nb.pipeline.files import component_notebook
from mlops_nb.pipeline.sharing import changed_elsewhere, check_apart
from mlops_nb.pipeline.step import seed_generators
from mlops_nb.store import serializers

SHELL_NAMES = {"In", "Out", "get_ipython", "exit", "quit", "open"}


def forked(function):
    """The value of `function()` run in a child process, whose settings, modules and folder are its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = (True, function())
        except BaseException as error:  # noqa: BLE001 (the parent says it)
            answer = (False, f"{type(error).__name__}: {error}")
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        well, value = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    if not well:
        raise RuntimeError(value)
    return value


def fresh_namespace(shell):
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    shell.user_module, shell.user_ns = module, module.__dict__
    shell.user_ns_hidden.clear()
    shell.init_user_ns()
    return shell.user_ns


def run(shell, source, cell_id):
    """Run a cell as the kernel does; what it printed, without what differs between any two runs."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        ended = shell.run_cell(source, store_history=True, cell_id=cell_id)
    if error := ended.error_before_exec or ended.error_in_exec:
        raise RuntimeError(f"{cell_id}: {type(error).__name__}: {error}")
    lines = (re.sub(r"^Out\[\d+\]", "Out", line) for line in printed.getvalue().splitlines())
    return [line for line in lines if line and not re.search(r"0x|time:|times:|per loop", line)]


def run_cell(shell, namespace, cell):
    """A cell of the notebook; features and tests as their magics run them, short of recording."""
    if cell.kind == "feature":
        tree = ast.parse(cell.body)
        if isinstance(tree.body[-1], ast.Expr):
            tree.body[-1] = ast.Return(tree.body[-1].value)
        body = "\n".join("    " + line for line in ast.unparse(ast.fix_missing_locations(tree)).splitlines())
        return run(shell, f"def _view():\n{body}\n{cell.name} = _view()", cell.id)
    if cell.kind == "test":
        before = dict(namespace)
        printed = run(shell, plain_python(cell.source), cell.id)
        for name in namespace.keys() - before.keys():
            del namespace[name]
        namespace.update(before)
        return printed
    return run(shell, cell.body if cell.kind == "step" else cell.source, cell.id)


def values(namespace):
    """The namespace's values as text."""
    found = {}
    for name, value in namespace.items():
        if not name.startswith("_") and name not in SHELL_NAMES:
            try:
                dumped = serializers.dump(value, name=name)
                found[name] = repr(value) if dumped.kind == "pickle" else dumped.data.decode("latin1")
            except MlopsError:
                found[name] = type(value).__name__
            found[name] = type(value).__name__ if " at 0x" in found[name] else found[name]
    return found


def straight(shell, cells, folder):
    """(what each step cell printed and left, the cells' runs as captured) of a run from top to bottom."""
    os.chdir(folder)
    namespace = fresh_namespace(shell)
    seed_generators(0)
    runs, seen = {}, {}
    watcher = Watcher(shell, lambda run, _: runs.update({run.cell_id: run}), notebook="nb.ipynb", session_id="s", layout_root=folder)
    watcher.start()
    for cell in cells:
        printed = run_cell(shell, namespace, cell)
        if cell.step:
            seen[cell.id] = (printed, values(namespace))
    assert watcher.history.runs
    watcher.stop()
    sources = {cell.id: cell.source for cell in cells}
    return seen, {cell_id: replace(run, source=sources[cell_id], crc=source_crc(sources[cell_id])) for cell_id, run in runs.items()}


def one_component(shell, component, pipeline, given, folder):
    os.chdir(folder)
    namespace = fresh_namespace(shell)
    seed_generators(0)
    seen = {}
    cells = {cell.id: cell for cell in component.cells}
    for entry in component_notebook(component)["cells"]:
        cell_id = entry["id"]
        if cell_id == "mlops-nb-begin":
            continue
        if cell_id == "mlops-nb-load":
            namespace.update({name: serializers.load(*given[maker][name]) for name, maker in component.inputs.items()})
        elif cell_id == "mlops-nb-save":
            outputs = {name: namespace[name] for name in component.outputs}
            check_apart(outputs, changed_elsewhere(pipeline, component), component.name)
            dumped = {name: serializers.dump(value, name=name) for name, value in outputs.items()}
            return {name: (one.kind, one.data) for name, one in dumped.items()}, seen
        elif cell_id in cells:
            printed = run_cell(shell, namespace, cells[cell_id])
            if cells[cell_id].step:
                seen[cell_id] = (printed, values(namespace))
        else:
            run(shell, "".join(entry["source"]), cell_id)
    raise AssertionError("no save cell")


def headless(shell, pipeline, folder):
    given, seen = {}, {}
    for component in pipeline.components:
        given[component.name], found = forked(lambda component=component: one_component(shell, component, pipeline, given, folder))
        seen |= found
    return seen


def differences(cells, notebook, components):
    """Where a step's cell printed something else, or left another value under a name that it makes."""
    found = []
    for cell in cells:
        if cell.id in components:
            (printed, left), (again, got) = notebook[cell.id], components[cell.id]
            found += [f"{cell.id} printed {again}, not {printed}"] if printed != again else []
            made = (of_cell(cell).defs | of_cell(cell).mutates) & (left.keys() | got.keys())
            found += [f"{cell.id} left {name} = {got.get(name)}, not {left.get(name)}" for name in sorted(made) if left.get(name) != got.get(name)]
    return found


def folder_with(files):
    folder = Path(tempfile.mkdtemp(dir=os.environ["BATTERY_FOLDER"])).resolve()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def attempt(shell, pipeline, cells, files, notebook):
    try:
        found = differences(cells, notebook, headless(shell, pipeline, folder_with(files)))
    except RuntimeError as error:
        return ("refused" if "share an object" in str(error) else "stopped"), str(error)
    return ("different", "; ".join(found)) if found else ("equal", "")


def judge(shell, sources, files):
    cells = []
    for index, entry in enumerate(sources):
        source, *tags = [entry] if isinstance(entry, str) else entry
        cells.append(parse_cell(source, id=f"c{index}", index=index, tags=tags, notebook="nb.ipynb"))
    notebook, runs = forked(lambda: straight(shell, cells, folder_with(files)))
    verdicts, details, digests = [], [], []
    for observed in ({}, runs):
        try:
            pipeline = build(cells, notebook="nb.ipynb", name="nb", observed=observed)
        except PromotionRefused as refused:
            verdict, detail, digest = "refused", str(refused), None
        else:
            digest = {component.name: component.digest for component in pipeline.components}
            same = digests and digests[0] == digest
            verdict, detail = (verdicts[0], details[0]) if same else attempt(shell, pipeline, cells, files, notebook)
        verdicts.append(verdict)
        details.append(detail)
        digests.append(digest)
    return verdicts, details, digests


def main():
    for name in ("pandas", "pyarrow.parquet", "sklearn.linear_model", "sklearn.model_selection"):
        importlib.import_module(name)  # once, before the forks
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    for sources, files in json.load(sys.stdin):
        sys.stdout.write(json.dumps(judge(shell, sources, files)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
