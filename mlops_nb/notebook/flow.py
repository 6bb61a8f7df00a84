"""Following statements in order: which global names a piece of plain Python reads, binds and changes.

A name counts as used when some path reaches the read without binding it: both branches of an `if` are followed, a `for` or `while`
body is taken to run at least once, a `try` body to run whole or to end in one of its handlers.
"""

import ast
import re
from dataclasses import dataclass, field

from mlops_nb.errors import BadInput
from mlops_nb.notebook import scopes
from mlops_nb.notebook.effects import Effects, effects_of
from mlops_nb.notebook.grammar import parse_line
from mlops_nb.notebook.scopes import Free
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import Analysis

_TIMING_MAGICS = frozenset({"time", "timeit", "prun", "memit", "mprun", "debug"})
_RUNNING_MAGICS = frozenset({"run", "load", "loadpy", "macro", "rerun", "recall", "store", "pylab", "reset", "reset_selective", "xdel", "edit"})
_SHELL_CALLS = frozenset({"system", "getoutput", "run_line_magic", "run_cell_magic"})
_BRACED = re.compile(r"\{([^{}]+)\}|\$(\w+)")
_QUERY_NAMES = re.compile(r"@(\w+)")
_MAGIC_OPTION = re.compile(r"^(?:-\w+(?:\s*=?\s*\d+)?\s+)+")


@dataclass(frozen=True, slots=True)
class Facts:
    """An analysis and how sure it is.

    `always` are the names bound on every path, outside branches and loops; `certain` those read on every path, `calls` those called by
    name on every path.
    """

    analysis: Analysis = field(default_factory=Analysis)
    always: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()
    calls: frozenset[str] = frozenset()
    effects: Effects = field(default_factory=Effects)


def follow(source: str, *, builtins: frozenset[str]) -> Facts:
    """What `source` does to global names; the names in `builtins` do not count as reads."""
    tree = parse(source)
    if isinstance(tree, str):
        return Facts(Analysis(error=tree))
    flow = _Flow(builtins)
    try:
        flow.block(tree.body)
    except RecursionError:
        return Facts(Analysis(error="RecursionError: nested too deeply"))
    return Facts(flow.result(), frozenset((flow.bound or set()) & flow.straight), frozenset(flow.certain), frozenset(flow.calls), effects_of(tree))


