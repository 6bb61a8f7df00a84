"""Cells run in a real IPython shell: what is recorded of them."""

from dataclasses import dataclass

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher
from mlops_nb.notebook.cells import source_id


class Notebook:
    """A shell with a watcher, and short ways to look at what it recorded; cells are named c0, c1, ... in the order they first run."""

    def __init__(self, shell, folder):
        self.shell = shell
        self.runs = []
        self.edges = []
        self.watcher = Watcher(shell, self.on_run, notebook="nb.ipynb", session_id="s1", layout_root=folder)
        self.watcher.start()

    def on_run(self, run, edges):
        self.runs.append(run)
        self.edges.extend(edges)

    def run(self, source, cell_id=None, **options):
        cell_id = cell_id or f"c{len({r.cell_id for r in self.runs})}"
        return self.shell.run_cell(source, **{"store_history": True, "cell_id": cell_id, **options})

    def play(self, *sources):
        for source in sources:
            self.run(source)
        return self.runs[-1]

    @property
    def arrows(self):
        """Edges as `c0-x->c1`, possible ones with a question mark."""
        cells = {run.id: run.cell_id for run in self.runs}
        return [f"{cells[e.from_run]}-{e.name}{'?' * (e.certainty == 'possible')}->{cells[e.to_run]}" for e in self.edges]

    @property
    def states(self):
        return {cell: view.state for cell, view in self.watcher.history.views().items()}


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield made
    InteractiveShell.clear_instance()


@pytest.fixture
def nb(shell, tmp_path):
    notebook = Notebook(shell, tmp_path)
    yield notebook
    notebook.watcher.stop()


@dataclass(frozen=True)
class Case:
    name: str
    cells: tuple[str, ...]
    reads: str = ""
    writes: str = ""
    edges: str = ""  # those into the last cell
    unchanged: str = ""


