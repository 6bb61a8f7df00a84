"""The names a function, lambda, comprehension or class body takes from outside itself, by Python's scoping rules alone."""

import ast
import builtins
from dataclasses import dataclass, field

from mlops_nb.records import Behaviour

# Names every IPython namespace has; none of them carries a user's data.
SHELL_NAMES = frozenset(
    {"get_ipython", "display", "In", "Out", "exit", "quit", "open", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh"}
    | {"__name__", "__file__", "__doc__", "__builtins__", "__class__", "__session__", "__annotations__", "__spec__", "__loader__", "__package__"}
)
BUILTINS = frozenset(dir(builtins)) | SHELL_NAMES

DYNAMIC_CALLS = frozenset({"exec", "eval", "globals", "locals", "vars", "__import__", "compile"})

IN_PLACE = frozenset(
    {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "sort", "reverse", "update", "add", "discard", "setdefault"}
    | {"appendleft", "extendleft", "popleft", "rotate", "fill", "put", "partition", "resize", "setflags", "itemset", "setfield"}
    | {"intersection_update", "difference_update", "symmetric_difference_update", "subtract", "move_to_end", "write", "writelines"}
    | {"fit", "partial_fit", "fit_transform", "fit_predict", "fit_resample", "set_params", "load_state_dict", "seed", "shuffle"}
)
# Functions that change their first argument.
CHANGES_FIRST = frozenset(
    {"next", "setattr", "delattr", "shuffle", "heappush", "heappop", "heapify", "heapreplace", "heappushpop"}
    | {"insort", "insort_left", "insort_right", "copyto", "fill_diagonal", "put", "place", "putmask", "put_along_axis"}
)
# Methods commonly called for what they print or show, as a statement of their own.
SHOWING = frozenset(
    {"head", "tail", "describe", "info", "sample", "plot", "hist", "boxplot", "show", "value_counts", "copy", "groupby", "agg", "aggregate"}
    | {"mean", "median", "sum", "min", "max", "std", "var", "count", "nunique", "unique", "corr", "isna", "notna", "isnull", "items", "keys"}
    | {"values", "sort_values", "sort_index", "query", "merge", "join", "to_csv", "to_parquet", "to_json", "to_string", "to_html", "round"}
    | {"predict", "predict_proba", "score", "transform", "get", "format", "index", "nlargest", "nsmallest", "memory_usage", "apply", "map"}
    | {"pivot_table", "reset_index", "set_index", "drop", "dropna", "fillna", "rename", "assign", "astype", "quantile", "cumsum", "savefig"}
)

Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPED = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(slots=True)
class Free:
    """Global names that a body reads, binds (`global x`) and changes in place when it runs."""

    loads: set[str] = field(default_factory=set)
    stores: set[str] = field(default_factory=set)
    mutates: set[str] = field(default_factory=set)
    dynamic: bool = False
    passes: set[tuple[str, str, str]] = field(default_factory=set)
    parameters: tuple[str, ...] = ()
    alters: set[str] = field(default_factory=set)  # its parameters that it changes in place

    def behaviour(self) -> Behaviour:
        """What a call may change."""
        return Behaviour(self.parameters, frozenset(self.stores | self.mutates | self.alters), frozenset(self.passes))

    def add(self, other: "Free", *, without: set[str] | frozenset[str] = frozenset()) -> None:
        """Take in what an inner body takes from outside, except the names bound here."""
        self.loads |= other.loads - without
        self.stores |= other.stores
        self.mutates |= other.mutates - without
        self.dynamic |= other.dynamic
        self.passes |= {given for given in other.passes if given[2] not in without}


def root_name(node: ast.expr) -> str:
    """The variable at the root of `a.b[0].c` (also through get() and setdefault()); '' where there is none."""
    while True:
        match node:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
                node = inner
            case ast.Call(func=ast.Attribute(value=inner, attr="get" | "setdefault")):
                node = inner
            case _:
                return ""


def changed_by_call(node: ast.Call) -> set[str]:
    """The variables a call changes in place by what it is called: `x.append(1)`, `df.drop(..., inplace=True)`, `shuffle(x)`, `add(a, b, out=c)`."""
    found = {root_name(k.value) for k in node.keywords if k.arg == "out"}
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
    if name in CHANGES_FIRST and node.args:
        found.add(root_name(node.args[0]))
    if isinstance(node.func, ast.Attribute):
        in_place = any(k.arg == "inplace" and not (isinstance(k.value, ast.Constant) and not k.value.value) for k in node.keywords)
        found |= {root_name(node.func.value)} if in_place or name in IN_PLACE else set()
    handed_on = (a for a in node.args if isinstance(a, ast.Attribute) and a.attr in IN_PLACE)  # map(xs.append, ...)
    return (found | {root_name(a) for a in handed_on}) - {""}


def passed(node: ast.Call) -> set[tuple[str, str, str]]:
    """(callee, position or keyword, variable) of the variables handed to a function called by name, or to a method (`.name`)."""
    match node.func:
        case ast.Name(id=callee):
            found: set[tuple[str, str, str]] = set()
        case ast.Attribute(value=value, attr=attr):
            callee, found = f".{attr}", {(f".{attr}", "self", root_name(value))}
        case _:
            return set()
    found |= {(callee, str(place), root_name(value)) for place, value in enumerate(node.args)}
    found |= {(callee, k.arg, root_name(k.value)) for k in node.keywords if k.arg}
    return {given for given in found if given[2]}


def by_text(node: ast.expr) -> tuple[str, bool]:
    """The global name that an expression gives as text, and whether it binds it: `globals()["x"] = 1`; '' where there is none."""
    match node:
        case ast.Subscript(value=space, slice=ast.Constant(value=str() as name), ctx=context):
            binds = isinstance(context, ast.Store)
        case ast.Compare(left=ast.Constant(value=str() as name), comparators=[space]):
            binds = False
        case ast.Call(func=ast.Attribute(value=space, attr="get"), args=[ast.Constant(value=str() as name), *_]):
            binds = False
        case _:
            return "", False
    match space:
        case ast.Call(func=ast.Name(id="globals" | "locals" | "vars" | "dir"), args=[]):
            return name, binds
    return "", False


def same_object(target: ast.expr, value: ast.expr) -> dict[str, frozenset[str]]:
    """Names that `target = value` makes another name for (a part of) what other names hold: `y = x`, `first = d["k"]`."""
    if isinstance(target, ast.Name) and isinstance(value, ast.Name | ast.Attribute | ast.Subscript) and root_name(value):
        return {target.id: frozenset({root_name(value)})}
    return {}


def loop_objects(target: ast.expr, iterated: ast.expr) -> dict[str, frozenset[str]]:
    """The same for `for target in iterated`: each target stands for parts of what is iterated."""
    match iterated:
        case ast.Call(func=ast.Name(id="zip" | "enumerate" | "reversed" | "sorted" | "list"), args=values):
            pass
        case ast.Call(func=ast.Attribute(value=value, attr="values" | "items")):
            values = [value]
        case _:
            values = [iterated]
    parts = [part for v in values for part in (v.elts if isinstance(v, ast.Tuple | ast.List) else v.values if isinstance(v, ast.Dict) else [v])]
    roots = frozenset(root_name(part) for part in parts) - {""}
    names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return dict.fromkeys(names - roots, roots) if roots else {}


def changed_by_statement(node: ast.expr) -> str:
    """The variable a method call may change when its result is thrown away."""
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in SHOWING:
        return root_name(node.func.value)
    return ""


def free_of_function(node: Function | ast.Lambda) -> Free:
    """What a function's body (not its decorators, defaults and annotations) takes from the global namespace."""
    scope = _Scope()
    scope.bind_arguments(node.args)
    for statement in node.body if isinstance(node.body, list) else [node.body]:
        scope.visit(statement)
    free = scope.free()
    if not isinstance(node, ast.Lambda) and free.alters & _mutable_defaults(node.args):
        free.mutates.add(node.name)  # a default that is changed is state of the function
    return free


def _mutable_defaults(arguments: ast.arguments) -> set[str]:
    """The parameters whose default is a list, dict, set or what a call gives."""
    places = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(reversed(places), reversed(arguments.defaults), strict=False), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {a.arg for a, default in pairs if isinstance(default, ast.List | ast.Dict | ast.Set | ast.Call)}


def annotations(node: Function) -> list[ast.expr]:
    """The annotations of a function's arguments and of what it returns."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    found = [argument.annotation for argument in arguments if argument]
    return [expression for expression in [*found, node.returns] if expression is not None]


def definition_time(node: Function | ast.Lambda) -> list[ast.expr]:
    """The expressions that run when the `def` runs: decorators, defaults, annotations."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    found: list[ast.expr | None] = [*node.args.defaults, *node.args.kw_defaults]
    found += [argument.annotation for argument in arguments if argument]
    if not isinstance(node, ast.Lambda):
        found = [*node.decorator_list, *found, node.returns]
    return [expression for expression in found if expression is not None]


class _Scope(ast.NodeVisitor):
    """One function-like scope; inner scopes are resolved when all that is bound here is known."""

    def __init__(self, outer: "_Scope | None" = None) -> None:
        self.found = Free()
        self.bound: set[str] = set()
        self.declared_global: set[str] = set()
        self.inner: list[_Scope] = []
        self.is_class = False
        self.arguments: tuple[str, ...] = ()
        self.rebound: set[str] = set()  # arguments that are bound anew on every path so far
        self.branches = 0
        self.same: dict[str, frozenset[str]] = {}  # other names for (parts of) objects
        self.outer = outer  # the scope a walrus inside a comprehension binds in

    def free(self) -> Free:
        """What this scope takes from outside."""
        here = self.bound - self.declared_global
        result = Free(dynamic=self.found.dynamic, stores=self.bound & self.declared_global)
        locals_ = here - set(self.arguments)
        result.add(self.found, without=here)
        result.passes |= {given for given in self.found.passes if given[2] not in locals_ | self.rebound}
        result.parameters = self.arguments
        result.alters = self.found.alters
        for scope in self.inner:
            free = scope.free()
            result.alters |= free.mutates & set(self.arguments) - self.rebound
            result.add(free, without=frozenset() if self.is_class else here)
            result.passes |= {given for given in free.passes if given[2] in self.arguments}
        return result

    def bind_arguments(self, arguments: ast.arguments) -> None:
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        self.arguments = tuple(argument.arg for argument in named)
        self.bound.update(argument.arg for argument in [*named, arguments.vararg, arguments.kwarg] if argument)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.found.loads.add(node.id)
            return
        self.bound.add(node.id)
        self.same.pop(node.id, None)
        if not self.branches:
            self.rebound.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)
            self.same |= same_object(target, node.value)

    def _branch(self, node: ast.AST) -> None:
        self.branches += 1
        super().generic_visit(node)
        self.branches -= 1

    def visit_If(self, node: ast.If) -> None:
        self._branch(node)

    def visit_While(self, node: ast.While) -> None:
        self._branch(node)

    def visit_Try(self, node: ast.Try) -> None:
        self._branch(node)

    def visit_Match(self, node: ast.Match) -> None:
        self._branch(node)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.branches += 1
        self.visit(node.target)
        self.same |= loop_objects(node.target, node.iter)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)
        self.branches -= 1

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.found.loads.add(node.target.id)
            self.found.mutates.add(node.target.id)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._changed_target(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._changed_target(node)

    def _changed_target(self, node: ast.Attribute | ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._mutate(root_name(node))
        self.generic_visit(node)

    def _mutate(self, name: str) -> None:
        todo, seen = [name], {""}
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                self.found.mutates.add(name)
                self.found.alters |= {name} & set(self.arguments) - self.rebound
                todo += self.same.get(name, ())

    def visit_Call(self, node: ast.Call) -> None:
        for name in changed_by_call(node):
            self._mutate(name)
        self.found.passes |= passed(node)
        self.found.dynamic |= isinstance(node.func, ast.Name) and node.func.id in DYNAMIC_CALLS
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        self._mutate(changed_by_statement(node.value))
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.declared_global.update(node.names)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        scope.bound.add(node.target.id)
        self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        self.bound.update(alias.asname or alias.name.split(".")[0] for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.bound.update(alias.asname or alias.name for alias in node.names)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._bind_pattern(node, node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._bind_pattern(node, node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._bind_pattern(node, node.rest)

    def _bind_pattern(self, node: ast.pattern, name: str | None) -> None:
        if name:
            self.bound.add(name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: Function) -> None:
        self.bound.add(node.name)
        self._body(node, node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._body(node, [node.body])

    def _body(self, node: Function | ast.Lambda, body: list[ast.stmt] | list[ast.expr]) -> None:
        for expression in definition_time(node):
            self.visit(expression)
        scope = _Scope()
        scope.bind_arguments(node.args)
        for statement in body:
            scope.visit(statement)
        self.inner.append(scope)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound.add(node.name)
        for expression in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
            self.visit(expression)
        scope = _Scope()
        scope.is_class = True
        for statement in node.body:
            scope.visit(statement)
        self.inner.append(scope)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, _SCOPED):
            self._comprehension(node)
        else:
            super().generic_visit(node)

    def _comprehension(self, node: Comprehension) -> None:
        self.visit(node.generators[0].iter)
        scope = _Scope(outer=self)
        for number, generator in enumerate(node.generators):
            scope.visit(generator.target)
            for expression in [*([generator.iter] if number else []), *generator.ifs]:
                scope.visit(expression)
        for expression in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            scope.visit(expression)
        self.inner.append(scope)


def free_of_expression(node: ast.expr) -> Free:
    """What an expression takes from outside; the names its own comprehensions bind are not counted."""
    scope = _Scope()
    scope.visit(node)
    return scope.free()
