"""Every reader and writer of files, in a real shell, with real files: what a cell is said to have read and written."""

import pytest

# Cells leave files and connections open, as users do.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def seen(run):
    return {f"{use.mode} {use.path}" for use in run.files}


def case(name, *sources, expected, needs=""):
    return pytest.param(sources, set(filter(None, (part.strip() for part in expected.split(",")))), needs, id=name)


TABLE = "import pyarrow as pa\nt = pa.table({'a': [1, 2]})"
FRAME = "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': [3.5, 4.5]})"
POLARS = "import polars as pl\np = pl.DataFrame({'a': [1, 2]})"
TEXT = "from pathlib import Path\n_ = Path('a.txt').write_text('hello')"
DUCK = "import duckdb, pandas as pd\npd.DataFrame({'a': [1]}).to_csv('x.csv', index=False)\npd.DataFrame({'a': [1]}).to_parquet('x.parquet')"

PLAIN = [
    case("append to a new file", "open('a.txt', 'a').write('x')", expected="write a.txt"),
    case("append", TEXT, "open('a.txt', 'a').write('x')", expected="read a.txt, write a.txt"),
    case("r+", TEXT, "open('a.txt', 'r+').write('x')", expected="read a.txt, write a.txt"),
    case("w+", TEXT, "open('a.txt', 'w+').write('x')", expected="write a.txt"),
    case("x", "open('a.txt', 'x').write('x')", expected="write a.txt"),
    case("written then read", TEXT + "\nPath('a.txt').read_text()", expected="write a.txt"),
    case("read then overwritten", TEXT, "t = Path('a.txt').read_text(); _ = Path('a.txt').write_text(t + '!')", expected="read a.txt, write a.txt"),
    case("tried, then made", "try: open('c.txt').read()\nexcept OSError: open('c.txt', 'w').write('x')", expected="write c.txt"),
    case("removed", TEXT, "import os\nos.remove('a.txt')", expected="write a.txt"),
    case("unlinked", TEXT, "Path('a.txt').unlink()", expected="write a.txt"),
    case("made and removed", TEXT + "\nPath('a.txt').unlink()", expected=""),
    case("renamed", TEXT, "_ = Path('a.txt').rename('b.txt')", expected="read a.txt, write b.txt"),
    case("replaced", TEXT, "import os\nopen('t.tmp', 'w').write('x'); os.replace('t.tmp', 'a.txt')", expected="write a.txt"),
    case("copied", TEXT, "import shutil\n_ = shutil.copy('a.txt', 'b.txt')", expected="read a.txt, write b.txt"),
    case("copied with its times", TEXT, "import shutil\n_ = shutil.copy2('a.txt', 'b.txt')", expected="read a.txt, write b.txt"),
    case("moved", TEXT, "import shutil\n_ = shutil.move('a.txt', 'b.txt')", expected="read a.txt, write b.txt"),
    case(
        "folder copied",
        "import os\nos.mkdir('d'); open('d/x', 'w').close()",
        "import shutil\n_ = shutil.copytree('d', 'e')",
        expected="read d/x, write e/x",
    ),
    case("linked", TEXT, "import os\nos.link('a.txt', 'b.txt')", expected="read a.txt, write b.txt"),
    case("truncated", TEXT, "import os\nos.truncate('a.txt', 2)", expected="read a.txt, write a.txt"),
    case(
        "same name in another folder",
        TEXT,
        "import os\nopen('a.txt').close(); os.mkdir('d'); os.chdir('d')\nopen('a.txt', 'w').close(); open('a.txt').close(); os.chdir('..')",
        expected="read a.txt, write d/a.txt",
    ),
    case("opened by a function", TEXT + "\ndef load(): return open('a.txt').read()", "load()", expected="read a.txt"),
    case(
        "on a thread", TEXT, "import threading\nw = threading.Thread(target=lambda: open('a.txt').read()); w.start(); w.join()", expected="read a.txt"
    ),
    case("gzip", "import gzip\nwith gzip.open('a.gz', 'wb') as f: _ = f.write(b'x')", "gzip.open('a.gz').read()", expected="read a.gz"),
    case("bz2 and lzma", "import bz2, lzma\nbz2.open('a.bz2', 'w').close(); lzma.open('a.xz', 'w').close()", expected="write a.bz2, write a.xz"),
    case("zipfile", TEXT, "import zipfile\nwith zipfile.ZipFile('a.zip', 'w') as z: z.write('a.txt')", expected="read a.txt, write a.zip"),
    case(
        "unzipped",
        TEXT + "\nimport zipfile\nwith zipfile.ZipFile('a.zip', 'w') as z: z.write('a.txt')",
        "zipfile.ZipFile('a.zip').extractall('out')",
        expected="read a.zip, write out/a.txt",
    ),
    case("tarfile", TEXT, "import tarfile\nwith tarfile.open('a.tar.gz', 'w:gz') as z: z.add('a.txt')", expected="read a.txt, write a.tar.gz"),
    case(
        "json, pickle, csv, configparser",
        "import json, pickle, csv\njson.dump({}, open('a.json', 'w')); pickle.dump(1, open('a.pkl', 'wb')); "
        "csv.writer(open('a.csv', 'w')).writerow('ab')",
        expected="write a.json, write a.pkl, write a.csv",
    ),
]

