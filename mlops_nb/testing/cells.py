"""Run a `%%test` cell: pytest's rewritten asserts, the cell's own line numbers, and no pass without an assert.

A body is one test; the `def test_*` functions it defines are called too. Bindings stay inside the test, changes to the
values themselves do not: a test must not change what it looks at.
"""

import ast
import inspect
import linecache
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from mlops_nb.records import Outcome, TestCase

COUNTER = "@mlops_nb_asserts"  # no identifier, so it cannot meet a name of the user's
CHECKERS = frozenset({"raises", "warns", "deprecated_call"})


@dataclass(frozen=True, slots=True)
class TestRun:
    """What became of one run of a test: `line` is the cell's own, from 1 (0: unknown), `asserts` counts those that ran.

    `function` is the `test_*` function that failed, `traceback` the text of an error's, `warned` the warnings raised.
    """

    __test__ = False

    outcome: Outcome
    message: str = ""
    line: int = 0
    asserts: int = 0
    seconds: float = 0.0
    function: str = ""
    traceback: str = ""
    warned: tuple[str, ...] = ()


class NoAssert(Exception):
    """A test that ran to its end without one assert proves nothing."""


class _Progress:
    """How far a test has come: asserts begun, and the function that runs."""

    def __init__(self) -> None:
        self.asserts = 0
        self.function = ""
        self.line = 0

    def __call__(self) -> None:
        self.asserts += 1


def run_test(case: TestCase, namespace: Mapping[str, Any], *, filename: str = "") -> TestRun:
    """Run `case` over a copy of `namespace`.

    >>> case = TestCase(name="adult", kind="data", notebook="n.ipynb", cell_id="a1", source="age = 17\\nassert age >= 18")
    >>> run = run_test(case, {})
    >>> run.outcome, run.line, run.message
    ('failed', 2, 'assert 17 >= 18')
    """
    return _run(case, lambda: dict(namespace), filename)


def run_fresh(case: TestCase, values: Mapping[str, Any], *, filename: str = "") -> TestRun:
    """Run `case` in a namespace of its own: its setup code first, then `values` (which win over what setup binds)."""
    return _run(case, lambda: _fresh(case, values), filename)


