import ast
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.notebook.analysis import analyze, facts, normalized, of_cell
from mlops_nb.notebook.cells import parse_cell, plain_python
from mlops_nb.records import Analysis


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    uses: str = ""
    defs: str = ""
    mutates: str = ""
    deletes: str = ""
    deferred: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    dynamic: bool = False


CASES = [
    Case("a binding", "x = 1", defs="x"),
    Case("a read", "y = x", uses="x", defs="y"),
    Case("builtins are no reads", "n = len(range(3))", defs="n"),
    Case("IPython's own names are no reads", "display(_); get_ipython()"),
    Case("bound before it is read", "x = 1\ny = x", defs="x y"),
    Case("read before it is bound", "y = x\nx = 1", uses="x", defs="x y"),
    Case("both branches bind", "if c:\n    a = 1\nelse:\n    a = 2\na", uses="c", defs="a"),
    Case("one branch binds", "if c:\n    a = 1\na", uses="a c", defs="a"),
    Case("a branch that raises does not count", "if c:\n    raise E\nelse:\n    a = 1\na", uses="E c", defs="a"),
    Case("an elif chain without else", "if c:\n    a = 1\nelif d:\n    a = 2\na", uses="a c d", defs="a"),
    Case("the loop variable stays bound", "for i in xs:\n    t = i\nt + i", uses="xs", defs="i t"),
    Case("a loop body reads what it binds later", "for i in xs:\n    s = s + i", uses="s xs", defs="i s"),
    Case("the else of a loop", "for i in xs:\n    pass\nelse:\n    a = 1\na", uses="a xs", defs="a i"),
    Case("while", "while n:\n    n -= 1", uses="n", defs="n", mutates="n"),
    Case("unpacking", "a, (b, *c) = f", uses="f", defs="a b c"),
    Case("chained assignment", "a = b = x", uses="x", defs="a b"),
    Case("augmented assignment", "x += y", uses="x y", defs="x", mutates="x"),
    Case("augmented item", "d['k'] += 1", uses="d", mutates="d"),
    Case("item assignment", "df['a'] = df.b * 2", uses="df", mutates="df"),
    Case("attribute assignment", "m.alpha = 3", uses="m", mutates="m"),
    Case("nested target", "a.b[0].c = x", uses="a x", mutates="a"),
    Case("deletion of an item", "del d['k']", uses="d", mutates="d"),
    Case("deletion", "del x", uses="x", deletes="x"),
    Case("bound and deleted", "t = 1\ndel t", deletes="t"),
    Case("deleted and bound again", "del t\nt = 1", uses="t", defs="t"),
    Case("read after deletion", "t = 1\ndel t\nt", uses="t", deletes="t"),
    Case("deleted in a branch", "t = 1\nif c:\n    del t", uses="c", defs="t", deletes="t"),
    Case("a method known to change", "xs.append(1)", uses="xs", mutates="xs"),
    Case("the result of a changing method is kept", "a = xs.pop()", uses="xs", defs="a", mutates="xs"),
    Case("through setdefault", "d.setdefault(k, []).append(1)", uses="d k", mutates="d"),
    Case("inplace=True", "df.drop('a', inplace=True)", uses="df", mutates="df"),
    Case("inplace=False", "e = df.drop('a', inplace=False)", uses="df", defs="e"),
    Case("a method whose result is thrown away", "conn.commit()", uses="conn", mutates="conn"),
    Case("methods that show", "df.head()\ndf.describe()", uses="df"),
    Case("a module is not changed by its functions", "import plt\nplt.figure()", defs="plt", imports={"plt": "plt"}),
    Case("fit", "model.fit(X, y)", uses="X model y", mutates="model"),
    Case("a function waits", "def f(x):\n    return x + k", defs="f", deferred={"f": "k"}),
    Case("a call makes it happen", "def f():\n    return k\nf()", uses="k", defs="f", deferred={"f": "k"}),
    Case("bound before the call", "def f():\n    return k\nk = 1\nf()", defs="f k", deferred={"f": "k"}),
    Case("handed to another function", "def f(x):\n    return x + k\nmap(f, xs)", uses="k xs", defs="f", deferred={"f": "k"}),
    Case("functions call functions", "def g():\n    return k\ndef f():\n    return g()\nf()", uses="k", defs="f g", deferred={"g": "k", "f": "g"}),
    Case("recursion", "def f(n):\n    return f(n - 1)\nf(3)", defs="f", deferred={"f": "f"}),
    Case("defaults run at definition", "def f(x=k):\n    pass", uses="k", defs="f", deferred={"f": ""}),
    Case("decorators run at definition", "@cache\ndef f():\n    pass", uses="cache", defs="f", deferred={"f": ""}),
    Case("annotations run at definition", "def f(x: T) -> U:\n    pass", uses="T U", defs="f", deferred={"f": ""}),
    Case(
        "annotations wait with the future import",
        "from __future__ import annotations\ndef f(x: T) -> U:\n    pass",
        defs="annotations f",
        deferred={"f": ""},
        imports={"annotations": "__future__"},
    ),
    Case("locals are no reads", "def f(a, *b, c=1, **d):\n    e = a\n    return b, c, d, e", defs="f", deferred={"f": ""}),
    Case("global in a function", "def f():\n    global n\n    n = 1\nf()", defs="f n", deferred={"f": ""}),
    Case("global counter", "def f():\n    global n\n    n += 1\nf()", uses="n", defs="f n", mutates="n", deferred={"f": "n"}),
    Case("a function that is not called binds nothing", "def f():\n    global n\n    n = 1", defs="f", deferred={"f": ""}),
    Case("a function changes a global", "def f(x):\n    seen.append(x)\nf(1)", uses="seen", defs="f", mutates="seen", deferred={"f": "seen"}),
    Case("nested functions", "def f():\n    a = 1\n    def g():\n        return a + k\n    return g", defs="f", deferred={"f": "k"}),
    Case("nonlocal", "def f():\n    a = 1\n    def g():\n        nonlocal a\n        a += k\n    return g", defs="f", deferred={"f": "k"}),
    Case("a lambda bound to a name waits", "f = lambda x: x + k", defs="f", deferred={"f": "k"}),
    Case("a lambda handed over runs", "df.apply(lambda r: r + k)", uses="df k"),
    Case("a class body runs", "class A(B):\n    z = w\n    y = z", uses="B w", defs="A", deferred={"A": ""}),
    Case("methods wait", "class A:\n    def m(self):\n        return k", defs="A", deferred={"A": "k"}),
    Case("methods do not see the class body", "class A:\n    k = 1\n    def m(self):\n        return k", defs="A", deferred={"A": "k"}),
    Case("making an instance", "class A:\n    def m(self):\n        return k\na = A()", uses="k", defs="A a", deferred={"A": "k"}),
    Case("comprehension targets are its own", "[a * k for a in xs if a > t]", uses="k t xs"),
    Case("nested comprehension", "[b for a in xs for b in a.ys]", uses="xs"),
    Case("dict comprehension", "{k: v for k, v in pairs}", uses="pairs"),
    Case("generator", "sum(x * w for x in xs)", uses="w xs"),
    Case("comprehension in a function", "def f(xs):\n    return [x + k for x in xs]", defs="f", deferred={"f": "k"}),
    Case("walrus", "if (n := len(xs)) > 3:\n    n", uses="xs", defs="n"),
    Case("walrus in a comprehension", "[y for x in xs if (y := x)]\ny", uses="xs", defs="y"),
    Case("short circuit", "c and (a := 1)\na", uses="a c", defs="a"),
    Case("f-string", "f'{a!r:{w}} {b}'", uses="a b w"),
    Case("import", "import numpy as np, os.path", defs="np os", imports={"np": "numpy", "os": "os.path"}),
    Case("from import", "from a.b import c as d, e", defs="d e", imports={"d": "a.b", "e": "a.b"}),
    Case("relative import", "from .m import f", defs="f", imports={"f": ".m"}),
    Case("star import", "from math import *", dynamic=True),
    Case("try with its handler", "try:\n    import x\nexcept ImportError:\n    x = None\nx", defs="x"),
    Case("try whose handler leaves it unbound", "try:\n    a = f()\nexcept E:\n    pass\na", uses="E a f", defs="a"),
    Case("the handler's name is gone after it", "try:\n    f()\nexcept E as e:\n    print(e)", uses="E f"),
    Case("finally", "try:\n    f()\nfinally:\n    a = 1\na", uses="f", defs="a"),
    Case("except*", "try:\n    f()\nexcept* E as e:\n    e", uses="E f"),
    Case("with", "with open(p) as fh:\n    t = fh.read()", uses="p", defs="fh t"),
    Case("async", "async with s as c:\n    async for x in c:\n        y = await x", uses="s", defs="c x y"),
    Case("top-level await", "r = await f(x)", uses="f x", defs="r"),
    Case("async function", "async def f():\n    return await g(k)", defs="f", deferred={"f": "g k"}),
    Case("match", "match p:\n    case {'a': v, **r}:\n        v\n    case [Point(x=1), *more]:\n        more", uses="Point p", defs="more r v"),
    Case("match with a last case", "match p:\n    case 1:\n        a = 1\n    case _:\n        a = 2\na", uses="p", defs="a"),
    Case("annotation without a value binds nothing", "x: int"),
    Case("annotated assignment", "x: T = 3", uses="T", defs="x"),
    Case("__all__ is a binding like any other", "__all__ = ['a']", defs="__all__"),
    Case("exec", "exec(code)", uses="code", dynamic=True),
    Case("exec of a literal", "exec('y = x')", uses="x", defs="y", dynamic=True),
    Case("globals", "globals()['x'] = 1", defs="x", dynamic=True),
    Case("names in a query", "df.query('a > @limit')", uses="df limit"),
    Case("return in a feature's body", "return df[cols]", uses="cols df"),
    Case("a redefinition forgets the function", "def f():\n    return k\nf = 1\nf", defs="f"),
    Case("starred call", "f(*a, **b)", uses="a b f"),
    Case("subscript with slices", "x[a:b, ..., c]", uses="a b c x"),
    Case("assert", "assert x > 0, message", uses="message x"),
    Case("conditional expression", "a if c else b", uses="a b c"),
    Case("yield in a function", "def f():\n    yield from g(k)", defs="f", deferred={"f": "g k"}),
    Case("nothing", ""),
]


