"""The worked example, for real: the notebook's own run and the headless pipeline give the same metric and the same boundary values."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mlops_nb.pipeline.run import KernelSetup, execute_notebook
from mlops_nb.project import Project

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "flight_delays.ipynb"
# What the notebook's own kernel holds at its end, addressed as a store would address it.
LOOK = """
import json
from mlops_nb.project import Project
with Project.find() as project:
    print(json.dumps({name: project.artifacts.digest(globals()[name], name=name) for name in NAMES}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("flights")
    (root / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, root / "notebooks")
    with Project.find(root, environ=dict(os.environ)) as opened:
        yield opened


@pytest.fixture(scope="module")
def headless(project):
    return project.pipelines.run(project.layout.root / "notebooks" / NOTEBOOK.name)


@pytest.fixture(scope="module")
def interactive(project, headless):
    """Digests of the boundary values after the notebook ran top to bottom in one kernel."""
    names = sorted({name for step in headless.steps for name in step.outputs})
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    source = LOOK.replace("NAMES", repr(names))
    notebook["cells"].append({"cell_type": "code", "id": "look", "metadata": {}, "source": source, "outputs": [], "execution_count": None})
    copy = project.layout.root / "notebooks" / "with_look.ipynb"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    target = project.layout.root / "executed.ipynb"
    environ = {**os.environ, "JPY_SESSION_NAME": str(project.layout.root / "notebooks" / NOTEBOOK.name)}
    ended = execute_notebook(copy, target, kernel=KernelSetup(environ, copy.parent))
    assert ended.error == ""
    executed = json.loads(target.read_text(encoding="utf-8"))
    return json.loads("".join(executed["cells"][-1]["outputs"][0]["text"]))


def test_every_step_of_the_example_passes_headless(headless):
    assert (headless.status, headless.error) == ("passed", "")
    assert {step.status for step in headless.steps} == {"ran"}


def test_boundary_values_of_the_headless_run_hash_equal_to_the_notebooks_own(headless, interactive):
    assert {name: ref.digest for step in headless.steps for name, ref in step.outputs.items()} == interactive


def test_both_ways_give_one_model_with_one_metric(project, interactive):
    assert interactive
    versions = project.registry.rows("select artifact, metrics, run_id from model_version where name = 'flight_late'")
    assert {bool(version["run_id"]) for version in versions} == {True, False}, "one version of each way"
    assert len({version["artifact"] for version in versions}) == 1
    assert len({version["metrics"] for version in versions}) == 1
    assert json.loads(versions[0]["metrics"])["auc"] > 0.7


def test_a_second_run_runs_nothing(project, headless):
    again = project.pipelines.run(project.layout.root / "notebooks" / NOTEBOOK.name)
    assert {step.component: (step.status, step.reason) for step in again.steps if step.status != "skipped"} == {}
    assert again.seconds < headless.seconds / 4


def test_the_committed_features_and_pipeline_are_the_notebooks_own(project, interactive):
    assert interactive
    repository = NOTEBOOK.parents[1]
    committed = [path for folder in ("features", "pipelines/flight_delays") for path in sorted((repository / folder).iterdir()) if path.is_file()]
    assert len(committed) > 10
    stale = [path.name for path in committed if path.read_text() != (project.layout.root / path.relative_to(repository)).read_text()]
    assert stale == [], "run mlops-nb capture and mlops-nb run on the notebook, and commit what they write"
