"""Random programs of cells in a real shell: the slice behind any value, run again alone in a fresh namespace, gives that value."""

import gc
import math
import os
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher

EXAMPLES = int(os.environ.get("MLOPS_NB_EXAMPLES", "2000"))
NAMES = ("a", "b", "c", "d", "e")
FUNCTIONS = ("f", "g", "h")
FILES = ("one.txt", "two.txt")

name = st.sampled_from(NAMES)
function = st.sampled_from(FUNCTIONS)
file = st.sampled_from(FILES)
number = st.integers(0, 5)

# `{x}`, `{y}`, `{z}` are variables, `{f}`, `{k}` functions, `{n}`, `{m}` numbers, `{t}` a file.
STATEMENTS = (
    "{x} = {n}",
    "{x} = [{n}, {m}]",
    "{x} = {{'k': {n}}}",
    "{x} = {y}",
    "{x} = {y}",
    "{x} = [{y}, {z}]",
    "{x} = {{'k': {y}}}",
    "{x} = ({y}, {n})",
    "{x} = list({y})",
    "{x} = {y} + {z}",
    "{x} = {y}[{n}]",
    "{x} = {y}['k']",
    "{x} = len({y})",
    "{x} = str({y})",
    "{x} = Box({y})",
    "{x} = {y}.value",
    "{x} = {y}.total()",
    "{y}.value = {z}",
    "{y}.add({n})",
    "{x} += {n}",
    "{x} += [{n}]",
    "{x}, {y} = {y}, {x}",
    "{x}, *{y} = {z}",
    "{y}.append({n})",
    "{y}.append({z})",
    "{y}.extend([{n}])",
    "{y}[{n}] = {z}",
    "{y}['k'] = {z}",
    "{y}[0].append({n})",
    "{y}['k'].append({n})",
    "{y}.sort(key=str)",
    "del {y}[0]",
    "del {x}",
    "if {y}: {x} = {n}",
    "if {y} == {n}:\n    {x} = {z}\nelse:\n    {x} = [{n}]",
    "for i in range({n}): {x} = [i, {y}]",
    "for i in {y}: {x} = i",
    "for i in {y}: i.append({n})",
    "while len({y}) < {n}: {y}.append({m})",
    "{x} = [i for i in {y} if i]",
    "{x} = sum(1 for i in {y} if i in {z})",
    "try:\n    {x} = {y} + {z}\nexcept Exception:\n    {x} = {n}",
    "try:\n    {x} = undefined\nexcept NameError:\n    {x} = {y}",
    "{x} = {n} if '{y}' in globals() else {m}",
    "{x} = globals()['{y}']",
    "{x} = globals().get('{y}'[::-1], {n})",
    "exec('{x} = {y}')",
    "exec('{x}' + ' = ' + '{y}')",
    "{x} = eval('{y}')",
    "def {f}(v={n}): return [v, {y}]",
    "def {f}(v):\n    v.append({n})\n    return v",
    "def {f}(v):\n    global {x}\n    {x} = v\n    return v",
    "def {f}(v): return {k}(v)",
    "def {f}(v):\n    {y}.append(v)\n    return {y}",
    "def {f}(v, kept=[]):\n    kept.append(v)\n    return list(kept)",
    "def made():\n    n = {n}\n    def inner(v):\n        nonlocal n\n        n += 1\n        return n\n    return inner\n{f} = made()",
    "{f} = lambda v: [v, {y}]",
    "{f} = {y}.append",
    "{f} = functools.partial(max, {n})",
    "{x} = {f}({y})",
    "{x} = {f}({n})",
    "{f}({y})",
    "{x} = list(map({f}, [{n}, {m}]))",
    "{x} = iter({y})",
    "{x} = (i for i in {y})",
    "{x} = next({y}, {n})",
    "{x} = zip({y}, {z})",
    "{x} = np.arange({n} + 2)",
    "{x} = {y}[1:]",
    "{x} = {y}.reshape(-1, 1)",
    "{y}[...] = {n}",
    "{y} *= 2",
    "np.add({y}, 1, out={y})",
    "{x} = {y}.sum()",
    "random.seed({n})",
    "{x} = random.random()",
    "np.random.seed({n})",
    "{x} = np.random.rand()",
    "{x} = np.random.default_rng({n})",
    "{x} = {y}.random()",
    "with open('{t}', 'w') as out: out.write(str({y}))",
    "with open('{t}', 'a') as out: out.write(str({n}))",
    "{x} = open('{t}').read()",
    "{x} = os.path.exists('{t}')",
    "os.rename('one.txt', 'two.txt')",
    "os.environ['TRIAL_VARIABLE'] = str({n})",
    "{x} = os.environ.get('TRIAL_VARIABLE')",
    "math.tau = {n}",
    "{x} = math.tau",
    "%time {x} = {y}",
    "{x} = !echo {n}",
    "{y}",
    "{x} = _",
    "Box.shared.append({n})",
    "Box.limit = {n}",
    "{x} = Box.shared[:]",
    "{x} = {y}.limit",
)

