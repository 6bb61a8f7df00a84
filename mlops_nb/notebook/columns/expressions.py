"""What the expressions of a cell are worth (for `edges`)."""

import ast
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from mlops_nb.notebook.columns.functions import binary, compare, function, text_method
from mlops_nb.notebook.columns.groups import grouped
from mlops_nb.notebook.columns.methods import accessed, method
from mlops_nb.notebook.columns.names import PLACES, Names
from mlops_nb.notebook.columns.polars import deferred
from mlops_nb.notebook.columns.values import (
    Accessor,
    Call,
    Constant,
    Deferred,
    Entries,
    Frame,
    Function,
    Global,
    Group,
    Items,
    Value,
    as_frame,
    combine,
    join,
    other,
    sources_of,
    spread,
    texts,
    union,
    weaken,
)
from mlops_nb.notebook.columns.vocabulary import BUILTINS

STEPS = 4_000  # statements and calls followed a cell; then loops are not unrolled and functions not entered any more
_UNROLLED = 60

_ACCESSORS = frozenset({"loc", "iloc", "at", "iat", "str", "dt", "cat", "list", "struct", "sparse", "name", "bin", "arr"})

_SHAPE = frozenset({"shape", "size", "empty", "ndim", "dtypes", "dtype", "height", "width", "schema", "index", "flags", "attrs"})


