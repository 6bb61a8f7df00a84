"""`mlops-nb gc` over real runs: what is gone was needed by nothing, and is made anew where it is needed after all."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from mlops_nb.errors import RegistryError
from mlops_nb.project import Project
from mlops_nb.project.collecting import collect
from mlops_nb.project.garbage import DAY, Policy
from mlops_nb.project.verify import pin
from mlops_nb.store.schema import columns

LOAD = "%%step load\nrows = [int(line) for line in pathlib.Path('data.txt').read_text().split()][:n]"
TOTAL = "%%step total\ntotal = {'sum': sum(rows)}\n%model total total --metrics error=0.5"
FEATURE = (
    "%%feature amounts --entity key --timestamp at\nimport pandas as pd\n"
    "pd.DataFrame({'key': [1, 2], 'at': pd.to_datetime(['2026-01-01', '2026-01-02']), 'amount': [1.0, 2.0]})"
)


PLAIN = TOTAL.split("\n%model", maxsplit=1)[0]


class Home:
    """A project whose notebook, files and clock the test turns."""

    def __init__(self, root, write_notebook):
        self.root = root
        self.write = write_notebook
        (root / ".git").mkdir()
        (root / "data.txt").write_text("1 2 3 40")
        self.project = Project.find(root, environ=dict(os.environ))

    def run(self, *, load=LOAD, total=TOTAL, feature=(), **parameters):
        cells = ("%load_ext mlops_nb\nimport pathlib", ("n = 3", ("parameters",)), load, total, *feature)
        self.write(*cells)
        found = self.project.pipelines.run(str(self.root / "nb.ipynb"), parameters, progress=False)
        assert found.status == "passed", found.error
        return found

    def plan(self, **parameters):
        return {step.component: (step.action, step.reason) for step in self.project.pipelines.plan("nb", parameters)}

    def age(self, days=2):
        """Let all files be `days` old."""
        then = time.time() - days * DAY
        for path in self.files():
            os.utime(path, (then, then))

    def files(self):
        folders = self.project.layout.artifacts, self.project.layout.runs
        return {path for folder in folders for path in folder.rglob("*") if path.is_file()}

    def collect(self, *, keep=1, older_than=0.0, dry_run=False):
        return collect(self.project, Policy(time.time(), keep, older_than), dry_run=dry_run)

    def counts(self):
        return {table: self.project.registry.rows(f"select count(*) as n from {table}")[0]["n"] for table in columns() if table != "event"}

    def holds(self, run):
        return {(step.component, name): self.project.artifacts.holds(ref.digest) for step in run.steps for name, ref in step.outputs.items()}


@pytest.fixture
def home(tmp_path, write_notebook):
    made = Home(tmp_path, write_notebook)
    yield made
    made.project.close()


def digests(run):
    return {(step.component, name): ref.digest for step in run.steps for name, ref in step.outputs.items()}


def test_results_of_code_that_is_gone_go_and_are_made_anew(home):
    other = LOAD.replace("[:n]", "[1:n]")
    first = home.run(load=other)
    second = home.run()
    home.age()
    before, counts = home.files(), home.counts()

    told = home.collect(dry_run=True)
    assert home.files() == before
    done = home.collect()
    assert done.removed == told.removed
    assert done.busy == ()
    assert {home.project.layout.home / file.path for file in done.removed} == before - home.files()
    assert home.counts() == counts  # the registry is untouched

    # All of the run that is kept is there, of the other what its model needs: the model, the data it was made from, its notebook.
    assert all(home.holds(second).values())
    assert home.holds(first) == {("load", "rows"): True, ("total", "total"): True}
    gone = {path.name for path in before - home.files()}
    assert gone == {"load.ipynb", "load.step.json", "load.done.json"}
    assert home.plan() == dict.fromkeys(("load", "total"), ("skip", f"unchanged since run {second.id[:8]}"))

    # Without a model nothing holds them.
    third = home.run(load=LOAD.replace("[:n]", "[2:n]"), total=PLAIN)
    home.run(total=PLAIN)
    home.age()
    home.collect()
    assert home.holds(third) == {("load", "rows"): False}
    home.write("%load_ext mlops_nb\nimport pathlib", ("n = 3", ("parameters",)), LOAD.replace("[:n]", "[2:n]"), PLAIN)
    home.project.pipelines.promote(str(home.root / "nb.ipynb"))
    assert home.plan()["load"] == ("run", "output `rows` is missing or damaged")
    assert not (home.root / third.steps[1].notebook).exists()  # nor is it skipped without anything to show
    again = home.run(load=LOAD.replace("[:n]", "[2:n]"), total=PLAIN)
    assert {step.component: step.status for step in again.steps} == {"load": "ran", "total": "ran"}
    assert digests(again) == digests(third)
    assert all(home.holds(again).values())


def test_what_a_run_would_skip_stays_with_its_executed_notebook(home):
    other = home.run(total=PLAIN, n=4)
    home.run(total=PLAIN)
    home.age()
    assert home.collect().removed == ()  # the same code with another parameter
    assert home.plan(n=4)["load"] == ("skip", f"unchanged since run {other.id[:8]}")

    (home.root / "data.txt").write_text("1 2 3 50")  # what it read is no more: it cannot be skipped
    newest = home.run(total=PLAIN)
    home.age()
    done = home.collect()
    assert set(home.holds(other).values()) == {False}
    assert all(home.holds(newest).values())
    assert all(not (home.root / step.notebook).exists() for step in other.steps)
    assert {share.reason for share in done.found.kept} == {"of a run that is kept"}


def test_a_step_whose_only_result_is_its_notebook_runs_again_without_it(home):
    made = home.run(total=PLAIN)
    (home.root / made.steps[1].notebook).unlink()
    assert home.plan()["load"][0] == "skip"
    assert home.plan()["total"] == ("run", f"file {made.steps[1].notebook}, which it writes, is gone")


def test_runs_stay_by_number_and_age(home):
    runs = [home.run(load=LOAD.replace("[:n]", f"[{start}:n]"), total=PLAIN) for start in (2, 1, 0)]
    home.age()
    assert home.collect(older_than=math.inf).removed == ()
    assert home.collect(older_than=DAY).removed == ()
    home.collect(keep=2)
    assert [all(home.holds(run).values()) for run in runs] == [False, True, True]


def test_models_features_and_pins_keep_their_artifacts(home):
    made = home.run(feature=(FEATURE,))
    ref = pin(home.project, "nb.ipynb", "value", {"pinned": 1}, "cell-run")
    home.run(load=LOAD.replace("[:n]", "[1:n]"))  # no step makes the feature any more
    home.age()
    done = home.collect()
    version = home.project.models.show("total@1")
    assert version.run_id == made.id
    assert home.project.artifacts.get(version.artifact) == {"sum": 6}
    assert all(map(home.project.artifacts.holds, version.manifest["data"]["inputs"].values()))
    assert home.project.artifacts.get(ref) == {"pinned": 1}
    values = home.project.registry.rows("select artifact from materialization")
    assert values
    assert all(home.project.artifacts.holds(row["artifact"]) for row in values)
    assert {"values of a feature view", "a model version", "pinned for verification"} <= {share.reason for share in done.found.kept}
    assert home.project.models.trace("total@1").steps


def test_young_files_foreign_files_and_runs_of_others_stay(home):
    home.run(load=LOAD.replace("[:n]", "[1:n]"), total=PLAIN)
    home.run(total=PLAIN)
    assert home.collect().removed == ()  # all of it was made just now
    lost = home.project.artifacts.folder / "ab" / ("ab" * 32)
    foreign = [lost, lost.with_name("README"), home.project.layout.runs / "elsewhere" / "load.ipynb"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    home.age()
    done = home.collect()
    assert done.removed
    assert all(path.exists() for path in foreign)
    assert next(share.files for share in done.found.kept if share.reason == "not recorded here") == 2


def test_a_value_stored_again_counts_as_young(home):
    ref = home.project.artifacts.put([1, 2], name="x", made_by="r")
    home.age()
    assert home.collect(dry_run=True).removed
    assert home.project.artifacts.put([1, 2], name="x", made_by="r") == ref
    assert home.collect().removed == ()
    assert home.project.artifacts.get(ref) == [1, 2]


def test_a_pipeline_that_cannot_be_read_keeps_all(home):
    first = home.run(load=LOAD.replace("[:n]", "[1:n]"), total=PLAIN)
    home.run(total=PLAIN)
    home.age()
    (home.root / "pipelines" / "nb" / "pipeline.toml").write_text("<<<<<<< mine")
    assert home.collect().removed == ()
    assert all(home.holds(first).values())


def test_without_a_whole_registry_nothing_is_removed(home):
    home.run()
    home.age()
    before = home.files()
    aside = home.project.layout.spool / "x.refused"
    aside.write_text("refused")
    with pytest.raises(RegistryError, match="set aside"):
        home.collect()
    aside.unlink()
    home.project.close()
    for path in home.project.layout.registry.parent.iterdir():
        path.unlink()
    with Project.find(home.root, environ=dict(os.environ)) as fresh:  # a new registry, which knows of nothing
        assert collect(fresh, Policy(time.time(), 1, 0.0)).removed == ()
    assert home.files() == before


def test_a_run_beside_it_is_not_disturbed(home):
    """The run makes the very values that are garbage just now, while collections follow one another."""
    home.run(load=LOAD.replace("[:n]", "[0:n]"), total=PLAIN)
    home.run(load=LOAD.replace("[:n]", "[1:n]"), total=PLAIN)
    home.age()
    home.write("%load_ext mlops_nb\nimport pathlib", ("n = 3", ("parameters",)), LOAD.replace("[:n]", "[:n][:]"), PLAIN)
    call = [sys.executable, "-c", "from mlops_nb.cli import main; main()", "run", "nb.ipynb", "--json"]
    with subprocess.Popen(call, cwd=home.root, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            home.collect()
            time.sleep(0.05)
        answer = json.loads(process.stdout.read())
    assert answer["status"] == "passed", answer["error"]
    home.collect()
    assert all(home.project.artifacts.holds(ref["digest"]) for step in answer["steps"] for ref in step["outputs"].values())


def test_the_command_says_what_it_does(home, mlops_nb_command):
    home.run(load=LOAD.replace("[:n]", "[1:n]"), total=PLAIN)
    home.run(total=PLAIN)
    home.age()
    dry = mlops_nb_command("gc", "--dry-run", "--keep", "1", "--older-than", "0", "--json")
    assert dry.returncode == 0, dry.stderr
    told = json.loads(dry.stdout)
    assert (told["dry_run"], told["files"], told["bytes"]) == (True, len(told["removed"]), sum(file["size"] for file in told["removed"]))
    done = mlops_nb_command("gc", "--keep", "1", "--older-than", "0")
    assert done.stdout.startswith(f"{told['files']} files, ")
    assert not any((home.project.layout.home / file["path"]).exists() for file in told["removed"])
    assert mlops_nb_command("gc", "--older-than", "0").stdout.startswith("0 files, 0 bytes removed")
    assert mlops_nb_command("gc", "--older-than", "never").returncode == 0
    for wrong in (("--older-than", "soon"), ("--keep", "0")):
        refused = mlops_nb_command("gc", *wrong)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