DATABASES = [
    case("sqlite made", "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.commit()", expected="write a.db"),
    case(
        "sqlite read",
        "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.close()",
        "con = sqlite3.connect('a.db'); con.execute('select * from t').fetchall()",
        expected="read a.db",
    ),
    case(
        "sqlite changed",
        "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.close()",
        "con = sqlite3.connect('a.db'); _ = con.execute('insert into t values (1)'); con.commit(); con.close()",
        expected="read a.db, write a.db",
    ),
    case(
        "sqlite changed in a later cell",
        "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.commit()",
        "_ = con.execute('insert into t values (1)'); con.commit()",
        expected="read a.db, write a.db",
    ),
    case(
        "sqlite write-ahead log",
        "import sqlite3\ncon = sqlite3.connect('a.db'); con.execute('pragma journal_mode=wal'); _ = con.execute('create table t(a)'); con.commit()",
        "_ = con.execute('insert into t values (1)'); con.commit()",
        expected="read a.db, write a.db",
    ),
    case(
        "sqlite, nothing changed later",
        "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.commit()",
        "x = 1",
        expected="",
    ),
    case("sqlite in memory", "import sqlite3\ncon = sqlite3.connect(':memory:')", expected=""),
    case(
        "sqlite uri",
        "import sqlite3\ncon = sqlite3.connect('a.db'); _ = con.execute('create table t(a)'); con.close()",
        "con = sqlite3.connect('file:a.db?mode=ro', uri=True); con.execute('select * from t').fetchall()",
        expected="read a.db",
    ),
    case("pandas to_sql", FRAME, "import sqlite3\ncon = sqlite3.connect('a.db'); _ = df.to_sql('t', con); con.commit()", expected="write a.db"),
    case(
        "pandas read_sql",
        FRAME + "\nimport sqlite3\ncon = sqlite3.connect('a.db'); _ = df.to_sql('t', con); con.close()",
        "pd.read_sql('select * from t', sqlite3.connect('a.db'))",
        expected="read a.db",
    ),
]

