"""Files that one cell writes and another reads."""

from lineage_case import Case

PANDAS = "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': [3.5, 4.5]})"


def round_trip(name: str, write: str, read: str, start: str = PANDAS) -> Case:
    return Case(f"file: {name}", (start, write, "x = 0", read), "r", "1 2 4")


TEXT = [
    Case("text", ("open('a.txt', 'w').write('1');", "x = 0", "r = open('a.txt').read()"), "r", "1 3"),
    Case("with open", ("with open('a.txt', 'w') as f:\n    f.write('1')", "with open('a.txt') as f:\n    r = f.read()"), "r", "1 2"),
    Case("overwritten", ("open('a.txt', 'w').write('1');", "open('a.txt', 'w').write('2');", "r = open('a.txt').read()"), "r", "2 3"),
    Case("appended", ("open('a.txt', 'w').write('1');", "open('a.txt', 'a').write('2');", "r = open('a.txt').read()"), "r", "1 2 3"),
    Case("appended to nothing", ("open('a.txt', 'a').write('1');", "open('a.txt', 'a').write('2');", "r = open('a.txt').read()"), "r", "1 2 3"),
    Case(
        "read, changed, written",
        ("open('a.txt', 'w').write('1');", "n = int(open('a.txt').read())\nopen('a.txt', 'w').write(str(n + 1));", "r = open('a.txt').read()"),
        "r",
        "1 2 3",
    ),
    Case(
        "changed in place by r+",
        ("open('a.txt', 'w').write('abc');", "with open('a.txt', 'r+') as f:\n    f.seek(1)\n    f.write('X')", "r = open('a.txt').read()"),
        "r",
        "1 2 3",
    ),
    Case(
        "written through a handle of another cell",
        ("f = open('a.txt', 'w')", "f.write('x');", "f.close()", "r = open('a.txt').read()"),
        "r",
        "1 2 3 4",
        possible="2 3",
    ),
    Case("print into a file", ("x = 5", "with open('a.txt', 'w') as f:\n    print(x, file=f)", "r = open('a.txt').read()"), "r", "1 2 3"),
    Case("pathlib", ("from pathlib import Path\np = Path('a.txt')", "p.write_text('1');", "r = p.read_text()"), "r", "1 2 3"),
    Case(
        "in a function",
        ("def save(v):\n    with open('a.txt', 'w') as f: f.write(v)", "def load(): return open('a.txt').read()", "save('5')", "r = load()"),
        "r",
        "1 2 3 4",
    ),
    Case("another spelling of the path", ("open('a.txt', 'w').write('1');", "import os\nr = open(os.path.abspath('./a.txt')).read()"), "r", "1 2"),
    Case("another file", ("open('a.txt', 'w').write('1');", "r = open('b.txt').read()"), "r", "2", files={"b.txt": "2"}),
    Case("a file that was there", ("r = open('b.txt').read()", "x = 1"), "r", "1", files={"b.txt": "2"}),
    Case("a file that was there, rewritten", ("open('b.txt', 'w').write('9');", "r = open('b.txt').read()"), "r", "1 2", files={"b.txt": "2"}),
    Case("read before it is rewritten", ("r = open('b.txt').read()", "open('b.txt', 'w').write('9');"), "r", "1", files={"b.txt": "2"}),
    Case("a failed cell's file", ("open('a.txt', 'w').write('1');\n1 / 0", "r = open('a.txt').read()"), "r", "1 2"),
    Case("%%writefile", ("%%writefile a.txt\nhello", "r = open('a.txt').read()"), "r", "1 2"),
    Case("%%writefile -a", ("%%writefile a.txt\nhello", "%%writefile -a a.txt\nagain", "r = open('a.txt').read()"), "r", "1 2 3"),
    Case("shell redirection", ("!echo hi > a.txt", "r = open('a.txt').read()"), "r", "1 2", possible="1"),
    Case("shell reads", ("open('a.txt', 'w').write('hi');", "out = !cat a.txt", "r = list(out)"), "r", "1 2 3", possible="1"),
    Case("shell writes, shell reads", ("!echo hi > a.txt", "out = !cat a.txt", "r = list(out)"), "r", "1 2 3", possible="1"),
    Case("%%bash writes", ("%%bash\necho hi > a.txt", "r = open('a.txt').read()"), "r", "1 2", possible="1"),
    Case(
        "a process writes",
        ("import subprocess", "subprocess.run('echo hi > a.txt', shell=True, check=True);", "r = open('a.txt').read()"),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "os.open",
        ("import os\nfd = os.open('a.txt', os.O_WRONLY | os.O_CREAT)\nos.write(fd, b'1')\nos.close(fd)", "r = open('a.txt').read()"),
        "r",
        "1 2",
    ),
]

