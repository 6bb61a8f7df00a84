"""Column-level lineage: which columns each column of a frame that a cell wrote was made from, by reading its code as values flow."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from mlops_nb.notebook.columns.flow import Trace
from mlops_nb.notebook.columns.values import as_frame
from mlops_nb.notebook.syntax import parse
from mlops_nb.records import ColumnEdge

_WIDE = 200  # columns: of a wider frame only those that the code names count

_EDGES = 500
_LOOKED_AT = 5_000  # edges, of which the best are kept


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
    trace = Trace(before)
    try:
        trace.run(tree.body)
    except RecursionError:
        return ()
    return _bounded(_edges(trace, source, after))


def _edges(trace: Trace, source: str, after: Mapping[str, tuple[str, ...]]) -> Iterator[ColumnEdge]:
    named = {
        name: {column for column in columns if column in source}
        for name, columns in [*trace.before.items(), *after.items()]
        if len(columns) > _WIDE and name in source
    }
    for name, columns in after.items():
        value = trace.written(name, columns)
        if value is None:
            continue
        frame = as_frame(value)
        for column in columns if name not in named else [column for column in columns if column in named[name]]:
            for (from_name, from_column), certain in frame.at(column).items():
                if from_name in named and from_column not in named[from_name]:
                    continue
                if from_column == column and (name in named or from_name in named):
                    continue
                yield ColumnEdge(from_name, from_column, name, column, "certain" if certain else "possible")


def _bounded(edges: Iterable[ColumnEdge]) -> tuple[ColumnEdge, ...]:
    found = list(islice(edges, _LOOKED_AT))
    if len(found) <= _EDGES:
        return tuple(found)
    ranks = sorted(range(len(found)), key=lambda at: (found[at].from_column == found[at].to_column, found[at].certainty != "certain", at))
    return tuple(found[at] for at in sorted(ranks[:_EDGES]))
