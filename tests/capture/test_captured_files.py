"""Files that cells read and write, in a real shell."""

import os
import sys
from pathlib import Path

import pytest

from mlops_nb.capture import watch
from mlops_nb.hashing import FileHasher

# Cells leave files open, as users do.
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture
def play(watched_shell, tmp_path, monkeypatch):
    """Run cells; answers with the runs."""
    monkeypatch.syspath_prepend(tmp_path)
    shell, watcher, runs = watched_shell

    def run(*sources):
        for source in sources:
            assert shell.run_cell(source, store_history=True).success
        assert watcher.history.runs == runs
        return runs

    return run


def seen(run):
    return sorted(f"{use.mode} {use.path}" for use in run.files)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["open('a.txt', 'w').close()"], ["write a.txt"]),
        (["open('a.txt', 'w').close()", "t = open('a.txt').read()"], ["read a.txt"]),
        (["from pathlib import Path\nPath('a.txt').write_text('x')", "Path('a.txt').read_text()"], ["read a.txt"]),
        (["f = open('a.txt', 'w'); f.write('x'); f.close(); open('a.txt').read()"], ["write a.txt"]),
        (["open('a.txt', 'w').close()", "open('a.txt').close(); open('a.txt', 'a').close()"], ["read a.txt", "write a.txt"]),
        (["import os\nos.close(os.open('a.txt', os.O_CREAT | os.O_WRONLY))"], ["write a.txt"]),
        (["import os\nopen('t.tmp', 'w').close(); os.remove('t.tmp')"], []),
        (["import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'x')"], []),
        (["import os\nos.makedirs('.mlops_nb/x'); open('.mlops_nb/x/y', 'w').close()"], []),
        (["open('m.py', 'w').close()", "import m"], []),
        (["open('/proc/self/status').read(); open('/etc/hosts').read()"], []),
        (["import pandas as pd\npd.DataFrame({'a': [1]}).to_csv('a.csv')", "pd.read_csv('a.csv')"], ["read a.csv"]),
        (["import pandas as pd\npd.DataFrame({'a': [1]}).to_csv('a.csv.gz')", "pd.read_csv('a.csv.gz')"], ["read a.csv.gz"]),
        (["import pandas as pd\npd.DataFrame({'a': [1]}).to_parquet('a.parquet')"], ["write a.parquet"]),
        (["import pandas as pd\npd.DataFrame({'a': [1]}).to_parquet('a.parquet')", "pd.read_parquet('a.parquet')"], ["read a.parquet"]),
        (["import pyarrow as pa, pyarrow.parquet as pq\npq.write_table(pa.table({'a': [1]}), 'a.parquet')"], ["write a.parquet"]),
        (
            [
                "import pyarrow as pa\nfrom pyarrow.parquet import read_table, write_table\nwrite_table(pa.table({'a': [1]}), 'a.parquet')",
                "from pathlib import Path\nread_table(Path('a.parquet')).num_rows",
            ],
            ["read a.parquet"],
        ),
        (["import numpy as np\nnp.save('a.npy', np.zeros(3))", "np.load('a.npy')"], ["read a.npy"]),
        (["import numpy as np\nnp.zeros(3).tofile('a.bin')", "np.fromfile('a.bin')"], ["read a.bin"]),
        (["import json\nwith open('a.json', 'w') as f: json.dump({}, f)"], ["write a.json"]),
        (["import joblib\n_ = joblib.dump([1], 'a.joblib')", "joblib.load('a.joblib')"], ["read a.joblib"]),
        (["import os\nos.mkdir('sub'); os.chdir('sub'); open('a.txt', 'w').close(); os.chdir('..')"], ["write sub/a.txt"]),
        (["open(b'a.txt', 'w').close()"], ["write a.txt"]),
    ],
    ids=lambda value: value[-1][:40] if value and "\n" not in value[-1] else None,
)
def test_files(play, sources, expected):
    assert seen(play(*sources)[-1]) == expected


def test_digest_and_size_are_those_of_the_content(play, tmp_path):
    use = play("with open('a.txt', 'w') as f: n = f.write('hello')")[-1].files[0]
    assert use.size == 5
    assert use.digest == FileHasher().digest(tmp_path / "a.txt")


def test_a_file_outside_the_project_has_its_full_path(play, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.csv"
    outside.write_text("x")
    assert seen(play(f"open({str(outside)!r}).read()")[-1]) == [f"read {outside}"]


def test_data_in_a_package_counts_when_a_cell_reads_it_and_not_when_the_package_does(play, tmp_path, monkeypatch):
    package = tmp_path / "lib" / "site-packages" / "some_data"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import pathlib\ndef load(): return (pathlib.Path(__file__).parent / 'd.csv').read_text()")
    (package / "d.csv").write_text("a\n1\n")
    (package / "style.css").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    where = str(package.relative_to(tmp_path))
    runs = play("import some_data", "some_data.load()", f"import pandas as pd\npd.read_csv('{where}/d.csv')", f"open('{where}/style.css').read()")
    assert [seen(r) for r in runs] == [[], [], [f"read {where}/d.csv"], []]


def test_libraries_own_files_do_not_count(play):
    runs = play(
        "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots(); ax.plot([1, 2]); fig.canvas.draw()",
        "import sklearn.linear_model\n_ = sklearn.linear_model.LinearRegression()._repr_html_()",
        "import pandas as pd\npd.Timestamp('2013-01-01', tz='America/New_York')",
    )
    assert [seen(r) for r in runs] == [[], [], []]


def test_big_files_are_hashed_on_a_thread_and_runs_keep_their_order(play, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "INLINE_BYTES", 10)
    (tmp_path / "big.bin").write_bytes(os.urandom(3_000_000))
    runs = play("a = open('big.bin', 'rb').read()", "b = 1", "c = open('big.bin', 'rb').read(3)")
    assert [r.seq for r in runs] == [1, 2, 3]
    assert [len(r.files) for r in runs] == [1, 0, 1]
    assert all(use.digest == FileHasher().digest(tmp_path / "big.bin") for r in runs for use in r.files)


def test_environment_variables_leave_only_digests(play, monkeypatch):
    monkeypatch.setenv("FLIGHTS_URL", "hush-hush-value")
    runs = play(
        "import os\na = os.environ['FLIGHTS_URL']; b = os.getenv('NOT_SET_AT_ALL')",
        "def f():\n    return os.environ.get('FLIGHTS_URL')",
        "c = f()",
    )
    assert set(runs[0].environment) == {"FLIGHTS_URL", "NOT_SET_AT_ALL"}
    assert runs[0].environment["NOT_SET_AT_ALL"] == ""
    assert runs[2].environment == {"FLIGHTS_URL": runs[0].environment["FLIGHTS_URL"]}
    assert "hush" not in str(runs)


def test_the_hook_is_quiet_between_cells(play):
    play("x = 1")
    Path(sys.executable).stat()
    Path("between.txt").write_text("x")
    assert seen(play("y = 1")[-1]) == []