PLACES = [
    Case("renamed", ("import os", "open('a.txt', 'w').write('1');", "os.rename('a.txt', 'b.txt')", "r = open('b.txt').read()"), "r", "1 2 3 4"),
    Case(
        "replaced by a temporary file",
        ("import os\nopen('a.txt', 'w').write('1');", "open('a.tmp', 'w').write('2');\nos.replace('a.tmp', 'a.txt')", "r = open('a.txt').read()"),
        "r",
        "1 2 3",
    ),
    Case(
        "Path.rename",
        ("from pathlib import Path", "Path('a.txt').write_text('1');", "Path('a.txt').rename('b.txt');", "r = Path('b.txt').read_text()"),
        "r",
        "1 2 3 4",
    ),
    Case("copied", ("import shutil", "open('a.txt', 'w').write('1');", "shutil.copy('a.txt', 'b.txt');", "r = open('b.txt').read()"), "r", "1 2 3 4"),
    Case("moved", ("import shutil", "open('a.txt', 'w').write('1');", "shutil.move('a.txt', 'b.txt');", "r = open('b.txt').read()"), "r", "1 2 3 4"),
    Case(
        "a tree copied",
        ("import shutil, os\nos.mkdir('d')", "open('d/a.txt', 'w').write('1');", "shutil.copytree('d', 'e');", "r = open('e/a.txt').read()"),
        "r",
        "1 2 3 4",
    ),
    Case("linked", ("import os", "open('a.txt', 'w').write('1');", "os.symlink('a.txt', 'b.txt')", "r = open('b.txt').read()"), "r", "1 2 3 4"),
    Case("a folder made", ("import os", "os.makedirs('out')", "open('out/a.txt', 'w').write('1');", "r = open('out/a.txt').read()"), "r", "1 2 3 4"),
    Case("does it exist", ("import os", "open('a.txt', 'w').write('1');", "r = os.path.exists('a.txt')"), "r", "1 2 3", possible="2"),
    Case("removed", ("import os", "open('a.txt', 'w').write('1');", "os.remove('a.txt')", "r = os.path.exists('a.txt')"), "r", "1 4", extra="2 3"),
    Case(
        "a file that was there, removed",
        ("import os", "os.remove('b.txt')", "r = os.path.exists('b.txt')"),
        "r",
        "1 2 3",
        possible="2",
        files={"b.txt": "2"},
    ),
    Case("listed", ("import os", "open('a.txt', 'w').write('1');", "r = os.listdir('.')"), "r", "1 2 3", possible="2"),
    Case(
        "globbed",
        (
            "from pathlib import Path\nopen('a.csv', 'w').write('1');",
            "open('b.csv', 'w').write('2');",
            "r = sorted(p.name for p in Path('.').glob('*.csv'))",
        ),
        "r",
        "1 2 3",
        possible="2",
    ),
    Case(
        "globbed and read",
        (
            "import glob\nopen('a.csv', 'w').write('1');",
            "open('b.csv', 'w').write('2');",
            "r = ''.join(open(p).read() for p in sorted(glob.glob('*.csv')))",
        ),
        "r",
        "1 2 3",
    ),
    Case("its size", ("import os", "open('a.txt', 'w').write('123');", "r = os.path.getsize('a.txt')"), "r", "1 2 3", possible="2"),
    Case("truncated", ("import os\nopen('a.txt', 'w').write('12345');", "os.truncate('a.txt', 2)", "r = open('a.txt').read()"), "r", "1 2 3"),
    Case(
        "a temporary folder",
        (
            "import tempfile, pathlib\nhome = tempfile.mkdtemp(dir='.')",
            "pathlib.Path(home, 'a.txt').write_text('1');",
            "r = pathlib.Path(home, 'a.txt').read_text()",
        ),
        "r",
        "1 2 3",
    ),
]

