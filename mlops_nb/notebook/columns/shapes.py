"""Methods that put frames together or give them another shape (for `edges`)."""

from itertools import zip_longest

from mlops_nb.notebook.columns.values import (
    Call,
    Constant,
    Deferred,
    Entries,
    Frame,
    Items,
    Sources,
    Value,
    spread,
    texts,
    union,
    weaken,
)


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
    found = _joined(left, right, weaken(keys), (suffixes[0], suffixes[-1]), shared, both=how not in ("inner", "left"))
    indicator = call.constant(99, "indicator")
    if indicator:
        found.columns[indicator if isinstance(indicator, str) else "_merge"] = weaken(keys)
    return found


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


def merge_method(frame: Frame, call: Call) -> Value:
    """`left.merge(right, ...)`."""
    right = call.get(0, "right")
    if not isinstance(right, Frame) and not isinstance(call.get(0, "other"), Frame):
        return unknown(frame, call)
    given = right if isinstance(right, Frame) else call.get(0, "other")
    assert isinstance(given, Frame)
    kwargs = {**dict(zip(("how", "on", "left_on", "right_on"), call.args[1:], strict=False)), **call.kwargs}
    return merge(frame, given, Call([call.args[1]] if len(call.args) > 1 else [], kwargs, call.invoke, call.resolve))


def join_method(frame: Frame, call: Call) -> Value:
    """`join`: that of pandas meets the other's labels, that of polars its columns of the same name."""
    right = call.get(0, "other")
    rights = right.values if isinstance(right, Items) else [right]
    found = frame
    for one in rights:
        if not isinstance(one, Frame):
            return unknown(frame, call)
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


def scrambled(frame: Frame, call: Call) -> Value:
    """`stack`, `unstack`, `transpose`: any column may be made from all."""
    return Frame({}, "either", weaken(union(spread(frame), call.sources())))


def value_counts(frame: Frame, call: Call) -> Value:
    """`value_counts`: the values as labels, how often they are there."""
    named = texts(call.args[0]) if call.args and frame.kind == "frame" else None
    sources = weaken(union(*map(frame.at, named)) if named else spread(frame))
    name = "proportion" if call.constant(0, "normalize") is True else "count"
    index = {column: frame.at(column) for column in named or frame.columns}
    return Frame({name: sources}, "series", index={column: union(from_, weaken(frame.rows)) for column, from_ in index.items()})


def unknown(frame: Frame, call: Call) -> Value:
    """A method that is not known: each column may be made from all."""
    everything = weaken(union(spread(frame), call.sources()))
    if frame.kind in ("other", "series"):
        return Frame({}, "other", everything, rows=frame.rows)
    return Frame({}, "either", everything, rows=frame.rows)
