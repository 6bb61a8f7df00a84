"""Objects changed in place, and objects with several names."""

from lineage_case import Case


def changes(start: str, read: str, lines: str) -> list[Case]:
    """One case a line: the object `x`, something unrelated, the change, a reader."""
    return [Case(f"{start}: {line}", (start, "noise = 0", line, read), "r", "1 3 4") for line in lines.strip().splitlines()]


IN_PLACE = [
    *changes(
        "x = [3, 1, 2]",
        "r = x[:]",
        """
x.extend([4, 5])
x.insert(0, 9)
x.pop()
x.sort()
x.reverse()
x.clear()
x[1:2] = [7, 7]
x += [9]
x *= 2
import heapq; heapq.heapify(x)
import bisect; bisect.insort(x, 0)
x.__setitem__(0, 100)
""",
    ),
    *changes(
        "x = {'a': 1, 'b': 2}",
        "r = list(x.items())",
        """
x.update(c=3)
x.pop('a')
x.popitem()
x.setdefault('z', 0)
x |= {'a': 5}
x['a'] += 1
""",
    ),
    *changes(
        "x = {1, 2}",
        "r = sorted(x)",
        """
x.add(3)
x.discard(1)
x |= {9}
x ^= {1, 5}
x.difference_update({2})
""",
    ),
    Case("deque", ("from collections import deque\nq = deque([1, 2, 3])", "q.rotate(1)", "q.appendleft(0)", "r = list(q)"), "r", "1 2 3 4"),
    Case("OrderedDict", ("from collections import OrderedDict\nd = OrderedDict(a=1, b=2)", "d.move_to_end('a')", "r = list(d)"), "r", "1 2 3"),
    Case(
        "defaultdict makes what is asked for", ("from collections import defaultdict\nd = defaultdict(list)", "d['k']", "r = dict(d)"), "r", "1 2 3"
    ),
    Case("defaultdict of lists", ("from collections import defaultdict\nd = defaultdict(list)", "d['k'].append(1)", "r = dict(d)"), "r", "1 2 3"),
    Case("Counter", ("from collections import Counter\nc = Counter('ab')", "c.update('b')", "c['a'] -= 1", "r = dict(c)"), "r", "1 2 3 4"),
    Case("bytearray", ("b = bytearray(b'abc')", "b[0] = 65", "r = bytes(b)"), "r", "1 2 3"),
    Case("array", ("from array import array\na = array('i', [1, 2])", "a[0] = 9", "r = a.tolist()"), "r", "1 2 3"),
    Case("UserDict", ("from collections import UserDict\nd = UserDict()", "d['k'] = 1", "r = dict(d)"), "r", "1 2 3"),
    Case("SimpleNamespace", ("from types import SimpleNamespace\nn = SimpleNamespace(a=1)", "n.a = 2", "r = n.a"), "r", "1 2 3"),
    Case("attribute", ("class A: pass\na = A()", "a.n = 1", "a.m = 2", "r = (a.n, a.m)"), "r", "1 2 3 4"),
    Case(
        "attributes three levels down",
        ("class A: pass", "a = A()\na.b = A()\na.b.c = A()", "a.b.c.n = 1", "r = a.b.c.n"),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case("slots", ("class S:\n    __slots__ = ('n',)\ns = S()", "s.n = 3", "r = s.n"), "r", "1 2 3"),
    Case("setattr with a computed name", ("class A: pass\na = A()", "key = 'n'", "setattr(a, key, 4)", "r = a.n"), "r", "1 2 3 4"),
    Case("through __dict__", ("class A: pass\na = A()", "a.__dict__['n'] = 5", "r = a.n"), "r", "1 2 3"),
    Case("through vars", ("class A: pass\na = A()", "vars(a).update(n=6)", "r = a.n"), "r", "1 2 3"),
    Case(
        "property setter",
        (
            "class A:\n    @property\n    def n(self): return self._n\n    @n.setter\n    def n(self, v): self._n = v * 2",
            "a = A()",
            "a.n = 2",
            "r = a.n",
        ),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "a method changes its object",
        ("class A:\n    def __init__(self): self.log = []\n    def add(self, v): self.log.append(v)", "a = A()", "a.add(1)", "r = a.log[:]"),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "items of one's own class",
        (
            "class Store:\n    def __init__(self): self.d = {}\n    def __setitem__(self, k, v): self.d[k] = v",
            "s = Store()",
            "s['a'] = 1",
            "r = dict(s.d)",
        ),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "+= of one's own class",
        (
            "class Bag:\n    def __init__(self): self.v = []\n    def __iadd__(self, o):\n        self.v.append(o)\n        return self",
            "b = Bag()",
            "b += 5",
            "r = b.v[:]",
        ),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "an object that counts its reads",
        ("class C:\n    n = 0\n    def __len__(self):\n        self.n += 1\n        return self.n", "c = C()", "len(c)", "r = len(c)"),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "a property that remembers",
        ("class C:\n    n = 0\n    @property\n    def next(self):\n        self.n += 1\n        return self.n", "c = C()", "c.next", "r = c.next"),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case("shuffled", ("import random\nx = list(range(20))", "random.seed(1)\nrandom.shuffle(x)", "r = x[:]"), "r", "1 2 3"),
    Case("a list in a tuple", ("t = (1, [2])", "t[1].append(3)", "r = t[1][:]"), "r", "1 2 3"),
    Case(
        "a loop that changes what it walks over",
        ("rows = [{'a': 1}, {'a': 2}]", "for row in rows:\n    row['b'] = row['a'] * 2", "r = rows[1]['b']"),
        "r",
        "1 2 3",
    ),
    Case("map that changes", ("x = []", "list(map(x.append, [1, 2]))", "r = x[:]"), "r", "1 2 3"),
    Case("comprehension that changes", ("x = []", "[x.append(i) for i in range(3)]", "r = x[:]"), "r", "1 2 3", possible="1"),
    Case("a big list", ("x = list(range(100_000))", "x[50_000] = -1", "r = min(x)"), "r", "1 2 3", possible="1 2"),
    Case("deep in a nest", ("x = [[[[[[[[1]]]]]]]]", "x[0][0][0][0][0][0][0].append(2)", "r = repr(x)"), "r", "1 2 3", possible="1 2"),
    Case("a big dict", ("d = {i: [i] for i in range(5_000)}", "d[2_500].append(-1)", "r = sum(map(sum, d.values()))"), "r", "1 2 3", possible="1 2"),
]

NUMPY_START = "import numpy as np\na = np.arange(12.0)"
ARRAYS = [
    Case(f"array: {line}", (NUMPY_START, "noise = 0", line, "r = a.copy()"), "r", "1 3 4")
    for line in (
        "a[3] = -1",
        "a[2:5] = 0",
        "a[a > 6] = 0",
        "a += 1",
        "a.fill(2)",
        "a.sort(kind='stable')\na[0] = 5",
        "np.add(a, 1, out=a)",
        "np.copyto(a, 7)",
        "np.put(a, [0], 9)",
        "np.add.at(a, [1, 1], 5)",
        "a.flat[2] = 8",
        "a.put(1, 77)",
        "a.T[1] = 6",
        "a.reshape(3, 4)[1, 2] = -9",
        "a.view()[0] = 4",
        "np.random.default_rng(0).shuffle(a)",
        "a.resize(6, refcheck=False)",
        "a.shape = (3, 4)",
    )
] + [
    Case("a view's change", (NUMPY_START, "v = a[2:6]", "v[0] = 99", "r = a.copy()"), "r", "1 2 3 4"),
    Case("a view sees the array's change", (NUMPY_START, "v = a[2:6]", "a[2] = 99", "r = v.copy()"), "r", "1 2 3 4"),
    Case("a view of a view", (NUMPY_START, "v = a[2:10]", "w = v[::2]", "w[1] = 99", "r = a.copy()"), "r", "1 2 3 4 5"),
    Case("siblings of one array", (NUMPY_START, "v = a[:6]", "w = a[3:]", "v[4] = 99", "r = w.copy()"), "r", "1 2 3 4 5"),
    Case(
        "siblings whose array has no name", ("import numpy as np\nv = np.arange(9.0)[:]\nw = v.base[3:]", "v[4] = 99", "r = w.copy()"), "r", "1 2 3"
    ),
    Case("reshaped and kept", (NUMPY_START, "m = a.reshape(3, 4)", "m[0] = 7", "r = a.copy()"), "r", "1 2 3 4"),
    Case("raveled", (NUMPY_START + ".reshape(3, 4)", "f = a.ravel()", "f[5] = 7", "r = a.copy()"), "r", "1 2 3 4"),
    Case("transposed", (NUMPY_START + ".reshape(3, 4)", "t = a.T", "t[2, 1] = 7", "r = a.copy()"), "r", "1 2 3 4"),
    Case("a copy is no view", (NUMPY_START, "b = a.copy()", "a[0] = 99", "r = b.sum()"), "r", "1 2 4"),
    Case("flatten copies", (NUMPY_START + ".reshape(3, 4)", "f = a.flatten()", "f[0] = 99", "r = a.sum()"), "r", "1 4"),
    Case("fancy indexing copies", (NUMPY_START, "b = a[[0, 1]]", "b[0] = 99", "r = a.sum()"), "r", "1 4"),
    Case("out= into another", (NUMPY_START, "b = np.zeros(12)", "np.multiply(a, 2, out=b)", "r = b.sum()"), "r", "1 2 3 4"),
    Case(
        "an array over bytes",
        ("import numpy as np\nraw = bytearray(4)", "a = np.frombuffer(raw, dtype='u1')", "raw[1] = 7", "r = a.tolist()"),
        "r",
        "1 2 3 4",
    ),
    Case(
        "a field of a structured array",
        ("import numpy as np\ns = np.zeros(3, dtype=[('x', 'f8'), ('y', 'i4')])", "s['x'][1] = 2", "r = s['x'].copy()"),
        "r",
        "1 2 3",
    ),
    Case(
        "a kept field",
        ("import numpy as np\ns = np.zeros(3, dtype=[('x', 'f8'), ('y', 'i4')])", "f = s['y']", "f[:] = 4", "r = s.tolist()"),
        "r",
        "1 2 3 4",
    ),
    Case("objects in an array", ("import numpy as np\no = np.array([[1], None], dtype=object)", "o[0].append(2)", "r = o.tolist()"), "r", "1 2 3"),
    Case("a masked array", ("import numpy as np\nm = np.ma.array([1, 2, 3])", "m[1] = np.ma.masked", "r = m.tolist()"), "r", "1 2 3"),
    Case("a big array", ("import numpy as np\na = np.zeros(3_000_000)", "a[1_234_567] = 1", "r = a.sum()"), "r", "1 2 3", possible="1 2"),
    Case(
        "a big array in a function",
        ("import numpy as np\na = np.zeros(3_000_000)", "def touch(v): v[1_234_567] = 1", "touch(a)", "r = a.sum()"),
        "r",
        "1 2 3 4",
        possible="1 2 3",
    ),
    Case(
        "a big array through a kept view",
        ("import numpy as np\na = np.zeros(3_000_000)", "v = a[1_000_000:2_000_000]", "v[7] = 1", "r = a.sum()"),
        "r",
        "1 2 3 4",
        possible="1 2 3",
    ),
]
