"""Verification in real kernels: what comes out again, what does not and where, and nothing of the user's is touched."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_client import Kernel

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.project import Project
from mlops_nb.project.verify import verify

CELLS = {
    "setup": "import os, pathlib, random, time\nimport numpy as np, pandas as pd\nfrom sklearn.linear_model import LogisticRegression",
    "seed": "random.seed(3)\nrng = np.random.default_rng(4)",
    "read": "df = pd.read_csv('in.csv')",
    "derive": "df['c'] = df.a * random.random() + rng.random(len(df))",
    "aside": "started = time.time()\ntotal = df.c.sum()",
    "write": "pathlib.Path('out').mkdir(exist_ok=True)\ndf.to_csv('out/out.csv', index=False)",
    "draw": "drawn = random.SystemRandom().random()",
    "twice": "doubled = drawn * 2",
    "wobble": "wobble = np.array([1.0, 2.0]) + (time.time_ns() // 1000 % 10**6) * 1e-16",
    "pin": "from mlops_nb.project.verify import pin\n"
    "pin(get_ipython()._mlops_nb.project, 'notebooks/nb.ipynb', 'wobble', wobble, get_ipython()._mlops_nb.watcher.history.runs[-1].id)",
    "fit": "model = LogisticRegression().fit(df[['a']], df.b > 2)",
    "register": "%model flight model",
    "fail": "half = [1]\n1 / 0",
    "mend": "half.append(2)",
    "absolute": "pathlib.Path('ROOT/notebooks/absolute.txt').write_text('written')\nabsolute = 1",
    "guarded": "guarded = pathlib.Path(os.environ['PROJECT_ROOT'], 'guarded.txt').write_text('written')",
    "generator": "opaque = (number for number in range(3))",
    "nap": "time.sleep(float(os.environ.get('NAP', '0')))\nnap = 1",
    "secret": "api_key = 'sk-abcdefabcdefabcdef0123456789'",
    "module": "import helpers\nhelped = helpers.double(4)",
    "drawing": "drawing = (number for number in np.arange(3))",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A project whose notebook ran in a kernel; `PROJECT_ROOT` names its folder."""
    root = tmp_path_factory.mktemp("verified")
    (root / ".git").mkdir()
    folder = root / "notebooks"
    folder.mkdir()
    (folder / "in.csv").write_text("a,b\n1,2\n3,4.5\n5,1\n")
    (folder / "helpers.py").write_text("def double(value):\n    return value * 2\n")
    kernel = Kernel(folder, {"JPY_SESSION_NAME": str(folder / "nb.ipynb"), "PROJECT_ROOT": str(root)})
    kernel.run("%load_ext mlops_nb", "load")
    for name, source in CELLS.items():
        answer = kernel.run(source.replace("ROOT/", f"{root}/"), name)
        assert answer.status == ("error" if name == "fail" else "ok"), answer.traceback
    kernel.close()
    return root


@pytest.fixture
def project(home):
    environ = {**os.environ, "PROJECT_ROOT": str(home)}
    with Project.find(home / "notebooks", environ=environ) as opened:
        yield opened


def contents(root: Path) -> dict[str, str]:
    """Path -> hash of all files of the user's."""
    files = (path for path in root.rglob("*") if path.is_file() and ".mlops_nb" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() + str(path.stat().st_mtime_ns) for path in files}


def differing(found):
    return [(check.cell_id, check.name) for check in found.checks if check.differs]


def test_a_value_that_comes_out_again_is_identical_and_no_file_is_touched(home, project):
    before = contents(home)
    found = verify(project, "total")
    assert (found.verdict, found.error, found.notes) == ("identical", "", ())
    assert [run.cell_id for run in found.runs] == ["setup", "seed", "read", "derive", "aside"]
    assert ("aside", "started") in differing(found)  # it differs, but it is not what was asked for
    assert {check.name for check in found.checks if check.compared} >= {"df", "rng", "total"}
    assert [(state.path, state.state) for state in found.inputs] == [("notebooks/in.csv", "same")]
    assert contents(home) == before


def test_a_file_that_comes_out_again_is_identical_and_the_one_there_stays(home, project):
    before = contents(home)
    found = verify(project, "file:notebooks/out/out.csv")
    assert found.verdict == "identical", found
    assert [run.cell_id for run in found.runs][-1] == "write"
    assert contents(home) == before


def test_an_unseeded_draw_is_named_as_the_first_difference(project):
    found = verify(project, "doubled")
    assert found.verdict == "different"
    assert (found.first.cell_id, found.first.name) == ("draw", "drawn")
    assert found.first.recorded != found.first.rerun
    assert all(len(digest) == 16 for digest in (found.first.recorded, found.first.rerun))


def test_a_changed_input_is_named_and_the_difference_found(home, project):
    file = home / "notebooks" / "in.csv"
    kept = file.read_bytes()
    try:
        file.write_text("a,b\n1,2\n3,4.5\n5,7\n")
        found = verify(project, "total")
        assert [(state.path, state.state) for state in found.inputs] == [("notebooks/in.csv", "changed")]
        assert found.notes[0].startswith("file changed since: notebooks/in.csv")
        assert (found.first.cell_id, found.first.name) == ("read", "df")
        file.unlink()
        gone = verify(project, "total")
        assert gone.verdict == "different"
        assert (gone.failed_cell, gone.notes[0]) == ("read", "file gone: notebooks/in.csv")
        assert gone.error.startswith("FileNotFoundError")
    finally:
        file.write_bytes(kept)


