"""Running one `%%test` cell."""

import linecache
import subprocess
import sys
from dataclasses import dataclass

import pytest

from mlops_nb.records import TestCase
from mlops_nb.testing.cells import TestRun, run_fresh, run_test


def case_of(source: str, **more) -> TestCase:
    return TestCase(name="t", kind="data", notebook="nb.ipynb", cell_id="c1", source=source, **more)


def ran(source: str, **namespace) -> TestRun:
    return run_test(case_of(source), namespace)


@dataclass(frozen=True)
class Example:
    name: str
    source: str
    outcome: str
    message: str = ""
    line: int = 0
    asserts: int = 0


EXAMPLES = [
    Example("one assert that holds", "# %%test data\nassert x == 3", "passed", asserts=1),
    Example("values are shown", "# %%test data\n\nassert x == 4", "failed", "assert 3 == 4", 3, 1),
    Example("the user's message comes first", "assert x > 9, 'x is small'", "failed", "x is small\nassert 3 > 9", 1, 1),
    Example("where a value came from", "assert max(rows) < 2", "failed", "assert 2 < 2\n +  where 2 = max([0, 1, 2])", 1, 1),
    Example("the first failing assert counts", "assert x\nassert not x\nassert x", "failed", "assert not 3", 2, 2),
    Example("asserts in loops count each time", "for r in rows:\n    assert r < 3", "passed", asserts=3),
    Example("no assert ran", "x = 1", "error", "no assert ran"),
    Example("a loop over nothing", "for r in []:\n    assert r", "error", "no assert ran"),
    Example("an empty cell", "", "error", "no assert ran"),
    Example("an assert that is always true", "y = 1\nassert (x == 4, 'never')", "error", "always true", 2),
    Example("an exception", "assert x\n1 / 0", "error", "ZeroDivisionError: division by zero", 2, 1),
    Example("an unknown name", "assert nothing == 1", "error", "NameError: name 'nothing' is not defined", 1, 1),
    Example("no Python", "assert x ==", "error", "SyntaxError: invalid syntax", 1),
    Example("leaving the interpreter", "import sys\nsys.exit(0)", "error", "SystemExit: 0", 2),
    Example("the line of the cell, not of what it calls", "assert x\n\nint('one')\nassert x", "error", "ValueError: invalid literal", 3, 1),
    Example("pytest.fail", "import pytest\npytest.fail('no way')", "failed", "no way", 2),
    Example("pytest.skip shows nothing", "import pytest\npytest.skip('later')", "error", "skipped, so nothing was shown: later", 2),
    Example("pytest.raises is an assertion", "import pytest\nwith pytest.raises(ValueError):\n    int('one')", "passed", asserts=1),
    Example("pytest.raises fails", "import pytest\nwith pytest.raises(ValueError):\n    int('1')", "failed", "DID NOT RAISE", 2, 1),
    Example("assert_* calls are assertions", "import numpy as np\nnp.testing.assert_allclose(x, 3)", "passed", asserts=1),
    Example("assert_* fails", "import numpy as np\nnp.testing.assert_allclose(x, 4)", "failed", "Not equal to tolerance", 2, 1),
    Example("functions are called", "def test_a():\n    assert x == 3\ndef test_b():\n    assert rows", "passed", asserts=2),
    Example("a function that fails is named", "def test_a():\n    assert x\ndef test_b():\n    assert not x", "failed", "test_b: assert not 3", 4, 2),
    Example("a function without an assert", "def test_a():\n    assert x\ndef test_b():\n    x + 1", "error", "test_b: no assert ran", 3, 1),
    Example(
        "a function with arguments",
        "assert x\ndef test_a(frame):\n    assert frame",
        "error",
        "test_a: TypeError: a test function in a cell takes no",
        2,
        1,
    ),
    Example("arguments with defaults", "def test_a(n=3):\n    assert x == n", "passed", asserts=1),
    Example("an async function", "async def test_a():\n    assert x", "error", "test_a: TypeError: an async test function is not run", 1),
    Example("helpers are not called", "def check():\n    assert not x\nassert x", "passed", asserts=1),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_outcome(example: Example) -> None:
    run = ran(example.source, x=3, rows=[0, 1, 2])
    assert (run.outcome, run.line, run.asserts) == (example.outcome, example.line, example.asserts), run
    assert example.message in run.message


def test_bindings_stay_inside_the_test() -> None:
    namespace = {"x": 3}
    assert run_test(case_of("x = 4\ny = 5\nassert x == 4"), namespace).outcome == "passed"
    assert namespace == {"x": 3}


def test_functions_see_names_bound_by_the_body() -> None:
    assert ran("limit = 3\ndef test_a():\n    assert x <= limit", x=3).outcome == "passed"


def test_test_functions_of_the_notebook_are_not_called() -> None:
    scope: dict = {}
    exec("def test_elsewhere():\n    assert False", scope)
    assert ran("assert x", x=1, test_elsewhere=scope["test_elsewhere"]).outcome == "passed"


def test_an_assert_in_a_helper_shows_its_line() -> None:
    source = "def adult(age):\n    assert age >= 18\n"
    linecache.cache["<helper>"] = (len(source), None, source.splitlines(keepends=True), "<helper>")
    scope: dict = {}
    exec(compile(source, "<helper>", "exec"), scope)
    run = ran("assert x\nadult(x)", x=3, adult=scope["adult"])
    assert (run.outcome, run.line, run.message) == ("failed", 2, "assert age >= 18 (in adult)")


def test_warnings_are_kept_and_do_not_fail() -> None:
    run = ran("import warnings\nwarnings.warn('old', DeprecationWarning)\nassert x", x=1)
    assert run.outcome == "passed"
    assert run.warned == ("DeprecationWarning: old",)


def test_an_interrupt_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        ran("raise KeyboardInterrupt")


def test_an_errors_traceback_shows_the_cells_source_and_none_of_our_frames() -> None:
    run = ran("frame = {}\nframe['origin']\nassert frame")
    assert "    frame['origin']" in run.traceback
    assert "mlops_nb" not in run.traceback


def test_setup_runs_first_and_values_win() -> None:
    case = case_of("assert limit == 5 and twice(limit) == 10 and frame == [1]", setup="import math\nlimit = 3\ndef twice(n):\n    return 2 * n")
    assert run_fresh(case, {"frame": [1], "limit": 5}).outcome == "passed"


def test_a_setup_that_fails_is_an_error() -> None:
    run = run_fresh(case_of("assert True", setup="import no_such_module"), {})
    assert (run.outcome, run.message) == ("error", "ModuleNotFoundError: No module named 'no_such_module'")


def test_asserts_count_under_python_dash_o() -> None:
    code = (
        "from mlops_nb.records import TestCase; from mlops_nb.testing.cells import run_test;"
        "print(run_test(TestCase(name='t', kind='data', notebook='n', cell_id='c', source='assert 1 == 2'), {}).outcome)"
    )
    assert subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True).stdout == "failed\n"