CASES = [
    Case("binding", ("x = 1",), writes="x"),
    Case("reading", ("x = 1", "y = x + 1"), "x", "y", "c0-x->c1"),
    Case("reading twice", ("x = 1", "y = 2", "z = x + y"), "x y", "z", "c0-x->c2 c1-y->c2"),
    Case("the last writer counts", ("x = 1", "x = 2", "x"), "x", "", "c1-x->c2"),
    Case("binding an equal scalar", ("x = 1", "x = 1"), "", "x", "", "x"),
    Case("binding a module again", ("import math", "import math"), "", "math", "", "math"),
    Case("the same function again", ("def f(): return 1", "def f(): return 1"), "", "f", "", "f"),
    Case("another function", ("def f(): return 1", "def f(): return 2"), "", "f"),
    Case("the same function, other defaults", ("def f(a=1): return a", "def f(a=2): return a"), "", "f"),
    Case("an equal list is a new value", ("x = [1]", "x = [1]"), "", "x"),
    Case("list append", ("x = [1]", "x.append(2)"), "x", "x", "c0-x->c1"),
    Case("nothing changed after all", ("x = [1]", "x.sort()"), "x", "", "c0-x->c1"),
    Case("list through an alias", ("x = [1]\ny = x", "y.append(2)"), "y", "x y", "c0-y->c1"),
    Case("the alias is read", ("x = [1]", "y = x", "y.append(2)", "x"), "x", "", "c0-x->c3 c2-x->c3"),
    Case("dict item", ("d = {}", "d['a'] = 1"), "d", "d", "c0-d->c1"),
    Case("nested dict", ("d = {'a': {'b': [1]}}", "d['a']['b'][0] = 2"), "d", "d", "c0-d->c1"),
    Case("set add", ("s = {1}", "s.add(2)"), "s", "s", "c0-s->c1"),
    Case("deque", ("from collections import deque\nq = deque([1])", "q.popleft()"), "q", "q", "c0-q->c1"),
    Case("bytearray", ("b = bytearray(3)", "b[0] = 1"), "b", "b", "c0-b->c1"),
    Case("an element's own change", ("a = [1]\nd = {'k': a}", "a.append(2)"), "a", "a d", "c0-a->c1"),
    Case("change inside a function", ("def f(x): x.append(1)", "l = []", "f(l)"), "f l", "l", "c0-f->c2 c1-l->c2"),
    Case("an instance's attribute", ("class A: pass\na = A()", "a.n = 1"), "a", "a", "c0-a->c1"),
    Case("a slotted instance", ("class A:\n    __slots__ = ('n',)\na = A()\na.n = 0", "a.n = 1"), "a", "a", "c0-a->c1"),
    Case("changed by a method", ("class A:\n    n = 0\n    def up(self): self.n += 1\na = A()", "_ = a.up()"), "a", "a", "c0-a->c1"),
    Case("a function's global", ("k = 1", "def f(): return k", "f()"), "f k", "", "c0-k->c2 c1-f->c2"),
    Case("a function's global behind a branch", ("k = 1", "def f(c):\n    if c:\n        return k", "f(0)"), "f k", "", "c0-k?->c2 c1-f->c2"),
    Case("a function that is only handed on", ("k = 1", "def f(): return k", "g = f"), "f k", "g", "c0-k?->c2 c1-f->c2"),
    Case("a function behind a function", ("k = 1", "def f(): return k", "def g(): return f()", "g()"), "f g k", "", "c0-k?->c3 c1-f->c3 c2-g->c3"),
    Case("a closure", ("k = 1", "def outer():\n    def inner(): return k\n    return inner\nf = outer()", "f()"), "f k", "", "c0-k->c2 c1-f->c2"),
    Case("partial", ("k = 1", "from functools import partial\ndef f(a): return a + k", "p = partial(f, 1)", "p()"), "k p", "", "c0-k?->c3 c2-p->c3"),
    Case("a cached function", ("k = 1", "from functools import cache\n@cache\ndef f(): return k", "f()"), "f k", "", "c0-k?->c2 c1-f->c2"),
    Case("a class's method", ("k = 1", "class A:\n    def m(self): return k", "A().m()"), "A k", "", "c0-k?->c2 c1-A->c2"),
    Case("an instance's method", ("k = 1", "class A:\n    def m(self): return k\na = A()", "a.m()"), "a k", "", "c0-k?->c2 c1-a->c2"),
    Case("global statement", ("n = 0", "def f():\n    global n\n    n += 1", "f()"), "f n", "n", "c0-n->c2 c1-f->c2"),
    Case("exec", ("x = 1", "exec('y = x')"), "x", "y", "c0-x->c1"),
    Case("exec of unknown text", ("code = 'y = 1'", "exec(code)"), "code", "y", "c0-code->c1"),
    Case("globals", ("x = 1", "globals()['y'] = 2"), "", "y"),
    Case("%time", ("x = 1", "%time y = x"), "x", "y", "c0-x->c1"),
    Case("%%time", ("x = 1", "%%time\ny = x"), "x", "y", "c0-x->c1"),
    Case("%%capture", ("x = 1", "%%capture out\ny = x"), "x", "out y", "c0-x->c1"),
    Case("shell command", ("x = 1", "o = !echo {x}"), "x", "o", "c0-x->c1"),
    Case("await", ("async def f(): return 1", "y = await f()"), "f", "y", "c0-f->c1"),
    Case("a branch that was not taken", ("x = 1", "if False:\n    y = x"), "x", "", "c0-x?->c1"),
    Case("deleted", ("x = 1", "del x", "x = 2", "x"), "x", "", "c2-x->c3"),
    Case("a shadowed builtin", ("sum = max", "sum([1, 2])"), "sum", "", "c0-sum->c1"),
    Case("a builtin", ("sum([1, 2])",)),
    Case("the shell's own names", ("1", "_", "In[1]"), edges="c0-_i1->c2"),
    Case("the last result", ("1", "x = _"), writes="x", edges="c0-_->c1"),
    Case("a numbered result", ("1", "2", "x = Out[1]"), writes="x", edges="c0-_1->c2"),
    Case("a private name", ("_x = 1", "y = _x"), "_x", "y", "c0-_x->c1"),
    Case("the loop variable", ("for i in range(3): pass", "i"), "i", "", "c0-i->c1"),
    Case("ndarray", ("import numpy as np\na = np.zeros(3)", "a[0] = 1"), "a", "a", "c0-a->c1"),
    Case("ndarray view", ("import numpy as np\na = np.zeros(3)\nb = a[:2]", "b[0] = 1"), "b", "a b", "c0-b->c1"),
    Case("the array behind a view", ("import numpy as np\na = np.zeros(3)\nb = a[:2]", "a[0] = 1"), "a", "a b", "c0-a->c1"),
    Case("not contiguous", ("import numpy as np\na = np.zeros((9, 9))[::2, ::3]", "a[1, 1] = 1"), "a", "a", "c0-a->c1"),
    Case("object array", ("import numpy as np\na = np.array([[1], 'b'], dtype=object)", "a[0].append(1)"), "a", "a", "c0-a->c1"),
    Case(
        "shuffled", ("import random\nx = list(range(9))", "random.seed(1)\nrandom.shuffle(x)"), "random x", "state:random x", "c0-random->c1 c0-x->c1"
    ),
    Case("numpy generator", ("import numpy as np\ng = np.random.default_rng(1)", "n = g.random()"), "g", "g n", "c0-g->c1"),
    Case("big array, seen by the code", ("import numpy as np\na = np.zeros(3_000_000)", "a[1_234_567] = 1"), "a", "a", "c0-a->c1"),
    Case("DataFrame column", ("import pandas as pd\ndf = pd.DataFrame({'a': [1]})", "df['b'] = 1"), "df", "df", "c0-df->c1"),
    Case("DataFrame cell", ("import pandas as pd\ndf = pd.DataFrame({'a': [1.0]})", "df.loc[0, 'a'] = 2"), "df", "df", "c0-df->c1"),
    Case("text column", ("import pandas as pd\ndf = pd.DataFrame({'a': ['x', 'y']})", "df.loc[0, 'a'] = 'z'"), "df", "df", "c0-df->c1"),
    Case("column names", ("import pandas as pd\ndf = pd.DataFrame({'a': [1]})", "df.columns = ['b']"), "df", "df", "c0-df->c1"),
    Case("only looked at", ("import pandas as pd\ndf = pd.DataFrame({'a': [1]})", "df.groupby('a').size()\ndf.head()"), "df", "", "c0-df->c1"),
    Case("Series", ("import pandas as pd\ns = pd.Series([1, 2])", "s.iloc[0] = 5"), "s", "s", "c0-s->c1"),
    Case("category", ("import pandas as pd\ns = pd.Series(['a', 'b'], dtype='category')", "s.iloc[0] = 'b'"), "s", "s", "c0-s->c1"),
    Case("attrs", ("import pandas as pd\ndf = pd.DataFrame()", "df.attrs['k'] = 1"), "df", "df", "c0-df->c1"),
    Case("fit", ("from sklearn.linear_model import LinearRegression\nm = LinearRegression()", "_ = m.fit([[1], [2]], [1, 2])"), "m", "m", "c0-m->c1"),
    Case(
        "a fitted model in a dict",
        ("from sklearn.linear_model import LinearRegression\nd = {'m': LinearRegression()}", "_ = d['m'].fit([[1], [2]], [1, 2])"),
        "d",
        "d",
        "c0-d->c1",
    ),
    Case("query", ("import pandas as pd\ndf = pd.DataFrame({'a': [1]})\nn = 0", "r = df.query('a > @n')"), "df n", "r", "c0-df->c1 c0-n->c1"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reads_writes_and_edges(nb, case):
    last = nb.play(*case.cells)
    assert last.status == "ok", last.error
    assert set(last.reads) == set(case.reads.split())
    assert set(last.writes) == set(case.writes.split())
    assert {a for a in nb.arrows if a.endswith(f">c{len(case.cells) - 1}")} == set(case.edges.split())
    assert set(last.unchanged) == set(case.unchanged.split())


def test_a_run_says_what_ran_and_how(nb):
    result = nb.run("import time\ntime.sleep(0.02)\n1 / 1", cell_id="abc", cell_meta={"tags": ["step:load", "slow", 3]})
    run = nb.runs[0]
    assert (run.cell_id, run.tags, run.step, run.status, run.session_id, run.notebook) == (
        "abc",
        ("step:load", "slow"),
        "load",
        "ok",
        "s1",
        "nb.ipynb",
    )
    assert run.execution_count == result.execution_count
    assert 0.02 <= run.seconds < 5
    assert run.started.endswith("Z")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("nowhere", "NameError: name 'nowhere' is not defined"),
    ],
)
def test_a_failed_run_says_why(nb, source, error):
    nb.run(source)
    assert nb.runs[0].status == "error"
    assert nb.runs[0].error.startswith(error)


