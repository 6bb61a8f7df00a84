"""ipyflow's assertions on stale cells, replayed on our engine from a checkout: what is stale is found, hardly anything else is called so."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout

import pytest
from replay_ipyflow import Judged, Replay, Told
from replay_staleness import DIFFERENT, LEFT_OUT
from replay_suites import checkout, names_of_tests, say

SUITE = checkout("MLOPS_NB_IPYFLOW", "https://github.com/ipyflow/ipyflow", "core", "test")
MODULES = ("test_staleness_propagation", "test_nested_symbols", "test_frontend_checker")
CASES = [(module, name) for module in MODULES for name in names_of_tests(SUITE / f"{module}.py")]
FOUND_BAR, FALSE_BAR = 0.95, 0.05

Session = dict[tuple[str, str], Told]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Iterator[Session]:
    """What each of the tests told us."""
    replay = Replay(SUITE, tmp_path_factory.mktemp("replay"))
    found: Session = {}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for module in MODULES:
            found |= {(module, name): replay.run(test) for name, test in replay.load(module).items()}
    yield found
    replay.close()


@pytest.mark.parametrize(("module", "name"), CASES, ids=[f"{module[5:]}-{name[5:]}" for module, name in CASES])
def test_a_cell_is_stale_when_ipyflow_expects_it(told, module, name):
    found = told[module, name]
    if f"{module}.{name}" in LEFT_OUT:
        assert not found.judgements()
        return
    assert not found.broken
    documented = {place for places in DIFFERENT.get(f"{module}.{name}", {}).values() for place in places.split()}
    assert {judged.place for judged in found.judgements() if judged.ours != judged.expected} == documented


def test_stale_cells_are_found_with_few_false_alarms(told):
    asked = {case: found for case, found in told.items() if not found.known_failing}
    for module in MODULES:
        tell(module, [one for (owner, _), found in asked.items() if owner == module for one in found.judgements()])
    tell("skipped by ipyflow as known to fail there", [one for case in told.keys() - asked.keys() for one in told[case].judgements()])
    everything = [one for found in asked.values() for one in found.judgements()]
    found, false = tell("all", everything)
    say(f"left out: {len(LEFT_OUT)} tests")
    assert found >= FOUND_BAR
    assert false <= FALSE_BAR


def tell(about: str, judged: list[Judged]) -> tuple[float, float]:
    """Say, and return, which part of the stale was found and which part of the rest was called stale."""
    stale, fresh = [one.ours for one in judged if one.expected], [one.ours for one in judged if not one.expected]
    found, false = sum(stale) / len(stale), sum(fresh) / len(fresh)
    say(f"{about}: {sum(stale)}/{len(stale)} = {found:.1%} of the stale found, {sum(fresh)}/{len(fresh)} = {false:.1%} false alarms")
    return found, false
