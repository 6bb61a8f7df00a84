"""The table of lineage cases: what each slice must hold, and that the slice alone gives the same value."""

import os

import pytest
from lineage_case import numbers
from lineage_cases import CASES
from lineage_known_misses import KNOWN_MISSES
from lineage_player import Player


@pytest.fixture(scope="module")
def player():
    made = Player()
    yield made
    made.close()


class Session:
    """Plays the executions of one case, each time in a folder of its own."""

    def __init__(self, player, case, folder):
        self.player, self.case, self.folder, self.plays = player, case, folder, 0

    def play(self, kept=None, *, watch=False):
        folder = self.folder / f"play{self.plays}"
        folder.mkdir()
        self.plays += 1
        for path, text in self.case.files.items():
            (folder / path).write_text(text)
        executions = [e for e in self.case.executions if kept is None or e[2] in kept]
        return self.player.play(executions, self.case.target, folder=folder, watch=watch)


def problems(session):
    """All that is wrong with a case's slice, in words."""
    case, full = session.case, session.play(watch=True)
    found, needs, optional = set(full.slice), numbers(case.needs), numbers(case.extra)
    wrong = [f"watching failed {full.failures} times"] * bool(full.failures)
    wrong += [f"missing: {sorted(needs - found)}"] * bool(needs - found)
    wrong += [f"too much: {sorted(found - needs - optional)}"] * bool(found - needs - optional)
    unsure = needs - set(full.certain) - numbers(case.possible)
    wrong += [f"only by possible edges: {sorted(unsure & found)}"] * bool(unsure & found)
    alone = session.play(found)
    wrong += [f"alone it gives {alone.value[:80]}, not {full.value[:80]}"] * (alone.value != full.value)
    errors = [full.errors[n - 1] for n in sorted(found)]
    wrong += [f"alone its cells end with {alone.errors}, not {errors}"] * (alone.errors != errors)
    return wrong, full


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.name}")
def test_the_slice_is_what_the_value_stands_on(player, tmp_path, case):
    wrong, full = problems(Session(player, case, tmp_path))
    if case.name in KNOWN_MISSES:
        assert wrong, "no longer missed: take it off the list"
    else:
        assert not wrong, (wrong, full.edges)


# That the expected sets are right is asked of all of them in `make soak`; elsewhere of every sixth.
NECESSARY = CASES if "MLOPS_NB_EXAMPLES" in os.environ else CASES[::6]


@pytest.mark.slow
@pytest.mark.parametrize("case", NECESSARY, ids=lambda case: f"{case.topic}: {case.name}")
def test_each_expected_execution_is_needed_and_they_are_enough(player, tmp_path, case):
    session = Session(player, case, tmp_path)
    needs, full = numbers(case.needs), session.play()
    assert not full.value.startswith("raised"), full
    assert session.play(needs).value == full.value
    for left_out in sorted(needs - numbers(case.spare)):
        assert session.play(needs - {left_out}).value != full.value, left_out


def test_there_are_enough_cases_and_each_has_a_name():
    assert len(CASES) >= 170
    assert len({case.name for case in CASES}) == len(CASES)
    assert set(KNOWN_MISSES) <= {case.name for case in CASES}