FORMATS = [
    round_trip("csv", "df.to_csv('a.csv', index=False)", "r = pd.read_csv('a.csv')"),
    round_trip("json", "df.to_json('a.json')", "r = pd.read_json('a.json')"),
    round_trip("parquet", "df.to_parquet('a.parquet')", "r = pd.read_parquet('a.parquet')"),
    round_trip("partitioned parquet", "df.to_parquet('parts', partition_cols=['a'])", "r = pd.read_parquet('parts')['b'].sum()"),
    round_trip("feather", "df.to_feather('a.feather')", "r = pd.read_feather('a.feather')"),
    round_trip("pickle of a frame", "df.to_pickle('a.pkl')", "r = pd.read_pickle('a.pkl')"),
    round_trip("excel", "df.to_excel('a.xlsx', index=False)", "r = pd.read_excel('a.xlsx')"),
    round_trip(
        "sqlite by pandas",
        "import sqlite3\ncon = sqlite3.connect('a.db')\ndf.to_sql('t', con, index=False)\ncon.close()",
        "con = sqlite3.connect('a.db')\nr = pd.read_sql('select * from t', con)",
    ),
    round_trip("gzip by pandas", "df.to_csv('a.csv.gz', index=False)", "r = pd.read_csv('a.csv.gz')"),
    round_trip(
        "sqlite",
        "con = sqlite3.connect('a.db')\ncon.execute('create table t (a)')\ncon.execute('insert into t values (7)')\ncon.commit()\ncon.close()",
        "r = sqlite3.connect('a.db').execute('select a from t').fetchall()",
        start="import sqlite3",
    ),
    round_trip("pickle", "with open('a.pkl', 'wb') as f: pickle.dump([1, 2], f)", "r = pickle.load(open('a.pkl', 'rb'))", start="import pickle"),
    round_trip("json by hand", "with open('a.json', 'w') as f: json.dump({'k': 1}, f)", "r = json.load(open('a.json'))", start="import json"),
    round_trip(
        "csv by hand",
        "with open('a.csv', 'w', newline='') as f: csv.writer(f).writerow([1, 2])",
        "r = list(csv.reader(open('a.csv')))",
        start="import csv",
    ),
    round_trip("npy", "np.save('a.npy', np.arange(3))", "r = np.load('a.npy')", start="import numpy as np"),
    round_trip("npz", "np.savez('a.npz', x=np.arange(3))", "r = np.load('a.npz')['x']", start="import numpy as np"),
    round_trip("savetxt", "np.savetxt('a.txt', np.arange(3))", "r = np.loadtxt('a.txt')", start="import numpy as np"),
    round_trip("tofile", "np.arange(3).tofile('a.bin')", "r = np.fromfile('a.bin', dtype=int)", start="import numpy as np"),
    round_trip(
        "memmap",
        "m = np.memmap('a.bin', dtype='u1', mode='w+', shape=3)\nm[:] = 4\nm.flush()",
        "r = np.memmap('a.bin', dtype='u1', mode='r').tolist()",
        start="import numpy as np",
    ),
    round_trip("joblib", "joblib.dump([1, 2], 'a.joblib');", "r = joblib.load('a.joblib')", start="import joblib"),
    round_trip("gzip", "with gzip.open('a.gz', 'wb') as f: f.write(b'1')", "r = gzip.open('a.gz').read()", start="import gzip"),
    round_trip(
        "zip", "with zipfile.ZipFile('a.zip', 'w') as z: z.writestr('x', '1')", "r = zipfile.ZipFile('a.zip').read('x')", start="import zipfile"
    ),
    round_trip("shelve", "with shelve.open('a.shelf') as s: s['k'] = 1", "with shelve.open('a.shelf') as s: r = s['k']", start="import shelve"),
    round_trip(
        "pyarrow parquet",
        "pq.write_table(pa.table({'a': [1]}), 'a.parquet')",
        "r = pq.read_table('a.parquet').to_pydict()",
        start="import pyarrow as pa\nimport pyarrow.parquet as pq",
    ),
    round_trip(
        "pyarrow csv",
        "pc.write_csv(pa.table({'a': [1]}), 'a.csv')",
        "r = pc.read_csv('a.csv').to_pydict()",
        start="import pyarrow as pa\nimport pyarrow.csv as pc",
    ),
    round_trip(
        "pyarrow csv from python", "open('a.csv', 'w').write('a\\n1\\n');", "r = pc.read_csv('a.csv').to_pydict()", start="import pyarrow.csv as pc"
    ),
    round_trip(
        "configparser",
        "c = configparser.ConfigParser()\nc['s'] = {'k': '1'}\nwith open('a.ini', 'w') as f: c.write(f)",
        "d = configparser.ConfigParser()\nd.read('a.ini')\nr = d['s']['k']",
        start="import configparser",
    ),
    round_trip(
        "logging", "logging.basicConfig(filename='a.log', force=True)\nlogging.error('x')", "r = open('a.log').read()", start="import logging"
    ),
    round_trip("tomllib", "open('a.toml', 'w').write('k = 1');", "r = tomllib.load(open('a.toml', 'rb'))", start="import tomllib"),
    Case(
        "a model in a file",
        (
            "import pickle\nfrom sklearn.linear_model import LinearRegression",
            "m = LinearRegression().fit([[1], [2]], [1, 2])",
            "pickle.dump(m, open('m.pkl', 'wb'))",
            "n = pickle.load(open('m.pkl', 'rb'))",
            "r = n.predict([[3]]).round(6).tolist()",
        ),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "a chain of files",
        (
            PANDAS,
            "df.to_csv('raw.csv', index=False)",
            "raw = pd.read_csv('raw.csv')\nraw.assign(c=raw.a * 2).to_parquet('clean.parquet')",
            "clean = pd.read_parquet('clean.parquet')",
            "r = clean.c.sum()",
        ),
        "r",
        "1 2 3 4 5",
    ),
    Case(
        "a database changed by two cells",
        (
            "import sqlite3",
            "con = sqlite3.connect('a.db')\ncon.execute('create table t (a)')\ncon.close()",
            "con = sqlite3.connect('a.db')\ncon.execute('insert into t values (1)')\ncon.commit()\ncon.close()",
            "r = sqlite3.connect('a.db').execute('select count(*) from t').fetchone()",
        ),
        "r",
        "1 2 3 4",
    ),
    Case(
        "a database over a kept connection",
        (
            "import sqlite3\ncon = sqlite3.connect('a.db')",
            "con.execute('create table t (a)');",
            "con.execute('insert into t values (1)');\ncon.commit()",
            "r = con.execute('select count(*) from t').fetchone()",
        ),
        "r",
        "1 2 3 4",
        possible="2 3",
    ),
    Case(
        "a file read twice", (PANDAS, "df.to_csv('a.csv', index=False)", "one = pd.read_csv('a.csv')", "two = pd.read_csv('a.csv')"), "two", "1 2 4"
    ),
]
