"""The worked example as a file: what it shows. That it runs, and gives the same headless, is tested end to end."""

import json
from pathlib import Path

import pytest

from mlops_nb.features.define import definition
from mlops_nb.notebook.cells import plain_python, read_notebook

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "flight_delays.ipynb"


@pytest.fixture(scope="module")
def cells():
    return read_notebook(NOTEBOOK)


def test_it_is_kept_without_outputs_and_with_readable_ids():
    raw = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    ids = [cell["id"] for cell in raw]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("-", "").isalpha() for name in ids)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in raw if cell["cell_type"] == "code")


def test_it_shows_magics_and_tags_among_ordinary_cells(cells):
    by_magic = {cell.name for cell in cells if cell.source.startswith("%%step")}
    by_tag = {cell.step for cell in cells if cell.kind == "step" and not cell.source.startswith("%%step")}
    assert by_magic == {"load_flights", "train", "evaluate"}
    assert by_tag == {"load_weather", "training_set", "report"}
    assert [cell.name for cell in cells if cell.kind == "feature"] == ["airport_weather", "recent_lateness"]
    assert {cell.options["kind"] for cell in cells if cell.kind == "test"} == {"data", "model", "infra"}
    assert [cell.id for cell in cells if cell.kind == "parameters"] == ["parameters"]
    assert any(cell.kind == "code" and not cell.step for cell in cells)


def test_its_features_need_nothing_but_frames_of_steps(cells):
    sources = [plain_python(cell.source) for cell in cells]
    views = {cell.name: definition(cell, sources=sources)[0] for cell in cells if cell.kind == "feature"}
    assert views["airport_weather"].inputs == ("weather",)
    assert views["recent_lateness"].inputs == ("flights",)
    assert views["recent_lateness"].entity == ("origin", "carrier")
