"""Grouped frames and windows (for `edges`)."""

from mlops_nb.notebook.columns.values import (
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
    sources_of,
    spread,
    texts,
    union,
    weaken,
)
from mlops_nb.notebook.columns.vocabulary import ORDERED, REDUCE, WINDOWS


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
    return Frame(dict.fromkeys(group.picked or [""], sources), "either", sources)
