"""Column edges against real pandas and polars: each case runs its cell, compares the edges, and perturbs each source column in turn."""

import contextlib
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from mlops_nb.notebook.columns import column_edges


@dataclass(frozen=True)
class Case:
    """`expect`: target column -> sources (`!` certain, `?` possible); `name.*` -> the frame each other column is copied from.

    Columns that are not listed must be copies of the same frame's. `rows` are columns that decide which rows there are: they may change
    which values are there, not the values.
    """

    name: str
    code: str
    expect: dict[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    loose: bool = False  # what is expected must be there, more may be


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

CASES = [
    # --- items and attributes
    Case("sum of two", 'df["x"] = df["a"] + df["b"]', {"df.x": "df.a! df.b!"}),
    Case("attributes", 'df["x"] = df.a * df.b - 1', {"df.x": "df.a! df.b!"}),
    Case("constant column", 'df["x"] = 1', {"df.x": ""}),
    Case("constant over a column", 'df["a"] = 1', {"df.a": ""}),
    Case("attribute assignment", "df.a = df.b", {"df.a": "df.b!"}),
    Case("selection", 'e = df[["a", "b"]]', {"e.*": "df"}),
    Case("series variable", 's = df["a"]\ndf["x"] = s * 2', {"s.a": "df.a!", "df.x": "df.a!"}),
    Case("series of an earlier cell", 'df["x"] = ser * 2 + df["b"]', {"df.x": "ser.w! df.b!"}),
    Case("unnamed series of an earlier cell", 'df["x"] = unnamed + 1', {"df.x": "unnamed.!"}),
    Case("unnamed series", 'y = df["a"] * df["b"]', {"y.": "df.a! df.b!"}),
    Case("augmented", 'df["a"] += 1', {"df.a": "df.a!"}),
    Case("augmented by another", 'df["a"] *= df["b"]', {"df.a": "df.a! df.b!"}),
    Case("chain of columns", 'df["x"] = df["a"] * 2\ndf["y"] = df["x"] + df["b"]', {"df.x": "df.a!", "df.y": "df.a! df.b!"}),
    Case("swap", 'df["a"], df["b"] = df["b"], df["a"]', {"df.a": "df.b!", "df.b": "df.a!"}),
    Case("chained assignment", 'df["x"] = df["y"] = df["a"]', {"df.x": "df.a!", "df.y": "df.a!"}),
    Case("several at once", 'df[["x", "y"]] = df[["a", "b"]] * 2', {"df.x": "df.a!", "df.y": "df.b!"}),
    Case("list variable", 'cols = ["a", "b"]\ne = df[cols]', {"e.*": "df"}),
    Case("list variables added", 'one = ["a"]\ntwo = ["c"]\ne = df[one + two]', {"e.*": "df"}),
    Case("list by comprehension", 'cols = [c for c in df.columns if c in ("a", "b")]\ne = df[cols]', {"e.*": "df"}),
    Case("columns difference", 'e = df[df.columns.difference(["a", "b", "c"])]', {"e.*": "df"}),
    Case("deleted", 'del df["a"]'),
    Case("deleted then used elsewhere", 'df["x"] = df["a"]\ndel df["a"]', {"df.x": "df.a!"}),
    Case("pop", 'df["x"] = df.pop("a") + df["b"]', {"df.x": "df.a! df.b!"}),
    Case("pop to a series", 'y = df.pop("a")', {"y.a": "df.a!"}),
    Case("insert", 'df.insert(1, "x", df["a"] * df["b"])', {"df.x": "df.a! df.b!"}),
    Case("alias", 'e = df\ne["x"] = e["a"]', {"df.x": "df.a!", "e.x": "df.a!", "e.*": "df"}),
    Case("copy then change", 'e = df.copy()\ne["x"] = e["a"] + e["b"]', {"e.x": "df.a! df.b!", "e.*": "df"}),
    Case("nothing touched", "x = 1 + 1"),
    Case("only looked at", "print(df.head())\ndf.describe()"),
    Case("column names set", "e = df[['a', 'b']]\ne.columns = ['x', 'y']", {"e.x": "df.a!", "e.y": "df.b!"}),
    Case("numpy values", 'df["x"] = df["a"].values + df["b"].to_numpy()', {"df.x": "df.a! df.b!"}),
    Case("scalar of a column", 'df["x"] = df["a"] - df["b"].mean()', {"df.x": "df.a! df.b!"}),
    Case("frame minus its means", "e = df[['a', 'b']] - df[['a', 'b']].mean()", {"e.a": "df.a!", "e.b": "df.b!"}),
    Case("standardised", 'df["x"] = (df["a"] - df["a"].mean()) / df["a"].std()', {"df.x": "df.a!"}),
    Case("row sums", 'df["x"] = df[["a", "b"]].sum(axis=1)', {"df.x": "df.a! df.b!"}),
    Case("comparison", 'df["x"] = (df["a"] > df["b"]) & ~(df["c"] == 10)', {"df.x": "df.a! df.b! df.c!"}),
    # --- loc, iloc, at
    Case("loc column", 'e = df.loc[:, ["a", "b"]]', {"e.*": "df"}),
    Case("loc range of columns", 'e = df.loc[:, "b":"k"]', {"e.*": "df"}),
    Case("loc mask", 'e = df.loc[df["a"] > 2, ["b", "c"]]', {"e.*": "df"}, rows=("df.a",)),
    Case("loc writes", 'df.loc[df["a"] > 2, "b"] = df["c"]', {"df.b": "df.a! df.b! df.c!"}),
    Case("loc writes a constant", 'df.loc[df["a"] > 2, "b"] = 0', {"df.b": "df.a! df.b!"}),
    Case("loc writes a new column", 'df.loc[:, "x"] = df["a"]', {"df.x": "df.a!"}),
    Case("loc writes several", 'df.loc[df["a"] > 2, ["b", "c"]] = 0', {"df.b": "df.a! df.b!", "df.c": "df.a! df.c!"}),
    Case("iloc columns", "e = df.iloc[:, [0, 2]]\nf = df.iloc[:, 1]", {"e.*": "df", "f.*": "df"}),
    Case("iloc range", "e = df.iloc[:3, :2]", {"e.*": "df"}),
    Case("iloc writes", "df.iloc[:, 1] = df['c'] * 1.0", {"df.b": "df.c!"}),
    Case("at writes", 'df.at[0, "a"] = 9', {"df.a": "df.a!"}),
    Case("mask on the whole frame", "e = df[['a', 'b']]\ne[e > 2] = 0", {"e.a": "df.a! df.b!", "e.b": "df.a! df.b!"}),
    # --- methods that keep columns
    Case("assign", 'e = df.assign(x=df["a"] * 2)', {"e.x": "df.a!", "e.*": "df"}),
    Case("assign lambda", 'e = df.assign(x=lambda d: d["a"] + d.b, y=lambda d: d.x * 2)', {"e.x": "df.a! df.b!", "e.y": "df.a! df.b!", "e.*": "df"}),
    Case("assign of a dict", 'e = df.assign(**{"x": df["a"], "y": 1})', {"e.x": "df.a!", "e.y": "", "e.*": "df"}),
    Case("rename", 'df = df.rename(columns={"a": "x"})', {"df.x": "df.a!"}),
    Case("rename in place", 'df.rename(columns={"a": "x", "b": "a"}, inplace=True)', {"df.x": "df.a!", "df.a": "df.b!"}),
    Case("rename by a function", "df = df[['a', 'b']].rename(columns=str.upper)", {"df.A": "df.a? df.b?", "df.B": "df.a? df.b?"}),
    Case("rename by a lambda", 'e = df[["a", "b"]].rename(columns=lambda c: c + "_x")', {"e.a_x": "df.a!", "e.b_x": "df.b!"}),
    Case("prefix and suffix", 'e = df[["a"]].add_prefix("p_").add_suffix("_s")', {"e.p_a_s": "df.a!"}),
    Case("drop", 'df = df.drop(columns=["a"])'),
    Case("drop by axis", 'e = df.drop(["a", "b"], axis=1)', {"e.*": "df"}),
    Case("drop in place", 'df.drop("a", axis=1, inplace=True)'),
    Case("astype", 'df["a"] = df["a"].astype(float)', {"df.a": "df.a!"}),
    Case("astype of the frame", 'e = df.astype({"a": float})', {"e.*": "df"}),
    Case("fillna", 'df["n"] = df["n"].fillna(df["b"])', {"df.n": "df.n! df.b!"}),
    Case("fillna with its mean", 'df["n"] = df["n"].fillna(df["n"].mean())', {"df.n": "df.n!"}),
    Case("fillna by a dict", 'e = df.fillna({"n": df["a"].max()})', {"e.n": "df.n! df.a!", "e.*": "df"}),
    Case("where", 'df["x"] = df["a"].where(df["b"] > 2, df["c"])', {"df.x": "df.a! df.b! df.c!"}),
    Case("mask", 'df["x"] = df["a"].mask(df["b"] > 2)', {"df.x": "df.a! df.b!"}),
    Case("np.where", 'df["x"] = np.where(df.a > 2, df.b, df.c)', {"df.x": "df.a! df.b! df.c!"}),
    Case("np.select", 'df["x"] = np.select([df.a > 2, df.b > 2], [df.c, 0], default=1)', {"df.x": "df.a! df.b! df.c!"}),
    Case("np.log", 'df["x"] = np.log1p(df["a"])', {"df.x": "df.a!"}),
    Case("map of a dict", 'df["x"] = df["k"].map({"x": 1, "y": 2, "z": 3})', {"df.x": "df.k!"}),
    Case("map of a series", 'df["x"] = df["k"].map(other.set_index("k")["v"])', {"df.x": "df.k! other.v! other.k?"}),
    Case("map of a lambda", 'df["x"] = df["a"].map(lambda v: v * 2)', {"df.x": "df.a?"}),
    Case("replace", 'df["k"] = df["k"].replace({"x": "q"})', {"df.k": "df.k!"}),
    Case("clip and round", 'df["x"] = df["b"].clip(1, 3).round()', {"df.x": "df.b!"}),
    Case("isin", 'df["x"] = df["k"].isin(other["k"])', {"df.x": "df.k! other.k!"}),
    Case("shift", 'df["x"] = df["a"].shift(1)', {"df.x": "df.a!"}),
    Case("cumulative sum", 'df["x"] = df["a"].cumsum()', {"df.x": "df.a!"}),
    Case("rank", 'df["x"] = df["a"].rank()', {"df.x": "df.a!"}),
    Case("rolling", 'df["x"] = df["a"].rolling(2).mean()', {"df.x": "df.a?"}),
    Case("str accessor", 'df["x"] = df["t"].str.upper().str[:2]', {"df.x": "df.t!"}),
    Case("str split", 'df[["x", "y"]] = df["t"].str.split(" ", expand=True)', {"df.x": "df.t!", "df.y": "df.t!"}),
    Case("str cat", 'df["x"] = df["t"].str.cat(df["k"], sep="-")', {"df.x": "df.t! df.k!"}),
    Case("str extract", 'e = df["t"].str.extract(r"(?P<first>\\w+) (?P<last>\\w+)")', {"e.first": "df.t!", "e.last": "df.t!"}),
    Case("to_datetime and dt", 'df["x"] = pd.to_datetime(df["d"]).dt.year', {"df.x": "df.d!"}),
    Case("dt method", 'w = pd.to_datetime(df["d"])\ndf["x"] = w.dt.day_name()', {"w.d": "df.d!", "df.x": "df.d!"}),
    Case("to_numeric", 'df["x"] = pd.to_numeric(df["a"], errors="coerce")', {"df.x": "df.a!"}),
    Case("cut", 'df["x"] = pd.cut(df["a"], bins=[0, 2, 9]).astype(str)', {"df.x": "df.a!"}),
    Case("qcut", 'df["x"] = pd.qcut(df["b"], 2, labels=False)', {"df.x": "df.b!"}),
    Case("eval", 'df = df.eval("x = a + b")', {"df.x": "df.a? df.b?"}),
    Case("eval in place", 'df.eval("x = a * c", inplace=True)', {"df.x": "df.a? df.c?"}),
    Case("eval to a series", 'df["x"] = df.eval("a > b")', {"df.x": "df.a? df.b?"}),
    # --- rows
    Case("filter", 'e = df[df["a"] > 2]', {"e.*": "df"}, rows=("df.a",)),
    Case("query", 'e = df.query("a > 2 and b < 5")', {"e.*": "df"}, rows=("df.a", "df.b")),
    Case("sort", 'df = df.sort_values("a")', rows=("df.a",)),
    Case("sort in place", 'df.sort_values("b", inplace=True)', rows=("df.b",)),
    Case("head", "e = df.head(2)", {"e.*": "df"}),
    Case("dropna", "e = df.dropna()", {"e.*": "df"}, rows=("df.n",)),
    Case("drop_duplicates", 'e = df.drop_duplicates("k")', {"e.*": "df"}, rows=("df.k",)),
    Case("filter columns", 'e = df.filter(items=["a", "b"])\nf = df.filter(like="a")', {"e.*": "df", "f.*": "df"}),
    Case("filter then new column", 'e = df[df["a"] > 2].copy()\ne["x"] = e["b"] * 2', {"e.x": "df.b!", "e.*": "df"}, rows=("df.a",)),
    Case("filter then aggregate", 'df["x"] = df[df["a"] > 2]["b"].sum()', {"df.x": "df.b! df.a?"}),
    Case("filter into a frame", 'df["x"] = df[df["a"] > 2]["b"]', {"df.x": "df.b! df.a?"}),
    Case("sort then shift", 'df["x"] = df.sort_values("a")["b"].shift(1)', {"df.x": "df.b! df.a?"}),
    Case("sort then reset", 'e = df.sort_values("a")[["b"]].reset_index(drop=True)', {"e.b": "df.b! df.a?"}),
    Case("set and reset index", 'e = df.set_index("k")\nf = e.reset_index()', {"e.*": "df", "f.*": "df"}),
    # --- functions
    Case("apply over rows", 'df["x"] = df.apply(lambda r: r["a"] + r.b, axis=1)', {"df.x": "df.a? df.b?"}),
    Case("apply with a condition", 'df["x"] = df.apply(lambda r: r["a"] if r["k"] == "x" else 0, axis=1)', {"df.x": "df.a? df.k?"}),
    Case(
        "apply a named function",
        'def f(r):\n    if r["a"] > 2:\n        return r["b"]\n    return r["c"]\ndf["x"] = df.apply(f, axis=1)',
        {"df.x": "df.a? df.b? df.c?"},
    ),
    Case("apply to a frame of columns", 'e = df.apply(lambda r: pd.Series({"x": r["a"], "y": r["b"]}), axis=1)', {"e.x": "df.a?", "e.y": "df.b?"}),
    Case("apply to a column", 'df["x"] = df["a"].apply(lambda v: v + 1)', {"df.x": "df.a?"}),
    Case("apply with a closure", 'm = df["b"].max()\ndf["x"] = df["a"].apply(lambda v: v * m)', {"df.x": "df.a? df.b?"}),
    Case("apply column by column", 'e = df[["a", "b"]].apply(lambda c: c / c.max())', {"e.a": "df.a?", "e.b": "df.b?"}),
    Case("apply a numpy function", 'e = df[["a", "b"]].apply(np.sqrt)', {"e.a": "df.a?", "e.b": "df.b?"}),
    Case("function of another cell", 'df["x"] = ratio(df)', {"df.x": "df.a? df.b? df.c? df.k? df.t? df.d? df.n?"}),
    Case("function of another cell on a part", 'df["x"] = ratio(df[["a", "b"]])', {"df.x": "df.a? df.b?"}),
    Case("function of another cell changes the frame", "spoil(df)", {"df.z": "df.a? df.b? df.c? df.k? df.t? df.d? df.n?"}),
    Case("function of this cell", 'def f(d):\n    return d["a"] + d["b"]\ndf["x"] = f(df)', {"df.x": "df.a? df.b?"}),
    Case("function of this cell changes the frame", 'def f(d):\n    d["x"] = d["a"]\nf(df)', {"df.x": "df.a?"}),
    Case("pipe", 'def add(d, by):\n    return d.assign(x=d["a"] + by)\ne = df.pipe(add, 2)', {"e.x": "df.a?", "e.*": "df?"}),
    Case("comprehension over a column", 'df["x"] = [v * 2 for v in df["a"]]', {"df.x": "df.a?"}),
    Case("comprehension over two", 'df["x"] = [p if q > 2 else 0 for p, q in zip(df["a"], df["b"])]', {"df.x": "df.a? df.b?"}),
    Case("iterrows", 'out = []\nfor _, r in df.iterrows():\n    out.append(r["a"])\ndf["x"] = out', {"df.x": "df.a?"}, loose=True),
    # --- branches and loops
    Case("loop over literals", 'for c in ["a", "b"]:\n    df[c + "_x"] = df[c] * 2', {"df.a_x": "df.a?", "df.b_x": "df.b?"}),
    Case("loop with an f-string", 'for c in ("a", "b"):\n    df[f"{c}_x"] = df[c].fillna(0)', {"df.a_x": "df.a?", "df.b_x": "df.b?"}),
    Case("loop over columns", 'e = df[["a", "b"]].copy()\nfor c in e.columns:\n    e[c] = e[c] / e[c].max()', {"e.a": "df.a?", "e.b": "df.b?"}),
    Case("loop over a dict", 'for old, new in {"a": "x", "b": "y"}.items():\n    df[new] = df[old]', {"df.x": "df.a?", "df.y": "df.b?"}),
    Case("loop over an accumulator", 'df["x"] = 0\nfor c in ["a", "b"]:\n    df["x"] += df[c]', {"df.x": "df.a? df.b?"}),
    Case("branch", 'if len(df) > 3:\n    df["x"] = df["a"]\nelse:\n    df["x"] = df["b"]', {"df.x": "df.a? df.b?"}),
    Case("branch on a value", 'if df["a"].sum() > 17:\n    df["x"] = df["b"]\nelse:\n    df["x"] = 0', {"df.x": "df.b? df.a?"}),
    Case("branch over an old column", 'if len(df) > 3:\n    df["a"] = df["b"]', {"df.a": "df.a? df.b?"}),
    Case("conditional expression", 'df["x"] = df["a"] if len(df) > 3 else df["b"]', {"df.x": "df.a? df.b?"}),
    Case("try", 'try:\n    df["x"] = df["a"]\nexcept KeyError:\n    df["x"] = 0', {"df.x": "df.a?"}),
    Case("with", 'with pd.option_context("display.width", 80):\n    df["x"] = df["a"]', {"df.x": "df.a!"}),
    # --- groups
    Case("group sum", 'g = df.groupby("k")["a"].sum()', {"g.a": "df.a? df.k?"}),
    Case("group sum reset", 'g = df.groupby("k")[["a", "b"]].sum().reset_index()', {"g.k": "df.k!", "g.a": "df.a? df.k?", "g.b": "df.b? df.k?"}),
    Case("group as columns", 'g = df.groupby("k", as_index=False)["a"].mean()', {"g.k": "df.k!", "g.a": "df.a? df.k?"}),
    Case(
        "named aggregation",
        'g = df.groupby("k").agg(total=("a", "sum"), top=("b", "max")).reset_index()',
        {"g.k": "df.k!", "g.total": "df.a? df.k?", "g.top": "df.b? df.k?"},
    ),
    Case("dict aggregation", 'g = df.groupby("k").agg({"a": "sum", "b": "mean"})', {"g.a": "df.a? df.k?", "g.b": "df.b? df.k?"}),
    Case("NamedAgg", 'g = df.groupby("k").agg(x=pd.NamedAgg(column="a", aggfunc="sum"))', {"g.x": "df.a? df.k?"}),
    Case("list aggregation", 'g = df.groupby("k")["a"].agg(["sum", "max"])', {"g.sum": "df.a? df.k?", "g.max": "df.a? df.k?"}),
    Case("transform", 'df["x"] = df.groupby("k")["a"].transform("mean")', {"df.x": "df.a? df.k?"}),
    Case("transform by a lambda", 'df["x"] = df.groupby("k")["a"].transform(lambda s: s - s.min())', {"df.x": "df.a? df.k?"}),
    Case("group shift", 'df["x"] = df.groupby("k")["a"].shift(1)', {"df.x": "df.a? df.k?"}),
    Case("group rolling", 'df["x"] = df.groupby("k")["a"].rolling(2).mean().reset_index(level=0, drop=True)', {"df.x": "df.a? df.k?"}),
    Case("group size", 'g = df.groupby("k").size().reset_index(name="n")', {"g.k": "df.k!", "g.n": "df.k?"}),
    Case("group by a series", 'g = df.groupby(df["a"] > 2)["b"].sum()', {"g.b": "df.b? df.a?"}),
    Case("group of a filter", 'g = df[df["c"] > 20].groupby("k")["a"].sum()', {"g.a": "df.a? df.k? df.c?"}),
    Case("group apply", 'g = df.groupby("k")[["a", "b"]].apply(lambda d: (d["a"] * d["b"]).sum())', {"g.": "df.a? df.b? df.k?"}),
    Case("value counts", 'g = df["k"].value_counts().reset_index()', {"g.k": "df.k!", "g.count": "df.k?"}, rows=("df.k",)),
    Case(
        "group of two keys",
        'g = df.groupby(["k", "a"])["b"].max().reset_index()',
        {"g.k": "df.k!", "g.a": "df.a!", "g.b": "df.b? df.k? df.a?"},
        rows=("df.k", "df.a"),
    ),
    # --- several frames
    Case(
        "merge on",
        'm = df[["k", "b"]].merge(other[["k", "v"]], on="k")',
        {"m.k": "df.k? other.k?", "m.b": "df.b?", "m.v": "other.v? df.k? other.k?"},
        rows=("df.k", "other.k"),
    ),
    Case(
        "merge with suffixes",
        'm = pd.merge(df[["k", "a"]], other, on="k", how="left", suffixes=("", "_o"))',
        {"m.k": "df.k? other.k?", "m.a": "df.a?", "m.a_o": "other.a? df.k? other.k?", "m.v": "other.v? df.k? other.k?"},
        rows=("other.k",),
    ),
    Case(
        "merge on two names",
        'm = df[["t", "k"]].merge(other.rename(columns={"k": "key"}), left_on="k", right_on="key")',
        {"m.t": "df.t?", "m.k": "df.k?", "m.key": "other.k? df.k?", "m.v": "other.v? df.k? other.k?", "m.a": "other.a? df.k? other.k?"},
        rows=("df.k", "other.k"),
    ),
    Case(
        "merge default suffixes",
        'm = df[["k", "a"]].merge(other, on="k")',
        {"m.a_x": "df.a?", "m.a_y": "other.a? df.k? other.k?"},
        rows=("df.k", "other.k"),
        loose=True,
    ),
    Case(
        "join",
        'm = df[["k", "b"]].join(other.set_index("k")[["v"]], on="k")',
        {"m.k": "df.k?", "m.b": "df.b?", "m.v": "other.v? df.k? other.k?"},
        rows=("other.k",),
    ),
    Case("concat below", 'm = pd.concat([df[["a"]], other[["a"]]], ignore_index=True)', {"m.a": "df.a! other.a!"}),
    Case("concat beside", 'm = pd.concat([df[["a"]], other[["v"]]], axis=1)', {"m.a": "df.a!", "m.v": "other.v!"}),
    Case("constructor of a dict", 'e = pd.DataFrame({"x": df["a"] * 2, "y": df["b"], "z": 1})', {"e.x": "df.a!", "e.y": "df.b!", "e.z": ""}),
    Case("constructor with columns", 'e = pd.DataFrame(df[["a", "b"]].to_numpy(), columns=["x", "y"])', {"e.x": "df.a? df.b?", "e.y": "df.a? df.b?"}),
    Case("series constructor", 'y = pd.Series(df["a"].values, name="y")', {"y.y": "df.a!"}),
    Case("column of another frame", 'df["x"] = other["v"]', {"df.x": "other.v!"}),
    # --- other shapes
    Case("melt", 'm = df.melt(id_vars=["k"], value_vars=["a", "b"])', {"m.k": "df.k!", "m.variable": "", "m.value": "df.a? df.b?"}),
    Case(
        "melt with names", 'm = pd.melt(df[["k", "a"]], id_vars="k", var_name="what", value_name="v")', {"m.k": "df.k!", "m.what": "", "m.v": "df.a?"}
    ),
    Case(
        "pivot table",
        'm = df.pivot_table(index="a", columns="k", values="b", aggfunc="sum").reset_index()',
        {"m.a": "df.a!", "m.x": "df.a? df.k? df.b?", "m.y": "df.a? df.k? df.b?", "m.z": "df.a? df.k? df.b?"},
        rows=("df.k",),
    ),
    Case(
        "dummies",
        'm = pd.get_dummies(df[["a", "k"]], columns=["k"], prefix="p")',
        {"m.a": "df.a!", "m.p_x": "df.k?", "m.p_y": "df.k?", "m.p_z": "df.k?"},
    ),
    Case(
        "dummies default prefix",
        'm = pd.get_dummies(df[["a", "k"]], columns=["k"])',
        {"m.a": "df.a!", "m.k_x": "df.k?", "m.k_y": "df.k?", "m.k_z": "df.k?"},
    ),
    Case("explode", 'e = df.assign(w=df["t"].str.split(" ")).explode("w")', {"e.w": "df.t!", "e.*": "df"}),
    Case(
        "chain",
        'e = (df.query("a > 1").assign(x=lambda d: d["a"] / d["b"]).rename(columns={"x": "y"}).drop(columns=["t"])\n'
        '     .groupby("k", as_index=False).agg(m=("y", "mean")))',
        {"e.k": "df.k! df.a?", "e.m": "df.a? df.b? df.k?"},
        rows=("df.a",),
    ),
    Case(
        "scaler",
        'from sklearn.preprocessing import StandardScaler\ndf[["x", "y"]] = StandardScaler().fit_transform(df[["a", "b"]])',
        {"df.x": "df.a? df.b?", "df.y": "df.a? df.b?"},
    ),
    Case(
        "predictions",
        "from sklearn.linear_model import LinearRegression\nmodel = LinearRegression()\n"
        'model.fit(df[["a", "b"]], df["c"])\ndf["p"] = model.predict(df[["a", "b"]])',
        {"df.p": "df.a? df.b? df.c?"},
    ),
]

POLARS = [
    Case("polars with_columns alias", 'pf = pf.with_columns((pl.col("a") * 2).alias("x"))', {"pf.x": "pf.a!"}),
    Case("polars with_columns keyword", 'pf = pf.with_columns(x=pl.col("a") + pl.col("b"))', {"pf.x": "pf.a! pf.b!"}),
    Case(
        "polars select",
        'e = pf.select("a", pl.col("b").alias("x"), pl.col("c") + pl.col("a"))',
        {"e.a": "pf.a!", "e.x": "pf.b!", "e.c": "pf.c! pf.a!"},
    ),
    Case(
        "polars list of expressions", 'e = pf.with_columns([pl.col("a").alias("x"), pl.lit(1).alias("y")])', {"e.x": "pf.a!", "e.y": "", "e.*": "pf"}
    ),
    Case("polars several columns", 'e = pf.select(pl.col("a", "b").cast(pl.Float64).name.suffix("_f"))', {"e.a_f": "pf.a!", "e.b_f": "pf.b!"}),
    Case("polars when", 'e = pf.select(pl.when(pl.col("a") > 2).then("b").otherwise(pl.col("c")).alias("x"))', {"e.x": "pf.a! pf.b! pf.c!"}),
    Case("polars filter and sort", 'e = pf.filter(pl.col("a") > 2).sort("b")', {"e.*": "pf"}, rows=("pf.a", "pf.b")),
    Case("polars rename and drop", 'e = pf.rename({"a": "x"}).drop("b", "t")', {"e.x": "pf.a!", "e.*": "pf"}),
    Case(
        "polars group",
        'g = pf.group_by("k").agg(pl.col("a").sum().alias("s"), m=pl.col("b").mean()).sort("k")',
        {"g.k": "pf.k!", "g.s": "pf.a? pf.k?", "g.m": "pf.b? pf.k?"},
        rows=("pf.k",),
    ),
    Case("polars over", 'e = pf.select(x=pl.col("a").sum().over("k"))', {"e.x": "pf.a! pf.k!"}),
    Case(
        "polars join",
        'm = pf.select("k", "b").join(po.select("k", "v"), on="k")',
        {"m.k": "pf.k? po.k?", "m.b": "pf.b?", "m.v": "po.v? pf.k? po.k?"},
        rows=("pf.k", "po.k"),
    ),
    Case("polars series", 's = pf["a"] * 2\npf = pf.with_columns(s.alias("x"))', {"s.a": "pf.a!", "pf.x": "pf.a!"}),
    Case("polars lazy", 'e = pf.lazy().filter(pl.col("a") > 1).select(pl.col("b")).collect()', {"e.b": "pf.b!"}, rows=("pf.a",)),
    Case("polars horizontal", 'e = pf.select(x=pl.sum_horizontal("a", "b"))', {"e.x": "pf.a! pf.b!"}),
    Case("polars constructor", 'e = pl.DataFrame({"x": pf["a"], "y": pf["b"] + pf["c"]})', {"e.x": "pf.a!", "e.y": "pf.b! pf.c!"}),
]


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
    "reversed": lambda values: values[::-1],
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


@pytest.mark.parametrize("case", CASES + POLARS, ids=lambda case: case.name)
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
