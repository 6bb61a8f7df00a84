"""State that has no name in the notebook: random generators, patched modules, options, the environment, the folder, connections."""

from lineage_case import Case

RANDOM = [
    Case("random.seed and draws", ("import random", "random.seed(1)", "a = random.random()", "b = random.random()"), "b", "1 2 3 4"),
    Case("the first of two draws", ("import random", "random.seed(1)", "a = random.random()", "b = random.random()"), "a", "1 2 3"),
    Case("seeded again", ("import random", "random.seed(1)", "random.random()", "random.seed(1)", "r = random.random()"), "r", "1 4 5"),
    Case("drawn by name", ("from random import seed, randint", "seed(3)", "a = randint(0, 10**9)", "b = randint(0, 10**9)"), "b", "1 2 3 4"),
    Case(
        "drawn in a function",
        ("import random\nrandom.seed(1)", "def roll(): return random.random()", "roll()", "r = roll()"),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "state kept and put back",
        ("import random\nrandom.seed(1)", "s = random.getstate()", "random.random()", "random.setstate(s)", "r = random.random()"),
        "r",
        "1 2 4 5",
        extra="3",
        spare="2 4",
    ),
    Case("np.random.seed and draws", ("import numpy as np", "np.random.seed(0)", "a = np.random.rand(3)", "b = np.random.normal()"), "b", "1 2 3 4"),
    Case("np.random by name", ("from numpy.random import seed, rand", "seed(0)", "rand()", "r = rand()"), "r", "1 2 3 4"),
    Case(
        "np seed does not matter to random",
        ("import random\nimport numpy as np", "random.seed(1)", "np.random.seed(2)", "r = random.random()"),
        "r",
        "1 2 4",
    ),
    Case("default_rng", ("import numpy as np", "rng = np.random.default_rng(0)", "rng.random(3)", "r = rng.random()"), "r", "1 2 3 4"),
    Case("RandomState", ("import numpy as np", "rs = np.random.RandomState(0)", "rs.rand(3)", "r = rs.rand()"), "r", "1 2 3 4"),
    Case("random.Random", ("import random", "dice = random.Random(4)", "dice.random()", "r = dice.random()"), "r", "1 2 3 4"),
    Case(
        "a generator under two names",
        ("import numpy as np\nrng = np.random.default_rng(0)", "g = rng", "g.random()", "r = rng.random()"),
        "r",
        "1 2 3 4",
    ),
    Case(
        "a generator in a class",
        (
            (
                "import numpy as np\nclass Sim:\n    def __init__(self): self.rng = np.random.default_rng(0)\n"
                "    def draw(self): return self.rng.random()"
            ),
            "sim = Sim()",
            "sim.draw()",
            "r = sim.draw()",
        ),
        "r",
        "1 2 3 4",
        possible="1",
    ),
    Case(
        "spawned generators",
        ("import numpy as np\nss = np.random.SeedSequence(7)", "a = ss.spawn(1)", "b = ss.spawn(1)", "r = np.random.default_rng(b[0]).random()"),
        "r",
        "1 2 3 4",
    ),
    Case(
        "sample of a frame",
        (
            "import numpy as np\nimport pandas as pd\ndf = pd.DataFrame({'a': range(100)})",
            "np.random.seed(0)",
            "df.sample(3)",
            "r = df.sample(3)['a'].tolist()",
        ),
        "r",
        "1 2 3 4",
        possible="2 3",
    ),
    Case(
        "train_test_split",
        (
            "import numpy as np\nfrom sklearn.model_selection import train_test_split\nx = np.arange(50)",
            "np.random.seed(0)",
            "train, test = train_test_split(x)",
            "r = test.tolist()",
        ),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case(
        "a model with the global generator",
        (
            "import numpy as np\nfrom sklearn.linear_model import SGDRegressor\nX = np.arange(20.0).reshape(10, 2) / 20\ny = X[:, 0]",
            "np.random.seed(0)",
            "m = SGDRegressor().fit(X, y)",
            "r = m.coef_.tolist()",
        ),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case("shuffled by random", ("import random\nx = list(range(50))", "random.seed(2)", "random.shuffle(x)", "r = x[:]"), "r", "1 2 3 4"),
    Case(
        "seeded in the middle of a cell", ("import random", "random.random()", "random.seed(5)\nrandom.random()", "r = random.random()"), "r", "1 3 4"
    ),
]

PATCHES = [
    Case("a module's new attribute", ("import math", "math.tau2 = 5", "r = math.tau2"), "r", "1 2 3", possible="2"),
    Case("a module's function replaced", ("import json", "json.dumps = lambda o: 'patched'", "r = json.dumps(1)"), "r", "1 2 3", possible="2"),
    Case(
        "a replaced function that others call",
        ("import os.path, glob", "glob.glob = lambda p: ['x']", "def f(): return glob.glob('*')", "r = f()"),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case("setattr on a module", ("import math", "setattr(math, 'x2', 5)", "r = getattr(math, 'x' + '2')"), "r", "1 2 3", possible="2"),
    Case(
        "a library's class patched",
        ("import fractions", "fractions.Fraction.hi = lambda self: 'hi'", "r = fractions.Fraction(1, 2).hi()"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "a library's class patched by name",
        ("from fractions import Fraction", "Fraction.hi = lambda self: 'hi'", "f = Fraction(1)", "r = f.hi()"),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case("builtins", ("import builtins", "builtins.answer = 42", "r = answer"), "r", "1 2 3", possible="1 2"),
    Case("decimal's context", ("import decimal", "decimal.getcontext().prec = 5", "r = str(decimal.Decimal(1) / 3)"), "r", "1 2 3", possible="2"),
    Case(
        "numpy's error settings",
        (
            "import numpy as np\nz = np.zeros(1)",
            "np.seterr(all='raise');",
            "try:\n    r = (1 / z).tolist()\nexcept FloatingPointError:\n    r = 'raised'",
        ),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "numpy's print options",
        ("import numpy as np\na = np.array([1 / 3])", "np.set_printoptions(precision=2)", "r = str(a)"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "pandas option set",
        ("import pandas as pd", "pd.set_option('display.max_rows', 7)", "r = pd.get_option('display.max_rows')"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "pandas option attribute",
        ("import pandas as pd", "pd.options.display.precision = 2", "r = repr(pd.Series([1 / 3]))"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "warnings as errors",
        (
            "import warnings",
            "warnings.simplefilter('error')",
            "try:\n    warnings.warn('w')\n    r = 'warned'\nexcept UserWarning:\n    r = 'raised'",
        ),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "sklearn's settings",
        ("import sklearn", "sklearn.set_config(display='text')", "r = sklearn.get_config()['display']"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "a logger's level",
        ("import logging", "logging.getLogger('case').setLevel(10)", "r = logging.getLogger('case').level"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case("recursion limit", ("import sys", "sys.setrecursionlimit(4321)", "r = sys.getrecursionlimit()"), "r", "1 2 3", possible="2"),
    Case(
        "sys.modules",
        ("import sys, types", "sys.modules['ghost'] = types.SimpleNamespace(v=5)", "import ghost", "r = ghost.v"),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case(
        "a codec registered",
        ("import codecs", "codecs.register_error('case', lambda e: ('?!', e.end))", "r = 'ä'.encode('ascii', 'case')"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "a mime type", ("import mimetypes", "mimetypes.add_type('a/b', '.case')", "r = mimetypes.guess_type('x.case')[0]"), "r", "1 2 3", possible="2"
    ),
    Case(
        "an attribute of a library's object",
        ("import types\nimport collections", "P = collections.namedtuple('P', 'x')", "P.__doc__ = 'changed'", "r = P.__doc__"),
        "r",
        "1 2 3 4",
        possible="3",
    ),
]

ENVIRONMENT = [
    Case("os.environ", ("import os", "os.environ['MLOPS_CASE'] = '1'", "r = os.environ['MLOPS_CASE']"), "r", "1 2 3"),
    Case("os.environ by a name", ("import os\nkey = 'MLOPS_CASE'", "os.environ[key] = '1'", "r = os.getenv(key)"), "r", "1 2 3", possible="2"),
    Case(
        "os.environ's other variable",
        ("import os", "os.environ['MLOPS_CASE'] = '1'", "os.environ['MLOPS_OTHER'] = '2'", "r = os.environ['MLOPS_CASE']"),
        "r",
        "1 2 4",
    ),
    Case(
        "a variable deleted",
        ("import os", "os.environ['MLOPS_CASE'] = '1'", "del os.environ['MLOPS_CASE']", "r = os.environ.get('MLOPS_CASE')"),
        "r",
        "1 4",
        extra="2 3",
    ),
    Case(
        "a variable read by a child",
        ("import os", "os.environ['MLOPS_CASE'] = '1'", "out = !echo $$MLOPS_CASE", "r = list(out)"),
        "r",
        "1 2 3 4",
        possible="1 2",
    ),
    Case(
        "environ updated",
        ("import os", "os.environ.update(MLOPS_CASE='5')", "def get(): return os.environ['MLOPS_CASE']", "r = get()"),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case(
        "chdir and a relative path",
        ("import os\nos.mkdir('sub')", "open('sub/a.txt', 'w').write('1');", "os.chdir('sub')", "r = open('a.txt').read()"),
        "r",
        "1 2 3 4",
        possible="1 3",
    ),
    Case(
        "chdir there and back",
        ("import os\nos.mkdir('sub')", "os.chdir('sub')", "open('b.txt', 'w').write('2');", "os.chdir('..')", "r = open('sub/b.txt').read()"),
        "r",
        "1 2 3 4 5",
        possible="1 2 4",
    ),
    Case("getcwd", ("import os\nos.mkdir('sub')", "os.chdir('sub')", "r = os.path.basename(os.getcwd())"), "r", "1 2 3", possible="2"),
    Case("umask", ("import os", "old = os.umask(0o077)", "r = os.umask(0o022)"), "r", "1 2 3", possible="2"),
    Case("time zone", ("import os, time\nos.environ['TZ'] = 'Asia/Tokyo'", "time.tzset()", "r = time.tzname"), "r", "1 2 3", possible="2"),
]

CONNECTIONS = [
    Case(
        "sqlite in memory",
        (
            "import sqlite3\ncon = sqlite3.connect(':memory:')",
            "con.execute('create table t (a)');",
            "con.execute('insert into t values (1)');",
            "r = con.execute('select count(*) from t').fetchone()",
        ),
        "r",
        "1 2 3 4",
        possible="2 3",
    ),
    Case(
        "a cursor",
        (
            "import sqlite3\ncon = sqlite3.connect(':memory:')",
            "cur = con.execute('select 1 union select 2 union select 3')",
            "cur.fetchone()",
            "r = cur.fetchone()",
        ),
        "r",
        "1 2 3 4",
        possible="3",
    ),
    Case(
        "to_sql in memory",
        (
            "import sqlite3\nimport pandas as pd\ncon = sqlite3.connect(':memory:')",
            "pd.DataFrame({'a': [1, 2]}).to_sql('t', con)",
            "r = pd.read_sql('select sum(a) s from t', con)['s'][0]",
        ),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "a hash object",
        ("import hashlib\nh = hashlib.sha256()", "h.update(b'a')", "h.update(b'b')", "r = h.hexdigest()"),
        "r",
        "1 2 3 4",
        possible="2 3",
    ),
    Case("a compiled pattern has no state", ("import re\np = re.compile('a')", "p.match('ab')", "r = p.sub('b', 'aa')"), "r", "1 3", extra="2"),
    Case("a lock", ("import threading\nlock = threading.Lock()", "lock.acquire()", "r = lock.locked()"), "r", "1 2 3", possible="2"),
    Case(
        "a compressor",
        ("import zlib\nz = zlib.compressobj()", "part = z.compress(b'a' * 100)", "rest = z.flush()", "r = zlib.decompress(part + rest)"),
        "r",
        "1 2 3 4",
        possible="2",
    ),
    Case(
        "a struct-like ctypes buffer",
        ("import ctypes\nb = ctypes.create_string_buffer(4)", "b.value = b'hi'", "r = b.value"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case("a thread's local", ("import threading\nloc = threading.local()", "loc.v = 5", "r = loc.v"), "r", "1 2 3", possible="2"),
]
