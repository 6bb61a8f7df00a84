"""What to run again after an edit: run in that order, the kernel holds what a run from top to bottom gives."""

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.rerun import Doing, rerun_cells
from mlops_nb.capture.watch import Watcher
from mlops_nb.project.lineage import Lineage

NAMES = ("a", "b", "c", "d")
name = st.sampled_from(NAMES)
number = st.integers(0, 4)

STATEMENTS = (
    "{x} = [{n}]",
    "{x} = [{n}]",
    "{x} = list({y})",
    "{x} = {y} + {z}",
    "{x} = len({y})",
    "{x} = [{y}, {n}]",
    "{x} = {y}",
    "{y}.append({n})",
    "{y} += [{n}]",
    "if len({y}) > {n}: {x} = [{n}]",
    "def f(v): return [*v, {n}]",
    "{x} = f({y})",
)
FIRST = "def f(v): return v\na, b, c, d = [0], [1], [2], [3]"


@st.composite
def source(draw):
    lines = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=2))
    return "\n".join(line.format(x=draw(name), y=draw(name), z=draw(name), n=draw(number)) for line in lines)


@pytest.fixture(scope="module")
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    made.showtraceback = lambda *_, **__: None  # cells may fail in any way: that is no news
    made._format_exception_for_storage = lambda *_: []
    yield made
    InteractiveShell.clear_instance()


def values(namespace):
    return {n: repr(namespace[n]) for n in NAMES if n in namespace}


def in_order(sources):
    """What a run from top to bottom leaves; None where a cell fails."""
    namespace = {}
    for text in sources:
        try:
            exec(text, namespace)
        except Exception:  # noqa: BLE001 (a random cell may fail in any way)
            return None
    return values(namespace)


@given(cells=st.lists(source(), min_size=2, max_size=7), place=st.integers(1, 7), edit=source())
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_the_cells_to_run_again_bring_the_kernel_up_to_date(cells, place, edit, shell, tmp_path_factory, capfd):  # noqa: PLR0917
    sources = {f"c{number}": text for number, text in enumerate([FIRST, *cells])}
    edited = f"c{min(place, len(cells))}"
    wanted = in_order([edit if cell == edited else text for cell, text in sources.items()])
    if wanted is None or in_order(sources.values()) is None:
        return
    for own in (*NAMES, "f"):
        shell.user_ns.pop(own, None)
    watcher = Watcher(shell, lambda *_: None, notebook="", session_id="s", layout_root=tmp_path_factory.getbasetemp())
    watcher.start()
    watcher.history.positions = {cell: number for number, cell in enumerate(sources)}
    for cell, text in sources.items():
        shell.run_cell(text, store_history=True, cell_id=cell)
    again = Lineage(watcher.history).rerun_set({edited: edit})
    note(f"{sources} with {edited} = {edit!r}: {again}")
    for cell in again:
        shell.run_cell(edit if cell == edited else sources[cell], store_history=True, cell_id=cell)
    watcher.stop()
    assert values(shell.user_ns) == wanted
    capfd.readouterr()


def doing(text):
    """`cell: reads > binds ! changes`."""
    cell, _, rest = text.partition(":")
    reads, _, rest = rest.partition(">")
    binds, _, changes = rest.partition("!")
    return Doing(cell, frozenset(reads.split()), frozenset(binds.split()), frozenset(changes.split()))


@pytest.mark.parametrize(
    ("cells", "edited", "again"),
    [
        (["a:>x", "b:x>y", "c:y>z"], "b:x>y", "b c"),
        (["a:>x", "b:x>y", "c:>z"], "a:>x", "a b"),
        (["a:>x", "b:x>!x", "c:x>y"], "b:x>!x", "a b c"),  # the object was changed in place: it has to be made anew
        (["a:>x", "b:x>!x", "c:x>!x", "d:x>y"], "c:x>!x", "a b c d"),
        (["a:>x", "b:x>y", "c:x>!x"], "b:x>y", "a b c"),  # c changed x after b had read it
        (["a:>x", "b:x>y", "c:>x"], "b:x>y", "a b c"),  # and c gives x back its own value
        (["a:>x", "b:>w", "c:x w>y"], "b:>v", "b c"),  # w is no longer made
        (["a:>x", "b:x>y", "c:>y", "d:y>z"], "a:>x", "a b c"),  # d reads c's y, which stays; c gives it back
    ],
)
def test_what_to_run_again(cells, edited, again):
    new = doing(edited)
    assert rerun_cells(map(doing, cells), {new.cell_id: new}) == tuple(again.split())
