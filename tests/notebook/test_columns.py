"""Column edges against real pandas and polars: each case runs its cell, compares the edges, and perturbs each source column in turn."""

import contextlib
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from column_cases import CASES, POLARS
from column_programs import PROGRAMS

from mlops_nb.notebook.columns import column_edges

DATA = {
    "a": [3, 1, 2, 2, 5, 4],
    "b": [1.5, 2.5, 0.5, 4.5, 3.5, 9.0],
    "c": [10, 20, 30, 40, 50, 60],
    "k": ["x", "y", "x", "z", "y", "x"],
    "t": ["ann b", "bob c", "cid d", "dan e", "eve f", "fay g"],
    "d": ["2024-01-01", "2024-02-03", "2023-05-06", "2022-07-08", "2024-09-10", "2021-11-12"],
    "n": [1.0, None, 3.0, None, 5.0, 6.0],
}
OTHER = {"k": ["x", "y", "z"], "v": [10.0, 20.0, 30.0], "a": [7, 8, 9]}
EARLIER = """
def ratio(frame):
    return frame["a"] / frame["b"]
def spoil(frame):
    frame["z"] = frame["a"] * frame["c"]
"""


def namespace(case):
    frame, other = pd.DataFrame(DATA), pd.DataFrame(OTHER)
    if case in POLARS:
        pl = pytest.importorskip("polars")
        return {"pl": pl, "pf": pl.DataFrame(DATA), "po": pl.DataFrame(OTHER)}
    names = {
        "pd": pd,
        "np": np,
        "df": frame,
        "other": other,
        "ser": pd.Series([1, 2, 3, 4, 5, 6], name="w"),
        "unnamed": pd.Series([6, 5, 4, 3, 2, 1]),
    }
    exec(EARLIER, names)
    return names