LIBRARIES = [
    case("csv", FRAME + "\ndf.to_csv('a.csv')", "_ = pd.read_csv('a.csv')", expected="read a.csv"),
    case("csv by pyarrow", FRAME + "\ndf.to_csv('a.csv')", "_ = pd.read_csv('a.csv', engine='pyarrow')", expected="read a.csv"),
    case("csv in chunks", FRAME + "\ndf.to_csv('a.csv')", "n = sum(len(c) for c in pd.read_csv('a.csv', chunksize=1))", expected="read a.csv"),
    case("json", FRAME + "\ndf.to_json('a.json')", "_ = pd.read_json('a.json')", expected="read a.json"),
    case("pickle", FRAME, "df.to_pickle('a.pkl'); _ = pd.read_pickle('a.pkl')", expected="write a.pkl"),
    case("feather", FRAME + "\ndf.to_feather('a.feather')", "_ = pd.read_feather('a.feather')", expected="read a.feather"),
    case("orc", FRAME + "\ndf.to_orc('a.orc')", "_ = pd.read_orc('a.orc')", expected="read a.orc"),
    case("html", FRAME, "df.to_html('a.html')", expected="write a.html"),
    case("parquet", FRAME + "\ndf.to_parquet('a.parquet')", "_ = pd.read_parquet('a.parquet')", expected="read a.parquet"),
    case("parquet written and read", FRAME, "df.to_parquet('a.parquet'); _ = pd.read_parquet('a.parquet')", expected="write a.parquet"),
    case(
        "parquet read and written",
        FRAME + "\ndf.to_parquet('a.parquet')",
        "pd.read_parquet('a.parquet').assign(c=1).to_parquet('a.parquet')",
        expected="read a.parquet, write a.parquet",
    ),
    case(
        "parquet partitions",
        FRAME,
        "df.to_parquet('d', partition_cols=['a'], basename_template='part-{i}.parquet')",
        expected="write d/a=1/part-0.parquet, write d/a=2/part-0.parquet",
    ),
    case(
        "parquet folder",
        FRAME + "\ndf.to_parquet('d', partition_cols=['a'], basename_template='part-{i}.parquet')",
        "_ = pd.read_parquet('d')",
        expected="read d/a=1/part-0.parquet, read d/a=2/part-0.parquet",
    ),
    case("excel", FRAME, "df.to_excel('a.xlsx')", needs="openpyxl", expected="write a.xlsx"),
    case("excel read", FRAME + "\ndf.to_excel('a.xlsx')", "_ = pd.read_excel('a.xlsx')", needs="openpyxl", expected="read a.xlsx"),
    case("npy", "import numpy as np\nnp.save('a.npy', np.zeros(3))", "_ = np.load('a.npy')", expected="read a.npy"),
    case("npy mapped", "import numpy as np\nnp.save('a.npy', np.zeros(3))", "m = np.load('a.npy', mmap_mode='r')", expected="read a.npy"),
    case(
        "npz, txt",
        "import numpy as np",
        "np.savez('a.npz', a=np.zeros(2)); np.savetxt('a.txt', np.zeros(2)); _ = np.loadtxt('a.txt')",
        expected="write a.npz, write a.txt",
    ),
    case("memmap made", "import numpy as np", "m = np.memmap('a.dat', mode='w+', shape=(3,), dtype='f8')", expected="write a.dat"),
    case(
        "memmap changed",
        "import numpy as np\nnp.zeros(3).tofile('a.dat')",
        "m = np.memmap('a.dat', mode='r+', dtype='f8'); m[0] = 1; m.flush()",
        expected="read a.dat, write a.dat",
    ),
    case(
        "joblib mapped",
        "import joblib, numpy as np\n_ = joblib.dump(np.zeros(3), 'a.joblib')",
        "_ = joblib.load('a.joblib', mmap_mode='r')",
        expected="read a.joblib",
    ),
    case(
        "joblib memory",
        "import joblib\nm = joblib.Memory('cache', verbose=0)",
        "import os\n_ = joblib.dump([1], 'b.joblib')",
        expected="write b.joblib",
    ),
    case("pyarrow csv written", TABLE, "import pyarrow.csv\npa.csv.write_csv(t, 'a.csv')", expected="write a.csv"),
    case(
        "pyarrow csv read",
        TABLE + "\nfrom pyarrow.csv import read_csv, write_csv\nwrite_csv(t, 'a.csv')",
        "_ = read_csv('a.csv')",
        expected="read a.csv",
    ),
    case(
        "pyarrow csv opened",
        TABLE + "\nfrom pyarrow import csv\ncsv.write_csv(t, 'a.csv')",
        "with csv.open_csv('a.csv') as f: _ = f.read_all()",
        expected="read a.csv",
    ),
    case(
        "pyarrow csv writer", TABLE, "from pyarrow import csv\nwith csv.CSVWriter('a.csv', t.schema) as f: f.write_table(t)", expected="write a.csv"
    ),
    case(
        "pyarrow json", "open('a.json', 'w').write('{\"a\": 1}')", "import pyarrow.json\n_ = pyarrow.json.read_json('a.json')", expected="read a.json"
    ),
    case("pyarrow feather written", TABLE, "import pyarrow.feather as pf\npf.write_feather(t, 'a.feather')", expected="write a.feather"),
    case(
        "pyarrow feather read",
        TABLE + "\nimport pyarrow.feather as pf\npf.write_feather(t, 'a.feather')",
        "_ = pf.read_table('a.feather')",
        expected="read a.feather",
    ),
    case(
        "pyarrow feather to pandas",
        TABLE + "\nimport pyarrow.feather as pf\npf.write_feather(t, 'a.feather')",
        "_ = pf.read_feather('a.feather')",
        expected="read a.feather",
    ),
    case(
        "pyarrow orc",
        TABLE + "\nfrom pyarrow import orc",
        "orc.write_table(t, 'a.orc'); orc.write_table(t, 'b.orc')",
        expected="write a.orc, write b.orc",
    ),
    case("pyarrow orc read", TABLE + "\nfrom pyarrow import orc\norc.write_table(t, 'a.orc')", "_ = orc.read_table('a.orc')", expected="read a.orc"),
    case("pyarrow ipc", TABLE, "with pa.ipc.new_file('a.arrow', t.schema) as f: f.write_table(t)", expected="write a.arrow"),
    case(
        "pyarrow parquet schema",
        TABLE + "\nimport pyarrow.parquet as pq\npq.write_table(t, 'a.parquet')",
        "_ = pq.read_schema('a.parquet')",
        expected="read a.parquet",
    ),
    case(
        "pyarrow parquet rows",
        TABLE + "\nimport pyarrow.parquet as pq",
        "with pq.ParquetWriter('a.parquet', t.schema) as w: w.write_table(t)",
        expected="write a.parquet",
    ),
    case("pyarrow OSFile", TEXT + "\nimport pyarrow as pa", "_ = pa.OSFile('a.txt').read()", expected="read a.txt"),
    case("pyarrow OSFile written", "import pyarrow as pa", "with pa.OSFile('a.bin', 'wb') as f: _ = f.write(b'x')", expected="write a.bin"),
    case("pyarrow memory_map", TEXT + "\nimport pyarrow as pa", "_ = pa.memory_map('a.txt').read()", expected="read a.txt"),
    case("pyarrow memory_map changed", TEXT + "\nimport pyarrow as pa", "_ = pa.memory_map('a.txt', 'r+')", expected="read a.txt, write a.txt"),
    case(
        "pyarrow streams",
        "import pyarrow as pa\nwith pa.output_stream('a.txt') as f: _ = f.write(b'x')",
        "_ = pa.input_stream('a.txt').read()",
        expected="read a.txt",
    ),
    case(
        "pyarrow dataset",
        TABLE + "\nimport pyarrow.dataset as ds\nds.write_dataset(t, 'd', format='parquet')",
        "_ = ds.dataset('d').to_table()",
        expected="read d/part-0.parquet",
    ),
    case(
        "pyarrow dataset written", TABLE + "\nimport pyarrow.dataset as ds", "ds.write_dataset(t, 'd', format='csv')", expected="write d/part-0.csv"
    ),
    case(
        "pyarrow dataset grows",
        TABLE + "\nimport pyarrow.dataset as ds, os, time\nds.write_dataset(t, 'd', format='csv', "
        "basename_template='a-{i}.csv'); os.utime('d/a-0.csv', (1, 1))",
        "ds.write_dataset(t, 'd', format='csv', basename_template='b-{i}.csv', existing_data_behavior='overwrite_or_ignore')",
        expected="write d/b-0.csv",
    ),
    case(
        "pyarrow dataset of files",
        TABLE + "\nimport pyarrow.dataset as ds, pyarrow.parquet as pq\npq.write_table(t, 'a.parquet'); pq.write_table(t, 'b.parquet')",
        "_ = ds.dataset(['a.parquet', 'b.parquet'])",
        expected="read a.parquet, read b.parquet",
    ),
]

