"""Digests of values: equal in every process, different where a value is."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_nb.capture.values import value_digest

# name -> code of an expression; the names above are imported. Each is made anew in processes with other hash seeds.
PRELUDE = textwrap.dedent(
    """
    import array, collections, datetime as dt, decimal, enum, dataclasses, fractions, functools, pathlib, random, re, types, uuid, zoneinfo
    import numpy as np, pandas as pd, pyarrow as pa, scipy.sparse
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    @dataclasses.dataclass(frozen=True, slots=True)
    class Point:
        x: int
        tags: list = dataclasses.field(default_factory=list)

    class Node:
        def __init__(self, *children):
            self.children = list(children)
        def size(self):
            return 1 + sum(child.size() for child in self.children)

    class Amount(float):
        pass

    Pair = collections.namedtuple("Pair", "a b")

    def scale(values, factor=2, *, shift=(0, 1)):
        return [value * factor + len({"a", "b", "c"}) for value in values]

    def outer(n):
        def inner(x):
            return x + n
        return inner

    def padded(records):
        records["a"] = records["b"] = 0
        return records

    def cycle():
        made = [1]
        made.append({"me": made})
        return made

    def tree():
        node = Node(Node(), Node())
        node.parent = node
        return node

    X = np.random.default_rng(0).random((80, 3))
    y = (X[:, 0] > 0.5).astype(int)
    frame = pd.DataFrame({"n": range(60), "f": X[:60, 0], "s": list("abc") * 20, "t": pd.date_range("2020", periods=60),
                          "k": pd.Categorical(list("xyz") * 20), "i": pd.array([1, None, 3] * 20, dtype="Int64")})
    """
)
EXPRESSIONS = [
    *("None", "True", "7", "10**60", "1.5", "-0.0", "float('nan')", "1j", "'h\\u00e9\\ud800'", "b'abc'", "...", "range(3, 9, 2)", "slice(1, None)"),
    *("[1, 'a', None]", "(1, (2, [3]))", "{'a': 1, 2: [3]}", "{'x', 'yy', 'zzz', 1, None}", "frozenset({('a', 1), ('b', 2)})", "bytearray(b'a')"),
    *("collections.deque([1, 2], 5)", "collections.OrderedDict(a=1, b=2)", "collections.Counter('abca')", "collections.defaultdict(list, a=[1])"),
    *("array.array('d', [1, 2])", "types.SimpleNamespace(a=1)", "types.MappingProxyType({'a': 1})", "memoryview(b'abc')"),
    *("dt.datetime(2020, 1, 2, 3, tzinfo=dt.timezone.utc)", "dt.date(2020, 1, 1)", "dt.timedelta(1)", "dt.time(3, 4)", "zoneinfo.ZoneInfo('UTC')"),
    *(
        "decimal.Decimal('1.50')",
        "fractions.Fraction(1, 3)",
        "pathlib.Path('/a/b')",
        "re.compile('a+', re.I)",
        "uuid.UUID(int=5)",
        "random.Random(4)",
    ),
    *("Colour.RED", "Colour", "Point(1, ['a'])", "Point", "Node(Node())", "Node", "Amount(1.5)", "Pair(1, [2])", "Node(Node()).size"),
    *(
        "scale",
        "outer(3)",
        "lambda x: x + 1",
        "functools.partial(scale, factor=3)",
        "np.mean",
        "np.add",
        "len",
        "json_free" if False else "sorted",
        "np",
    ),
    *("cycle()", "tree()", "np.arange(6).reshape(2, 3)", "np.array(['a', 'bb'])", "np.array([1, 'a', None], dtype=object)", "np.float32(1.5)"),
    *("np.zeros(3, dtype=[('a', 'i1'), ('b', 'f8')])", "np.array(['2020-01-01'], 'M8[D]')", "np.ma.array([1, 2], mask=[0, 1])", "np.dtype('f4')"),
    *(
        "np.random.default_rng(3)",
        "np.random.RandomState(3)",
        "frame",
        "frame.s",
        "frame.index",
        "frame.set_index(['s', 'n']).index",
        "frame.describe()",
    ),
    *("pd.Timestamp('2020', tz='Europe/Paris')", "pd.Timedelta('1h')", "pd.NaT", "pd.Period('2020')", "pd.Interval(0, 1)", "pd.interval_range(0, 5)"),
    *("pd.period_range('2020', periods=3)", "frame.groupby('k', observed=True).f.mean()", "pa.table({'a': [1, None], 'b': ['x', 'yy']})"),
    *(
        "scipy.sparse.csr_array(np.eye(3))",
        "LogisticRegression().fit(X, y)",
        "make_pipeline(StandardScaler(), SVC()).fit(X, y)",
        "KNeighborsClassifier().fit(X, y)",
    ),
    "RandomForestClassifier(4, random_state=0).fit(X, y)",
    "GradientBoostingClassifier(n_estimators=4, random_state=0).fit(X, y)",
    "HistGradientBoostingClassifier(max_iter=4, random_state=0).fit(X, y)",
    "OneHotEncoder().fit(frame[['s']])",
    "TfidfVectorizer().fit(['aa bb cc', 'bb dd'])",
]


def _elsewhere(code: str, seed: int) -> object:
    """What a process of its own with hash seed `seed` prints as JSON."""
    program = PRELUDE + "\nimport json\nfrom mlops_nb.capture.values import value_digest\n" + code
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_equal_values_have_equal_digests_in_processes_with_other_hash_seeds():
    code = f"print(json.dumps({{text: value_digest(eval(text)) for text in {EXPRESSIONS!r}}}))"
    one, other = _elsewhere(code, 1), _elsewhere("pad = [object() for _ in range(9999)]\n" + code, 2)
    assert one == other
    assert [text for text, digest in one.items() if not digest] == []
    assert len(set(one.values())) == len(EXPRESSIONS)


CHANGES = {
    "an item": ("[1, 2, 3]", "x[1] = 9"),
    "a type": ("[1]", "x = [True]"),
    "the sign of zero": ("0.0", "x = -0.0"),
    "a container": ("[1]", "x = (1,)"),
    "a dict's order": ("{'a': 1, 'b': 2}", "x = {'b': 2, 'a': 1}"),
    "an ordered dict's order": ("collections.OrderedDict(a=1, b=2)", "x.move_to_end('a')"),
    "a member of a set": ("{'a', 'b'}", "x.add('c')"),
    "something deep": ("[[[[[[1]]]]]]", "x[0][0][0][0][0].append(2)"),
    "an attribute": ("Node(Node(), Node())", "x.children[1].extra = 1"),
    "a slot": ("Point(1, ['a'])", "x.tags.append('b')"),
    "a class": ("Amount(1.5)", "x = 1.5"),
    "a method": ("Node", "x.size = lambda self: 2"),
    "a class attribute": ("Node", "x.limit = 2"),
    "a default": ("scale", "x.__defaults__ = (3,)"),
    "a keyword default": ("scale", "x.__kwdefaults__ = {'shift': (0, 2)}"),
    "a closure": ("outer(3)", "x = outer(4)"),
    "a constant": ("lambda v: v + 1", "x = lambda v: v + 2"),
    "a global that is called": ("lambda v: len(v)", "x = lambda v: sum(v)"),
    "a member of an enumeration": ("Colour.RED", "x = Colour.BLUE"),
    "an element": ("np.arange(6)", "x[3] = 9"),
    "a shape": ("np.arange(6)", "x = x.reshape(2, 3)"),
    "an array's type": ("np.arange(6)", "x = x.astype('i4')"),
    "a unit": ("np.array(['2020-01-01'], 'M8[D]')", "x = x.astype('M8[s]')"),
    "a field": ("np.zeros(3, dtype=[('a', 'i1'), ('b', 'f8')])", "x['b'][1] = 1"),
    "a mask": ("np.ma.array([1, 2, 3])", "x[1] = np.ma.masked"),
    "a draw": ("np.random.default_rng(3)", "x.random()"),
    "a draw of random": ("random.Random(3)", "x.random()"),
    "a frame's cell": ("frame.copy()", "x.loc[59, 'f'] = -1"),
    "a frame's text": ("frame.copy()", "x.loc[3, 's'] = 'other'"),
    "a missing value": ("frame.copy()", "x.loc[0, 'i'] = pd.NA"),
    "a category": ("frame.k.copy()", "x = x.cat.add_categories('new')"),
    "a column's name": ("frame.copy()", "x.columns = list('NFSTKI')"),
    "a column's place": ("frame.copy()", "x = x[list('fnstki')]"),
    "a column's type": ("frame.copy()", "x['n'] = x['n'].astype('int32')"),
    "an index": ("frame.copy()", "x.index = x.index + 1"),
    "an index's name": ("frame.copy()", "x.index.name = 'row'"),
    "an attribute of a frame": ("frame.copy()", "x.attrs['unit'] = 'mm'"),
    "a series' name": ("frame.s", "x = x.rename('t')"),
    "a time zone": ("pd.Timestamp('2020', tz='UTC')", "x = pd.Timestamp('2020', tz='Etc/GMT+0')"),
    "texts that join alike": ("pd.Series(['ab', 'c'])", "x = pd.Series(['a', 'bc'])"),
    "a fitted model": ("LogisticRegression().fit(X, y)", "x.coef_[0, 0] += 1e-9"),
    "a fitted tree": ("RandomForestClassifier(2, random_state=0).fit(X, y)", "x = RandomForestClassifier(2, random_state=1).fit(X, y)"),
    "a parameter": ("LogisticRegression()", "x.set_params(C=2)"),
}


def test_a_change_of_any_kind_changes_the_digest():
    lines = [
        f"x = {start}\nbefore = value_digest(x)\n{change}\nfound[{name!r}] = [before, value_digest(x)]\n" for name, (start, change) in CHANGES.items()
    ]
    pairs = _elsewhere("found = {}\n" + "\n".join(lines) + "print(json.dumps(found))", 3)
    assert [name for name, (before, after) in pairs.items() if not before or not after or before == after] == []


SAME = {
    "an array's memory order": ("np.arange(6).reshape(2, 3)", "np.asfortranarray(np.arange(6).reshape(2, 3))"),
    "a strided array": ("np.arange(0, 12, 2)", "np.arange(12)[::2]"),
    "records with other bytes between the fields": (
        "np.zeros(3, dtype=np.dtype([('a', 'i1'), ('b', 'f8')], align=True))",
        "padded(np.full(72, 7, 'u1')[:48].view(np.dtype([('a', 'i1'), ('b', 'f8')], align=True)))",
    ),
    "a frame's blocks": ("pd.DataFrame({'a': [1, 2], 'b': [3, 4]})", "pd.concat([pd.DataFrame({'a': [1, 2]}), pd.DataFrame({'b': [3, 4]})], axis=1)"),
    "texts in other chunks": (
        "pd.Series(['a', None, 'bb', 'c'])",
        "pd.concat([pd.Series(['x', 'a', None]), pd.Series(['bb', 'c'])], ignore_index=True)[1:].reset_index(drop=True)",
    ),
    "what lies under a missing value": ("pd.array([1, None], dtype='Int64')", "pd.arrays.IntegerArray(np.array([1, 99]), np.array([False, True]))"),
    "a shared part": ("[[1], [1]]", "[[1]] * 2"),
    "a function elsewhere in a file": (
        "eval(compile('lambda v: v + 1', 'one', 'eval'))",
        "eval(compile('\\n\\n\\n\\nlambda v: v + 1', 'two', 'eval'))",
    ),
    "a set built in another order": ("set('abcdefgh')", "set('hgfedcba')"),
    "an interned text": ("['ab c']", "[''.join(['ab', ' c'])]"),
}


def test_what_is_no_part_of_a_value_does_not_count():
    pairs = _elsewhere(f"print(json.dumps({{name: [value_digest(eval(a)), value_digest(eval(b))] for name, (a, b) in {SAME!r}.items()}}))", 4)
    assert [name for name, (one, other) in pairs.items() if not one or one != other] == []


class Hostile:
    """Whatever asks it anything gets an exception."""

    def _refuse(self, *_):
        raise AssertionError("user code ran")

    __eq__ = __hash__ = __repr__ = __str__ = __reduce_ex__ = __reduce__ = __getstate__ = __getattr__ = __len__ = __iter__ = __bool__ = __sizeof__ = (
        _refuse
    )

    @property
    def held(self):
        raise AssertionError("user code ran")


class HostileList(list):
    __iter__ = __getitem__ = __len__ = __eq__ = Hostile._refuse


class HostileDict(dict):
    items = keys = __iter__ = __getitem__ = __len__ = Hostile._refuse


class HostileText(str):  # noqa: SLOT000
    __str__ = __repr__ = __len__ = __hash__ = Hostile._refuse


class HostileNumber(float):
    __pos__ = __float__ = __repr__ = __eq__ = __hash__ = Hostile._refuse


def test_no_code_of_the_users_runs():
    hostile = Hostile()
    hostile.__dict__.update(a=[1], b={"c": 2})
    for value in (hostile, [hostile], HostileList([1]), HostileDict(a=1), HostileText("a"), HostileNumber(1.5), Hostile, {"x": hostile}):
        assert value_digest(value)


class WithCState(threading.local):
    pass


def _opaque():
    yield object()
    yield (number for number in range(3))
    yield threading.Lock()
    yield [threading.Lock()]
    yield WithCState()
    yield iter([1])
    yield sys._getframe()
    yield ValueError("a")


def test_what_cannot_be_told_has_no_digest():
    assert {type(value).__name__: value_digest(value) for value in _opaque()} == {type(value).__name__: "" for value in _opaque()}
    with Path(os.devnull).open() as file:
        assert value_digest(file) == ""


@pytest.mark.parametrize(
    "value",
    ["x" * 2000, b"x" * 2000, list(range(2000)), {i: i for i in range(1000)}, [["x" * 900], ["x" * 900]], [[] for _ in range(50)], 1 << 99999],
    ids=lambda value: f"{type(value).__name__}-{sys.getsizeof(value)}",
)
def test_beyond_the_budget_there_is_no_digest(value):
    assert value_digest(value, budget=1000) == ""
    assert value_digest(value) != ""


def test_a_list_of_a_million_and_a_deep_one_are_turned_down_at_once():
    long, deep = list(range(1_000_000)), []
    for _ in range(10_000):
        deep = [deep]
    begun = time.process_time()
    assert value_digest(long) == value_digest(deep) == ""
    assert time.process_time() - begun < 0.01


def test_much_shared_structure_costs_what_it_holds():
    value = []
    for _ in range(60):
        value = [value, value]
    assert value_digest(value)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20) | st.complex_numbers(allow_nan=False)
)
hashables = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(hashables, inner, max_size=4) | st.sets(hashables, max_size=5)
    ),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def worker():
    """A process with another hash seed that answers with the digest of each pickle it is sent."""
    program = (
        "import pickle, sys\nfrom mlops_nb.capture.values import value_digest\n"
        "for line in sys.stdin: print(value_digest(pickle.loads(bytes.fromhex(line))), flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": "12345"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.stdin.close()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_value_has_the_same_digest_in_another_process(worker, value):
    worker.stdin.write(pickle.dumps(value).hex() + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline().strip() == value_digest(value) != ""


@settings(max_examples=400, deadline=None)
@given(one=values, other=values)
def test_values_with_different_texts_differ(one, other):
    if sorted(repr(one)) == sorted(repr(other)):  # the order of a set is no part of it
        return
    assert value_digest(one) != value_digest(other)