class _Flow(ast.NodeVisitor):
    """Follows statements in order, keeping the names that are bound on every path so far (None: this point is not reached)."""

    def __init__(self, builtins: frozenset[str], outer: "_Flow | None" = None) -> None:
        self.builtins = builtins
        self.outer = outer  # for a class body: the flow its name lookups go on in
        self.bound: set[str] | None = set()
        self.local: list[set[str]] = []  # targets of the comprehensions around this point
        self.uses: set[str] = set()
        self.defs: set[str] = set()
        self.straight: set[str] = set()  # bound outside branches, loops and try
        self.deletes: set[str] = set()
        self.mutates: set[str] = set()
        self.deferred: dict[str, Free] = {}
        self.imports: dict[str, str] = {}
        self.dynamic = False
        self.certain: set[str] = set()
        self.calls: set[str] = set()
        self.depth = 0
        self.unsure: int = outer.unsure if outer else 0  # how many branches stand around this point
        self.lazy_annotations = False
        self.calling: set[str] = set()
        self.passes: set[tuple[str, str, str]] = outer.passes if outer else set()
        self.methods: dict[str, Free] = {}  # `.name` -> the methods of that name of classes defined here
        self.looked_up: set[str] = outer.looked_up if outer else set()
        self.same: dict[str, frozenset[str]] = {}  # other names for (parts of) objects

    def result(self) -> Analysis:
        return Analysis(
            uses=frozenset(self.uses),
            defs=frozenset(self.defs),
            deletes=frozenset(self.deletes),
            mutates=frozenset(self.mutates - set(self.imports) - self.builtins),
            deferred={name: frozenset(free.loads - self.builtins) for name, free in self.deferred.items()},
            imports=dict(self.imports),
            dynamic=self.dynamic,
            behaviours={name: free.behaviour() for name, free in (self.deferred | self.methods).items()},
            passes=frozenset(self.passes),
            looked_up=frozenset(self.looked_up),
        )

    # --- names ---

    def load(self, name: str) -> None:
        """A read of `name`; reading a function made here counts as calling it."""
        if any(name in names for names in self.local):
            return
        if self.bound is not None and name not in self.bound:
            if self.outer is not None:
                self.outer.load(name)
            elif name not in self.builtins:
                self.uses.add(name)
                if not self.unsure:
                    self.certain.add(name)
        if name in self.deferred and name not in self.calling:
            self.calling.add(name)
            self.run(self.deferred[name])
            self.calling.discard(name)

    def run(self, free: Free) -> None:
        """The effects of code that runs here and takes these names from outside."""
        for name in sorted(free.loads):
            self.load(name)
        top = self.outer or self
        for name in sorted(free.stores):
            top.bind(name)
        top.mutates |= free.mutates
        top.dynamic |= free.dynamic
        top.passes |= {given for given in free.passes if given[2] not in free.parameters}

    def bind(self, name: str) -> None:
        if self.local and any(name in names for names in self.local):
            return
        self.defs.add(name)
        self.straight |= {name} if not self.depth else set()
        self.deletes.discard(name)
        for known in (self.deferred, self.imports, self.same):
            known.pop(name, None)
        if self.bound is not None:
            self.bound.add(name)

    def unbind(self, name: str) -> None:
        self.load(name)
        self.deletes.add(name)
        if not self.depth:
            self.defs.discard(name)
        self.deferred.pop(name, None)
        if self.bound is not None:
            self.bound.discard(name)

    def mutate(self, name: str, *, parts: bool = True) -> None:
        """The object of `name` changes; with `parts` also those that `name` is another name for a part of."""
        todo, seen = [name], {""}
        while todo:
            name = todo.pop()
            if name not in seen and not any(name in names for names in self.local):
                seen.add(name)
                (self.outer or self).mutates.add(name)
                todo += self.same.get(name, ()) if parts else ()

    # --- branches ---

    def block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self.visit(statement)

    def branches(self, bodies: list[list[ast.stmt]], *, complete: bool = True) -> None:
        """Alternatives: bound afterwards is what every one that ends here binds."""
        before = self.bound
        ends: list[set[str] | None] = [] if complete else [before]
        self._enter_branch()
        for body in bodies:
            self.bound = None if before is None else set(before)
            self.block(body)
            ends.append(self.bound)
        self._leave_branch()
        reached = [end for end in ends if end is not None]
        self.bound = set.intersection(*map(set, reached)) if reached else None

    def _enter_branch(self) -> None:
        self.depth += 1
        self.unsure += 1

    def _leave_branch(self) -> None:
        self.depth -= 1
        self.unsure -= 1

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.branches([node.body, node.orelse])

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        complete = any(case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None for case in node.cases)
        before = self.bound
        ends: list[set[str] | None] = [] if complete else [before]
        self._enter_branch()
        for case in node.cases:
            self.bound = None if before is None else set(before)
            self.visit(case.pattern)
            if case.guard:
                self.visit(case.guard)
            self.block(case.body)
            ends.append(self.bound)
        self._leave_branch()
        reached = [end for end in ends if end is not None]
        self.bound = set.intersection(*map(set, reached)) if reached else None

    def loop(self, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        before = self.bound
        self.depth += 1
        self.block(body)
        self.depth -= 1
        if self.bound is None:  # the body ends in break or continue
            self.bound = before
        self.branches([orelse], complete=False)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        self.same |= scopes.loop_objects(node.target, node.iter)
        self.loop(node.body, node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815 (as ast names it)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.loop(node.body, node.orelse)

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        before = None if self.bound is None else set(self.bound)
        self.depth += 1
        self.block([*node.body, *node.orelse])
        ends = [self.bound]
        for handler in node.handlers:
            self.bound = None if before is None else set(before)
            self._enter_branch()
            self._handler(handler)
            self._leave_branch()
            ends.append(self.bound)
        reached = [end for end in ends if end is not None]
        self.bound = set.intersection(*reached) if reached else (before if node.finalbody else None)
        self.block(node.finalbody)
        self.depth -= 1
        if not reached:
            self.bound = None

    visit_TryStar = visit_Try  # noqa: N815 (as ast names it)

    def _handler(self, handler: ast.ExceptHandler) -> None:
        if handler.type:
            self.visit(handler.type)
        known = handler.name in self.defs
        if handler.name and self.bound is not None:
            self.bound.add(handler.name)
        self.block(handler.body)
        if handler.name and self.bound is not None:
            self.bound.discard(handler.name)
        if handler.name and not known:
            self.defs.discard(handler.name)

    def _leave(self, node: ast.stmt) -> None:
        self.generic_visit(node)
        self.bound = None

    visit_Raise = visit_Return = visit_Break = visit_Continue = _leave  # noqa: N815 (as ast names them)

    # --- statements ---

    def visit_Assign(self, node: ast.Assign) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as function):
                self._lambda_bound(name, function)
            case _:
                self.visit(node.value)
                for target in node.targets:
                    self.visit(target)
                    self.same |= scopes.same_object(target, node.value)

    def _lambda_bound(self, name: str, function: ast.Lambda) -> None:
        for expression in scopes.definition_time(function):
            self.visit(expression)
        self._define(name, scopes.free_of_function(function))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
        if not self.lazy_annotations:
            self.visit(node.annotation)
        if node.value or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            self.load(node.target.id)
            self.mutate(node.target.id, parts=False)  # most often a number
            self.bind(node.target.id)
        else:
            self.visit(node.target)

    def visit_Expr(self, node: ast.Expr) -> None:
        self.mutate(scopes.changed_by_statement(node.value))
        self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            self.bind(bound)
            self.imports[bound] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        self.lazy_annotations |= module == "__future__" and any(alias.name == "annotations" for alias in node.names)
        for alias in node.names:
            if alias.name == "*":
                self.dynamic = True
                continue
            self.bind(alias.asname or alias.name)
            self.imports[alias.asname or alias.name] = module

    def visit_FunctionDef(self, node: scopes.Function) -> None:
        annotations = {id(e) for e in scopes.annotations(node)} if self.lazy_annotations else set()
        for expression in scopes.definition_time(node):
            if id(expression) not in annotations:
                self.visit(expression)
        self._define(node.name, scopes.free_of_function(node))

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 (as ast names it)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for expression in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
            self.visit(expression)
        inside = _Flow(self.builtins, outer=self)
        inside.lazy_annotations = self.lazy_annotations
        inside.block(node.body)
        methods = Free()
        for free in inside.deferred.values():
            methods.add(free)
            methods.mutates |= {node.name} if "cls" in free.alters else set()
        self._define(node.name, methods)
        self.methods |= {f".{name}": free for name, free in inside.deferred.items() if "self" in free.parameters}

    def _define(self, name: str, free: Free) -> None:
        self.bind(name)
        self.deferred[name] = free

    # --- expressions ---

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.load(node.id)
        elif isinstance(node.ctx, ast.Store):
            self.bind(node.id)
        else:
            self.unbind(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._target(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.look_up(node)
        self._target(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        self.look_up(node)
        self.generic_visit(node)

    def look_up(self, node: ast.expr) -> None:
        """A name given as text: `globals()["x"]`, `"x" in globals()`; it may be bound nowhere."""
        name, binds = scopes.by_text(node)
        if binds:
            self.bind(name)
        elif name and self.bound is not None and name not in self.bound:
            self.looked_up.add(name)

    def _target(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.mutate(scopes.root_name(node))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bind(node.target.id)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.visit(node.values[0])
        self._maybe(node.values[1:])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self._maybe([node.body])
        self._maybe([node.orelse])

    def _maybe(self, expressions: list[ast.expr]) -> None:
        before = None if self.bound is None else set(self.bound)
        self.unsure += 1
        for expression in expressions:
            self.visit(expression)
        self.unsure -= 1
        self.bound = before

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for expression in scopes.definition_time(node):
            self.visit(expression)
        self.run(scopes.free_of_function(node))

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, scopes.Comprehension):
            self._comprehension(node)
        else:
            super().generic_visit(node)

    def _comprehension(self, node: scopes.Comprehension) -> None:
        self.visit(node.generators[0].iter)
        targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        self.local.append(targets)
        for number, generator in enumerate(node.generators):
            for expression in [*([generator.iter] if number else []), *generator.ifs]:
                self.visit(expression)
        for expression in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(expression)
        self.local.pop()

    def _pattern(self, node: ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        self.generic_visit(node)
        if name:
            self.bind(name)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _pattern  # noqa: N815 (as ast names them)

    def visit_Call(self, node: ast.Call) -> None:
        self.look_up(node)
        for name in sorted(scopes.changed_by_call(node)):
            self.mutate(name)
        self.passes |= {given for given in scopes.passed(node) if not any(given[2] in names for names in self.local)}
        if isinstance(node.func, ast.Name) and not self.unsure and not self.local:
            (self.outer or self).calls.add(node.func.id)
        for part in (*node.args, *node.keywords, node.func):  # what is called takes effect last
            self.visit(part)
        match node:
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in scopes.DYNAMIC_CALLS:
                self.dynamic = True
                self._literal_code(name, arguments)
            case ast.Call(func=ast.Attribute(attr="query" | "eval"), args=[ast.Constant(value=str() as text), *_]):
                for name in _QUERY_NAMES.findall(text):
                    self.load(name)
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=call), args=arguments) if call in _SHELL_CALLS:
                self._shell_call(call, [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)])

    def _literal_code(self, call: str, arguments: list[ast.expr]) -> None:
        match arguments:
            case [ast.Constant(value=str() as text)] if call in ("exec", "eval"):
                self._code(text)

    # --- IPython's calls ---

    def _shell_call(self, call: str, texts: list[str]) -> None:
        match call, texts:
            case "run_line_magic", [name, line] if name in _TIMING_MAGICS:
                self._code(_MAGIC_OPTION.sub("", line), binds=name != "timeit")
            case "run_line_magic", ["model", line]:
                self._model(line)
            case "run_cell_magic", ["timeit", line, body]:
                self._code(_MAGIC_OPTION.sub("", line + " ").strip() + "\n" + body, binds=False)
            case "run_line_magic", [name, *_] if name in _RUNNING_MAGICS:
                self.dynamic = True
            case (("system" | "getoutput"), [line]):
                self._expanded(line)
            case _, [_, line, *_]:
                self._expanded(line)

    def _code(self, text: str, *, binds: bool = True) -> None:
        """Python inside a string that runs here; `binds=False`: in a namespace of its own."""
        tree = parse(text.strip())
        if isinstance(tree, str):
            return
        if binds:
            self.block(tree.body)
            return
        inside = _Flow(self.builtins, outer=self)
        inside.block(tree.body)

    def _expanded(self, line: str) -> None:
        """`{expression}` and `$name` in a shell command or a magic's line."""
        for expression, name in _BRACED.findall(line):
            self._code(name or expression, binds=False)

    def _model(self, line: str) -> None:
        try:
            options = parse_line("model", line)
        except BadInput:
            return
        self.load(options["variable"])
        for _, expression in options["metrics"]:
            self._code(expression, binds=False)
