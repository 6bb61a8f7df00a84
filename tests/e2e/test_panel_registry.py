"""What the panel shows out of the registry: components, features, tests and headless runs."""

import os
import subprocess
import sys

import pytest
from playwright.sync_api import expect

CELLS = (
    "%load_ext mlops_nb",
    "import pandas as pd",
    "%%step load\nraw = pd.DataFrame({'origin': ['JFK', 'LGA'], 'known_at': pd.to_datetime(['2013-01-01', '2013-01-02']), 'temp': [1.0, 2.0]})",
    '%%feature weather --entity origin --timestamp known_at --owner ann --tags hourly --description "Temperature at the origin"\nraw',
    "%%test data --name raw_is_whole --on raw\nassert len(raw) == 2",
    "%%test data --name raw_is_long --on raw --severity warn\nassert len(raw) == 3",
    ("mean = float(raw.temp.mean())", ["step:summary"]),
)


@pytest.fixture
def worked(notebook):
    """A notebook with two steps, a feature, a test that passes and one that warns; every cell ran."""
    book = notebook(*CELLS)
    book.run(*(f"c{number}" for number in range(len(CELLS))))
    book.expect_states(c6="fresh")
    book.command("docmanager:save")
    return book


def test_components_features_and_tests_appear_as_their_cells_run(worked):
    components = worked.section("components")
    for name in ("load", "weather", "summary"):
        expect(components.locator(f"[data-name={name}]")).to_contain_text("not promoted")
    expect(components.locator("[data-name=load]")).to_contain_text("raw")
    feature = worked.section("features").locator("[data-name=weather]")
    for text in ("2 rows", "Temperature at the origin", "ann", "hourly", "origin"):
        expect(feature).to_contain_text(text)
    tests = worked.section("tests")
    expect(tests.locator("[data-name=raw_is_whole]")).to_have_attribute("data-outcome", "passed")
    expect(tests.locator("[data-name=raw_is_long]")).to_have_attribute("data-outcome", "failed")
    expect(tests.locator("[data-name=raw_is_long]")).to_contain_text("warns only")
    tests.get_by_role("button", name="raw_is_long").click()
    expect(worked.row("c5")).to_have_attribute("aria-selected", "true")


def test_features_are_searched(worked):
    features = worked.section("features")
    box = features.get_by_role("searchbox")
    for query, shown in (("temper", 1), ("nothing like it", 0), ("ann", 1), ("", 1)):
        box.fill(query)
        expect(features.locator("[data-name=weather]")).to_have_count(shown)


def test_a_headless_run_shows_up_by_itself(worked):
    command = "from mlops_nb.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "run", "nb.ipynb"], cwd=worked.folder, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = worked.section("run")
    expect(run).to_contain_text("passed", timeout=20000)
    for name in ("load", "weather", "summary"):
        expect(run).to_contain_text(name)
        expect(worked.section("components").locator(f"[data-name={name}]")).not_to_contain_text("not promoted")


def clean():
    return {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MLOPS_NB"))}