def names(text):
    return frozenset(text.split())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_analysis(case):
    found = analyze(case.code)
    assert not found.error
    assert found.uses == names(case.uses)
    assert found.defs == names(case.defs)
    assert found.mutates == names(case.mutates)
    assert found.deletes == names(case.deletes)
    assert dict(found.deferred) == {name: names(reads) for name, reads in case.deferred.items()}
    assert dict(found.imports) == case.imports
    assert found.dynamic == case.dynamic


MAGICS = [
    ("%time y = f(x)", "f x", "y"),
    ("%timeit -n 3 f(x)", "f x", ""),
    ("%%time\ny = f(x)", "f x", "y"),
    ("%%timeit s = k\nf(s)", "f k", ""),
    ("%%capture out\ny = x", "x", "out y"),
    ("%%capture\n%%time\ny = x", "x", "y"),
    ("%%bash\necho $HOME", "", ""),
    ("%%html\n<b>x</b>", "", ""),
    ("%%writefile a.py\nx = y", "", ""),
    ("files = !ls {folder}", "folder", "files"),
    ("!cp $source {target}", "source target", ""),
    ("x?\ny = x", "x", "y"),
    ("%matplotlib inline\ny = x", "x", "y"),
    ("%%step load\ny = x", "x", "y"),
    ("%model late clf --metrics auc=a/2 scores", "a clf scores", ""),
    ("\n\n%%step load\ny = x", "x", "y"),
]