FIRST = """
import functools, math, os, random
import numpy as np
class Box:
    shared = []
    limit = 0
    def __init__(self, value): self.value = value
    def add(self, n): self.value = [self.value, n]
    def total(self): return str(self.value) + str(self.limit)
random.seed(7)
np.random.seed(7)
a = [0]
b = {'k': [1]}
c = 2
"""


@st.composite
def statement(draw):
    text = draw(st.sampled_from(STATEMENTS))
    return text.format(x=draw(name), y=draw(name), z=draw(name), f=draw(function), k=draw(function), n=draw(number), m=draw(number), t=draw(file))


cell = st.lists(statement(), min_size=1, max_size=3).map("\n".join)


@st.composite
def sessions(draw):
    """(cell id, source) in the order they run: some cells are edited or run again."""
    cells = draw(st.lists(cell, min_size=2, max_size=8))
    plays = [(f"c{place}", source) for place, source in enumerate(cells)]
    for place in draw(st.lists(st.integers(0, len(cells) - 1), max_size=2)):
        plays.insert(draw(st.integers(place + 1, len(plays))), plays[place])
    return plays


@pytest.fixture(scope="module")
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    made.showtraceback = lambda *_, **__: None  # cells may fail in any way: that is no news
    made._format_exception_for_storage = lambda *_: []  # what IPython keeps of them costs twenty times the cell
    here, tau = Path.cwd(), math.tau
    yield made
    os.chdir(here)
    math.tau = tau
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the programs leave files open and coroutines waiting
        gc.collect()
    os.environ.pop("TRIAL_VARIABLE", None)
    InteractiveShell.clear_instance()


class Kernel:
    """The shell as a fresh kernel in an empty folder."""

    def __init__(self, shell, folder):
        self.shell, self.folder = shell, folder
        self.tau = math.tau
        self.start = set(shell.user_ns) - set(NAMES) - set(FUNCTIONS)

    def fresh(self):
        for own in [key for key in self.shell.user_ns if key not in self.start]:
            del self.shell.user_ns[own]
        self.shell.user_ns["_oh"].clear()
        self.shell.displayhook._, self.shell.displayhook.__, self.shell.displayhook.___ = "", "", ""
        self.shell.user_ns.update({"_": "", "__": "", "___": ""})
        math.tau = self.tau
        random.seed(99)
        np.random.seed(99)  # noqa: NPY002 (what the programs draw from)
        os.environ.pop("TRIAL_VARIABLE", None)
        os.chdir(self.folder)
        for left in FILES:
            (self.folder / left).unlink(missing_ok=True)

    def run(self, source, **options):
        return self.shell.run_cell(source, **{"store_history": True, **options})


def told(value, depth=0):  # noqa: PLR0911
    """What a value is, comparable between two namespaces."""
    kind = type(value)
    if depth > 6:
        return "deep"
    if kind in (list, tuple):
        return (kind.__name__, [told(item, depth + 1) for item in value])
    if kind is dict:
        return ("dict", [(key, told(item, depth + 1)) for key, item in value.items()])
    if kind is np.ndarray:
        return ("array", value.tolist())
    if kind.__name__ == "Box":
        return ("Box", told(vars(value), depth + 1), told(kind.shared, depth + 1), kind.limit)
    if isinstance(value, (int, float, str, type(None), np.generic)):
        return re.sub(r"0x[0-9a-f]+", "0x", repr(value))  # where an object lies says nothing
    return kind.__name__


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@given(plays=sessions())
@settings(phases=[Phase.generate], max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, print_blob=False)
def test_a_slice_run_alone_gives_the_value(plays, shell, tmp_path_factory, capfd):
    kernel = Kernel(shell, tmp_path_factory.getbasetemp())
    kernel.fresh()
    watcher = Watcher(shell, lambda *_: None, notebook="", session_id="s", layout_root=kernel.folder)
    watcher.start()
    for place, (cell_id, source) in enumerate([("first", FIRST), *plays]):
        kernel.run(source, cell_id=cell_id)
        note(f"[{place}] {cell_id}: {source!r}")
    watcher.stop()
    assert not watcher.failures
    names = [n for n in (*NAMES, *FUNCTIONS) if n in shell.user_ns]
    wanted = {n: told(shell.user_ns[n]) for n in names}
    for n in names:
        runs = watcher.history.slice([n])
        kernel.fresh()
        for run in runs:
            kernel.run(run.source)
        found = told(shell.user_ns[n]) if n in shell.user_ns else "missing"
        assert found == wanted[n], (n, [run.seq for run in runs])
    capfd.readouterr()
