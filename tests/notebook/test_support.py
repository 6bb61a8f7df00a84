import pytest

from mlops_nb.notebook.analysis import analyze
from mlops_nb.notebook.support import support_code

SOURCES = [
    "import os, sys\nimport numpy as np\nfrom pathlib import Path as P",
    "K = 3\nLIMITS = {'a': 1}\nDATA = load()",
    "def helper(x):\n    # kept\n    return np.sqrt(x) + K\n",
    "def main(x):\n    return helper(x)\n\nclass Model(Base):\n    def fit(self):\n        return main(self.x)\n\nclass Base: pass",
    "def uses_data():\n    return DATA",
    "scale = lambda x: x * K",
]


def ran(found):
    namespace = {}
    exec(found.code, namespace)
    return namespace


def test_only_what_is_needed_comes_along_and_runs():
    found = support_code(["main"], SOURCES)
    assert not found.leftover
    assert "import os" not in found.code
    assert "# kept" in found.code
    assert ran(found)["main"](4) == 5.0


def test_definitions_stand_before_what_reads_them_at_once():
    found = support_code(["Model"], SOURCES)
    assert found.code.index("class Base") < found.code.index("class Model")
    assert ran(found)["Model"]


@pytest.mark.parametrize(
    ("names", "leftover"),
    [
        (["DATA"], {"DATA"}),
        (["uses_data"], {"DATA"}),
        (["nowhere"], {"nowhere"}),
        (["len"], set()),
        (["P", "K"], set()),
        (["scale"], set()),
    ],
)
def test_data_is_left_over(names, leftover):
    assert support_code(names, SOURCES).leftover == leftover


@pytest.mark.parametrize(
    ("sources", "name", "expected"),
    [
        (["K = 1", "K = 2"], "K", 2),
        (["def f(): return 1", "def f(): return 2"], "f", 2),
        (["K = -1.5"], "K", -1.5),
        (["K: int = 3"], "K", 3),
        (["try:\n    import nowhere_at_all as m\nexcept ImportError:\n    m = None"], "m", None),
        (["if True:\n    K = 1\nelse:\n    K = 2"], "K", 1),
    ],
)
def test_the_last_definition_wins(sources, name, expected):
    found = support_code([name], sources)
    assert not found.leftover
    value = ran(found)[name]
    assert (value() if callable(value) else value) == expected


@pytest.mark.parametrize(
    "sources",
    [
        ["K = 1", "K = load()"],
        ["K = {}", "K['a'] = load()"],
        ["K = []", "K.append(load())"],
        ["K = 1", "K += 1"],
        ["K = 1", "del K"],
        ["K = 1", "for K in xs: pass"],
    ],
)
def test_a_constant_that_changes_is_data(sources):
    assert support_code(["K"], sources).leftover == {"K"}


def test_mutual_recursion_ends():
    found = support_code(["even"], ["def even(n): return n == 0 or odd(n - 1)", "def odd(n): return n != 0 and even(n - 1)"])
    assert ran(found)["even"](10)


def test_decorators_and_defaults_stand_first():
    sources = ["@twice\ndef f(x=START):\n    return x + 1", "START = 3", "def twice(f):\n    return lambda *a: f(*a) * 2"]
    assert ran(support_code(["f"], sources))["f"]() == 8


def test_a_function_called_at_definition_time_has_what_it_needs():
    sources = ["def table(): return [BASE]", "def f(x=table()): return x", "BASE = 7"]
    assert ran(support_code(["f"], sources))["f"]() == [7]


def test_future_imports_come_first():
    found = support_code(["f"], ["import math", "from __future__ import annotations", "def f(x: Nowhere): return math.pi"])
    assert found.code.startswith("from __future__ import annotations\n")
    assert ran(found)["f"](1)


def test_the_code_reads_nothing_from_outside():
    found = support_code(["main", "Model", "scale"], SOURCES)
    assert analyze(found.code).uses == frozenset()


def test_broken_sources_are_passed_over():
    assert support_code(["K"], ["def (", "K = 1"]).code == "K = 1\n"


def test_nothing_asked_is_nothing():
    assert support_code([], SOURCES).code == ""
