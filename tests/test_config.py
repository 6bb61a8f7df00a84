"""Settings in pyproject.toml: what is wrong is said with file and key."""

import pytest

from mlops_nb.config import Settings, find_layout, read_settings
from mlops_nb.errors import BadInput, NotFound


def test_a_folder_with_a_dot_in_its_name_is_a_folder(tmp_path):
    folder = tmp_path / "work v1.2"
    folder.mkdir()
    assert find_layout(folder, {}).root == folder
    assert find_layout(folder / "not yet.ipynb", {}).root == folder


def test_settings_are_read(tmp_path):
    assert read_settings(tmp_path) == Settings()
    (tmp_path / "pyproject.toml").write_text("[tool.mlops_nb]\nstep_timeout = 3\npipelines = 'p'")
    assert read_settings(tmp_path) == Settings(step_timeout=3, pipelines="p")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("[tool.mlops_nb", BadInput, "not valid TOML"),
        ("tool = 3", BadInput, "must be a table, not 3"),
        ("[tool]\nmlops_nb = 'x'", BadInput, "must be a table, not 'x'"),
        ("[tool.mlops_nb]\nkernl = 'x'", NotFound, "did you mean 'kernel'"),
        ("[tool.mlops_nb]\nkernel = 3", BadInput, "kernel must be str, not 3"),
        ("[tool.mlops_nb]\nstep_timeout = -1", BadInput, "step_timeout must be seconds, not -1"),
        ("[tool.mlops_nb]\nstep_timeout = nan", BadInput, "step_timeout must be seconds, not nan"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, error, says):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(error, match=says) as caught:
        read_settings(tmp_path)
    assert "pyproject.toml" in str(caught.value)
