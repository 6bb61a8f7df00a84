"""ipyflow's assertions on stale cells, replayed on our engine from a checkout: what is stale is found, hardly anything else is called so."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout

import pytest
from replay_ipyflow import Replay, Told
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
    assert {judged.place for judged in found.judgements() if judged.ours != judged.expected} == set(DIFFERENT.get(f"{module}.{name}", {}))


def test_stale_cells_are_found_with_few_false_alarms(told):
    stale, fresh = [], []
    for module in MODULES:
        judged = [one for (owner, _), found in told.items() if owner == module for one in found.judgements()]
        stale += [one.ours for one in judged if one.expected]
        fresh += [one.ours for one in judged if not one.expected]
        missed, alarms = [one for one in judged if one.expected and not one.ours], [one for one in judged if one.ours and not one.expected]
        expected = sum(one.expected for one in judged)
        say(f"{module}: {expected - len(missed)} of {expected} stale found, {len(alarms)} of {len(judged) - expected} fresh called stale")
    say(f"all: {sum(stale)}/{len(stale)} = {sum(stale) / len(stale):.1%} found, {sum(fresh)}/{len(fresh)} = {sum(fresh) / len(fresh):.1%} false alarms")
    say(f"left out: {len(LEFT_OUT)} tests")
    assert sum(stale) >= FOUND_BAR * len(stale)
    assert sum(fresh) <= FALSE_BAR * len(fresh)