def test_a_run_that_the_shell_itself_does_not_survive_does_not_disturb_the_next(nb):
    nb.shell.run_cell("class E(Exception):\n    def __str__(self): raise ValueError('no words')\nraise E", store_history=True)
    nb.shell.run_cell("x = 1", store_history=True)
    assert nb.runs[-1].source == "x = 1"


def test_what_a_failed_cell_did_before_it_failed_is_recorded(nb):
    last = nb.play("x = 1\nl = []", "y = x\nl.append(1)\n1 / 0\nz = 1")
    assert set(last.writes) == {"l", "y"}
    assert set(nb.arrows) == {"c0-x?->c1", "c0-l?->c1"}


def test_silent_runs_and_runs_without_history_are_no_runs_of_cells(nb):
    nb.run("x = 1", store_history=False)
    nb.run("x = 2", silent=True)
    assert nb.runs == []


def test_a_run_inside_a_run_belongs_to_the_outer_one(nb):
    nb.run("get_ipython().run_cell('x = 1', store_history=True)\ny = 2")
    assert [(r.cell_id, r.writes) for r in nb.runs] == [("c0", ("x", "y"))]


def test_a_cell_without_an_id_is_known_by_its_source(nb):
    nb.shell.run_cell("x = 1", store_history=True)
    nb.shell.run_cell("x = 1", store_history=True)
    assert [r.cell_id for r in nb.runs] == [source_id("x = 1")] * 2


