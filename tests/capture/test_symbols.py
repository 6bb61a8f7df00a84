"""Staleness per symbol, in any order: what was computed from something rewritten since is stale, and nothing else."""

from dataclasses import dataclass

import pytest
from IPython.core.interactiveshell import InteractiveShell
from symbol_sessions import play
from traitlets.config import Config

from mlops_nb.capture.symbols import stale_symbols

POINT = (
    "class Point:\n    kind = 'p'\n    def __init__(self, x, y):\n        self.x = x\n        self.y = y\n    def move(self):\n        self.x += 1\n"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A session and the cells that are stale at its end, numbered from 1; a pair of (cell number, source) runs that cell again."""

    name: str
    cells: tuple[str | tuple[int, str], ...]
    stale: str = ""


STALE = [
    Case("a name is rewritten by a cell further down", ("x = 1", "y = x + 1", "x = 2"), "2"),
    Case("a name is rewritten by its own cell, run again", ("x = 1", "y = x + 1", (1, "x = 2")), "2"),
    Case("what comes from something stale is stale", ("x = 1", "y = x + 1", "z = y + 1", "print(z)", "x = 2"), "2 3 4"),
    Case("names made and used by one cell", ("x = 1\ny = x + 1", "x = 2"), "1"),
    Case("only the symbol that was computed from it passes it on", ("a, b = 1, 2", "c = a\nd = b", "e = c + 1", "f = d + 1", "b = 3"), "2 4"),
    Case("an element that was read is rewritten", ("xs = [1, 2]", "y = xs[0] + 1", "xs[0] = 5"), "2"),
    Case("a key that was read is rewritten", ("d = {'a': 1, 'b': 2}", "y = d['a'] + 1", "d['a'] = 5"), "2"),
    Case("a key in a variable is rewritten", ("k = 'a'\nd = {'a': 1, 'b': 2}", "y = d['a'] + 1", "d[k] = 5"), "2"),
    Case("an attribute that was read is rewritten", (POINT, "p = Point(1, 2)", "y = p.x + 1", "p.x = 7"), "3"),
    Case("an element is rewritten by another name", ("xs = [1, 2]", "ys = xs", "z = xs[0] + 1", "ys[0] = 5"), "3"),
    Case("who read all of a list that grows", ("xs = [1, 2]", "n = sum(xs)", "xs.append(3)"), "2"),
    Case("who read all of a dict that gets another key", ("d = {'a': 1}", "n = len(d)", "d['b'] = 2"), "2"),
    Case("what stands behind an inserted element moves", ("xs = [1, 2]", "y = xs[1] + 1", "xs.insert(0, 9)"), "2"),
    Case("what stands behind a deleted element moves", ("xs = [1, 2, 3]", "y = xs[1] + 1", "del xs[0]"), "2"),
    Case("the last element is another", ("xs = list(map(int, '12'))", "y = xs[-1] + 1", "xs.append(9)"), "2"),
    Case("an element is changed deep inside", ("xs = [[1], [2]]", "y = sum(xs[0])", "xs[0].append(5)"), "2"),
    Case("a list is made of something rewritten", ("x = 1", "xs = [x, 2]", "y = xs[0]", "x = 5"), "2 3"),
    Case("a function reads a name that is rewritten", ("x = 1", "def f():\n    return x", "y = f()", "x = 2"), "3"),
    Case("a function that is called by another", ("x = 1", "def f():\n    return x", "def g():\n    return f() + 1", "y = g()", "x = 2"), "4"),
    Case("a function that is rewritten", ("def f():\n    return 1", "y = f()", (1, "def f():\n    return 2")), "2"),
    Case("a default is computed where a function is defined", ("x = 1", "def f(a=x):\n    return a", "y = f()", "x = 2"), "2 3"),
    Case("a function handed to a library", ("x = 1", "def f(v):\n    return v + x", "y = list(map(f, [1]))", "x = 2"), "3"),
    Case("a lambda reads a name", ("x = 1", "f = lambda v: v + x", "y = f(1)", "x = 2"), "3"),
    Case("a method changes what was read", (POINT, "p = Point(1, 2)", "y = p.x + 1", "p.move()"), "3"),
    Case("a property reads a global", ("x = 1", "class A:\n    @property\n    def v(self):\n        return x", "a = A()", "y = a.v", "x = 2"), "4"),
    Case(
        "a setter binds what was read",
        (
            "z = 1",
            "class A:\n    @property\n    def v(self):\n        return z\n    @v.setter\n    def v(self, n):\n        global z\n        z = n",
            "a = A()",
            "y = a.v",
            "a.v = 8",
        ),
        "4",
    ),
    Case("an attribute of the class that an instance does not have", (POINT, "p = Point(1, 2)", "y = p.kind + '!'", "Point.kind = 'q'"), "3"),
    Case("a column is rewritten", ("import pandas as pd", "df = pd.DataFrame({'a': [1], 'b': [2]})", "y = df['a'].sum()", "df['a'] = 5"), "3"),
    Case(
        "a column is read as an attribute", ("import pandas as pd", "df = pd.DataFrame({'a': [1], 'b': [2]})", "y = df.a.sum()", "df['a'] = 5"), "3"
    ),
    Case(
        "rows are rewritten through loc",
        ("import pandas as pd", "df = pd.DataFrame({'a': [1], 'b': [2]})", "y = df['a'].sum()", "df.loc[0, 'a'] = 5"),
        "3",
    ),
    Case("an array shares memory with its view", ("import numpy as np", "a = np.zeros(4)", "v = a[1:]", "s = a.sum()", "v[0] = 5"), "4"),
    Case("the branch that ran was chosen by it", ("x = 1", "if x:\n    y = 2\nelse:\n    y = 3", "x = 0"), "2"),
    Case("a loop reads it", ("x = 1", "t = 0\nfor i in range(3):\n    t += x", "x = 2"), "2"),
    Case("a comprehension reads it", ("x = 1", "t = [i * x for i in range(3)]", "x = 2"), "2"),
    Case("a walrus hands it on", ("x = 1", "print(y := x + 1)", "z = y", "x = 2"), "2 3"),
    Case("what a cell showed was computed from it", ("x = 1", "x + 1", "x = 2"), "2"),
    Case("the last result was computed from it", ("x = 1", "x + 1", "y = _ * 2", "x = 2"), "2 3"),
    Case("code run as text rewrites it", ("x = 1", "y = x + 1", "exec('x = 2')"), "2"),
    Case("code run as text reads it", ("x = 1", "exec('y = x + 1')", "x = 2"), "2"),
    Case("a timed cell reads it", ("x = 1", "%time y = x + 1", "x = 2"), "2"),
    Case("two cells change the same part, each from what it was", ("d = {'a': 1}", "d['a'] = d['a'] * 2", "d['a'] = d['a'] + 1"), "2"),
    Case(
        "a method of a base class reads it",
        ("k = 1", "class A:\n    def v(self):\n        return k", "class B(A):\n    pass", "b = B().v()", "k = 2"),
        "4",
    ),
    Case("a closure keeps it", ("x = 1", "def f():\n    y = x\n    return lambda: y", "h = f()", "z = h()", "x = 2"), "4"),
    Case("a generator reads it", ("x = 1", "def g():\n    yield x", "y = list(g())", "x = 2"), "3"),
    Case("a decorated function reads it", ("import functools", "x = 1", "@functools.lru_cache\ndef f():\n    return x", "y = f()", "x = 2"), "4"),
    Case("a file is rewritten", ("Path('f').write_text('1')", "t = Path('f').read_text()", "Path('f').write_text('2')"), "2"),
]

FRESH = [
    Case("another element is rewritten", ("xs = [1, 2]", "y = xs[0] + 1", "xs[1] = 5")),
    Case("another key is rewritten", ("d = {'a': 1, 'b': 2}", "y = d['a'] + 1", "d['b'] = 5")),
    Case("another key, in a variable", ("k = 'b'", "d = {'a': 1, 'b': 2}", "y = d['a'] + 1", "d[k] = 5")),
    Case("another attribute is rewritten", (POINT, "p = Point(1, 2)", "y = p.x + 1", "p.y = 7")),
    Case("an argument of the instance that went into another attribute", ("a = 1", "b = 2", POINT, "p = Point(a, b)", "y = p.x + 1", "c = b")),
    Case("another column is rewritten", ("import pandas as pd", "df = pd.DataFrame({'a': [1], 'b': [2]})", "y = df['a'].sum()", "df['b'] = 5")),
    Case("a new column", ("import pandas as pd", "df = pd.DataFrame({'a': [1]})", "y = df['a'].sum()", "df['c'] = df['a'] * 2")),
    Case("another element of an array", ("import numpy as np", "a = np.zeros(4)", "y = a[3] + 1", "a[0] = 5")),
    Case("elements before the one that was appended", ("xs = [1, 2]", "y = xs[1] + 1", "xs.append(3)")),
    Case("elements before the one that was inserted", ("xs = [1, 2]", "y = xs[0] + 1", "xs.insert(1, 3)")),
    Case("elements before the one that was deleted", ("xs = [1, 2, 3]", "y = xs[0] + 1", "del xs[2]")),
    Case("an element that is gone is not rewritten", ("xs = [1, 2]", "y = xs[1] + 1", "xs.pop()")),
    Case("a name that is gone is not rewritten", ("x = 1", "y = x + 1", "del x")),
    Case("a name bound to an equal value", ("x = 1", "y = x + 1", "x = 1")),
    Case("an element bound to an equal value", ("xs = [1, 2]", "y = sum(xs)", "xs[0] = 1")),
    Case("an alias sees what is changed in place", ("xs = [1]", "ys = xs", "xs.append(2)")),
    Case("a list that holds an object sees what is changed in place", ("xs = [1]", "ys = [xs]", "xs.append(2)")),
    Case("a tuple of which the other element was taken", ("a = 1", "b = 2", "def f():\n    return a + 1, b + 1", "y = f()[0]", "b = 5")),
    Case("unpacking takes each its own", ("a = 1", "b = 2", "c, d = a + 1, b + 1", "e = c + 1", "b = b")),
    Case("a starred target takes the rest", ("a, b, c = 1, 2, 3", "x, *r = [a, b, c]\nx2 = x", "y = x2 + 1", "z = r")),
    Case("a function is defined, not called", ("x = 1", "def f():\n    return x", "x = 2")),
    Case(
        "a branch that was not taken",
        ("flag = False", "x = 1", "y = 1", "def f(p):\n    if p:\n        return x\n    return y", "z = f(False) + 1", "x = 2"),
    ),
    Case("a constant test decides", ("x = 1", "if False:\n    y = x\nelse:\n    y = 0", "x = 2")),
    Case(
        "a method that is not called",
        ("x = 1", "class A:\n    def f(self):\n        return x\n    def g(self):\n        return 1", "a = A()", "y = a.g()", "x = 2"),
    ),
    Case("a class attribute that the instance has itself", (POINT, "p = Point(1, 2)", "y = p.x + 1", "Point.x = 9")),
    Case("a class gets another attribute", (POINT, "p = Point(1, 2)", "y = p.x + 1", "Point.z = 9")),
    Case("a loop's variable belongs to the loop", ("t = 0\nfor i in range(3):\n    t += i", "for i in range(5):\n    pass")),
    Case("a loop ends on the last element", ("a, b, c = 1, 2, 3", "xs = [a + 1, b + 1, c + 1]\nfor i in xs:\n    pass", "y = i + 1")),
    Case(
        "a with's variable belongs to it",
        ("Path('f').write_text('1')", "with open('f') as s:\n    t = s.read()", "with open('f') as s:\n    u = s.read()"),
    ),
    Case("a rewrite that was computed from the symbol", ("xs = [3, 1]", "order = sorted(xs)", "xs = [order[0]]")),
    Case("a cell that rewrites what it read", ("x = 1", "x = x + 1")),
    Case("an object that the cell made itself changes later", ("xs = [1]\nn = len(xs)", "xs.append(2)")),
    Case("everything is run again", ("x = 1", "y = x + 1", (1, "x = 2"), (2, "y = x + 1"))),
    Case("the stale cell is run again", ("x = 1", "y = x + 1", "z = y", "x = 2", (2, "y = x + 1"), (3, "z = y"))),
    Case("a generator is drawn from", ("import random\nrandom.seed(1)", "a = random.random()", "b = random.random()")),
    Case("a parameter of the same name", ("x = 1", "def f(x):\n    return x", "y = f(3)", "x = 2")),
    Case("a comprehension's variable of the same name", ("x = 1", "t = [x for x in range(3)]", "x = 2")),
    Case("a rewritten name that nobody read", ("x = 1", "y = 2", "x = 3")),
    Case("a file that nobody read", ("Path('f').write_text('1')", "Path('f').write_text('2')")),
    Case("a name used again for something that is only shown", ("import io", "f = io.StringIO()\nf.write('a')", "f = io.StringIO()\nf.write('b')")),
    Case("a counter that several cells move on", ("n = 0", "n += 1", "n += 1", "m = n")),
    Case("a list that several cells append to", ("xs = []", "xs.append(1)", "xs.append(2)", "n = len(xs)")),
    Case(
        "a frame that is bound anew from itself",
        ("import pandas as pd", "df = pd.DataFrame({'a': [1, 2]})", "df = df[df.a > 1]", "df['c'] = df.a * 2"),
    ),
    Case("an import again", ("import math", "y = math.pi", "import math")),
]


@pytest.fixture(scope="module")
def shell():
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


@pytest.fixture
def run(shell, tmp_path, monkeypatch):
    """Run the cells of a session, and what is stale at its end."""
    monkeypatch.chdir(tmp_path)

    def stale(cells):
        pairs = [cell if isinstance(cell, tuple) else (number, cell) for number, cell in enumerate(cells, start=1)]
        history = play(shell, tmp_path, [("c0", "from pathlib import Path"), *((f"c{number}", source) for number, source in pairs)])
        return stale_symbols(history.runs, history.edges)

    return stale


def numbers(stale):
    return " ".join(sorted(cell_id[1:] for cell_id in stale))


@pytest.mark.parametrize("case", STALE, ids=[case.name for case in STALE])
def test_what_was_computed_from_something_rewritten_is_stale(run, case):
    assert numbers(run(case.cells)) == case.stale


@pytest.mark.parametrize("case", FRESH, ids=[case.name for case in FRESH])
def test_nothing_else_is_stale(run, case):
    assert run(case.cells) == {}


def test_the_reason_names_the_symbol_and_the_execution(run):
    cells = ("x = 1", "a = x + 1", "b = a + 1", "d = {'k': 1}", "d['k'] + 1", "x = 2", "d['k'] = 3")
    assert run(cells) == {
        "c2": "`x` rewritten by [7] after `a` was computed from it",
        "c3": "`x` rewritten by [7] after `a` was computed from it",
        "c5": "`d['k']` rewritten by [8] after [6] read it",
    }
