"""Others' test modules, run from a checkout: their own functions and assertions, with stand-ins for the modules they import."""

import ast
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

HOW = "set {variable} to a checkout of {url} to replay its suite (git clone {url}; nothing is fetched here)"


def checkout(variable: str, url: str, *folders: str) -> Path:
    """The folder that `variable` names; the calling test module is skipped, with how to get it, where it is not set."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(HOW.format(variable=variable, url=url), allow_module_level=True)
    found = Path(named).joinpath(*folders)
    if not found.is_dir():
        pytest.fail(f"{variable}={named} has no folder {'/'.join(folders)}: {HOW.format(variable=variable, url=url)}")
    return found


def stand_in(name: str, **contents: Any) -> ModuleType:
    """A module of that name with these contents."""
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@contextmanager
def standing_in(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """`modules` take the place of those of their names, and of the packages around them, until the end."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Recorded(ast.NodeTransformer):
    """`assert a == b` and `assert not a` -> a call that gets both sides unevaluated; other asserts are judged as true or not."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        match node.test:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                sides = [left, right]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                sides = [operand, ast.Constant(None)]
            case other:
                sides = [other, ast.Constant(True)]
        call = ast.Call(ast.Name("__expect__", ast.Load()), [*map(_later, sides), ast.Constant(node.lineno)], [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))


def _later(expression: ast.expr) -> ast.Lambda:
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(nothing, expression)


def load(path: Path, name: str, expect: Callable[[Callable[[], Any], Callable[[], Any], int], None]) -> ModuleType:
    """The module at `path` as `name`; each of its assertions calls `expect(left, right, line)` instead.

    Its imports are resolved now: within `standing_in`.
    """
    tree = _Recorded().visit(ast.parse(path.read_text(encoding="utf-8")))
    module = stand_in(name, __file__=str(path), __package__=name.rpartition(".")[0], __expect__=expect)
    exec(compile(tree, str(path), "exec"), vars(module))
    return module


def tests_of(module: ModuleType) -> dict[str, FunctionType]:
    """The module's test functions, in its order."""
    return {name: found for name, found in vars(module).items() if name.startswith("test_") and isinstance(found, FunctionType)}


def names_of_tests(path: Path) -> list[str]:
    """The names of the module's test functions, from its text alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def say(figures: str) -> None:
    """Measured figures, shown by `pytest -s` and with a failure."""
    sys.stdout.write(f"{figures}\n")