def test_a_possible_change_adds_a_possible_edge(nb):
    nb.play("import numpy as np\na = np.zeros(3_000_000)", "a[1_234_567] += 0 * 1", "a.sum()")
    assert {a for a in nb.arrows if a.endswith(">c2")} == {"c0-a->c2", "c1-a?->c2"}


def test_a_wrong_magic_line_is_recorded_as_code(nb):
    nb.run("%%step load-data\nx = 1")
    assert (nb.runs[0].status, nb.runs[0].step) == ("error", "")


def test_a_cell_may_free_what_it_unbinds(nb):
    nb.play("import weakref\nclass Big: pass\nbig = Big()\nseen = weakref.ref(big)", "del big\nfreed = seen() is None")
    assert nb.shell.user_ns["freed"] is True
    nb.play("big = Big()\nseen = weakref.ref(big)", "big = None\nfreed = seen() is None")
    assert nb.shell.user_ns["freed"] is True


HOSTILE = """
class Hostile:
    def _no(self, *args, **kwargs): raise SystemExit("touched")
    __eq__ = __hash__ = __repr__ = __str__ = __len__ = __iter__ = __bool__ = __getattr__ = __contains__ = __getitem__ = __reduce__ = _no
    @property
    def __dict__(self): raise SystemExit("looked into")
    @property
    def __class__(self): raise SystemExit("asked")
class HostileList(list):
    __eq__ = __hash__ = __repr__ = __len__ = __iter__ = __getitem__ = Hostile._no
class HostileDict(dict):
    __eq__ = __hash__ = __repr__ = __len__ = __iter__ = __getitem__ = items = values = keys = Hostile._no
class Meta(type):
    def __instancecheck__(cls, x): raise SystemExit("asked")
    def __subclasscheck__(cls, x): raise SystemExit("asked")
    def __getattribute__(cls, name):
        if name in ("__module__", "__dictoffset__", "__mro__", "__dict__"): raise SystemExit("asked")
        return type.__getattribute__(cls, name)
class Odd(metaclass=Meta):
    pass
"""


def test_no_code_of_the_users_classes_runs(nb):
    nb.run(HOSTILE)
    nb.run("a, b, c, d = Hostile(), HostileList([1]), HostileDict(x=1), Odd()")
    nb.run("e = (a, b, c, d)\nNone")
    nb.run("d.n = 1; b += [2]; Odd; Meta; None")
    assert [r.status for r in nb.runs] == ["ok"] * 4
    assert nb.watcher.failures == 0
    assert {"b", "d"} <= set(nb.runs[-1].writes)