def _fresh(case: TestCase, values: Mapping[str, Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(case.setup, f"<setup of {case.name}>", "exec", dont_inherit=True), scope)  # noqa: S102 (the user's own code)
    return {**scope, **values}


def _run(case: TestCase, scope: Callable[[], dict[str, Any]], filename: str) -> TestRun:
    import _pytest.assertion.rewrite  # noqa: F401 (loaded before the clock starts)

    place = filename or f"<{case.notebook}:{case.cell_id}>"
    _remember(case.source, place)
    progress = _Progress()
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        error = _caught(lambda: _execute(case, scope, place, progress))
    return TestRun(
        outcome="passed" if error is None else "failed" if _is_failure(error) else "error",
        message="" if error is None else _message(error, progress.function),
        line=0 if error is None else _line(error, place) or progress.line,
        asserts=progress.asserts,
        seconds=time.perf_counter() - started,
        function="" if error is None else progress.function,
        traceback="" if error is None else _traceback(error),
        warned=tuple(f"{w.category.__name__}: {w.message}" for w in caught),
    )


def _caught(body: Callable[[], None]) -> BaseException | None:
    """What `body`, the user's code, raised; an interrupt goes through."""
    from _pytest.outcomes import OutcomeException

    try:
        body()
    except (Exception, SystemExit, OutcomeException) as error:  # noqa: BLE001 (whatever a test raises is its outcome)
        return error
    return None


def _execute(case: TestCase, make_scope: Callable[[], dict[str, Any]], place: str, progress: _Progress) -> None:
    code = compile_test(case.source, place)
    scope = make_scope()
    scope[COUNTER] = progress
    exec(code, scope)  # noqa: S102 (the user's own test)
    functions = _test_functions(scope, place)
    if not functions and not progress.asserts:
        raise NoAssert("no assert ran: write what must hold as an assert")
    for function in functions:
        _call(function, progress)


def _call(function: FunctionType, progress: _Progress) -> None:
    progress.function, progress.line = function.__name__, function.__code__.co_firstlineno
    if inspect.iscoroutinefunction(function):
        raise TypeError("an async test function is not run: make it a plain one")
    if needed := _needed(function):
        raise TypeError(f"a test function in a cell takes no arguments, this one wants {', '.join(needed)}: read them as names of the notebook")
    before = progress.asserts
    function()
    if progress.asserts == before:
        raise NoAssert("no assert ran: write what must hold as an assert")
    progress.function, progress.line = "", 0


def _needed(function: FunctionType) -> list[str]:
    """The arguments without a default."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _test_functions(scope: Mapping[str, Any], place: str) -> list[FunctionType]:
    """The `test_*` functions this cell defined, in the order they stand."""
    found = {
        value for name, value in scope.items() if name.startswith("test_") and isinstance(value, FunctionType) and value.__code__.co_filename == place
    }
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)


def compile_test(source: str, filename: str) -> CodeType:
    """The test's code: asserts counted and rewritten to show their values; raises SyntaxError, also for an assert that is always true."""
    from _pytest.assertion.rewrite import rewrite_asserts

    tree = ast.parse(source, filename)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            raise SyntaxError("an assert on a tuple is always true: remove the parentheses", (filename, node.lineno, node.col_offset + 1, None))
    counted = ast.fix_missing_locations(_CountAsserts().visit(tree))
    rewrite_asserts(counted, source.encode("utf-8", "surrogatepass"), filename)
    return compile(counted, filename, "exec", dont_inherit=True)


class _CountAsserts(ast.NodeTransformer):
    """Put a call of the counter before each assertion: assert statements, calls of `assert_*`, `with pytest.raises(...)`."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        return [_tick(node), node]

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | list[ast.stmt]:
        called = _called(node.value)
        return [_tick(node), node] if called.lower().startswith("assert") else node

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.AST]:
        inner = self.generic_visit(node)
        checks = any(_called(item.context_expr) in CHECKERS for item in node.items)
        return [_tick(node), inner] if checks else inner


def _tick(node: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Expr(ast.Call(ast.Name(COUNTER, ast.Load()), [], [])), node)


def _called(node: ast.expr) -> str:
    """The last part of the name that `node` calls; '' where it calls none."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def _remember(source: str, filename: str) -> None:
    """Let tracebacks show the cell's lines."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def _is_failure(error: BaseException) -> bool:
    from _pytest.outcomes import Failed

    return isinstance(error, AssertionError | Failed)


def _message(error: BaseException, function: str) -> str:
    text = _text(error)
    return f"{function}: {text}" if function else text


def _text(error: BaseException) -> str:
    from _pytest.outcomes import Failed, Skipped

    match error:
        case AssertionError():
            return str(error).strip() or _raised_at(error)
        case Failed():
            return str(error)
        case Skipped():
            return f"skipped, so nothing was shown: {error}"
        case NoAssert():
            return str(error)
        case SyntaxError():
            return f"{type(error).__name__}: {error.msg}"
    return "".join(traceback.TracebackException.from_exception(error, lookup_lines=False).format_exception_only()).strip()


def _raised_at(error: BaseException) -> str:
    """The source line of an assert that was not rewritten, in a helper function."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.line or 'AssertionError'} (in {frame.name})"


def _line(error: BaseException, place: str) -> int:
    """The cell's line that failed: the innermost frame that is the cell's own."""
    if isinstance(error, SyntaxError) and error.filename == place:
        return error.lineno or 0
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == place]
    return lines[-1] if lines else 0


def _traceback(error: BaseException) -> str:
    """The traceback from the user's code on, without our own frames."""
    shown = error.__traceback__
    while shown and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next
    return "".join(traceback.format_exception(type(error), error, shown)).rstrip()
