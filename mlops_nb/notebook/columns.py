"""Column-level lineage: which columns each column of a frame that a cell wrote was made from, by reading its code as values flow."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from mlops_nb.notebook.column_calls import BUILTINS, binary, compare, function, text_method
from mlops_nb.notebook.column_methods import accessed, deferred, grouped, method
from mlops_nb.notebook.column_values import (
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
    Sources,
    Value,
    as_frame,
    combine,
    join,
    other,
    series,
    sources_of,
    spread,
    texts,
    union,
    weaken,
)
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import ColumnEdge

_WIDE = 200  # columns: of a wider frame only those that the code names count
_EDGES = 500
_STEPS = 4_000  # statements and calls followed a cell; then loops are not unrolled and functions not entered any more
_UNROLLED = 60
_DEPTH = 4
_ACCESSORS = frozenset({"loc", "iloc", "at", "iat", "str", "dt", "cat", "list", "struct", "sparse", "name", "bin", "arr"})
_PLACES = frozenset({"loc", "iloc", "at", "iat"})
_SHAPE = frozenset({"shape", "size", "empty", "ndim", "dtypes", "dtype", "height", "width", "schema", "index", "flags", "attrs"})


def column_edges(source: str, before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]) -> tuple[ColumnEdge, ...]:
    """Column -> column edges of a cell, from frames as they were before it to frames it wrote; () where it touches none.

    `source` is plain Python (`cells.plain_python`); `before` and `after` map frames and series to their columns (text only; a series has
    its one name, `""` where it has none). A filter, a sort or a join decides rows, not values: it makes no edge, until a value depends on
    which rows there are (an aggregate, a shift, an assignment to another frame); then it makes a `possible` one. Columns of a written
    frame that the cell left as they were come from themselves. `certain` is what the code itself says at its top level; branches,
    loops, functions, groups and merges give `possible`. Of frames with more than 200 columns only those count that the code names; at
    most 500 edges are given, copies left out first. Not seen: frames changed through another cell's alias or function.

    >>> [(edge.from_column, edge.to_column) for edge in column_edges("t = d['a'] * 2", {"d": ("a", "b")}, {"d": ("a", "b"), "t": ("a",)})]
    [('a', 'a')]
    """
    if not any(name in source for name in before) or not any(name in source for name in after):
        return ()
    tree = parse(source)
    if isinstance(tree, str):
        return ()
    trace = _Trace(before)
    try:
        trace.run(tree.body)
    except RecursionError:
        return ()
    return _bounded(_edges(trace, source, after))


def _edges(trace: "_Trace", source: str, after: Mapping[str, tuple[str, ...]]) -> Iterator[ColumnEdge]:
    wide = {name for name, columns in [*trace.before.items(), *after.items()] if len(columns) > _WIDE}
    for name, columns in after.items():
        value = trace.written(name, columns)
        if value is None:
            continue
        frame = as_frame(value)
        for column in columns:
            for (from_name, from_column), certain in frame.at(column).items():
                if wide and not _counts(wide, source, (from_name, from_column), (name, column)):
                    continue
                yield ColumnEdge(from_name, from_column, name, column, "certain" if certain else "possible")


def _counts(wide: set[str], source: str, start: tuple[str, str], end: tuple[str, str]) -> bool:
    if start[0] in wide and (start[1] not in source or start[1] == end[1]):
        return False
    return end[0] not in wide or (end[1] in source and start[1] != end[1])


def _bounded(edges: Iterable[ColumnEdge]) -> tuple[ColumnEdge, ...]:
    found = list(edges)
    if len(found) <= _EDGES:
        return tuple(found)
    ranks = sorted(range(len(found)), key=lambda at: (found[at].from_column == found[at].to_column, found[at].certainty != "certain", at))
    return tuple(found[at] for at in sorted(ranks[:_EDGES]))


class _Trace:
    """One pass over a cell: the names it binds and what their values were made from."""

    def __init__(self, before: Mapping[str, tuple[str, ...]]) -> None:
        self.before = before
        self.first: dict[str, Value] = {}
        self.env: dict[str, Value] = {}
        self.deleted: set[str] = set()
        self.guards: list[Sources] = []
        self.sure = True
        self.weak = 0
        self.steps = 0
        self.depth = 0
        self.returned: list[Value] | None = None
        self.handed: set[str] = set()

    def written(self, name: str, columns: tuple[str, ...]) -> Value | None:
        """What `name` holds after the cell, None where it did not write it."""
        value = self.env.get(name)
        if name in self.handed and isinstance(value, Frame) and value is self.first.get(name):
            new = [column for column in columns if column not in self.before[name] and column not in value.columns]
            everything = weaken(value.everything())
            value.columns |= dict.fromkeys(new, everything)
            value.touched = value.touched or bool(new)
        if value is None or isinstance(value, Function | Global):
            return None
        return value if value is not self.first.get(name) or (isinstance(value, Frame) and value.touched) else None

    def run(self, body: Iterable[ast.stmt]) -> None:
        """Follow statements in order."""
        for node in body:
            self.steps += 1
            run = _STATEMENTS.get(type(node))
            if run is not None:
                run(self, node)

    def value(self, node: ast.AST | None) -> Value:
        """What an expression is worth."""
        if node is None:
            return Constant(None)
        evaluate = _EXPRESSIONS.get(type(node))
        if evaluate is not None:
            return evaluate(self, node)
        return other(weaken(union(*(sources_of(self.value(child)) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)))))

    # --- names and columns ------------------------------------------------------------------------------------

    def load(self, name: str) -> Value:
        """The value of a name; a frame of before is looked at when it is first named."""
        found = self.env.get(name)
        if found is not None:
            return found
        columns = self.before.get(name)
        if columns is None or name in self.deleted:
            return Global(name)
        frame = Frame({column: {(name, column): True} for column in columns}, "either" if len(columns) == 1 else "frame")
        self.env[name] = self.first[name] = frame
        return frame

    def bind(self, name: str, value: Value) -> None:
        """Bind a name, in a branch perhaps only."""
        if self.weak:
            old = self.load(name)
            value = join(None if isinstance(old, Global) else old, self.marked(value))
        elif not self.sure:
            value = self.marked(value)
        self.env[name] = value
        if self.depth == 0:
            self.deleted.discard(name)

    def marked(self, value: Value) -> Value:
        """A value as it counts here: what decides whether we are here goes into it, and nothing of it is certain."""
        if not isinstance(value, Frame) or value.touched or value in self.first.values():
            return value if not self.guards or isinstance(value, Frame | Function | Global) else self._guarded(value)
        return value.each(weaken).plus(*self.guards)

    def _guarded(self, value: Value) -> Value:
        guard = union(*self.guards)
        return other(weaken(union(sources_of(value), guard))) if guard and isinstance(value, Constant) else value

    def put(self, frame: Frame, column: str, sources: Sources, *, certain: bool = True) -> None:
        """Write a column."""
        if self.weak or not self.sure:
            sources = weaken(union(sources, *self.guards))
        if self.weak or not certain:
            sources = union(weaken(frame.at(column)), sources)
        frame.columns[column] = sources
        frame.touched = True

    def replace(self, frame: Frame, new: Frame) -> None:
        """Let an operation in place take effect."""
        if self.weak:
            joined = join(frame.copy(), new.plus(*self.guards))
            new = joined if isinstance(joined, Frame) else new
        frame.become(new if self.sure and not self.weak else new.each(weaken))

    @contextmanager
    def perhaps(self, *guards: Sources) -> Iterator[None]:
        """Code that may run or not, or several times."""
        self.weak += 1
        self.guards.extend(guards)
        yield
        self.weak -= 1
        del self.guards[len(self.guards) - len(guards) :]

    # --- statements -------------------------------------------------------------------------------------------

    def assign(self, target: ast.AST, value: Value) -> None:
        """Bind a target to a value."""
        match target:
            case ast.Name(id=name):
                self.bind(name, value)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part, one in zip(targets, self.parts(value, len(targets)), strict=False):
                    self.assign(part, one)
            case ast.Starred(value=part):
                self.assign(part, value)
            case ast.Subscript(value=holder, slice=key):
                self._set_item(self.held(holder), key, value)
            case ast.Attribute(value=holder, attr=name):
                self._set_attribute(self.held(holder), name, value)

    def held(self, node: ast.expr) -> Value:
        """The object that is written into; `df["a"][...] = ` reaches the column of `df`, perhaps."""
        return self.value(node)

    def parts(self, value: Value, count: int) -> list[Value]:
        """The elements of a value that is unpacked into `count` targets."""
        if isinstance(value, Items) and len(value.values) == count:
            return value.values
        if isinstance(value, Frame) and value.kind == "other" and value.columns:
            return [Frame(dict(value.columns), "other", value.rest) for _ in range(count)]
        return [other(weaken(spread(value))) for _ in range(count)]

    def _set_attribute(self, holder: Value, name: str, value: Value) -> None:
        if not isinstance(holder, Frame):
            return
        names = texts(value)
        if name == "columns" and holder.kind != "series":
            known = list(holder.columns)
            self.replace(holder, _renamed(holder, names) if names is not None and len(names) == len(known) and not holder.rest else _nameless(holder))
        elif name == "name" and names and holder.kind in ("series", "either"):
            self.replace(holder, series(holder.everything(), names[0], holder.rows))
            holder.kind = "series"
        elif name in holder.columns:
            self.put(holder, name, self.aligned(holder, value))

    def _set_item(self, holder: Value, key: ast.expr, value: Value) -> None:
        if isinstance(holder, Accessor) and holder.name in _PLACES:
            self._set_place(holder, key, value)
        elif isinstance(holder, Entries):
            self._set_entry(holder, self.value(key), value)
        elif isinstance(holder, Items):
            holder.values.append(value)
        elif isinstance(holder, Frame):
            self._set_columns(holder, self.value(key), value)

    def _set_entry(self, holder: Entries, key: Value, value: Value) -> None:
        if isinstance(key, Constant) and isinstance(key.value, str | int):
            holder.values[key.value] = join(holder.values.get(key.value), value) if self.weak else value
        else:
            holder.extra = union(holder.extra, weaken(spread(value)), weaken(spread(key)))

    def _set_columns(self, frame: Frame, key: Value, value: Value) -> None:
        names = texts(key)
        if names is None:
            self._set_unknown(frame, key, value)
        elif isinstance(key, Constant) and frame.kind == "series":
            self.put(frame, next(iter(frame.columns), ""), union(frame.everything(), spread(value)))
        elif isinstance(key, Constant):
            self.put(frame, names[0], self.aligned(frame, value))
            if frame.kind == "either":
                frame.kind = "frame"
        else:
            for name, sources in zip(names, self.columns_of(frame, value, len(names)), strict=True):
                self.put(frame, name, sources)

    def _set_unknown(self, frame: Frame, key: Value, value: Value) -> None:
        """`df[mask] = value` writes into each column, `df[name] = value` perhaps; the latter may also make new ones."""
        masked = isinstance(key, Frame) and key.kind in ("series", "frame", "either")
        made = union(spread(value), spread(key))
        for name in list(frame.columns):
            if masked and not self.weak:
                self.put(frame, name, union(frame.at(name), made))
            else:
                self.put(frame, name, weaken(made), certain=False)
        if not masked or frame.rest:
            frame.rest = weaken(union(frame.rest, made, *self.guards))
        frame.touched = True

    def columns_of(self, frame: Frame, value: Value, count: int) -> list[Sources]:
        """The sources of each of `count` columns that a value is written to at once."""
        if isinstance(value, Frame) and value.kind == "frame" and len(value.columns) == count and not value.rest:
            return [union(sources, weaken(value.rows)) for sources in value.columns.values()]
        if isinstance(value, Items) and len(value.values) == count:
            return [spread(one) for one in value.values]
        return [self.aligned(frame, value)] * count

    def aligned(self, frame: Frame, value: Value) -> Sources:
        """What a value becomes as a column: which rows it has decides where it has values, unless the frame has the same."""
        return sources_of(value) if isinstance(value, Frame) and value.rows == frame.rows and not value.index else spread(value)

    def _set_place(self, holder: Accessor, key: ast.expr, value: Value) -> None:
        frame = holder.frame
        rows, columns = self.place(frame, holder.name, key)
        whole = isinstance(rows, Constant) and rows.value == slice(None)
        names = list(frame.columns) if columns is None or frame.kind == "series" else columns
        made = self.columns_of(frame, value, len(names)) if len(names) > 1 else [spread(value)] * len(names)
        for name, sources in zip(names, made, strict=True):
            kept: Sources = {} if whole else union(frame.at(name), spread(rows))
            self.put(frame, name, union(kept, sources))

    def place(self, frame: Frame, kind: str, key: ast.expr) -> tuple[Value, list[str] | None]:
        """Rows and column names (None: all) that `loc[...]` or `iloc[...]` means."""
        if not isinstance(key, ast.Tuple) or len(key.elts) != 2:  # noqa: PLR2004 (rows, columns)
            return self.value(key), None
        rows, chosen = self.value(key.elts[0]), self.value(key.elts[1])
        if kind in ("loc", "at"):
            return rows, self._labels(frame, chosen)
        known = list(frame.columns)
        at = (
            chosen.value
            if isinstance(chosen, Constant)
            else [one.value for one in chosen.values if isinstance(one, Constant)]
            if isinstance(chosen, Items)
            else None
        )
        return rows, _positions(known, at)

    def _labels(self, frame: Frame, chosen: Value) -> list[str] | None:
        names = texts(chosen)
        if names is not None:
            return names
        if not isinstance(chosen, Constant) or not isinstance(chosen.value, slice):
            return None
        known = list(frame.columns)
        start, stop = chosen.value.start, chosen.value.stop
        first = known.index(start) if start in known else 0
        return known[first : known.index(stop) + 1 if stop in known else len(known)]

    def delete(self, target: ast.expr) -> None:
        """Forget a name or a column."""
        match target:
            case ast.Name(id=name):
                self.env.pop(name, None)
                self.deleted.add(name)
            case ast.Subscript(value=holder, slice=key):
                frame = self.value(holder)
                if isinstance(frame, Frame):
                    self.replace(frame, frame.without(texts(self.value(key)) or []))
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                for part in targets:
                    self.delete(part)

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

    def passes(self, given: Value) -> list[Value] | None:
        """The elements a loop goes over, where they are known and few enough."""
        if isinstance(given, Entries) and not given.extra:
            given = Items([Constant(key) for key in given.values])
        elif isinstance(given, Frame) and given.kind == "frame" and not given.rest and given.columns:
            given = Items([Constant(name) for name in given.columns])
        if not isinstance(given, Items) or len(given.values) > _UNROLLED or self.steps > _STEPS:
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

    # --- calls ------------------------------------------------------------------------------------------------

    def invoke(self, callee: Value, args: list[Value], kwargs: Mapping[str, Value] | None = None) -> Value | None:
        """Run a function of this cell on values; None where it is another's, or too deep."""
        if not isinstance(callee, Function) or self.depth >= _DEPTH or self.steps > _STEPS:
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
        return found if not isinstance(found, Frame) or len(returned) == 1 else found

    def _parameters(self, node: ast.arguments, args: list[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
        names = [arg.arg for arg in [*node.posonlyargs, *node.args]]
        found: dict[str, Value] = {}
        for name, default in zip(reversed(names), reversed(node.defaults), strict=False):
            found[name] = self.value(default)
        for name, default_or_none in zip(node.kwonlyargs, node.kw_defaults, strict=True):
            found[name.arg] = self.value(default_or_none)
        found |= dict(zip(names, args, strict=False))
        found |= {name: value for name, value in kwargs.items() if not node.kwarg or name in names}
        if node.vararg:
            found[node.vararg.arg] = Items(args[len(names) :])
        if node.kwarg:
            found[node.kwarg.arg] = Entries({name: value for name, value in kwargs.items() if name not in names})
        return {name: found.get(name, other({})) for name in {*names, *found}}

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

    # --- expressions ------------------------------------------------------------------------------------------

    def attribute(self, node: ast.Attribute) -> Value:
        """`holder.name`."""
        holder, name = self.value(node.value), node.attr
        match holder:
            case Global(path):
                return Global(f"{path}.{name}")
            case Group():
                return Group(holder.frame, holder.keys, holder.others, (name,), single=True, as_index=holder.as_index, aligned=holder.aligned)
            case Accessor(frame) if holder.name not in _PLACES:
                return Frame(dict.fromkeys(frame.columns or [""], frame.everything()), "series", rows=frame.rows)
            case Deferred():
                return holder
            case Frame():
                return self._frame_attribute(holder, name)
            case _:
                return other(sources_of(holder))

    def _frame_attribute(self, frame: Frame, name: str) -> Value:
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

    def subscript(self, node: ast.Subscript) -> Value:
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
            case Entries(values, extra) if isinstance(key, Constant) and key.value in values and not extra:
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
            return frame.pick(names) if frame.kind in ("frame", "other") or names[0] in frame.columns else frame.copy()
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
        if holder.name not in _PLACES:  # str[0], str[1:]
            return Frame(dict.fromkeys(frame.columns or [""], frame.everything()), "series", rows=frame.rows)
        rows, columns = self.place(frame, holder.name, key)
        single = isinstance(key, ast.Tuple) and isinstance(self.value(key.elts[1]), Constant) and columns is not None and len(columns) == 1
        found = frame.column(columns[0]) if single and columns else frame.pick(columns) if columns is not None else frame.copy()
        if isinstance(rows, Constant) and not isinstance(rows.value, slice):
            return other(found.everything(), {}) if single or frame.kind == "series" else found
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
                self._set_entry(found, self.value(key), value)
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
                self._set_entry(found, key, value)
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


def _renamed(frame: Frame, names: list[str]) -> Frame:
    return Frame(dict(zip(names, frame.columns.values(), strict=True)), frame.kind, rows=frame.rows, index=dict(frame.index))


def _nameless(frame: Frame) -> Frame:
    return Frame({}, "either", weaken(frame.everything()), rows=frame.rows, index=dict(frame.index))


def _positions(known: list[str], at: object) -> list[str] | None:
    if isinstance(at, int):
        return known[at : at + 1 or None] if -len(known) <= at < len(known) else None
    if isinstance(at, slice):
        return known[at]
    return [known[one] for one in at if isinstance(one, int) and -len(known) <= one < len(known)] if isinstance(at, list) else None


def _element(values: list[Value], at: int | slice) -> Value:
    if isinstance(at, slice):
        return Items(values[at])
    return values[at] if -len(values) <= at < len(values) else other(weaken(union(*map(spread, values))))


def _slice(trace: _Trace, node: ast.Slice) -> Value:
    ends = [trace.value(end) for end in (node.lower, node.upper, node.step)]
    if all(isinstance(end, Constant) and isinstance(end.value, int | str | None) for end in ends):
        return Constant(slice(*(end.value for end in ends if isinstance(end, Constant))))
    return other(weaken(union(*map(spread, ends))))


def _define(trace: _Trace, node: ast.FunctionDef) -> None:
    trace.env[node.name] = Function(node) if not node.decorator_list else Global(node.name)


def _forget(trace: _Trace, node: ast.Import | ast.ImportFrom) -> None:
    for alias in node.names:
        trace.env[alias.asname or alias.name.partition(".")[0]] = Global(
            alias.name if alias.asname or isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
        )


def _assign(trace: _Trace, node: ast.Assign) -> None:
    value = trace.value(node.value)
    for target in node.targets:
        trace.assign(target, value)


def _annotated(trace: _Trace, node: ast.AnnAssign) -> None:
    if node.value is not None:
        trace.assign(node.target, trace.value(node.value))


def _delete(trace: _Trace, node: ast.Delete) -> None:
    for target in node.targets:
        trace.delete(target)


_STATEMENTS: Mapping[type[ast.AST], Callable[[_Trace, ast.AST], None]] = {  # type: ignore[assignment]
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _Trace.augment,
    ast.Expr: lambda trace, node: trace.value(node.value),
    ast.Delete: _delete,
    ast.If: _Trace.branch,
    ast.For: _Trace.loop,
    ast.AsyncFor: _Trace.loop,
    ast.While: _Trace.repeat,
    ast.Try: _Trace.attempt,
    ast.TryStar: _Trace.attempt,
    ast.Match: _Trace.match,
    ast.With: _Trace.enter,
    ast.AsyncWith: _Trace.enter,
    ast.Return: _Trace.give_back,
    ast.FunctionDef: _define,
    ast.AsyncFunctionDef: _define,
    ast.Import: _forget,
    ast.ImportFrom: _forget,
}

_EXPRESSIONS: Mapping[type[ast.AST], Callable[[_Trace, ast.AST], Value]] = {  # type: ignore[assignment]
    ast.Constant: lambda _, node: Constant(node.value),
    ast.Name: lambda trace, node: trace.load(node.id),
    ast.Attribute: _Trace.attribute,
    ast.Subscript: _Trace.subscript,
    ast.Call: _Trace.call,
    ast.BinOp: _Trace.operate,
    ast.UnaryOp: _Trace.negate,
    ast.BoolOp: _Trace.both,
    ast.Compare: _Trace.compare,
    ast.IfExp: _Trace.choose,
    ast.JoinedStr: _Trace.text,
    ast.List: _Trace.items,
    ast.Tuple: _Trace.items,
    ast.Set: _Trace.items,
    ast.Dict: _Trace.entries,
    ast.ListComp: _Trace.comprehension,
    ast.SetComp: _Trace.comprehension,
    ast.GeneratorExp: _Trace.comprehension,
    ast.DictComp: _Trace.comprehension,
    ast.NamedExpr: _Trace.name_expression,
    ast.Lambda: lambda _, node: Function(node),
    ast.Starred: lambda trace, node: trace.value(node.value),
    ast.Await: lambda trace, node: trace.value(node.value),
    ast.Slice: _slice,
}
