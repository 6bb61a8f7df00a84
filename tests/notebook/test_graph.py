import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_nb.errors import BadInput
from mlops_nb.notebook.graph import ancestors, cycle, descendants, order

NODES = st.sampled_from("abcdefgh")
GRAPHS = st.dictionaries(NODES, st.lists(NODES, unique=True), max_size=8)


def test_ties_keep_the_given_order():
    assert order({"b": [], "a": [], "c": ["b"]}) == ("b", "a", "c")
    assert order({"c": ["b"], "b": [], "a": []}) == ("b", "c", "a")


def test_nodes_that_are_only_required_count_too():
    assert order({"b": ["a"]}) == ("a", "b")


@pytest.mark.parametrize("requires", [{"a": ["a"]}, {"a": ["b"], "b": ["c"], "c": ["a"]}, {"x": [], "a": ["x", "b"], "b": ["a"]}])
def test_a_cycle_is_named(requires):
    with pytest.raises(BadInput, match=r"a -> .*a|b -> .*b"):
        order(requires)
    found = cycle(requires)
    assert found[0] == found[-1]
    assert all(after in requires[before] for before, after in itertools.pairwise(found))


def test_ancestors_and_descendants():
    requires = {"d": ["b", "c"], "b": ["a"], "c": ["a"], "e": []}
    assert ancestors(requires, "d") == {"a", "b", "c"}
    assert descendants(requires, "a") == {"b", "c", "d"}
    assert ancestors(requires, "e") == descendants(requires, "e") == frozenset()


@given(GRAPHS)
def test_each_node_stands_behind_all_it_requires_or_a_cycle_is_named(requires):
    found = cycle(requires)
    if found:
        with pytest.raises(BadInput):
            order(requires)
        return
    ordered = order(requires)
    assert sorted(ordered) == sorted({*requires, *(n for needs in requires.values() for n in needs)})
    assert all(ordered.index(need) < ordered.index(node) for node, needs in requires.items() for need in needs)


@given(GRAPHS, NODES, NODES)
def test_ancestors_and_descendants_mirror_each_other(requires, one, other):
    assert (one in ancestors(requires, other)) == (other in descendants(requires, one))