def test_threads_may_bind_names_while_a_cell_is_looked_at(nb):
    nb.run("names, stop = globals(), []")
    nb.run("def work():\n    while not stop:\n        for n in range(400):\n            names[f'g{n}'] = n\n            names.pop(f'g{n - 1}', 0)")
    nb.run("import threading\nthread = threading.Thread(target=work)\nthread.start()")
    for n in range(60):
        nb.run(f"exec('x{n} = []')")
    nb.run("stop.append(1)\nthread.join()")
    assert nb.watcher.failures == 0
    assert len(nb.runs) == 64


def test_ten_thousand_names_and_a_huge_list_are_no_matter(nb):
    nb.run("globals().update({f'v{n}': [n] for n in range(10_000)})\nbig = list(range(1_000_000))")
    nb.run("n = len(big)")
    assert nb.runs[-1].reads == ("big",)
    assert nb.watcher.failures == 0


# --- staleness, as seen in a session ---


@pytest.mark.parametrize(
    ("name", "plays", "stale"),
    [
        ("straight through", ["x = 1|a", "y = x|b", "z = y|c"], ""),
        ("upstream changed", ["x = 1|a", "y = x|b", "x = 2|a"], "b"),
        ("upstream run again with an equal value", ["x = 1|a", "y = x|b", "x = 1|a"], ""),
        ("all that follows", ["x = 1|a", "y = x|b", "z = y|c", "x = 2|a"], "b c"),
        ("run again, fresh again", ["x = 1|a", "y = x|b", "x = 2|a", "y = x|b"], ""),
        ("only half of the way", ["x = 1|a", "y = x|b", "z = y|c", "x = 2|a", "y = x|b"], "c"),
        ("another name does not count", ["x = 1\nw = 1|a", "y = x|b", "x = 1\nw = 2|a"], ""),
        ("changed in place further down", ["l = [1]|a", "s = sum(l)|b", "l.append(2)|c"], ""),
        ("a chain of changes in place", ["l = [1]|a", "l.append(2)|b", "l.append(3)|c"], ""),
        ("a link of the chain run again", ["l = [1]|a", "l.append(2)|b", "l.append(3)|c", "l.append(2)|b"], "b c"),
        ("its own change in place again", ["l = [1]|a", "l.append(2)|b", "l.append(2)|b"], "b"),
        ("its own change in place again, to the same", ["d = {}|a", "d['k'] = 1|b", "d['k'] = 1|b"], ""),
        ("its own value of other code", ["x = 1|a", "x = x + 1|b", "y = x|b"], "b"),
        ("the chain from the start", ["l = [1]|a", "l.append(2)|b", "l.append(3)|c", "l = [1]|a"], "b c"),
        ("a name used again further down", ["t = 1|a", "u = t|b", "t = 2|c", "v = t|d"], ""),
        ("no longer made", ["x = 1|a", "y = x|b", "w = 1|a"], "b"),
        ("a function changed", ["def f(): return 1|a", "y = f()|b", "def f(): return 2|a"], "b"),
        ("a function's global changed", ["k = 1|a", "def f(): return k|b", "y = f()|c", "k = 2|a"], "c"),
        ("the imports again", ["import math|a", "y = math.pi|b", "import math|a"], ""),
        ("defined below, run first", ["y = x|b", "x = 1|a", "y = x|b", "x = 2|a"], "b"),
    ],
)
def test_staleness(nb, name, plays, stale):
    for play in plays:
        source, cell = play.rsplit("|", 1)
        nb.run(source, cell_id=cell)
    states = nb.states
    assert {cell for cell, state in states.items() if state == "stale"} == set(stale.split()), name


def test_the_reason_is_in_words(nb):
    for source, cell in [("x = 1", "a"), ("y = x", "b"), ("z = y", "c"), ("x = 2", "a")]:
        nb.run(source, cell_id=cell)
    views = nb.watcher.history.views()
    assert views["b"].reason == "`x` rewritten by [4] after this ran"
    assert views["c"].reason == "reads `y` of a stale cell [2]"
    assert views["c"].upstream == ("b",)


