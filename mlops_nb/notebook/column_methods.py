"""What methods of frames and series do to their columns: pandas and the basics of polars (for `columns`)."""

import re
from collections.abc import Callable
from itertools import zip_longest

from mlops_nb.notebook.column_values import (
    Call,
    Constant,
    Deferred,
    Entries,
    Frame,
    Function,
    Group,
    Items,
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

Method = Callable[[Frame, Call], Value]

ELEMENTWISE = frozenset(
    "astype fillna clip round abs add sub mul div truediv floordiv mod pow radd rsub rmul rdiv rtruediv rfloordiv rmod rpow eq ne lt gt le ge "
    "isna isnull notna notnull isin between replace combine_first convert_dtypes infer_objects cast fill_null fill_nan where mask copy clone "
    "is_null is_in".split()
)
ORDERED = frozenset("shift diff cumsum cumprod cummax cummin ffill bfill pct_change rank interpolate autocorr".split())
ROWS = frozenset(
    "head tail sample sort_index dropna drop_duplicates drop_nulls truncate reindex between_time at_time limit slice collect lazy sort_values "
    "nlargest nsmallest sort unique query swaplevel tz_localize tz_convert asfreq droplevel rename_axis pipe_rows set_axis_rows".split()
)
REDUCE = frozenset("sum mean median std var min max prod product count nunique any all sem skew kurt kurtosis quantile mode first last item".split())
WINDOWS = frozenset({"rolling", "expanding", "ewm", "resample"})
PASSIVE = frozenset(
    "info describe plot hist boxplot to_csv to_parquet to_json to_excel to_pickle to_sql to_html to_markdown memory_usage items keys "
    "equals write_csv write_parquet".split()
)
_WORD = re.compile(r"`([^`]+)`|(@?[^\W\d]\w*)")


def method(frame: Frame, name: str, call: Call) -> Value:
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
    return _unknown(frame, call)


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


def _unknown(frame: Frame, call: Call) -> Value:
    """A method that is not known: each column may be made from all."""
    everything = weaken(union(spread(frame), call.sources()))
    if frame.kind in ("other", "series"):
        return Frame({}, "other", everything, rows=frame.rows)
    return Frame({}, "either", everything, rows=frame.rows)


# --- columns by name ----------------------------------------------------------------------------------------------


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


def _affix(before: bool) -> Method:  # noqa: FBT001 (chosen in the table below)
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


def _select_dtypes(frame: Frame, _: Call) -> Value:
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


# --- functions ----------------------------------------------------------------------------------------------------


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
    return made if made is not None else _unknown(frame, call)


def _eval(frame: Frame, call: Call) -> Value:
    text = call.constant(0, "expr")
    if not isinstance(text, str):
        return _unknown(frame, call)
    found = frame.copy()
    for line in text.splitlines():
        target, equals, made = line.partition("=")
        if equals and target.strip().isidentifier() and not made.startswith("="):
            found.columns[target.strip()] = written_in_text(found, made, call)
    if found.columns == frame.columns:
        return series(written_in_text(frame, text, call), rows=frame.rows)
    return found


# --- rows of several frames ---------------------------------------------------------------------------------------


def merge(left: Frame, right: Frame, call: Call) -> Value:
    """`merge` and polars' `join`: a column brought in is made from itself and, by look-up, from the keys; never certain."""
    how = call.constant(0, "how", "inner")
    ours = _names(call, "left_on") or _names(call, "on")
    theirs = _names(call, "right_on") or _names(call, "on")
    labels = any(f"{side}_index" in call.kwargs for side in ("left", "right"))
    if not ours and not theirs and how != "cross" and not labels:
        ours = theirs = [name for name in left.columns if name in right.columns]
    keys = union(*map(left.at, ours or []), *map(right.at, theirs or []), *left.index.values(), *right.index.values())
    if how != "cross" and not labels and not ours:
        keys = union(left.everything(), right.everything())
    suffixes = texts(call.kwargs.get("suffixes")) or ["_x", "_y"]
    shared = {one for one, two in zip(ours or [], theirs or [], strict=False) if one == two}
    return _joined(left, right, weaken(keys), (suffixes[0], suffixes[-1]), shared, both=how not in ("inner", "left"))


def _names(call: Call, name: str) -> list[str] | None:
    found = call.kwargs.get(name)
    if isinstance(found, Deferred):
        return sorted(found.needs)
    if isinstance(found, Items) and any(isinstance(value, Deferred) for value in found.values):
        return [name for value in found.values if isinstance(value, Deferred) for name in sorted(value.needs)]
    return texts(found)


def _joined(left: Frame, right: Frame, keys: Sources, suffixes: tuple[str, str], shared: set[str], *, both: bool) -> Frame:
    found = Frame(rows=weaken(union(left.rows, right.rows, keys)))
    clash = {name for name in left.columns if name in right.columns} - shared
    for name, sources in left.columns.items():
        made = weaken(union(sources, right.at(name) if name in shared else {}, keys if both else {}))
        found.columns[name + suffixes[0] if name in clash else name] = made
        if name in clash:
            found.columns.setdefault(name, made)
    for name, sources in right.columns.items():
        if name not in shared:
            made = weaken(union(sources, keys))
            found.columns[name + suffixes[1] if name in clash else name] = made
            if name in clash:
                found.columns.setdefault(f"{name}_right", made)
    if left.rest or right.rest or left.prefixes or right.prefixes:
        found.rest = weaken(union(left.everything() if left.rest else {}, right.everything() if right.rest else {}, keys))
    return found


def _merge(frame: Frame, call: Call) -> Value:
    right = call.get(0, "right")
    if not isinstance(right, Frame) and not isinstance(call.get(0, "other"), Frame):
        return _unknown(frame, call)
    given = right if isinstance(right, Frame) else call.get(0, "other")
    assert isinstance(given, Frame)
    kwargs = {**{name: value for name, value in zip(("how", "on", "left_on", "right_on"), call.args[1:], strict=False)}, **call.kwargs}
    return merge(frame, given, Call([call.args[1]] if len(call.args) > 1 else [], kwargs, call.invoke, call.resolve))


def _join(frame: Frame, call: Call) -> Value:
    """pandas' `join` meets the other's labels, polars' its columns of the same name."""
    right = call.get(0, "other")
    rights = right.values if isinstance(right, Items) else [right]
    found = frame
    for one in rights:
        if not isinstance(one, Frame):
            return _unknown(frame, call)
        keys = union(*map(found.at, _names(call, "on") or call.named(1, "on") or _names(call, "left_on") or []), *one.index.values())
        theirs = [name for name in _names(call, "right_on") or _names(call, "on") or call.named(1, "on") or [] if name in one.columns]
        keys = union(keys, *map(one.at, theirs), *found.index.values())
        suffixes = (str(call.constant(9, "lsuffix", "")), str(call.constant(9, "rsuffix", "") or call.constant(9, "suffix", "")))
        found = _joined(found, one, weaken(keys), suffixes, set(theirs), both=call.constant(2, "how", "left") not in ("left", "inner"))
    return found


def concat(values: list[Value], call: Call) -> Value:
    """`concat`: below each other, columns meet by name; beside each other, each column from itself."""
    frames = [value for value in values if isinstance(value, Frame)]
    if len(frames) < len(values) or not frames:
        return Frame({}, "either", weaken(union(*map(spread, values))))
    rows = weaken(union(*(frame.rows for frame in frames)))
    rest = weaken(union(*(frame.rest for frame in frames), *(p for frame in frames for p in frame.prefixes.values())))
    names = dict.fromkeys(name for frame in frames for name in frame.columns)
    kind = "series" if all(frame.kind == "series" for frame in frames) and call.constant(9, "axis", 0) not in (1, "columns") else "frame"
    if kind == "series":
        return Frame({next(iter(names), ""): union(*(frame.everything() for frame in frames))}, "series", rows=rows)
    columns = {name: union(*(frame.at(name) if name in frame.columns else frame.rest for frame in frames)) for name in names}
    given = call.kwargs.get("keys")
    for name, frame in zip_longest(texts(given) or [], frames):
        if name and frame:
            columns[name] = frame.everything()
    beside = call.constant(9, "axis", 0) in (1, "columns")
    return Frame({name: union(sources, rows) for name, sources in columns.items()} if beside else columns, "frame", rest, rows=rows)


# --- other shapes -------------------------------------------------------------------------------------------------


def pivot(frame: Frame, call: Call) -> Value:
    """`pivot`, `pivot_table`, `crosstab`: labels from themselves, the rest from all that is named."""
    labels = texts(call.kwargs.get("index")) or []
    named = [name for key in ("index", "columns", "values", "on") for name in texts(call.kwargs.get(key)) or []]
    unnamed = call.args or "values" not in call.kwargs
    made = weaken(union(frame.rows, frame.everything() if unnamed or not named else union(*map(frame.at, named))))
    return Frame({}, "frame", made, index={name: frame.at(name) for name in labels})


def melt(frame: Frame, call: Call) -> Value:
    """`melt`: labels from themselves, the value from all that is melted, the variable from nothing but names."""
    labels = call.named(0, "id_vars") or texts(call.kwargs.get("index")) or []
    values = call.named(1, "value_vars") or texts(call.kwargs.get("on")) or [name for name in frame.columns if name not in labels]
    found = {name: frame.at(name) for name in labels}
    variable, value = call.constant(2, "var_name", "variable"), call.constant(3, "value_name", "value")
    found[str(call.constant(9, "variable_name", variable))] = {}
    found[str(value)] = weaken(union(*map(frame.at, values), frame.rest))
    return Frame(found, "frame", rows=frame.rows)


def dummies(frame: Frame, call: Call) -> Value:
    """`get_dummies`: `prefix_value` columns from the column of that prefix."""
    chosen = texts(call.kwargs.get("columns"))
    given = call.kwargs.get("prefix", call.args[1] if len(call.args) > 1 else None)
    if frame.kind != "frame":
        return Frame({}, rest=weaken(frame.everything()), rows=frame.rows)
    names = list(frame.columns) if chosen is None else chosen
    prefixes = dict(zip(names, texts(given) or names, strict=False))
    if isinstance(given, Entries):
        prefixes |= {str(old): str(new.value) for old, new in given.values.items() if isinstance(new, Constant)}
    kept = frame.copy() if chosen is None else frame.without(names)
    encoded = {f"{prefixes.get(name, name)}_": weaken(frame.at(name)) for name in sorted(names, key=len, reverse=True)}
    return Frame(kept.columns, "frame", frame.rest, encoded, rows=frame.rows)


def _scrambled(frame: Frame, call: Call) -> Value:
    return Frame({}, "either", weaken(union(spread(frame), call.sources())))


def _value_counts(frame: Frame, call: Call) -> Value:
    named = texts(call.args[0]) if call.args and frame.kind == "frame" else None
    sources = weaken(union(*map(frame.at, named)) if named else spread(frame))
    name = "proportion" if call.constant(0, "normalize") is True else "count"
    index = {column: frame.at(column) for column in named or frame.columns}
    return Frame({name: sources}, "series", index={column: union(from_, weaken(frame.rows)) for column, from_ in index.items()})


def _explode(frame: Frame, call: Call) -> Value:
    return frame.copy()


# --- groups -------------------------------------------------------------------------------------------------------


def groupby(frame: Frame, call: Call) -> Value:
    """`groupby`: keys by name where the code names them."""
    given = [value for value in ([*call.args] if call.args else [call.kwargs.get("by")]) if value is not None]
    flat = [one for value in given for one in (value.values if isinstance(value, Items) else [value])]
    keys: dict[str, Sources] = {}
    others: list[Sources] = []
    for value in flat:
        for name in texts(value) or []:
            keys[name] = frame.at(name)
        if isinstance(value, Deferred):
            keys |= value.on(frame)
        elif isinstance(value, Frame) and value.kind == "series":
            keys[next(iter(value.columns), "")] = spread(value)
        elif not isinstance(value, Constant):
            others.append(spread(value) or frame.everything())
    if not flat:
        others.extend(frame.index.values())
    return Group(frame, keys, union(*others), as_index=call.constant(9, "as_index", default=True) is not False)


def grouped(group: Group, name: str, call: Call) -> Value:
    """The result of a method of a grouped frame or window."""
    deciding = group.deciding
    if group.aligned or name in ("transform", "fillna", "head", "tail", "filter", "sample") or name in ORDERED:
        made = union(*(sources_of(call.invoke(value, [group.chosen])) for value in call.args if isinstance(value, Function)))
        found = group.chosen.each(weaken).plus(deciding, weaken(made)) if name not in ("head", "tail", "filter", "sample") else group.frame.copy()
        found.rows = union(group.frame.rows, deciding if name in ("head", "tail", "filter", "sample") else {})
        return found
    if name in ("size", "cumcount", "ngroup", "len"):
        return _shaped(group, Frame({name: deciding}, "series" if group.as_index and name != "len" else "frame"), labels=name in ("size", "len"))
    if name in ("agg", "aggregate"):
        return _shaped(group, _aggregated(group, call, deciding))
    if name in WINDOWS:
        return Group(group.chosen, {}, deciding, aligned=True)
    if name in REDUCE or name in ("nth", "idxmax", "idxmin", "ohlc"):
        return _shaped(group, group.chosen.each(weaken).plus(deciding))
    return _shaped(group, _applied(group, call, deciding))


def _shaped(group: Group, found: Frame, *, labels: bool = True) -> Frame:
    """A row a group: keys as labels, or as columns (`as_index=False`, polars)."""
    found.rows, keys = {}, {name: union(sources, weaken(group.frame.rows)) for name, sources in group.keys.items()}
    if not labels:
        return found
    if group.as_index:
        found.index = dict(keys)
        return found
    return Frame({**keys, **found.columns}, "frame", found.rest)


def _aggregated(group: Group, call: Call, deciding: Sources) -> Frame:
    found = Frame()
    chosen = group.chosen
    for value in call.args:
        if isinstance(value, Deferred):
            found.columns |= {name: weaken(sources) for name, sources in value.on(group.frame).items()}
    for name, value in call.kwargs.items():
        found.columns[name] = weaken(_named_aggregation(group, value, call))
    first = call.args[0] if call.args else None
    if isinstance(first, Entries):
        found.columns |= {str(key): weaken(chosen.at(str(key))) for key in first.values}
        found.rest = weaken(union(*(chosen.at(str(key)) for key in first.values)))
    elif isinstance(first, Items) and not any(isinstance(value, Deferred) for value in first.values):
        found.columns |= dict.fromkeys(texts(first) or [], weaken(chosen.everything()))
        found.rest = weaken(chosen.everything())
    elif isinstance(first, Items):
        found.columns |= {n: weaken(s) for value in first.values if isinstance(value, Deferred) for n, s in value.on(group.frame).items()}
    elif first is not None and not isinstance(first, Deferred):
        found = chosen.each(weaken)
    elif call.kwargs and group.single and not any(isinstance(value, Deferred) for value in call.kwargs.values()):
        found.columns = dict.fromkeys(call.kwargs, weaken(chosen.everything()))
    return found.plus(deciding)


def _named_aggregation(group: Group, value: Value, call: Call) -> Sources:
    """`total=("price", "sum")`: the column named first."""
    if isinstance(value, Deferred):
        return union(*value.on(group.frame).values())
    pair = value.values if isinstance(value, Items) else []
    names = texts(pair[0]) if pair else None
    made = union(*(sources_of(call.invoke(one, [group.chosen])) for one in pair[1:] if isinstance(one, Function)))
    return union(group.frame.at(names[0]), made) if names else union(group.chosen.everything(), spread(value))


def _applied(group: Group, call: Call, deciding: Sources) -> Frame:
    made = call.invoke(call.args[0], [group.chosen.copy()]) if call.args else None
    if isinstance(made, Frame) and made.kind == "frame":
        return made.each(weaken).plus(deciding)
    sources = union(weaken(spread(made) if made is not None else group.chosen.everything()), deciding)
    return Frame({name: sources for name in group.picked or [""]}, "either", sources)


def _window_keys(frame: Frame, call: Call) -> Sources:
    on = texts(call.kwargs.get("on"))
    return union(*map(frame.at, on)) if on else {}


# --- polars -------------------------------------------------------------------------------------------------------


def expressions(frame: Frame, call: Call) -> dict[str, Sources]:
    """Output column -> sources of the arguments of `select`, `with_columns` and their like."""
    found: dict[str, Sources] = {}
    flat = [one for value in call.args for one in (value.values if isinstance(value, Items) else [value])]
    for value in flat:
        if isinstance(value, Deferred):
            found |= value.on(frame)
        elif isinstance(value, Frame):
            found |= value.columns
        else:
            found |= {name: frame.at(name) for name in texts(value) or []}
    for name, value in call.kwargs.items():
        named = texts(value)
        found[name] = union(*value.on(frame).values()) if isinstance(value, Deferred) else frame.at(named[0]) if named else sources_of(value)
    return found


def deferred(value: Deferred, name: str, call: Call) -> Value:
    """The result of a method of a polars expression."""
    affix = call.constant(0, "name")
    if name == "alias" and isinstance(affix, str):
        return Deferred({affix: value.needs}, value.extra) if value.parts is not None else value
    if name in ("suffix", "prefix"):
        affix = call.constant(0, name)
        return value.each(lambda out, needs: (f"{out}{affix}" if name == "suffix" else f"{affix}{out}", needs))
    named = name in ("over", "then", "otherwise", "when", "sort_by")
    more = [Deferred({"": frozenset(texts(one) or [])}) if named and texts(one) else one for one in call.args]
    return combine([value, *more, *call.kwargs.values()])


def polars_function(name: str, call: Call) -> Deferred | None:
    """`pl.col(...)` and the functions that take columns by name; None for all others."""
    if name == "all" and not call.args:
        return Deferred(None)
    if name == "col":
        names = [text for value in call.args for text in texts(value) or []]
        return Deferred(None) if "*" in names or not names else Deferred({text: frozenset({text}) for text in names})
    if name == "lit":
        return Deferred({"literal": frozenset()}, call.sources())
    flat = [one for value in call.args for one in (value.values if isinstance(value, Items) else [value])]
    needs = frozenset().union(*(one.needs if isinstance(one, Deferred) else frozenset(texts(one) or []) for one in flat))
    deferring = any(isinstance(one, Deferred) for one in flat)
    if not deferring and not (name in _POLARS_BY_NAME and needs):
        return None
    first = next((next(iter(one.parts or {}), "") if isinstance(one, Deferred) else (texts(one) or [""])[0] for one in flat), "")
    return Deferred({first: needs}, union(*map(sources_of, flat)))


_POLARS_BY_NAME = frozenset(
    "sum mean min max median std var count first last n_unique sum_horizontal mean_horizontal max_horizontal "
    "min_horizontal concat_str concat_list coalesce struct corr".split()
)


def _with_columns(frame: Frame, call: Call) -> Value:
    found = frame.copy()
    found.columns |= expressions(frame, call)
    return found


def _select(frame: Frame, call: Call) -> Value:
    return Frame(expressions(frame, call), "frame", rows=frame.rows)


def _polars_groupby(frame: Frame, call: Call) -> Value:
    found = groupby(frame, call)
    assert isinstance(found, Group)
    return Group(found.frame, found.keys, found.others, as_index=False)


_SPECIAL: dict[str, Method] = {
    "assign": _assign,
    "rename": _rename,
    "add_prefix": _affix(True),
    "add_suffix": _affix(False),
    "drop": _drop,
    "filter": _filter,
    "set_index": _set_index,
    "reset_index": _reset_index,
    "to_frame": _to_frame,
    "to_numpy": _array,
    "to_list": _array,
    "tolist": _array,
    "alias": _rename,
    "select_dtypes": _select_dtypes,
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
    "merge": _merge,
    "join": _join,
    "pivot": pivot,
    "pivot_table": pivot,
    "melt": melt,
    "unpivot": melt,
    "stack": _scrambled,
    "unstack": _scrambled,
    "transpose": _scrambled,
    "value_counts": _value_counts,
    "explode": _explode,
    "groupby": groupby,
    "group_by": _polars_groupby,
    "with_columns": _with_columns,
    "select": _select,
    "with_row_index": lambda frame, _: frame.copy(),
}
