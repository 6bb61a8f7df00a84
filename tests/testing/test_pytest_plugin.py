"""`pytest notebook.ipynb`: the plugin in pytest runs of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_nb.config import find_layout
from mlops_nb.project import Project, new_id
from mlops_nb.records import Fact

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def notebook(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a notebook into the project of this test."""
    monkeypatch.delenv("MLOPS_NB_HOME", raising=False)
    (pytester.path / ".mlops_nb").mkdir()

    def write(*sources: str, name: str = "nb.ipynb") -> Path:
        cells = [
            {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": s.splitlines(keepends=True)}
            for i, s in enumerate(sources)
        ]
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1))
        return path

    return write


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with this plugin and no other that the environment may have."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return lambda *arguments: pytester.runpytest_inprocess("-p", "mlops_nb.pytest_plugin", *arguments)


def made(folder: Path, values: dict[str, Any], notebook: str = "nb.ipynb") -> None:
    """Record a run of the notebook's pipeline that gave out `values`."""
    with Project(find_layout(folder)) as project:
        run_id = new_id()
        outputs = {name: project.artifacts.put(value, name=name, made_by=run_id) for name, value in values.items()}
        step = {"id": new_id(), "run_id": run_id, "component": "load", "position": 0, "key": "k", "status": "ran", "started": "2013", "seconds": 1.0}
        step |= {key: {} for key in ("inputs", "files", "environment", "parameters")} | dict.fromkeys(("notebook", "cell_id", "error", "reason"), "")
        run = {
            "id": run_id,
            "pipeline": "nb",
            "version": "v",
            "kind": "pipeline",
            "notebook": notebook,
            "parameters": {},
            "actor": "ana",
            "started": "2013",
        }
        project.registry.record([Fact("run", run), Fact("step_run", {**step, "outputs": outputs})])


def results(folder: Path) -> list[tuple[str, str]]:
    with Project(find_layout(folder)) as project:
        return [(row["test"], row["outcome"]) for row in project.registry.rows("select test, outcome from test_result order by test, created")]


def test_cells_are_items_with_readable_ids(notebook, run: Run) -> None:
    notebook("limit = 3", "%%test data --name small\nassert 2 < limit", "print(1)", "%%test infra\ndef test_a():\n    assert limit")
    result = run("nb.ipynb", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["nb.ipynb::c1::small PASSED*", "nb.ipynb::c3::test_c3 PASSED*"])


def test_the_newest_artifacts_are_tested_and_a_failure_shows_cell_line_and_values(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("flights = load()", "%%test data --on flights\n\nassert flights.delay.max() < 15")
    made(pytester.path, {"flights": pd.DataFrame({"delay": [3.0, 40.0]})})
    result = run("nb.ipynb")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "nb.ipynb:c1, line 3: test_flights failed",
            "*3 | assert flights.delay.max() < 15",
            "*assert *40.0* < 15",
            "FAILED nb.ipynb::c1::test_flights*",
        ]
    )
    result.stdout.no_fnmatch_line("*runtest*")
    assert results(pytester.path) == [("test_flights", "failed")]


def test_an_error_shows_the_users_traceback(notebook, run: Run) -> None:
    notebook("def look(row):\n    return row['origin']", "%%test data --name keyed\nassert look({})")
    result = run("nb.ipynb")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*2 | assert look({})", "*KeyError: 'origin'"])


def test_without_a_run_it_says_what_to_do(notebook, run: Run) -> None:
    notebook("flights = load()", "%%test data --on flights\nassert len(flights)")
    run("nb.ipynb").stdout.fnmatch_lines(["*no artifact holds flights; run the pipeline first: mlops-nb run nb.ipynb"])


def test_a_warning_test_passes_with_a_warning(notebook, run: Run) -> None:
    notebook("%%test data --name soft --severity warn\nassert 1 == 2", "%%test data --name hard\nassert True")
    result = run("nb.ipynb", "-W", "error")
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*NotebookTestWarning: nb.ipynb:c0, line 2: soft failed*"])


def test_k_chooses_and_lf_repeats(notebook, run: Run) -> None:
    notebook("%%test data --name good\nassert True", "%%test data --name bad\nassert False")
    run("nb.ipynb", "-k", "good").assert_outcomes(passed=1, deselected=1)
    run("nb.ipynb").assert_outcomes(passed=1, failed=1)
    run("nb.ipynb", "--lf").assert_outcomes(failed=1, deselected=1)
    run("nb.ipynb::c0::good").assert_outcomes(passed=1)


def test_only_notebooks_with_test_cells_are_collected(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("x = 1", name="plain.ipynb")
    notebook("%%test data\nassert True", name="tested.ipynb")
    notebook("%%test data\nassert True", name="pipelines/nb/load.ipynb")
    (pytester.path / "pipelines" / "nb" / "pipeline.toml").write_text("")
    notebook("%%test data\nassert True", name=".mlops_nb/runs/1/load.ipynb")
    result = run("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == ["tested.ipynb::c0::test_c0"]


def test_collecting_writes_nothing(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("%%test data\nassert True")
    run("--collect-only").assert_outcomes()
    assert list((pytester.path / ".mlops_nb").iterdir()) == []


def test_an_ini_option_turns_it_off(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("%%test data\nassert True")
    pytester.makeini("[pytest]\nmlops_nb_notebooks = false")
    assert run().ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_broken_notebook_is_a_collection_error_that_names_it(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("%%test data\nassert True")
    (pytester.path / "broken.ipynb").write_text('{"cells": [ %%test')
    notebook("%%test dats\nassert True", name="misspelt.ipynb")
    result = run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*broken.ipynb: is no valid notebook*", "*misspelt.ipynb:cell 1 (id c0)*'dats' is none of data, model, infra*"])


def test_junit_has_the_notebook_and_the_cells_line(notebook, run: Run, pytester: pytest.Pytester) -> None:
    path = notebook("x = 1", "%%test data --name bad\nassert 17 >= 18")
    run("nb.ipynb", "--junitxml=out.xml", "-o", "junit_family=xunit1")
    xml = (pytester.path / "out.xml").read_text()
    (line,) = [n for n, text in enumerate(path.read_text().splitlines()) if "%%test" in text]
    assert f'file="nb.ipynb" line="{line}"' in xml
    assert "assert 17 &gt;= 18" in xml


def test_results_are_recorded_and_the_test_registered(notebook, run: Run, pytester: pytest.Pytester) -> None:
    notebook("%%test data --name good\nassert True")
    run("nb.ipynb")
    assert results(pytester.path) == [("good", "passed")]
    with Project(find_layout(pytester.path)) as project:
        assert [(c.name, c.notebook, c.cell_id) for c in project.tests.cases()] == [("good", "nb.ipynb", "c0")]


def test_it_loads_nothing_but_itself(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("def test_a():\n    import sys\n    print('loaded', sorted(m for m in sys.modules if m.startswith('mlops_nb')))")
    result = pytester.runpytest_subprocess("-s", "-p", "mlops_nb.pytest_plugin")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*loaded [[]'mlops_nb', 'mlops_nb.pytest_plugin'[]]*"])
