"""Random sessions in a real shell: a run from top to bottom is all fresh, and after edits and re-runs hardly any cell is called fresh that is not."""

import random

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher

NAMES = "abcd"
PROGRAMS = 80
EDITS = 4


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield made
    InteractiveShell.clear_instance()


def some_cell(dice, known):
    x, y, number = dice.choice(NAMES), dice.choice(known), dice.randint(0, 5)
    return dice.choice(
        [
            f"{x} = {number}",
            f"{x} = [{number}]",
            f"{x} = [{y}, {number}]",
            f"{x} = {y}",
            f"{x} = str({y})",
            f"{y} = {y} + {y}",
            f"if {y}:\n    {x} = {number}",
            f"for i in range(2):\n    {x} = [i, {y}]",
            f"def f():\n    return [{y}]\n{x} = f()",
            f"if isinstance({y}, list):\n    {y}.append({number})",
        ]
    )


class Session:
    """A notebook in a shell: what each cell's own names were when it ran last."""

    def __init__(self, shell, folder, seed):
        self.shell, self.dice = shell, random.Random(seed)
        self.shell.reset()
        self.sources = ["a = [0]", "b = [1]"]
        while len(self.sources) < 6:
            self.sources.append(some_cell(self.dice, "ab"))
        self.left = {}
        self.watcher = Watcher(shell, lambda *_: None, notebook="", session_id=str(seed), layout_root=folder)
        self.watcher.start()
        self.watcher.history.positions = {f"c{n}": n for n in range(len(self.sources))}

    def run(self, number):
        ended = self.shell.run_cell(self.sources[number], store_history=True, cell_id=f"c{number}")
        self.left[number] = own_values(self.sources[number], self.shell.user_ns) if ended.success else None

    @property
    def states(self):
        views = self.watcher.history.views()
        return {number: views[f"c{number}"].state for number in self.left}


def own_values(source, namespace):
    """The value of the name that a cell is about."""
    name = source.split(".append")[0].split()[-1] if ".append" in source else source.split("\n")[-1].split(" = ")[0].strip()
    return repr(namespace.get(name))


def in_order(sources):
    """What each cell leaves in a run from top to bottom; None where it fails."""
    namespace, left = {}, {}
    for number, source in enumerate(sources):
        try:
            exec(source, namespace)
        except Exception:  # noqa: BLE001 (a random cell may fail in any way)
            left[number] = None
            continue
        left[number] = own_values(source, namespace)
    return left


def test_what_is_called_fresh_is_what_a_run_in_order_gives(shell, tmp_path, capsys):
    differing = missed = 0
    for seed in range(PROGRAMS):
        session = Session(shell, tmp_path, seed)
        for number in range(len(session.sources)):
            session.run(number)
        assert {state for number, state in session.states.items() if session.left[number] is not None} == {"fresh"}, session.sources
        for _ in range(EDITS):
            number = session.dice.randrange(len(session.sources))
            if session.dice.random() < 0.5:
                session.sources[number] = some_cell(session.dice, "".join(n for n in NAMES if n in shell.user_ns))
            session.run(number)
        wanted = in_order(session.sources)
        others = [n for n, value in session.left.items() if value is not None and wanted[n] is not None and value != wanted[n]]
        differing += len(others)
        missed += sum(session.states[n] == "fresh" for n in others)
        session.watcher.stop()
    capsys.readouterr()
    assert differing > PROGRAMS / 3
    assert missed <= 0.05 * differing, (missed, differing)
