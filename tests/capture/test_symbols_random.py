"""Random sessions: run once from top to bottom nothing is stale; after a cell ran again with another value, all that differs is stale."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from symbol_sessions import play
from traitlets.config import Config

from mlops_nb.capture.symbols import stale_symbols

CLASS = """class A{n}:
    k = {x}
    def __init__(self, a):
        self.a, self.b = a, {y}
    def m(self):
        return self.{kab}
v{n} = A{n}({x}).m()"""

# Each binds names of its own, `{n}`, and reads names `{x}`, `{y}` of numbers, `{f}` of functions.
CELLS = [
    "v{n} = {x} + {y}",
    "v{n} = [{x}, {y}][{k}] * 2",
    "d{n} = {{'a': {x}, 'b': {y}}}\nv{n} = d{n}['{ab}'] + 1",
    "p{n}, q{n} = {x} + 1, {y} + 2\nv{n} = {pq}{n}",
    "p{n}, *r{n} = [{x}, {y}, {x}]\nv{n} = sum(r{n})",
    "v{n} = 0\nfor i{n} in range(3):\n    v{n} += {x} + i{n}",
    "v{n} = sum([i + {x} for i in range(3) if i < {y}])",
    "if {x} > {y}:\n    v{n} = {x}\nelse:\n    v{n} = 7",
    "v{n} = {x} if {y} > 2 else 1",
    "def f{n}(a, b={y}):\n    return a + b + {x}\nv{n} = f{n}(1)",
    "def g{n}(a):\n    return {f}(a) + {x}\nv{n} = g{n}(2)",
    "v{n} = {f}({x}) + 1",
    CLASS,
    "x{n} = [{x}]\nx{n}.append({y})\nv{n} = x{n}[{k}] + 1",
    "h{n} = lambda a: a + {x}\nv{n} = sum(map(h{n}, [{y}]))",
    "e{n} = sorted([{x}, {y}])\nv{n} = e{n}[{k}]",
    "try:\n    v{n} = {x} // ({y} - {y})\nexcept ZeroDivisionError:\n    v{n} = {y}",
    "while (v{n} := {x} + {y}) < 0:\n    pass",
    "exec('v{n} = {x} + 1')",
    "%time v{n} = {x} + {y}",
]

START = ("v0 = 1", "v1 = 2", "v2 = 3", "def f0(a):\n    return a + v0", "def f1(a):\n    return a * v1")


@st.composite
def programs(draw):
    """Cells that each bind names of their own, once."""
    cells = list(START)
    numbers = ["v0", "v1", "v2"]
    for n in range(3, draw(st.integers(5, 10))):
        choose = {"x": numbers, "y": numbers, "f": ["f0", "f1"], "k": "01", "ab": "ab", "pq": "pq", "kab": ["k", "a", "b"]}
        picked = {name: draw(st.sampled_from(list(options))) for name, options in choose.items()}
        cells.append(draw(st.sampled_from(CELLS)).format(n=n, **picked))
        numbers.append(f"v{n}")
    return cells


@pytest.fixture(scope="module")
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield made
    InteractiveShell.clear_instance()


def named(number):
    """The cell that makes the number: the functions stand between."""
    return f"c{number if number < 3 else number + 2}"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=programs())
def test_a_session_that_rewrites_nothing_is_never_stale(shell, tmp_path, cells):
    history = play(shell, tmp_path, [(f"c{place}", cell) for place, cell in enumerate(cells)])
    assert stale_symbols(history.runs, history.edges) == {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=programs(), number=st.integers(0, 2), value=st.sampled_from([0, 4, 9]))
def test_what_would_differ_after_a_rewrite_is_stale(shell, tmp_path, cells, number, value):
    edited = [f"v{number} = {value}" if place == number else cell for place, cell in enumerate(cells)]
    play(shell, tmp_path, [(f"c{place}", cell) for place, cell in enumerate(edited)])
    wanted = {n: shell.user_ns[f"v{n}"] for n in range(len(cells) - 2)}
    history = play(shell, tmp_path, [*((f"c{place}", cell) for place, cell in enumerate(cells)), (f"c{number}", edited[number])])
    differing = {named(n) for n, wants in wanted.items() if shell.user_ns[f"v{n}"] != wants}
    assert differing <= stale_symbols(history.runs, history.edges).keys()
