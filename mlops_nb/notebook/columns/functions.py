"""What functions of pandas, numpy and polars, builtins and operators do to columns (for `edges`)."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from mlops_nb.notebook.columns.methods import method
from mlops_nb.notebook.columns.polars import polars_function
from mlops_nb.notebook.columns.shapes import concat, dummies, melt, merge, pivot
from mlops_nb.notebook.columns.values import (
    Call,
    Constant,
    Entries,
    Frame,
    Items,
    Value,
    combine,
    other,
    series,
    sources_of,
    spread,
    texts,
    union,
    weaken,
)
from mlops_nb.notebook.columns.vocabulary import BUILTINS, CONVERSIONS, NUMERIC, TEXT

_PARTS = 1_000  # elements and characters that are spelled out


_STEM = frozenset({"pd", "pandas", "np", "numpy", "pl", "polars", "math"})


_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def function(path: str, call: Call) -> Value | None:
    """The result of a known function; None for all others."""
    stem, _, name = path.rpartition(".")
    if not stem:
        return _builtin(name, call) if name in BUILTINS else _library(name, call) if name in _IMPORTED else None
    return _library(name, call, stem.partition(".")[0]) if stem.partition(".")[0] in _STEM else None


def _library(name: str, call: Call, stem: str = "") -> Value | None:
    if stem in ("pl", "polars"):
        made = polars_function(name, call)
        if made is not None:
            return made
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](call)
    if name in NUMERIC:
        return _numeric(call)
    if name in CONVERSIONS:
        return combine([call.args[0] if call.args else Constant(None), *call.args[1:], *call.kwargs.values()])
    if name.startswith(("read_", "scan_")):
        return other({})
    return None


def _numeric(call: Call) -> Value:
    """A lone series stays a series; what is made of several goes by position, so that rows count."""
    values = [*call.args, *call.kwargs.values()]
    flat = [one for value in values for one in (value.values if isinstance(value, Items) else [value])]
    found = combine(flat)
    return found if isinstance(found, Frame) and found.kind == "frame" else _positional(found, flat)


def _positional(found: Value, values: list[Value]) -> Value:
    rows = union(*(value.rows for value in values if isinstance(value, Frame)))
    if isinstance(found, Frame) and len([value for value in values if isinstance(value, Frame)]) > 1:
        return other(union(found.everything()), rows)
    return found


def _merge(call: Call) -> Value:
    left, right = call.get(0, "left"), call.get(1, "right")
    if not isinstance(left, Frame) or not isinstance(right, Frame):
        return Frame({}, "either", weaken(call.sources()))
    return merge(left, right, Call(call.args[2:3], call.kwargs, call.invoke, call.resolve))


def _concat(call: Call) -> Value:
    given = call.get(0, "objs")
    values = list(given.values.values()) if isinstance(given, Entries) else given.values if isinstance(given, Items) else None
    if values is None:
        return Frame({}, "either", weaken(spread(given)))
    if isinstance(given, Entries):
        call = Call(call.args, {**call.kwargs, "keys": Items([Constant(key) for key in given.values])}, call.invoke, call.resolve)
    return concat(values, call)


def _with_frame(made: Callable[[Frame, Call], Value]) -> Callable[[Call], Value]:
    """A function whose first argument is a frame, as a method of it."""

    def run(call: Call) -> Value:
        frame = call.get(0, "frame") or call.get(0, "data")
        if not isinstance(frame, Frame):
            return Frame({}, "either", weaken(call.sources()))
        return made(frame, Call(call.args[1:], call.kwargs, call.invoke, call.resolve))

    return run


def _frame(call: Call) -> Value:
    """`DataFrame(...)`: of a dict column by column, of anything else by the names given."""
    data, names = call.get(0, "data"), texts(call.kwargs.get("columns"))
    if isinstance(data, Entries):
        return Frame({str(key): spread(value) for key, value in data.values.items()}, rest=data.extra)
    if isinstance(data, Frame) and data.kind == "frame":
        return data.pick(names) if names else data.copy()
    made = spread(data)
    if names:
        return Frame(dict.fromkeys(names, weaken(made) if len(names) > 1 else made), rest={})
    return Frame({}, "frame" if not made else "either", weaken(made))


def _series(call: Call) -> Value:
    """`Series(...)`; one made of a dict is a row, with its names as columns."""
    data, name = call.get(0, "data"), call.constant(9, "name", "")
    if isinstance(data, Entries):
        return Frame({str(key): spread(value) for key, value in data.values.items()}, rest=data.extra)
    index = texts(call.kwargs.get("index"))
    if isinstance(data, Items) and index is not None and len(index) == len(data.values):
        return Frame({key: spread(value) for key, value in zip(index, data.values, strict=True)})
    return series(spread(data), str(name))


def _pair(call: Call) -> Value:
    return Items([*call.args, *call.kwargs.values()])


def _crosstab(call: Call) -> Value:
    return Frame({}, "either", weaken(call.sources()))


_FUNCTIONS: Mapping[str, Callable[[Call], Value]] = {
    "DataFrame": _frame,
    "LazyFrame": _frame,
    "Series": _series,
    "NamedAgg": _pair,
    "concat": _concat,
    "merge": _merge,
    "merge_asof": _merge,
    "merge_ordered": _merge,
    "pivot_table": _with_frame(pivot),
    "pivot": _with_frame(pivot),
    "melt": _with_frame(melt),
    "get_dummies": _with_frame(dummies),
    "crosstab": _crosstab,
    "mean": _with_frame(lambda frame, call: method(frame, "mean", call)),
    "sum": _with_frame(lambda frame, call: method(frame, "sum", call)),
}


_IMPORTED = frozenset({"DataFrame", "Series", "concat", "merge", "get_dummies", "to_datetime", "to_numeric"})


def _builtin(name: str, call: Call) -> Value | None:  # noqa: PLR0911 (one return a kind)
    first = call.args[0] if call.args else None
    if name in ("list", "tuple", "set", "sorted", "reversed") and isinstance(first, Items | Entries | Frame):
        return _listed(name, first)
    if name == "dict":
        return _dict(first, call)
    if name == "zip":
        return _zipped(call.args)
    if name == "enumerate" and isinstance(first, Items):
        return Items([Items([Constant(at), value]) for at, value in enumerate(first.values)])
    if name == "range":
        return _range([value.value for value in call.args if isinstance(value, Constant)], len(call.args))
    if name == "len":
        if isinstance(first, Items):
            return Constant(len(first.values))
        return other(weaken(first.rows) if isinstance(first, Frame) and first.kind != "other" else weaken(spread(first)))
    if name == "str" and isinstance(first, Constant):
        return Constant(str(first.value))
    return other(weaken(call.sources()))


def _listed(name: str, value: Items | Entries | Frame) -> Value:
    if isinstance(value, Frame):
        return Items([Constant(column) for column in value.columns]) if value.closed else other(spread(value))
    values = [Constant(key) for key in value.values] if isinstance(value, Entries) else list(value.values)
    names = texts(Items(list(values)))
    if name == "sorted" and names is not None:
        return Items([Constant(text) for text in sorted(names)])
    return Items(list(values[::-1] if name == "reversed" else values))


def _dict(first: Value | None, call: Call) -> Entries:
    values: dict[object, Value] = dict(first.values) if isinstance(first, Entries) else {}
    values.update(call.kwargs)
    return Entries(values, first.extra if isinstance(first, Entries) else spread(first))


def _zipped(values: list[Value]) -> Value:
    if values and all(isinstance(value, Items) for value in values):
        return Items([Items(list(pair)) for pair in zip(*(value.values for value in values if isinstance(value, Items)), strict=False)])
    return Items([Items([other(weaken(spread(value))) for value in values])])


def _range(given: list[object], count: int) -> Value:
    ends = [end for end in given if isinstance(end, int)]
    if not ends or len(ends) < count or 0 in ends[2:]:
        return other({})
    numbers = range(*ends)
    return Items([Constant(number) for number in numbers]) if len(numbers) <= _PARTS else other({})


def text_method(holder: Value, name: str, call: Call) -> Value:
    """A method of a text, list or dict that the code spells out."""
    match holder:
        case Constant(str() as text):
            return _of_text(text, name, call)
        case Items():
            return _of_items(holder, name, call)
        case Entries():
            return _of_entries(holder, name, call)
        case _:
            return other(weaken(union(sources_of(holder), call.sources())))


def _of_text(text: str, name: str, call: Call) -> Value:
    values = [value.value for value in call.args if isinstance(value, Constant) and isinstance(value.value, str | int)]
    if name == "join" and call.args and (parts := texts(call.args[0])) is not None:
        return Constant(text.join(parts))
    if name == "format" and len(values) == len(call.args) and not call.kwargs and text.count("{}") == len(values) == text.count("{"):
        return Constant(text.format(*values))
    if name in TEXT and len(values) == len(call.args) and not call.kwargs and len(text) < _PARTS:
        try:
            made = getattr(text, name)(*values)
        except (TypeError, ValueError):
            return other({})
        return Items([Constant(part) for part in made]) if isinstance(made, list) else Constant(made)
    return other(weaken(call.sources()))


def _of_items(holder: Items, name: str, call: Call) -> Value:
    first = call.args[0] if call.args else None
    if name in ("append", "add", "insert") and call.args:
        holder.values.append(call.args[-1])
    elif name in ("extend", "update") and first is not None:
        holder.values.extend(first.values if isinstance(first, Items) else [other(weaken(spread(first)))])
    elif name in ("remove", "discard"):
        holder.values[:] = [value for value in holder.values if value != first]
    elif name in ("copy", "tolist", "to_list"):
        return Items(list(holder.values))
    elif name in ("difference", "drop", "intersection") and isinstance(first, Items | Constant):
        gone = texts(first) or []
        return Items([value for value in holder.values if isinstance(value, Constant) and (value.value in gone) == (name == "intersection")])
    return other(weaken(union(*map(spread, holder.values), call.sources())))


def _of_entries(holder: Entries, name: str, call: Call) -> Value:
    first = call.args[0] if call.args else None
    if name == "items" and not holder.extra:
        return Items([Items([Constant(key), value]) for key, value in holder.values.items()])
    if name == "keys" and not holder.extra:
        return Items([Constant(key) for key in holder.values])
    if name == "values" and not holder.extra:
        return Items(list(holder.values.values()))
    if name in ("get", "pop") and isinstance(first, Constant) and first.value in holder.values:
        return holder.values[first.value]
    if name == "update":
        holder.values |= first.values if isinstance(first, Entries) else {}
        holder.values.update(call.kwargs)
    return other(weaken(union(sources_of(holder), call.sources())))


def binary(op: ast.operator, one: Value, two: Value) -> Value:
    """`one op two`: texts and lists are put together, all else element by element."""
    if isinstance(one, Items) and isinstance(two, Items) and isinstance(op, ast.Add) and len(one.values) + len(two.values) <= _PARTS:
        return Items([*one.values, *two.values])
    if isinstance(one, Items) and isinstance(op, ast.Sub | ast.BitAnd) and isinstance(two, Items):
        return Items([value for value in one.values if (value in two.values) == isinstance(op, ast.BitAnd)])
    if isinstance(one, Entries) and isinstance(two, Entries) and isinstance(op, ast.BitOr):
        return Entries({**one.values, **two.values}, union(one.extra, two.extra))
    if isinstance(one, Constant) and isinstance(two, Constant):
        return _folded(op, one.value, two.value)
    return combine([one, two])


def _folded(op: ast.operator, one: object, two: object) -> Value:
    if isinstance(op, ast.Add) and isinstance(one, str) and isinstance(two, str) and len(one) + len(two) <= _PARTS:
        return Constant(one + two)
    if isinstance(one, int) and isinstance(two, int) and max(abs(one), abs(two)) < _PARTS and isinstance(op, ast.Add | ast.Sub):
        return Constant(one + two if isinstance(op, ast.Add) else one - two)
    return other({})


def compare(ops: list[ast.cmpop], values: list[Value]) -> Value:
    """`one < two`, decided where both are spelled out."""
    one, two = values[0], values[1]
    if len(ops) == 1 and isinstance(one, Constant):
        if isinstance(ops[0], ast.In | ast.NotIn):
            return _contained(one, two, inside=isinstance(ops[0], ast.In))
        if isinstance(two, Constant) and isinstance(one.value, str | int | None) and type(one.value) is type(two.value):
            try:
                return Constant(bool(_COMPARISONS[type(ops[0])](one.value, two.value)))
            except TypeError:
                return other({})
    return combine(values)


def _contained(one: Constant, two: Value, *, inside: bool) -> Value:
    if isinstance(two, Constant) and isinstance(two.value, str) and isinstance(one.value, str):
        return Constant((one.value in two.value) == inside)
    names = texts(two)
    if names is not None and not isinstance(two, Constant):
        return Constant((one.value in names) == inside)
    if isinstance(two, Frame) and two.closed:
        return Constant((one.value in two.columns) == inside)
    return other(weaken(spread(two)))