def test_a_slice_is_what_a_value_stands_on(nb):
    nb.play("x = 1", "noise = 5", "y = x + 1", "l = [y]", "noise += 1", "l.append(3)", "z = l[:1]")
    assert [run.cell_id for run in nb.watcher.history.slice(["z"])] == ["c0", "c2", "c3", "c5", "c6"]
    assert [run.cell_id for run in nb.watcher.history.slice(["noise"])] == ["c1", "c4"]


def test_a_stopped_watcher_hears_no_audit_event_any_more(nb, tmp_path):
    from mlops_nb.capture import audit

    other = Watcher(nb.shell, lambda *_: None, notebook="", session_id="s2", layout_root=tmp_path)
    before = audit._handlers["exec"]
    other.start()
    assert len(audit._handlers["exec"]) == len(before) + 1
    other.stop()
    assert audit._handlers["exec"] == before
    nb.run("x = 1")
    nb.run("exec('y = x + 1')")
    assert nb.runs[-1].reads == ("x",)


def test_a_text_that_changes_one_of_many_names_may_have_changed_it(nb):
    nb.play("globals().update({f'l{n:03}': [n] for n in range(400)})", "exec('l' + '399.append(1)')", "l399")
    assert nb.runs[1].possible == ("l399",)
    assert {a for a in nb.arrows if a.endswith("c2")} == {"c0-l399->c2", "c1-l399?->c2"}


def test_an_element_does_not_stand_on_who_set_another(nb):
    nb.play("l = [0, 1]", "l.append(2)", "l[0] = 5", "k = 1", "y = l[k]", "z = l[0]", "w = l[2]", "v = sum(l)")
    slices = {name: " ".join(run.cell_id for run in nb.watcher.history.slice([name])) for name in "yzwv"}
    assert slices == {"y": "c0 c3 c4", "z": "c0 c2 c5", "w": "c0 c1 c6", "v": "c0 c1 c2 c7"}


# --- a cell never breaks because of us ---


@pytest.mark.parametrize(
    "fault", [ValueError("broken"), SystemExit(3), GeneratorExit(), RecursionError(), MemoryError()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("place", ["look_before", "observe", "facts_of_cell"])
def test_a_fault_in_a_hook_is_kept_from_the_cell_and_the_third_ends_watching(nb, monkeypatch, capsys, fault, place):
    import mlops_nb.capture.watch as module

    def broken(*_args, **_kwargs):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(module, place, broken)
        results = [nb.run(f"x = {n}\nx") for n in range(5)]
    assert [r.result for r in results] == [0, 1, 2, 3, 4]
    assert all(r.success for r in results)
    nb.run("x = 9")
    assert nb.runs == []
    assert capsys.readouterr().err.count("mlops_nb: cells are no longer recorded") == 1


def test_two_faults_are_borne(nb, monkeypatch, capsys):
    import mlops_nb.capture.watch as module

    def broken(*_args, **_kwargs):
        raise ValueError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(module, "observe", broken)
        nb.run("x = 1")
        nb.run("x = 2")
    nb.run("x = 3")
    assert [r.source for r in nb.runs] == ["x = 3"]
    assert "mlops_nb" not in capsys.readouterr().err


def test_a_callback_that_fails_counts_as_a_fault(shell, tmp_path, capsys):
    def on_run(_run, _edges):
        raise OSError("disk full")

    watcher = Watcher(shell, on_run, notebook="", session_id="s", layout_root=tmp_path)
    watcher.start()
    results = [shell.run_cell("1 + 1", store_history=True) for _ in range(5)]
    assert [r.result for r in results] == [2] * 5
    err = capsys.readouterr().err
    assert err.count("no longer recorded") == 1
    assert "OSError: disk full" in err


def test_an_interrupt_during_a_hook_is_the_users_and_watching_goes_on(nb, monkeypatch):
    import mlops_nb.capture.watch as module

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "look_before", interrupted)
        result = nb.run("1 + 1")
    assert result.result == 2
    nb.run("x = 1")
    assert nb.watcher.failures == 0
    assert [r.source for r in nb.runs] == ["x = 1"]


def test_stopped_means_stopped(nb):
    nb.run("x = 1")
    nb.watcher.stop()
    nb.watcher.stop()
    nb.run("x = 2")
    assert len(nb.runs) == 1