class Expressions(Names):
    """Names, and what expressions of them are worth."""

    @abstractmethod
    def invoke(self, callee: Value, args: list[Value], kwargs: Mapping[str, Value] | None = None) -> Value | None:
        """Run a function of this cell on values; None where it is another's, or too deep."""

    def value(self, node: ast.AST | None) -> Value:
        """What an expression is worth."""
        if node is None:
            return Constant(None)
        evaluate = _EXPRESSIONS.get(type(node))
        if evaluate is not None:
            return evaluate(self, node)
        return other(weaken(union(*(sources_of(self.value(child)) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)))))

    def call(self, node: ast.Call) -> Value:
        """The result of a call."""
        self.steps += 1
        call = self.arguments(node)
        if isinstance(node.func, ast.Attribute):
            holder = self.value(node.func.value)
            if not isinstance(holder, Global):
                return self.method(holder, node.func, call)
        return self.function(self.value(node.func), call)

    def arguments(self, node: ast.Call) -> Call:
        """The arguments of a call; `*` and `**` of what is spelled out are taken apart."""
        args: list[Value] = []
        for arg in node.args:
            value = self.value(arg)
            args.extend(value.values if isinstance(arg, ast.Starred) and isinstance(value, Items) else [value])
        kwargs: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg:
                kwargs[keyword.arg] = value
            elif isinstance(value, Entries):
                kwargs |= {key: one for key, one in value.values.items() if isinstance(key, str)}
            else:
                args.append(other(weaken(spread(value))))
        return Call(args, kwargs, self.invoke, lambda name: sources_of(self.load(name)))

    def function(self, callee: Value, call: Call) -> Value:
        """A call of a function: of this cell, known by name, or unknown."""
        if isinstance(callee, Function):
            made = self.invoke(callee, call.args, call.kwargs)
            return other(weaken(call.sources())) if made is None else made.each(weaken) if isinstance(made, Frame) and not made.touched else made
        if isinstance(callee, Global):
            known = function(callee.path, call)
            if known is not None:
                return known
            if "." not in callee.path and callee.path not in BUILTINS:
                self.hand_over(call)
        made_from = weaken(union(call.sources(), spread(callee)))
        return Frame({}, "either" if any(isinstance(value, Frame) for value in call.args) else "other", made_from)

    def hand_over(self, call: Call) -> None:
        """A function that is not known may write into the frames it gets."""
        for value in [*call.args, *call.kwargs.values()]:
            self.handed.update(name for name, frame in self.first.items() if frame is value)

    def method(self, holder: Value, node: ast.Attribute, call: Call) -> Value:
        """A call of a method."""
        name = node.attr
        match holder:
            case Frame():
                return self._frame_method(holder, node, call)
            case Group():
                return grouped(holder, name, call)
            case Accessor(frame, "name" | "list" | "struct" | "arr" | "bin") if frame.kind == "other":
                return method(frame, name, call)
            case Accessor(frame):
                return accessed(frame, name, call)
            case Deferred():
                return deferred(holder, name, call)
            case _:
                return text_method(holder, name, call)

    def _frame_method(self, frame: Frame, node: ast.Attribute, call: Call) -> Value:
        name = node.attr
        if name == "pop":
            column = call.constant(0, "item")
            if isinstance(column, str) and frame.kind != "series":
                popped = frame.column(column)
                self.replace(frame, frame.without([column]))
                return popped
        made = method(frame, name, call)
        if name in ("insert", "update") or call.constant(99, "inplace") is True:
            self._in_place(frame, node.value, as_frame(made))
            return Constant(None)
        if (
            frame.kind == "other"
            and not isinstance(made, Group)
            and name in ("fit", "append", "extend", "add", "partial_fit", "update", "fit_transform")
        ):
            frame.rest = weaken(union(frame.rest, call.sources(), *self.guards))
        return made

    def _in_place(self, frame: Frame, node: ast.expr, made: Frame) -> None:
        """An operation in place; on `df["a"]` it may or may not reach `df`, which depends on the version of pandas."""
        self.replace(frame, made)
        column = (
            node.slice.value
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
            else node.attr
            if isinstance(node, ast.Attribute)
            else None
        )
        owner = self.value(node.value) if isinstance(node, ast.Subscript | ast.Attribute) else None
        if isinstance(owner, Frame) and isinstance(column, str):
            self.put(owner, column, weaken(made.everything()), certain=False)

    def attribute(self, node: ast.Attribute) -> Value:
        """`holder.name`."""
        holder, name = self.value(node.value), node.attr
        match holder:
            case Global(path):
                return Global(f"{path}.{name}")
            case Group():
                return Group(holder.frame, holder.keys, holder.others, (name,), single=True, as_index=holder.as_index, aligned=holder.aligned)
            case Accessor(frame) if holder.name not in PLACES:
                return Frame(dict.fromkeys(frame.columns or [""], frame.everything()), "series", rows=frame.rows)
            case Deferred():
                return holder
            case Frame():
                return self._frame_attribute(holder, name)
            case _:
                return other(sources_of(holder))

    def _frame_attribute(self, frame: Frame, name: str) -> Value:  # noqa: PLR0911 (one return a kind)
        if name in frame.columns and frame.kind != "series":
            return frame.column(name)
        if name == "columns":
            return Items([Constant(column) for column in frame.columns]) if frame.closed or frame.kind == "either" else other({})
        if name in _ACCESSORS:
            return Accessor(frame, name)
        if name in _SHAPE:
            return other(weaken(union(frame.rows, *frame.index.values())) if name == "index" else weaken(frame.rows))
        if name == "values":
            return other(frame.everything(), frame.rows)
        if name == "T":
            return Frame({}, "either", weaken(spread(frame)))
        return frame.column(name) if frame.kind == "frame" else other(frame.everything(), frame.rows)

    def subscript(self, node: ast.Subscript) -> Value:  # noqa: PLR0911 (one return a kind)
        """`holder[key]`."""
        holder = self.value(node.value)
        if isinstance(holder, Accessor):
            return self._placed(holder, node.slice)
        key = self.value(node.slice)
        match holder:
            case Frame():
                return self._item(holder, key)
            case Group():
                names = texts(key) or []
                single = isinstance(key, Constant)
                return Group(holder.frame, holder.keys, holder.others, tuple(names), single=single, as_index=holder.as_index, aligned=holder.aligned)
            case Items(values) if isinstance(key, Constant) and isinstance(key.value, int | slice):
                return _element(values, key.value)
            case Entries(values, extra) if isinstance(key, Constant) and not isinstance(key.value, slice) and key.value in values and not extra:
                return values[key.value]
            case Deferred():
                return holder
            case Global():
                return other(weaken(spread(key)))
            case _:
                return other(weaken(union(sources_of(holder), spread(key))))

    def _item(self, frame: Frame, key: Value) -> Value:
        names = texts(key)
        if isinstance(key, Constant) and names:
            return frame.column(names[0]) if frame.kind != "series" else other(union(frame.everything(), weaken(frame.rows)))
        if names is not None:
            return frame.pick(names) if frame.kind in ("frame", "other") or not frame.columns.keys().isdisjoint(names) else frame.copy()
        found = frame.copy()
        found.rows = weaken(union(frame.rows, spread(key)))
        if isinstance(key, Constant) and not isinstance(key.value, slice):
            return other(union(frame.everything(), weaken(frame.rows)))
        if isinstance(key, Frame) and key.kind == "other" and not key.columns:  # a name that is not known, or a mask that is an array
            found.rest = weaken(union(frame.everything(), spread(key)))
            found.kind = "either" if found.kind == "frame" else found.kind
        return found

    def _placed(self, holder: Accessor, key: ast.expr) -> Value:
        frame = holder.frame
        if holder.name not in PLACES:  # str[0], str[1:]
            return Frame(dict.fromkeys(frame.columns or [""], frame.everything()), "series", rows=frame.rows)
        rows, columns = self.place(frame, holder.name, key)
        single = isinstance(key, ast.Tuple) and isinstance(self.value(key.elts[1]), Constant) and columns is not None and len(columns) == 1
        found = frame.column(columns[0]) if single and columns else frame.pick(columns) if columns is not None else frame.copy()
        if isinstance(rows, Constant) and not isinstance(rows.value, slice):
            chosen = weaken(frame.rows)  # which row has this label or place
            return other(union(found.everything(), chosen)) if single or frame.kind == "series" else found.plus(chosen)
        if not (isinstance(rows, Constant) and rows.value == slice(None)):
            found.rows = weaken(union(found.rows, spread(rows)))
        return found

    def operate(self, node: ast.BinOp) -> Value:
        """`one + two`."""
        return binary(node.op, self.value(node.left), self.value(node.right))

    def choose(self, node: ast.IfExp) -> Value:
        """`one if test else two`."""
        test = self.value(node.test)
        if isinstance(test, Constant):
            return self.value(node.body if test.value else node.orelse)
        return combine([join(self.value(node.body), self.value(node.orelse)), other(weaken(spread(test)))], certain=False)

    def text(self, node: ast.JoinedStr) -> Value:
        """An f-string, spelled out where it can be."""
        parts = [self.value(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
        plain = not any(isinstance(part, ast.FormattedValue) and part.format_spec for part in node.values)
        if plain and all(isinstance(part, Constant) and isinstance(part.value, str | int) for part in parts):
            return Constant("".join(str(part.value) for part in parts if isinstance(part, Constant)))
        return other(weaken(union(*map(spread, parts))))

    def items(self, node: ast.List | ast.Tuple | ast.Set) -> Value:
        """A list, tuple or set."""
        found: list[Value] = []
        for element in node.elts:
            value = self.value(element)
            found.extend(value.values if isinstance(element, ast.Starred) and isinstance(value, Items) else [value])
        return Items(found)

    def entries(self, node: ast.Dict) -> Value:
        """A dict."""
        found = Entries({})
        for key, node_value in zip(node.keys, node.values, strict=True):
            value = self.value(node_value)
            if key is not None:
                self.set_entry(found, self.value(key), value)
            elif isinstance(value, Entries):
                found.values |= value.values
                found.extra = union(found.extra, value.extra)
            else:
                found.extra = union(found.extra, weaken(spread(value)))
        return found

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        """A comprehension: over what the code spells out element by element, else over the unknown."""
        env, self.env = self.env, dict(self.env)
        made: list[tuple[Value, Value]] = []
        known = self._generate(node, node.generators, made)
        self.env = {**self.env, **env, **{name: value for name, value in self.env.items() if self.first.get(name) is value}}
        if isinstance(node, ast.DictComp):
            found = Entries({})
            for key, value in made:
                self.set_entry(found, key, value)
            return found
        return Items([value for _, value in made]) if known else other(weaken(union(*(spread(value) for _, value in made))))

    def _generate(self, node: ast.expr, generators: list[ast.comprehension], made: list[tuple[Value, Value]]) -> bool:
        if not generators:
            self.steps += 1
            pair = (self.value(node.key), self.value(node.value)) if isinstance(node, ast.DictComp) else (Constant(None), self.value(node.elt))  # type: ignore[attr-defined]
            made.append(pair)
            return True
        first, *rest = generators
        given = self.value(first.iter)
        passes = self.passes(given)
        known = passes is not None
        weak, sure, self.weak, self.sure = self.weak, self.sure, 0, True
        for one in passes if passes is not None else [self.element(given)]:
            self.assign(first.target, one)
            tests = [self.value(test) for test in first.ifs]
            if any(isinstance(test, Constant) and not test.value for test in tests):
                continue
            known = known and all(isinstance(test, Constant) for test in tests)
            known = self._generate(node, rest, made) and known
        self.weak, self.sure = weak, sure
        return known

    def passes(self, given: Value) -> list[Value] | None:
        """The elements a loop goes over, where they are known and few enough."""
        if isinstance(given, Entries) and not given.extra:
            given = Items([Constant(key) for key in given.values])
        elif isinstance(given, Frame) and given.kind == "frame" and not given.rest and given.columns:
            given = Items([Constant(name) for name in given.columns])
        if not isinstance(given, Items) or len(given.values) > _UNROLLED or self.steps > STEPS:
            return None
        return given.values

    def element(self, given: Value) -> Value:
        """An element of what is not spelled out."""
        if isinstance(given, Items):
            found: Value = given.values[0] if given.values else Constant(None)
            for one in given.values[1:]:
                found = join(found, one)
            return found
        if isinstance(given, Group):
            return Items([other(given.deciding), given.frame.copy()])
        return other(weaken(spread(given)))

    def name_expression(self, node: ast.NamedExpr) -> Value:
        """`(name := value)`."""
        value = self.value(node.value)
        self.assign(node.target, value)
        return value

    def negate(self, node: ast.UnaryOp) -> Value:
        """`-x`, `~x`, `not x`."""
        value = self.value(node.operand)
        if isinstance(value, Constant):
            if isinstance(node.op, ast.Not):
                return Constant(not value.value)
            return Constant(-value.value) if isinstance(node.op, ast.USub) and isinstance(value.value, int | float) else value
        return combine([value])

    def both(self, node: ast.BoolOp) -> Value:
        """`one and two`, decided where the code decides it."""
        values = [self.value(one) for one in node.values]
        if all(isinstance(value, Constant) for value in values):
            truths = [bool(value.value) for value in values if isinstance(value, Constant)]
            return Constant(all(truths) if isinstance(node.op, ast.And) else any(truths))
        return combine(values, certain=False)

    def compare(self, node: ast.Compare) -> Value:
        """`one < two`."""
        return compare(node.ops, [self.value(one) for one in [node.left, *node.comparators]])


def _element(values: list[Value], at: int | slice) -> Value:
    if isinstance(at, slice):
        return Items(values[at])
    return values[at] if -len(values) <= at < len(values) else other(weaken(union(*map(spread, values))))


def _slice(trace: Expressions, node: ast.Slice) -> Value:
    ends = [trace.value(end) for end in (node.lower, node.upper, node.step)]
    if all(isinstance(end, Constant) and isinstance(end.value, int | str | None) for end in ends):
        return Constant(slice(*(end.value for end in ends if isinstance(end, Constant))))
    return other(weaken(union(*map(spread, ends))))


_EXPRESSIONS: Mapping[type[ast.AST], Callable[[Expressions, Any], Value]] = {
    ast.Constant: lambda _, node: Constant(node.value),
    ast.Name: lambda trace, node: trace.load(node.id),
    ast.Attribute: Expressions.attribute,
    ast.Subscript: Expressions.subscript,
    ast.Call: Expressions.call,
    ast.BinOp: Expressions.operate,
    ast.UnaryOp: Expressions.negate,
    ast.BoolOp: Expressions.both,
    ast.Compare: Expressions.compare,
    ast.IfExp: Expressions.choose,
    ast.JoinedStr: Expressions.text,
    ast.List: Expressions.items,
    ast.Tuple: Expressions.items,
    ast.Set: Expressions.items,
    ast.Dict: Expressions.entries,
    ast.ListComp: Expressions.comprehension,
    ast.SetComp: Expressions.comprehension,
    ast.GeneratorExp: Expressions.comprehension,
    ast.DictComp: Expressions.comprehension,
    ast.NamedExpr: Expressions.name_expression,
    ast.Lambda: lambda _, node: Function(node),
    ast.Starred: lambda trace, node: trace.value(node.value),
    ast.Await: lambda trace, node: trace.value(node.value),
    ast.Slice: _slice,
}