def test_a_pinned_value_that_differs_a_little_is_equal_within_a_tolerance(project):
    assert verify(project, "wobble", notebook=str(project.layout.root / "notebooks" / "nb.ipynb")).verdict == "equal within tolerance"
    assert verify(project, "wobble", rtol=0.0).verdict == "different"


def test_a_model_version_comes_out_again(project):
    found = verify(project, "flight@1")
    assert found.verdict == "identical", found
    assert [run.cell_id for run in found.runs] == ["setup", "seed", "read", "derive", "fit"] or [run.cell_id for run in found.runs][-1] == "fit"


def test_a_cell_that_failed_after_it_had_made_something_may_fail_again(project):
    found = verify(project, "half")
    assert (found.verdict, found.error) == ("identical", ""), found
    assert [run.cell_id for run in found.runs] == ["fail", "mend"]


def test_a_value_as_an_earlier_cell_left_it(project):
    count = next(run.execution_count for run in verify(project, "half").runs if run.cell_id == "fail")
    found = verify(project, "half", at=f"[{count}]")
    assert (found.verdict, [run.cell_id for run in found.runs]) == ("identical", ["fail"])
    with pytest.raises(NotFound, match="no cell run named '999'"):
        verify(project, "half", at="999")


def test_paths_of_the_project_written_out_are_those_of_the_scratch_folder(home, project):
    before = contents(home)
    found = verify(project, "absolute")
    assert (found.verdict, found.notes) == ("identical", ("paths of the project written out in absolute were led to the scratch folder",))
    assert contents(home) == before


def test_a_cell_that_reaches_for_the_users_files_is_stopped(home, project):
    before = contents(home)
    found = verify(project, "guarded")
    assert found.verdict == "different"
    assert found.failed_cell == "guarded"
    assert "does not let a slice change" in found.error
    assert contents(home) == before


def test_modules_of_the_project_come_along(project):
    assert verify(project, "helped").verdict == "identical"


def test_what_has_no_digest_is_not_comparable_whatever_stands_before_it(project):
    assert verify(project, "opaque").verdict == "not comparable"
    found = verify(project, "drawing")
    assert (found.verdict, found.first) == ("not comparable", None)
    assert "setup" in {check.cell_id for check in found.checks if check.compared}


def test_a_cell_that_held_a_secret_cannot_run_again(project):
    with pytest.raises(BadInput, match="a secret was taken out of this cell"):
        verify(project, "api_key")


@pytest.mark.parametrize(
    ("name", "said"), [("totel", "'total'"), ("flght@1", "'flight'"), ("file:notebooks/out/ot.csv", "out.csv"), ("flight@9", "@1")]
)
def test_a_name_that_nothing_made_exits_with_2_and_near_names(home, mlops_nb_command, name, said):
    done = mlops_nb_command("verify", name, folder=home / "notebooks")
    assert done.returncode == 2
    assert said in done.stderr
    assert not list((home / ".mlops_nb" / "verify").glob("*/work"))


def test_a_notebook_that_was_not_captured_is_named_with_near_ones(project):
    with pytest.raises(NotFound, match=r"did you mean 'notebooks/nb\.ipynb'"):
        verify(project, "total", notebook=str(project.layout.root / "notebooks" / "nbb.ipynb"))


def test_the_command_answers_with_exit_codes_and_json(home, mlops_nb_command):
    folder = home / "notebooks"
    good = mlops_nb_command("verify", "nap", folder=folder, NAP="0.01", PROJECT_ROOT=str(home))
    assert good.returncode == 0, good.stderr
    assert "nap: identical (2 cells run again" in good.stdout
    assert "environment variables that are others now: NAP" in good.stdout
    bad = mlops_nb_command("verify", "doubled", "--notebook", "nb.ipynb", "--json", folder=folder, PROJECT_ROOT=str(home))
    assert bad.returncode == 1
    data = json.loads(bad.stdout)
    assert (data["verdict"], data["first"]["name"], data["first"]["cell_id"]) == ("different", "drawn", "draw")
    assert (home / data["notebook"]).is_file()


def test_an_interrupt_leaves_nothing_half_done(home):
    before, folders = contents(home), set((home / ".mlops_nb" / "verify").iterdir())
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background jobs start with it ignored
    command = [sys.executable, "-c", f"{heed}; from mlops_nb.cli import main; main()", "verify", "nap"]
    environ = {**os.environ, "NAP": "60"}
    process = subprocess.Popen(command, cwd=home / "notebooks", env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not any((folder / "slice.ipynb").exists() for folder in _new(home, folders)):
        time.sleep(0.1)
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.strip().splitlines()[-1]) == (130, "interrupted")
    assert _new(home, folders) == set()
    assert contents(home) == before


def _new(home: Path, folders: set[Path]) -> set[Path]:
    return set((home / ".mlops_nb" / "verify").iterdir()) - folders
