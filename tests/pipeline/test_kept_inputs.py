"""What only a run can see: an input changed in place behind promotion's back, outputs that share an object."""

import os
from types import SimpleNamespace

import pytest

from mlops_nb.errors import BadInput
from mlops_nb.pipeline.sharing import changed_elsewhere, check_apart, read_elsewhere
from mlops_nb.project import Project

HIDDEN = ("%%step a\nx = []", "%%step b\nfound = list(map(x.__iadd__, [[1]]))", "%%step c\nprint(x)")


def test_an_input_that_others_read_is_not_changed_in_silence(tmp_path, write_notebook):
    (tmp_path / ".git").mkdir()
    project = Project.find(tmp_path, environ=dict(os.environ))
    notebook = write_notebook(*HIDDEN)
    stopped = project.pipelines.run(notebook)
    assert [step.status for step in stopped.steps] == ["ran", "failed", "not run"]
    assert "step b changes `x` in place, unseen by promotion" in stopped.error
    assert "mlops-nb capture nb.ipynb" in stopped.error

    assert project.pipelines.capture(notebook).status == "passed"
    again = project.pipelines.run(notebook)
    assert again.status == "passed", again.error
    assert project.artifacts.get(again.steps[1].outputs["x"]) == [1]
    project.close()


@pytest.mark.parametrize(
    "other", [lambda x: [x], lambda x: {"k": (x,)}, lambda x: x, lambda x: SimpleNamespace(held=x)], ids=["list", "dict", "same", "instance"]
)
def test_outputs_that_share_an_object_are_told(other):
    shared = [1]
    check_apart({"x": shared, "y": other(shared)}, (), "a")
    check_apart({"x": shared, "y": other([1])}, ("y",), "a")
    with pytest.raises(BadInput, match="step a gives out `y` and `x`, which share an object"):
        check_apart({"x": shared, "y": other(shared)}, ("y",), "a")


def test_views_of_one_array_share_it_and_frames_do_not():
    import numpy as np
    import pandas as pd

    array = np.zeros((4, 4))
    with pytest.raises(BadInput):
        check_apart({"x": array, "y": array[1:].T}, ("y",), "a")
    frame = pd.DataFrame(array)
    check_apart({"x": frame, "y": frame[[0]], "z": array.copy()}, ("y", "x"), "a")


def test_who_changes_and_who_reads_is_told_from_the_components(tmp_path, write_notebook):
    (tmp_path / ".git").mkdir()
    project = Project.find(tmp_path, environ=dict(os.environ))
    cells = ("def add(v):\n    v.append(1)", "%%step a\nx, y, z = [], [], 1", "%%step b\nadd(x)", "%%step c\nprint(x, y, z)", "%%step d\nprint(y)")
    pipeline = project.pipelines.build(write_notebook(*cells))
    by_name = {component.name: component for component in pipeline.components}
    assert changed_elsewhere(pipeline, by_name["a"]) == ("x",)
    assert read_elsewhere(pipeline, by_name["b"]) == ()
    assert read_elsewhere(pipeline, by_name["c"]) == ("y",)
    project.close()
