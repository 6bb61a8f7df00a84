"""Expressions and methods of polars (for `edges`)."""

from mlops_nb.notebook.columns.groups import groupby
from mlops_nb.notebook.columns.values import Call, Deferred, Frame, Group, Items, Sources, Value, combine, sources_of, texts, union
from mlops_nb.notebook.columns.vocabulary import POLARS_BY_NAME


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
    if not deferring and not (name in POLARS_BY_NAME and needs):
        return None
    first = next((next(iter(one.parts or {}), "") if isinstance(one, Deferred) else (texts(one) or [""])[0] for one in flat), "")
    return Deferred({first: needs}, union(*map(sources_of, flat)))


def with_columns(frame: Frame, call: Call) -> Value:
    """`with_columns`: the columns there were, and those of the expressions."""
    found = frame.copy()
    found.columns |= expressions(frame, call)
    return found


def select(frame: Frame, call: Call) -> Value:
    """`select`: the columns of the expressions."""
    return Frame(expressions(frame, call), "frame", rows=frame.rows)


def group_by(frame: Frame, call: Call) -> Value:
    """`group_by`: keys become columns of the result."""
    found = groupby(frame, call)
    assert isinstance(found, Group)
    return Group(found.frame, found.keys, found.others, as_index=False)