def run(case, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(case.code, names)
    return {name: as_pandas(value) for name, value in names.items() if is_tabular(value)}


def is_tabular(value):
    return isinstance(value, pd.DataFrame | pd.Series) or (
        type(value).__module__.startswith("polars.") and type(value).__name__ in ("DataFrame", "Series")
    )


def as_pandas(value):
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.copy()
    if type(value).__name__ == "Series":
        return pd.Series(value.to_list(), name=value.name)
    return pd.DataFrame(value.to_dict(as_series=False))


def columns(tables):
    found = {}
    for name, table in tables.items():
        known = table.columns if isinstance(table, pd.DataFrame) else [table.name if isinstance(table.name, str) else ""]
        found[name] = tuple(column for column in known if isinstance(column, str))
    return found


def edges_of(case):
    names = namespace(case)
    before = columns({name: as_pandas(value) for name, value in names.items() if is_tabular(value)})
    after = run(case, names)
    return column_edges(case.code, before, columns(after)), before, after


def as_text(edges):
    found = {}
    for edge in edges:
        mark = "!" if edge.certainty == "certain" else "?"
        found.setdefault(f"{edge.to_name}.{edge.to_column}", set()).add(f"{edge.from_name}.{edge.from_column}{mark}")
    return found


def expected(case, edges, after):
    found = {target: set(sources.split()) for target, sources in case.expect.items() if not target.endswith(".*")}
    copies = {target[:-2]: source for target, source in case.expect.items() if target.endswith(".*")}
    for name in {edge.to_name for edge in edges} | set(copies):
        source = copies.get(name, name)
        for column in columns(after)[name]:
            found.setdefault(f"{name}.{column}", {f"{source.rstrip('?')}.{column}{'?' if source.endswith('?') else '!'}"})
    return {target: sources for target, sources in found.items() if sources}


@pytest.mark.parametrize("case", CASES + POLARS, ids=lambda case: case.name)
def test_edges_are_those_of_the_code(case):
    edges, _, after = edges_of(case)
    assert len(set(edges)) == len(edges)
    found = as_text(edges)
    if case.loose:
        assert all(found.get(target, set()) >= set(sources.split()) for target, sources in case.expect.items())
    else:
        assert found == expected(case, edges, after)


PERTURBATIONS = {
    "shifted": lambda values: [*values[1:], values[0]],
    "changed": lambda values: [value if value is None or isinstance(value, str) else value * 3 + 1 for value in values],
    "one more": lambda values: [values[-1], *values[1:]],
}


def perturbed(value, column, change):
    if isinstance(value, pd.Series):
        return pd.Series(change(value.tolist()), name=value.name, index=value.index)
    if isinstance(value, pd.DataFrame):
        made = value.copy()
        made[column] = pd.Series(change(value[column].tolist()), index=value.index)
        return made
    return value.with_columns(type(value[column])(column, change(value[column].to_list())))


def column_of(table, column):
    return table if isinstance(table, pd.Series) else table[column] if column in table.columns else None


def equal(old, new):
    """Whether the values are the same by place: labels that are another column's are compared as that column."""
    return old.reset_index(drop=True).equals(new.reset_index(drop=True))


def only_rows_differ(old, new, column, inputs):
    """Whether the values were only chosen or ordered anew: the same where labels meet, or all found among the old ones."""
    if old.index.is_unique and new.index.is_unique:
        common = old.index.intersection(new.index)
        if old.loc[common].equals(new.loc[common]):
            return True
    pool = set(map(repr, old.tolist()))
    for table in inputs.values():
        found = column_of(table, column) if isinstance(table, pd.DataFrame) else None
        pool |= set(map(repr, found.tolist())) if found is not None else set()
    return set(map(repr, new.tolist())) <= pool


@pytest.mark.parametrize("case", CASES + POLARS + PROGRAMS, ids=lambda case: case.name)
def test_a_column_without_an_edge_does_not_change_what_it_does_not_reach(case):
    edges, before, after = edges_of(case)
    reached = {(edge.from_name, edge.from_column, edge.to_name, edge.to_column) for edge in edges}
    written = {edge.to_name for edge in edges} | {target.partition(".")[0] for target in case.expect}
    reached |= {(name, column, name, column) for name in before if name not in written for column in before[name]}
    tried = 0
    for name, column, change in [(n, c, change) for n in before if n in case.code for c in before[n] for change in PERTURBATIONS.values()]:
        names = namespace(case)
        names[name] = perturbed(names[name], column, change)
        inputs = {n: as_pandas(value) for n, value in names.items() if is_tabular(value)}
        changed = {}
        with contextlib.suppress(TypeError, ValueError, KeyError, pd.errors.InvalidIndexError):  # not every value suits every cell
            changed = run(case, names)
            tried += 1
        for target, target_column in [(t, c) for t in after for c in columns(after)[t]]:
            if (name, column, target, target_column) in reached or target not in changed:
                continue
            old, new = column_of(after[target], target_column), column_of(changed[target], target_column)
            same = new is not None and equal(old, new)
            allowed = f"{name}.{column}" in case.rows and new is not None and only_rows_differ(old, new, target_column, inputs)
            assert same or allowed, f"{name}.{column} reaches {target}.{target_column}"
    assert tried or not any(name in case.code for name in before)


def test_code_that_names_no_frame_or_cannot_be_read_gives_nothing():
    assert column_edges("x = 1", {"df": ("a",)}, {"df": ("a",)}) == ()
    assert column_edges("df[", {"df": ("a",)}, {"df": ("a",)}) == ()
    assert column_edges("df" + ".head()" * 5_000, {"df": ("a",)}, {"df": ("a",)}) == ()


def test_selections_of_nothing_are_no_obstacle():
    edges = column_edges("s = df['a']\nt = s[[]]\nu = {'a': s}[1:2]\ndf['x'] = s", {"df": ("a",)}, {"df": ("a", "x")})
    assert as_text(edges) == {"df.a": {"df.a!"}, "df.x": {"df.a!"}}


def test_of_a_wide_frame_only_the_columns_count_that_the_code_names():
    wide = tuple(f"column_{number}" for number in range(300))
    edges = column_edges('wide["x"] = wide["column_7"] * 2\nother = wide.copy()', {"wide": wide}, {"wide": (*wide, "x"), "other": (*wide, "x")})
    assert as_text(edges) == {"wide.x": {"wide.column_7!"}, "other.x": {"wide.column_7!"}}


def test_edges_are_bounded_and_copies_are_left_out_first():
    names = tuple(f"c{number}" for number in range(60))
    edges = column_edges('df["x"] = df["c1"]\nother = unknown(df)', {"df": names}, {"df": (*names, "x"), "other": names})
    assert len(edges) == 500
    assert ("df", "c1", "df", "x", "certain") in {(e.from_name, e.from_column, e.to_name, e.to_column, e.certainty) for e in edges}
    assert edges == column_edges('df["x"] = df["c1"]\nother = unknown(df)', {"df": names}, {"df": (*names, "x"), "other": names})


def test_loops_in_loops_end():
    names = tuple(f"c{number}" for number in range(50))
    code = "".join("    " * depth + f"for n{depth} in df.columns:\n" for depth in range(6)) + "    " * 6 + 'df["x"] = df[n1] + df[n5]'
    began = time.process_time()
    assert column_edges(code, {"df": names}, {"df": (*names, "x")})
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("code", "missed"),
    [
        ("change()", ("df", "b", "df", "a")),  # a function of another cell that changes a global frame it is not given
        ("same['a'] = df['b']", ("df", "b", "df", "a")),  # `same` is `df` under another name since an earlier cell
        ("spoil_a(df)", ("df", "b", "df", "a")),  # a function of another cell that makes no new column
        ('exec(\'df["a"] = df["b"]\')', ("df", "b", "df", "a")),  # code made at run time
    ],
)
def test_known_misses(code, missed):
    tables = {"df": ("a", "b"), "same": ("a", "b")}
    assert missed not in {(e.from_name, e.from_column, e.to_name, e.to_column) for e in column_edges(code, tables, tables)}
