"""Two looks at a namespace: what moved and what is gone, whatever happened to the order of the names."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.capture.names import moved

A, B = [1], [1]  # equal, but not the same


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {}, ([], [])),
        ({"a": A}, {"a": A}, ([], [])),
        ({"a": A}, {"a": B}, (["a"], [])),
        ({"a": A}, {"a": A, "b": B}, (["b"], [])),
        ({"a": A, "b": B}, {"b": B}, ([], ["a"])),
        ({"a": A, "b": B}, {"b": B, "a": A}, ([], [])),  # deleted and bound to the same again
        ({"a": A, "b": B}, {"b": B, "a": B}, (["a"], [])),
        ({"a": A, "b": B}, {"b": B, "c": A}, (["c"], ["a"])),
        ({"a": None}, {"a": None, "b": None}, (["b"], [])),
    ],
)
def test_each_kind_of_change(before, now, expected):
    assert moved(before, now) == expected


NAMESPACES = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([A, B, None, 1]))


@given(NAMESPACES, NAMESPACES, st.randoms())
def test_the_order_of_names_decides_nothing(before: dict, now: dict, order: random.Random):
    shuffled = dict(order.sample([*now.items()], len(now)))
    for after in (now, shuffled, {**before, **now}):
        names, gone = moved(before, after)
        assert set(names) == {name for name, value in after.items() if name not in before or before[name] is not value}
        assert set(gone) == before.keys() - after.keys()
        assert names == [name for name in after if name in names]


def test_values_are_not_asked_for_equality():
    class Unequal:
        def __eq__(self, other):
            raise AssertionError("asked")

        __hash__ = None

    first, second = Unequal(), Unequal()
    assert moved({"a": first, "b": first}, {"a": second, "b": first}) == (["a"], [])
    assert moved({"b": first, "a": first}, {"a": second, "b": first}) == (["a"], [])