@pytest.mark.parametrize(("source", "uses", "defs"), MAGICS, ids=[m[0].split("\n")[0] or "blank lines first" for m in MAGICS])
def test_magics_are_seen_through(source, uses, defs):
    found = analyze(plain_python(source))
    assert (found.error, found.uses, found.defs) == ("", names(uses), names(defs))


def test_plain_python_keeps_line_numbers():
    tree = ast.parse(plain_python("\n%%step a\n\nx = 1\n%time y = 2\nz = 3"))
    assert [node.lineno for node in tree.body] == [4, 5, 6]


def test_run_and_reset_are_dynamic():
    assert analyze(plain_python("%run other.py")).dynamic


@pytest.mark.parametrize("code", ["def f(:", "x = = 1", "'\0'", "(" * 500, "x = 1\n\tindent"])
def test_what_cannot_be_parsed_says_so_and_nothing_else(code):
    found = analyze(code)
    assert found.error
    assert found == Analysis(error=found.error)


def test_a_feature_cell_binds_its_name_alone():
    cell = parse_cell("%%feature w --entity origin --timestamp t\nframe = weather.copy()\nframe", id="a")
    found = of_cell(cell)
    assert (found.uses, found.defs) == ({"weather"}, {"w"})


def test_a_test_cell_binds_nothing():
    found = of_cell(parse_cell("%%test data\nbad = flights.isna()\nassert not bad.any()", id="a"))
    assert (found.uses, found.defs) == ({"flights"}, frozenset())


def test_a_shadowed_builtin_is_a_read():
    assert analyze("sum(xs)", shadowed=["sum"]).uses == {"sum", "xs"}


@pytest.mark.parametrize(
    ("code", "certain", "always", "calls"),
    [
        ("if c:\n    y = x", "c", "", ""),
        ("y = x if c else z", "c", "y", ""),
        ("for i in xs:\n    y = f(i)", "f xs", "i", "f"),
        ("a and g(b)", "a", "", ""),
        ("try:\n    y = f()\nexcept E:\n    y = k", "f", "", "f"),
    ],
)
def test_what_is_sure(code, certain, always, calls):
    found = facts(code)
    assert found.certain == names(certain)
    assert found.always == names(always)
    assert found.calls == names(calls)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x=(1)  # one", "x = 1", True),
        ("f(a,\n  b)", "f(a, b)", True),
        ("x = 'a'", 'x = "a"', True),
        ("def f():\n    'doc'", "def f():\n    'other'", False),
        ("x = 1", "x = 2", False),
        ("x = 1\ny = 2", "y = 2\nx = 1", False),
        ("def f(:  ", "def f(:", True),
    ],
)
def test_formatting_does_not_count_and_behaviour_does(one, other, same):
    assert (normalized(one) == normalized(other)) is same


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_no_text_makes_it_raise(text):
    found = analyze(text)
    assert found.error or found.uses is not None
    normalized(text)
    analyze(plain_python(text))


WORDS = st.lists(
    st.sampled_from(["x", "y", "=", "def", "f", "(", ")", ":", "\n", "    ", "for", "in", "if", "else", "lambda", "del", "global", "%time", "[", "]"])
)


@settings(max_examples=300, deadline=None)
@given(WORDS)
def test_no_program_makes_it_raise(words):
    found = analyze(plain_python(" ".join(words)))
    assert found.error or not (found.uses & {"print"})
