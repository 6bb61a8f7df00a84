"""The statements of a cell, followed as values flow (for `edges`)."""

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlops_nb.notebook.columns.expressions import STEPS, Expressions
from mlops_nb.notebook.columns.functions import binary
from mlops_nb.notebook.columns.values import Constant, Entries, Frame, Function, Global, Items, Value, join, other, sources_of, spread, weaken

_DEPTH = 4


class Trace(Expressions):
    """One pass over the statements of a cell."""

    def run(self, body: Iterable[ast.stmt]) -> None:
        """Follow statements in order."""
        for node in body:
            self.steps += 1
            run = _STATEMENTS.get(type(node))
            if run is not None:
                run(self, node)

    def branch(self, node: ast.If) -> None:
        """Both ways of an `if`, unless the code itself decides it."""
        test = self.value(node.test)
        if isinstance(test, Constant):
            self.run(node.body if test.value else node.orelse)
            return
        with self.perhaps(weaken(spread(test))):
            if self.returned is not None:
                self.returned.append(other(weaken(spread(test))))
            self.run(node.body)
            self.run(node.orelse)

    def loop(self, node: ast.For | ast.AsyncFor) -> None:
        """A loop over what the code spells out, pass by pass; any other twice over the unknown."""
        given = self.value(node.iter)
        passes = self.passes(given)
        sure, self.sure = self.sure, False
        if passes is not None and not any(isinstance(one, ast.Break | ast.Continue) for one in ast.walk(node)):
            for one in passes:
                self.assign(node.target, one)
                self.run(node.body)
        else:
            with self.perhaps(weaken(sources_of(given)) if passes is None and not isinstance(given, Frame) else {}):
                for one in passes or [self.element(given)] * 2:
                    weak, self.weak = self.weak, 0
                    self.assign(node.target, one)
                    self.weak = weak
                    self.run(node.body)
        self.sure = sure
        self.run(node.orelse)

    def repeat(self, node: ast.While) -> None:
        """A `while` loop: twice, perhaps."""
        with self.perhaps(weaken(spread(self.value(node.test)))):
            self.run(node.body)
            self.run(node.body)
        self.run(node.orelse)

    def attempt(self, node: ast.Try | ast.TryStar) -> None:
        """A `try`: any part of it may run."""
        with self.perhaps():
            self.run(node.body)
            for handler in node.handlers:
                self.run(handler.body)
            self.run(node.orelse)
        self.run(node.finalbody)

    def match(self, node: ast.Match) -> None:
        """Any case of a `match` may run."""
        with self.perhaps(weaken(spread(self.value(node.subject)))):
            for case in node.cases:
                self.run(case.body)

    def enter(self, node: ast.With | ast.AsyncWith) -> None:
        """A `with` block."""
        for item in node.items:
            made = self.value(item.context_expr)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, made)
        self.run(node.body)

    def augment(self, node: ast.AugAssign) -> None:
        """`target += value`: the target is made from itself too."""
        old, new = self.value(node.target), self.value(node.value)
        made = binary(node.op, old, new)
        if isinstance(node.target, ast.Name) and isinstance(old, Frame) and isinstance(made, Frame):
            self.replace(old, made)  # pandas and numpy work in place, so that every other name sees it
        else:
            self.assign(node.target, made)

    def give_back(self, node: ast.Return) -> None:
        """`return` in a function that is followed."""
        made = self.value(node.value)
        if self.returned is not None:
            self.returned.append(self.marked(made))

    def invoke(self, callee: Value, args: list[Value], kwargs: Mapping[str, Value] | None = None) -> Value | None:
        """Run a function of this cell on values; None where it is another's, or too deep."""
        if not isinstance(callee, Function) or self.depth >= _DEPTH or self.steps > STEPS:
            return None
        node = callee.node
        env, returned, sure, weak = self.env, self.returned, self.sure, self.weak
        for name in self.before:
            self.load(name)
        self.env = {**self.env, **self._parameters(node.args, args, kwargs or {})}
        self.depth += 1
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body)
            self.returned, self.sure, self.weak = [], False, 0
            self.run(node.body)
            return self._outcome(self.returned)
        finally:
            self.depth -= 1
            self.env, self.returned, self.sure, self.weak = env, returned, sure, weak

    def _outcome(self, returned: list[Value]) -> Value:
        if not returned:
            return Constant(None)
        found = returned[0]
        for one in returned[1:]:
            found = join(found, one)
        return found

    def _parameters(self, node: ast.arguments, args: list[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
        names = [arg.arg for arg in [*node.posonlyargs, *node.args]]
        found: dict[str, Value] = {}
        for name, default in zip(reversed(names), reversed(node.defaults), strict=False):
            found[name] = self.value(default)
        for arg, own in zip(node.kwonlyargs, node.kw_defaults, strict=True):
            found[arg.arg] = self.value(own)
        found |= dict(zip(names, args, strict=False))
        found |= {name: value for name, value in kwargs.items() if not node.kwarg or name in names}
        if node.vararg:
            found[node.vararg.arg] = Items(args[len(names) :])
        if node.kwarg:
            found[node.kwarg.arg] = Entries({name: value for name, value in kwargs.items() if name not in names})
        return {name: found.get(name, other({})) for name in {*names, *found}}


def _define(trace: Trace, node: ast.FunctionDef) -> None:
    trace.env[node.name] = Function(node) if not node.decorator_list else Global(node.name)


def _forget(trace: Trace, node: ast.Import | ast.ImportFrom) -> None:
    for alias in node.names:
        trace.env[alias.asname or alias.name.partition(".")[0]] = Global(
            alias.name if alias.asname or isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
        )


def _assign(trace: Trace, node: ast.Assign) -> None:
    value = trace.value(node.value)
    for target in node.targets:
        trace.assign(target, value)


def _annotated(trace: Trace, node: ast.AnnAssign) -> None:
    if node.value is not None:
        trace.assign(node.target, trace.value(node.value))


def _delete(trace: Trace, node: ast.Delete) -> None:
    for target in node.targets:
        trace.delete(target)


_STATEMENTS: Mapping[type[ast.AST], Callable[[Trace, Any], object]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: Trace.augment,
    ast.Expr: lambda trace, node: trace.value(node.value),
    ast.Delete: _delete,
    ast.If: Trace.branch,
    ast.For: Trace.loop,
    ast.AsyncFor: Trace.loop,
    ast.While: Trace.repeat,
    ast.Try: Trace.attempt,
    ast.TryStar: Trace.attempt,
    ast.Match: Trace.match,
    ast.With: Trace.enter,
    ast.AsyncWith: Trace.enter,
    ast.Return: Trace.give_back,
    ast.FunctionDef: _define,
    ast.AsyncFunctionDef: _define,
    ast.Import: _forget,
    ast.ImportFrom: _forget,
}
