"""What methods of frames and series do to their columns (for `edges`)."""

import re
from collections.abc import Callable

from mlops_nb.notebook.columns.groups import groupby
from mlops_nb.notebook.columns.polars import group_by, select, with_columns
from mlops_nb.notebook.columns.shapes import join_method, melt, merge_method, pivot, scrambled, unknown, value_counts
from mlops_nb.notebook.columns.values import (
    Call,
    Constant,
    Deferred,
    Entries,
    Frame,
    Function,
    Group,
    Sources,
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
from mlops_nb.notebook.columns.vocabulary import ELEMENTWISE, ORDERED, PASSIVE, REDUCE, ROWS, WINDOWS

Method = Callable[[Frame, Call], Value]


_WORD = re.compile(r"`([^`]+)`|(@?[^\W\d]\w*)")


def method(frame: Frame, name: str, call: Call) -> Value:  # noqa: PLR0911 (one return a kind)
    """The result of `frame.name(...)`; the frame itself stays as it is."""
    if name in _SPECIAL:
        return _SPECIAL[name](frame, call)
    if name in ELEMENTWISE:
        return _elementwise(frame, call)
    if name in ORDERED:
        return _elementwise(frame, call).plus(weaken(frame.rows))
    if name in ROWS:
        return _rows(frame, call)
    if name in REDUCE:
        return _reduce(frame, call)
    if name in WINDOWS:
        return Group(frame, {}, aligned=name != "resample", others=_window_keys(frame, call))
    if name in PASSIVE:
        return other(weaken(spread(frame)))
    return unknown(frame, call)


def accessed(frame: Frame, name: str, call: Call) -> Value:
    """The result of `frame.str.name(...)` and its like."""
    sources = union(frame.everything(), call.sources())
    if call.constant(9, "expand") is True or name in ("extract", "get_dummies", "partition", "extractall"):
        return Frame({}, rest=sources, rows=frame.rows)
    return Frame(dict.fromkeys(frame.columns or [""], sources), "series", rows=frame.rows)


def written_in_text(frame: Frame, text: str, call: Call) -> Sources:
    """The columns that the text of a `query` or `eval` names, and what its `@name`s were made from."""
    found = []
    for quoted, word in _WORD.findall(text):
        if word.startswith("@"):
            found.append(call.resolve(word[1:]))
        elif (quoted or word) in frame.columns:
            found.append(frame.at(quoted or word))
    return weaken(union(*found, frame.rest))


def _elementwise(frame: Frame, call: Call) -> Frame:
    """Column by column; arguments that are dicts or frames of columns meet the columns of their name."""
    found = frame.copy()
    for value in [*call.args, *call.kwargs.values()]:
        if isinstance(value, Entries):
            for key, entry in value.values.items():
                if isinstance(key, str) and key in found.columns:
                    found.columns[key] = union(found.columns[key], sources_of(entry))
        elif isinstance(value, Function):
            made = call.invoke(value, [frame])
            found = found.plus(weaken(union(sources_of(made), frame.everything())))
        elif isinstance(value, Frame) and value.kind == "frame" and frame.kind == "frame":
            wide = combine([found, value])
            assert isinstance(wide, Frame)
            found = wide
        else:
            found = found.plus(sources_of(value), weaken(spread(value)))
    return found


def _rows(frame: Frame, call: Call) -> Frame:
    """Fewer rows or another order: each column is made from itself."""
    found = frame.copy()
    by = [name for value in [*call.args, *call.kwargs.values()] for name in texts(value) or []]
    text = [written_in_text(frame, name, call) for name in by if name not in frame.columns]
    needs = [union(*map(frame.at, sorted(v.needs)), v.extra) for v in call.args if isinstance(v, Deferred)]
    decide = union(*(frame.at(name) for name in by if name in frame.columns), *text, *needs, call.sources())
    found.rows = weaken(union(frame.rows, decide or frame.everything()))
    return found


def _reduce(frame: Frame, call: Call) -> Value:
    axis = call.constant(0, "axis", 0)
    if axis in (1, "columns") and frame.kind == "frame":
        return series(frame.everything(), rows=frame.rows)
    if frame.kind in ("series", "other"):
        return other(union(frame.everything(), weaken(frame.rows)))
    found = frame.plus(weaken(frame.rows))
    found.kind, found.rows = "either", {}
    return found


def _assign(frame: Frame, call: Call) -> Value:
    found = frame.copy()
    for name, value in call.kwargs.items():
        made = call.invoke(value, [found]) if isinstance(value, Function) else value
        found.columns[name] = union(sources_of(made), weaken(spread(made)))
    return found


def _rename(frame: Frame, call: Call) -> Value:
    mapping = call.kwargs.get("columns", call.args[0] if call.args else None)
    if call.constant(1, "axis") in (0, "index") or (mapping is None and "index" in call.kwargs):
        return frame.copy()
    if frame.kind == "series" and (isinstance(mapping, Constant) or "name" in call.kwargs):
        return series(frame.everything(), str(call.constant(0, "name", "")), frame.rows)
    if isinstance(mapping, Entries):
        return _renamed(frame, {old: new.value for old, new in mapping.values.items() if isinstance(new, Constant)})
    if isinstance(mapping, Function):
        made = {name: call.invoke(mapping, [Constant(name)]) for name in frame.columns}
        if all(isinstance(value, Constant) for value in made.values()):
            return _renamed(frame, {name: value.value for name, value in made.items() if isinstance(value, Constant)})
    return _unnamed(frame)


def _renamed(frame: Frame, names: dict[object, object]) -> Frame:
    found = frame.copy()
    found.columns = {str(names.get(name, name)): sources for name, sources in frame.columns.items()}
    for old, new in names.items():
        if isinstance(old, str) and old not in frame.columns:
            found.columns[str(new)] = frame.at(old)
    return found


def _unnamed(frame: Frame) -> Frame:
    """The columns got names that the code does not spell out."""
    return Frame({}, frame.kind, weaken(frame.everything()), rows=frame.rows, index=dict(frame.index))


def _affix(*, before: bool) -> Method:
    def change(frame: Frame, call: Call) -> Value:
        affix = call.constant(0, "prefix" if before else "suffix")
        return _renamed(frame, {n: f"{affix}{n}" if before else f"{n}{affix}" for n in frame.columns}) if isinstance(affix, str) else _unnamed(frame)

    return change


def _drop(frame: Frame, call: Call) -> Value:
    """Without an axis pandas drops rows and polars columns: the columns after the cell tell which."""
    axis = call.constant(1, "axis", 0)
    names = call.named(0, "labels") if axis in (1, "columns") else texts(call.kwargs.get("columns"))
    return frame.without(names or [])


def _filter(frame: Frame, call: Call) -> Value:
    if any(isinstance(value, Deferred) for value in call.args):
        return _rows(frame, call)
    names = call.named(0, "items")
    like = call.constant(1, "like")
    regex = call.constant(2, "regex")
    if names is not None:
        return frame.pick(names)
    if isinstance(like, str):
        return frame.without([name for name in frame.columns if like not in name])
    return frame.copy() if isinstance(regex, str) else _rows(frame, call)


def _set_index(frame: Frame, call: Call) -> Value:
    names = call.named(0, "keys")
    if names is None:
        return frame.copy()
    found = frame.copy() if call.constant(1, "drop") is False else frame.without(names)
    found.index = {name: frame.at(name) for name in names}
    return found


def _reset_index(frame: Frame, call: Call) -> Value:
    if call.constant(1, "drop") is True:
        found = frame.plus(weaken(frame.rows))
        found.index, found.rows = {}, {}
        return found
    named = call.constant(9, "name")
    own = {str(named): frame.everything()} if isinstance(named, str) else frame.columns
    moved = frame.plus(weaken(frame.rows)) if frame.rows and not frame.index else frame
    own = own if isinstance(named, str) else moved.columns
    return Frame({**frame.index, **own}, "frame", frame.rest, dict(frame.prefixes))


def _to_frame(frame: Frame, call: Call) -> Value:
    name = call.constant(0, "name")
    columns = {name: frame.everything()} if isinstance(name, str) else dict(frame.columns)
    return Frame(columns, "frame", frame.rest, rows=frame.rows, index=dict(frame.index))


def _kept(frame: Frame, _: Call) -> Value:
    return frame.copy()


def _array(frame: Frame, _: Call) -> Value:
    return other(frame.everything(), frame.rows)


def _insert(frame: Frame, call: Call) -> Value:
    name = call.constant(1, "column")
    found = frame.copy()
    if isinstance(name, str):
        found.columns[name] = spread(call.get(2, "value"))
    return found


def _update(frame: Frame, call: Call) -> Value:
    return combine([frame, *call.args], certain=False)


def _get(frame: Frame, call: Call) -> Value:
    names = call.named(0, "key")
    if isinstance(call.get(0, "key"), Constant) and names:
        return frame.column(names[0])
    return frame.pick(names) if names else other(frame.everything())


def _apply(frame: Frame, call: Call) -> Value:
    """`apply` and `map`: over rows where the axis says so, else value by value or column by column."""
    function = call.get(0, "func") or call.get(0, "arg")
    more = union(*map(spread, call.args[1:]), *(spread(value) for name, value in call.kwargs.items() if name not in ("func", "arg")))
    if frame.kind == "frame" and call.constant(1, "axis", 0) in (1, "columns"):
        return _over_rows(frame, call, function, more)
    if isinstance(function, Function):
        made = {name: call.invoke(function, [series(sources, name, frame.rows)]) for name, sources in frame.columns.items()}
        columns = {name: weaken(union(frame.at(name), spread(value), more, frame.rows)) for name, value in made.items()}
        if frame.kind == "frame":
            return Frame(columns, "frame", weaken(union(frame.rest, more)), rows=frame.rows)
        return Frame(columns, "either", weaken(union(frame.rest, more)), rows=frame.rows) if columns else other(weaken(union(spread(frame), more)))
    if isinstance(function, Frame | Entries):
        return frame.plus(spread(function), more)
    return frame.each(weaken).plus(weaken(union(more, spread(function), frame.rows)))


def _over_rows(frame: Frame, call: Call, function: Value | None, more: Sources) -> Value:
    made = call.invoke(function, [frame.copy()]) if isinstance(function, Function) else None
    if made is None:
        return Frame({}, "either", weaken(union(frame.everything(), more)), rows=frame.rows)
    if isinstance(made, Frame) and made.kind == "frame":
        return made.each(weaken).plus(weaken(more))
    rest = weaken(union(spread(made), more))
    return Frame({"": rest}, "either", rest, rows=frame.rows)


def _pipe(frame: Frame, call: Call) -> Value:
    made = call.invoke(call.args[0], [frame, *call.args[1:]]) if call.args else None
    if isinstance(made, Frame):
        return made.each(weaken)
    return made if made is not None else unknown(frame, call)


def _eval(frame: Frame, call: Call) -> Value:
    text = call.constant(0, "expr")
    if not isinstance(text, str):
        return unknown(frame, call)
    found = frame.copy()
    for line in text.splitlines():
        target, equals, made = line.partition("=")
        if equals and target.strip().isidentifier() and not made.startswith("="):
            found.columns[target.strip()] = written_in_text(found, made, call)
    if found.columns == frame.columns:
        return series(written_in_text(frame, text, call), rows=frame.rows)
    return found


def _window_keys(frame: Frame, call: Call) -> Sources:
    on = texts(call.kwargs.get("on"))
    return union(*map(frame.at, on)) if on else {}


_SPECIAL: dict[str, Method] = {
    "assign": _assign,
    "rename": _rename,
    "add_prefix": _affix(before=True),
    "add_suffix": _affix(before=False),
    "drop": _drop,
    "filter": _filter,
    "set_index": _set_index,
    "reset_index": _reset_index,
    "to_frame": _to_frame,
    "to_numpy": _array,
    "to_list": _array,
    "tolist": _array,
    "alias": _rename,
    "select_dtypes": _kept,
    "insert": _insert,
    "update": _update,
    "get": _get,
    "get_column": _get,
    "apply": _apply,
    "map": _apply,
    "applymap": _apply,
    "transform": _apply,
    "pipe": _pipe,
    "eval": _eval,
    "merge": merge_method,
    "join": join_method,
    "pivot": pivot,
    "pivot_table": pivot,
    "melt": melt,
    "unpivot": melt,
    "stack": scrambled,
    "unstack": scrambled,
    "transpose": scrambled,
    "value_counts": value_counts,
    "explode": _kept,
    "groupby": groupby,
    "group_by": group_by,
    "with_columns": with_columns,
    "select": select,
    "with_row_index": _kept,
}
