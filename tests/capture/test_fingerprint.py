import asyncio
import collections
import functools
import random
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.capture.fingerprint import MAX_ITEMS, fingerprint, reach
from mlops_nb.capture.kinds import is_plain


def set_first(values):
    values[0] = 99


CHANGES = [
    ("list", lambda: [1, 2], lambda v: v.append(3)),
    ("list element", lambda: [[1], 2], lambda v: v[0].append(3)),
    ("same length", lambda: [1.5, 2.5], lambda v: (v.pop(), v.append(3.5))),
    ("dict value", lambda: {"a": 1}, lambda v: v.update(a=2)),
    ("dict key", lambda: {"a": 1}, lambda v: v.update(b=1)),
    ("dict order", lambda: {"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a"))),
    ("deep", lambda: {"a": [{"b": {1}}]}, lambda v: v["a"][0]["b"].add(2)),
    ("set", lambda: {1, 2}, lambda v: v.add(3)),
    ("deque", lambda: collections.deque([1]), lambda v: v.append(2)),
    ("counter", lambda: collections.Counter("ab"), lambda v: v.update("a")),
    ("defaultdict", lambda: collections.defaultdict(list), lambda v: v["a"]),
    ("bytearray", lambda: bytearray(b"ab"), set_first),
    ("in a tuple", lambda: ([1], 2), lambda v: v[0].append(1)),
    ("instance", lambda: SimpleNamespace(a=1), lambda v: setattr(v, "a", 2)),
    ("array", lambda: np.arange(5), set_first),
    ("fortran order", lambda: np.zeros((3, 4), order="F"), lambda v: v.__setitem__((1, 2), 1)),
    ("zero-dimensional", lambda: np.array(1), lambda v: v.fill(2)),
    ("structured", lambda: np.zeros(2, dtype=[("a", "i4")]), lambda v: v["a"].fill(1)),
    ("datetimes", lambda: np.array(["2013-01-01"], dtype="M8[D]"), lambda v: v.fill("2013-01-02")),
    ("strings", lambda: np.array(["a", "b"]), set_first),
    ("masked", lambda: np.ma.array([1, 2], mask=[0, 1]), lambda v: v.mask.fill(True)),
    ("frame", lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.insert(0, "b", 1)),
    ("frame value", lambda: pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), lambda v: v.__setitem__("b", ["x", "z"])),
    ("frame dropped", lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.pop("a")),
    ("index name", lambda: pd.DataFrame({"a": [1]}), lambda v: setattr(v.index, "name", "k")),
    ("nullable", lambda: pd.Series([1, None], dtype="Int64"), set_first),
    ("zoned times", lambda: pd.Series(pd.date_range("2013", periods=2, tz="UTC")), lambda v: v.__setitem__(0, v[1])),
    ("random", lambda: random.Random(1), lambda v: v.random()),
    ("numpy random", lambda: np.random.default_rng(1), lambda v: v.random()),
    ("old numpy random", lambda: np.random.RandomState(1), lambda v: v.rand()),
]


@pytest.mark.parametrize(("make", "change"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_change_shows_and_looking_changes_nothing(make, change):
    value = make()
    before = fingerprint(value)
    assert fingerprint(value) == before
    assert before.whole
    change(value)
    assert fingerprint(value).digest != before.digest


def test_what_hides_its_attributes_is_not_whole():
    async def task():
        return fingerprint(asyncio.current_task())

    assert not asyncio.run(task()).whole  # has a __dict__ that no attribute leads to


class Looped:
    pass


def test_loops_end():
    a = []
    a.append(a)
    b = Looped()
    b.me = [b, {"b": b}]
    assert fingerprint(a).whole
    assert fingerprint(b).whole


@pytest.mark.parametrize(
    "value",
    [
        list(range(MAX_ITEMS + 1)),
        dict.fromkeys(range(MAX_ITEMS + 1)),
        set(range(MAX_ITEMS + 1)),
        np.zeros(1 << 20),
        zip([1], [2], strict=True),
        Looped,
        [[[[[[[[1]]]]]]]],
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_is_not_looked_at_whole_says_so(value):
    assert not fingerprint(value).whole


@pytest.mark.parametrize("value", [None, 1, 1.5, "a", b"a", len, fingerprint, pytest, range(3)], ids=lambda value: type(value).__name__)
def test_plain_values(value):
    assert is_plain(value)
    assert fingerprint(value).whole


def test_the_ends_of_a_long_list_are_seen():
    values = list(range(1_000_000))
    before = fingerprint(values)
    values[-1] = -1
    assert fingerprint(values).digest != before.digest


@pytest.mark.parametrize(
    "make",
    [
        lambda: list(range(3_000_000)),
        lambda: [[n] for n in range(100_000)],
        lambda: {n: str(n) for n in range(500_000)},
        lambda: np.zeros(20_000_000),
        lambda: np.zeros((4000, 4000))[::2, ::2],
        lambda: pd.DataFrame({"a": np.zeros(2_000_000), "b": ["x"] * 2_000_000}),
        lambda: {f"k{n}": {"a": [n]} for n in range(5000)},
    ],
)
def test_no_value_takes_long(make):
    value = make()
    took = []
    for _ in range(7):
        before = time.thread_time()
        fingerprint(value)
        took.append(time.thread_time() - before)
    assert min(took) < 0.005


def test_a_walk_meets_the_objects_that_values_share():
    inner = [1]
    array = np.zeros(3)
    kept = functools.partial(print, inner)

    for holder in ([inner], {"a": {"b": inner}}, (0, [inner]), collections.deque([inner]), kept, iter([inner]), inner.append):
        assert id(inner) in reach(holder), holder
    assert id(array) in reach(array[:2])
    assert id(array) in reach(array[:2].reshape(2, 1))
    assert id(inner) not in reach([[1]])


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(JSON)
def test_looking_twice_gives_the_same(value):
    assert fingerprint(value) == fingerprint(value)
