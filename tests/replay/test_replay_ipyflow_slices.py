"""ipyflow's tests of slices, replayed on our engine from a checkout: no cell that is needed is missing, hardly any is too much."""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

import pytest
from replay_ipyflow import Replay, Told
from replay_suites import checkout, names_of_tests, say

SUITE = checkout("MLOPS_NB_IPYFLOW", "https://github.com/ipyflow/ipyflow", "core", "test")
NAMES = names_of_tests(SUITE / "test_dynamic_slicing.py")

SHIFTS = "`del xs[0]` moves every element, so that it stands on all cells that made or appended one"
EXTRA = {"test_list_delete": ({2}, SHIFTS)}  # test -> (the cells that we add, why)
STATEMENTS_ONLY = {"test_correct_scopes_used", "test_correct_scopes_used_2"}  # they state no cells, only how many statements a slice has
EXACT_BAR = 22 / 23


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Iterator[dict[str, Told]]:
    """What each of the tests told us."""
    replay = Replay(SUITE, tmp_path_factory.mktemp("replay"))
    with redirect_stdout(io.StringIO()):
        tests = replay.load("test_dynamic_slicing")
        yield {name: replay.run(test) for name, test in tests.items()}
    replay.close()


def missing(told: Told) -> set[int]:
    return set().union(*(set(compared.expected) - set(compared.ours) for compared in told.compared))


def extra(told: Told) -> set[int]:
    return set().union(*(set(compared.ours) - set(compared.expected) for compared in told.compared))


@pytest.mark.parametrize("name", NAMES)
def test_slice_has_the_cells_that_ipyflow_expects(told, name):
    found = told[name]
    assert not found.broken
    assert bool(found.compared) == (name not in STATEMENTS_ONLY)
    assert missing(found) == set()
    assert extra(found) == EXTRA.get(name, (set(), ""))[0]


@pytest.mark.parametrize("name", NAMES)
def test_slice_run_alone_does_what_its_last_cell_did(told, name):
    found = told[name]
    assert found.slices
    for number, cells in found.slices.items():
        logged, bound = outcome(found.cells[:number])
        logged_alone, bound_alone = outcome([found.cells[cell - 1] for cell in sorted(cells)])
        assert logged_alone == logged
        assert {name: bound_alone.get(name) for name in bound} == bound


def outcome(cells: list[str]) -> tuple[list[str], dict[str, str]]:
    """What the last of the cells logged, and what it bound, after these cells have run in an empty namespace."""
    logged: list[str] = []
    namespace: dict[str, Any] = {"logging": SimpleNamespace(info=lambda *values: logged.append(shown(values)))}
    for cell in cells:
        logged.clear()
        before = dict(namespace)
        exec(cell, namespace)
    return logged, {name: shown(value) for name, value in namespace.items() if before.get(name) is not value and name != "__builtins__"}


def shown(value: object) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", repr(value))


def test_no_slice_is_unsound_and_nearly_all_are_exact(told):
    stated = {name: found for name, found in told.items() if found.compared}
    unsound = [name for name, found in stated.items() if missing(found)]
    exact = [name for name, found in stated.items() if not missing(found) and not extra(found)]
    statements = sum(len(found.passed_over) for found in told.values())
    say(f"ipyflow's slices: {len(told)} tests, {len(stated)} state cells: {len(exact)} exact, {len(unsound)} unsound")
    say(f"  {statements} assertions count statements and are not judged")
    for name in sorted(stated.keys() - set(exact)):
        say(f"  {name}: {sorted(extra(stated[name]))} too much: {EXTRA.get(name, ('', 'not known why'))[1]}")
    assert not unsound
    assert len(exact) >= EXACT_BAR * len(stated)