OPTIONAL = [
    *(
        case(f"polars {kind}", f"{POLARS}\np.write_{kind}('a.{kind}')", f"_ = pl.read_{kind}('a.{kind}')", needs="polars", expected=f"read a.{kind}")
        for kind in ("csv", "parquet", "ipc", "ipc_stream", "json", "ndjson", "avro")
    ),
    *(
        case(f"polars {kind} written", POLARS, f"p.write_{kind}('a.{kind}')", needs="polars", expected=f"write a.{kind}")
        for kind in ("csv", "parquet", "ipc", "ipc_stream", "json", "ndjson", "avro")
    ),
    *(
        case(
            f"polars {kind} scanned",
            f"{POLARS}\np.write_{kind}('a.{kind}')",
            f"_ = pl.scan_{kind}('a.{kind}').collect()",
            needs="polars",
            expected=f"read a.{kind}",
        )
        for kind in ("csv", "parquet", "ipc", "ndjson")
    ),
    *(
        case(f"polars {kind} sunk", POLARS, f"p.lazy().sink_{kind}('a.{kind}')", needs="polars", expected=f"write a.{kind}")
        for kind in ("csv", "parquet", "ipc", "ndjson")
    ),
    case(
        "polars pattern",
        POLARS + "\np.write_csv('a.csv'); p.write_csv('b.csv')",
        "_ = pl.read_csv('*.csv')",
        needs="polars",
        expected="read a.csv, read b.csv",
    ),
    case(
        "polars list of paths",
        POLARS + "\nfrom pathlib import Path\np.write_parquet('a.pq'); p.write_parquet('b.pq')",
        "_ = pl.scan_parquet([Path('a.pq'), Path('b.pq')]).collect()",
        needs="polars",
        expected="read a.pq, read b.pq",
    ),
    case("duckdb from csv", DUCK, "duckdb.sql(\"select * from 'x.csv'\").fetchall()", needs="duckdb", expected="read x.csv"),
    case(
        "duckdb from parquet", DUCK, "duckdb.sql('''select * from read_parquet('x.parquet')''').fetchall()", needs="duckdb", expected="read x.parquet"
    ),
    case("duckdb pattern", DUCK, "duckdb.query(\"from '*.parquet'\").fetchall()", needs="duckdb", expected="read x.parquet"),
    case("duckdb read_csv", DUCK, "duckdb.read_csv('x.csv').fetchall()", needs="duckdb", expected="read x.csv"),
    case(
        "duckdb read_parquet",
        DUCK + "\ncon = duckdb.connect()",
        "con.read_parquet('x.parquet').fetchall()",
        needs="duckdb",
        expected="read x.parquet",
    ),
    case(
        "duckdb parameter",
        DUCK + "\ncon = duckdb.connect()",
        "con.execute('select * from read_csv(?)', ['x.csv']).fetchall()",
        needs="duckdb",
        expected="read x.csv",
    ),
    case("duckdb copy", DUCK, "_ = duckdb.sql(\"copy (from 'x.csv') to 'y.parquet'\")", needs="duckdb", expected="read x.csv, write y.parquet"),
    case("duckdb copy over", DUCK, "_ = duckdb.sql(\"copy (select 42) to 'x.csv'\")", needs="duckdb", expected="write x.csv"),
    case(
        "duckdb relation",
        DUCK + "\nr = duckdb.sql('select 1 a')",
        "r.to_csv('r.csv'); r.write_parquet('r.parquet')",
        needs="duckdb",
        expected="write r.csv, write r.parquet",
    ),
    case(
        "duckdb database made",
        "import duckdb\nx = 1",
        "con = duckdb.connect('a.duckdb'); _ = con.execute('create table t as select 1 a'); con.close()",
        needs="duckdb",
        expected="write a.duckdb",
    ),
    case(
        "duckdb database read",
        "import duckdb\ncon = duckdb.connect('a.duckdb'); _ = con.execute('create table t as select 1 a'); con.close()",
        "con = duckdb.connect('a.duckdb', read_only=True); con.sql('from t').fetchall()",
        needs="duckdb",
        expected="read a.duckdb",
    ),
    case(
        "duckdb database changed later",
        "import duckdb\ncon = duckdb.connect('a.duckdb'); _ = con.execute('create table t as select 1 a')",
        "_ = con.execute('insert into t values (2)')",
        needs="duckdb",
        expected="read a.duckdb, write a.duckdb",
    ),
]

MADE = "open('in.csv', 'w').write('b\\na\\n')"
COMMANDS = [
    case("!", MADE, "!cat in.csv", expected="read in.csv"),
    case("! with a variable", MADE + "\nname = 'in.csv'", "!cat {name}", expected="read in.csv"),
    case("! redirected", MADE, "!sort < in.csv > out.csv", expected="read in.csv, write out.csv"),
    case("! redirected over", MADE + "\nopen('out.csv', 'w').close()", "!sort in.csv > out.csv", expected="read in.csv, write out.csv"),
    case("! appended", MADE + "\nopen('out.csv', 'w').close()", "!cat in.csv >> out.csv", expected="read in.csv, read out.csv, write out.csv"),
    case("! changed in place", MADE, "!sed -i s/a/c/ in.csv", expected="read in.csv, write in.csv"),
    case("! made", MADE, "!cp in.csv 'with space.csv'", expected="read in.csv, write with space.csv"),
    case("! into a folder", MADE + "\nimport os; os.mkdir('d')", "!cp in.csv d", expected="read in.csv, write d/in.csv"),
    case("! moved", MADE, "!mv in.csv b.csv", expected="read in.csv, write in.csv, write b.csv"),
    case("! in a folder", MADE + "\nimport os; os.mkdir('d'); open('d/x', 'w').close()", "!cd d && cat x | sort > y", expected="read d/x, write d/y"),
    case("! pattern", MADE, "!cat *.csv", expected="read in.csv"),
    case("! option", MADE, "!sort in.csv --output=out.csv", expected="read in.csv, write out.csv"),
    case("! nothing", MADE, "!echo hello", expected=""),
    case("! several", MADE, "!cat in.csv; cat in.csv 2> err.txt | tee a.txt b.txt", expected="read in.csv, write err.txt, write a.txt, write b.txt"),
    case("x = !", MADE, "x = !cat in.csv", expected="read in.csv"),
    case("%sx", MADE, "%sx sort -o out.csv in.csv", expected="read in.csv, write out.csv"),
    case("%%bash", MADE, "%%bash\n# nothing\nsort in.csv > out.csv\ncat out.csv", expected="read in.csv, write out.csv"),
    case("%%bash quoted", MADE, "%%bash\necho \"a b\"\nsort 'in.csv' > 'out.csv'", expected="read in.csv, write out.csv"),
    case("subprocess", MADE + "\nimport subprocess", "_ = subprocess.run(['cat', 'in.csv'], capture_output=True)", expected="read in.csv"),
    case(
        "subprocess with Path",
        MADE + "\nimport subprocess, pathlib",
        "_ = subprocess.run(['cp', pathlib.Path('in.csv'), 'out.csv'])",
        expected="read in.csv, write out.csv",
    ),
    case(
        "subprocess in a shell",
        MADE + "\nimport subprocess",
        "subprocess.check_output('sort in.csv > out.csv', shell=True)",
        expected="read in.csv, write out.csv",
    ),
    case(
        "subprocess elsewhere",
        MADE + "\nimport subprocess, os; os.mkdir('d')",
        "_ = subprocess.run(['cp', '../in.csv', 'out.csv'], cwd='d')",
        expected="read in.csv, write d/out.csv",
    ),
    case(
        "subprocess to a file",
        MADE + "\nimport subprocess",
        "with open('out.txt', 'w') as f: _ = subprocess.run(['cat', 'in.csv'], stdout=f)",
        expected="read in.csv, write out.txt",
    ),
    case("os.system", MADE + "\nimport os", "_ = os.system('cp in.csv out.csv')", expected="read in.csv, write out.csv"),
    case("os.popen", MADE + "\nimport os", "with os.popen('cat in.csv') as f: _ = f.read()", expected="read in.csv"),
    case(
        "os.posix_spawn",
        MADE + "\nimport os",
        "_ = os.waitpid(os.posix_spawn('/bin/cp', ['cp', 'in.csv', 'out.csv'], os.environ), 0)",
        expected="read in.csv, write out.csv",
    ),
    case("script", MADE + "\nopen('s.sh', 'w').write('cat $1 > $2')", "!sh s.sh in.csv out.csv", expected="read s.sh, read in.csv, write out.csv"),
    case("written by the cell before", MADE, "open('n.csv', 'w').write('x')\n!cat n.csv > out.csv", expected="write n.csv, write out.csv"),
]


@pytest.mark.parametrize(("sources", "expected", "needs"), [*PLAIN, *DATABASES, *LIBRARIES, *OPTIONAL, *COMMANDS])
def test_route(touch, sources, expected, needs):
    if needs:
        pytest.importorskip(needs)
    assert seen(touch(*sources)) == expected
