"""`mlops-nb test` and `mlops-nb tests`: reports and exit codes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops_nb.cli import Session, cli
from mlops_nb.config import find_layout
from mlops_nb.display import Report
from mlops_nb.errors import GateBlocked, NotFound
from mlops_nb.notebook.cells import parse_cell
from mlops_nb.project import Project

Command = Callable[..., Report]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Run a command on a project with a passing, a failing and a warning test, each of them run once in a notebook."""
    (tmp_path / ".mlops_nb").mkdir()
    with Project(find_layout(tmp_path, {}), environ={}) as project:
        sources = {
            "good": "%%test data --name good\nassert True",
            "bad": "%%test model --name bad\nassert 17 >= 18",
            "soft": "%%test infra --name soft --severity warn\nassert 1 == 2",
        }
        for cell_id, source in sources.items():
            cell = parse_cell(source, id=cell_id, notebook="nb.ipynb")
            if cell_id == "bad":
                with pytest.raises(GateBlocked):
                    project.tests.run_cell({}, cell, sources=())
            else:
                project.tests.run_cell({}, cell, sources=(), show=lambda _: None)
        yield lambda *arguments: cli.main(list(arguments), standalone_mode=False, obj=Session(project=project))


def test_a_failing_error_test_ends_with_one_and_is_explained(command: Command) -> None:
    report = command("test")
    assert report.exit_code == 1
    assert report.title == "tests: 1 passed, 1 blocked, 1 warned"
    text = report.text(140)
    assert "bad failed: nb.ipynb:bad, line 2" in text
    assert "assert 17 >= 18" in text
    assert "warning: soft failed: nb.ipynb:soft, line 2" in text


@pytest.mark.parametrize("chosen", [("good",), ("--kind", "data"), ("soft",), ("--kind", "infra")], ids=" ".join)
def test_passing_and_warning_tests_end_with_zero(command: Command, chosen: tuple[str, ...]) -> None:
    assert command("test", *chosen).exit_code == 0


def test_the_list_shows_last_outcomes_and_ends_with_zero(command: Command) -> None:
    report = command("tests")
    assert report.exit_code == 0
    assert [(row[0], row[3]) for row in report.tables[0].rows] == [("bad", "failed"), ("good", "passed"), ("soft", "failed")]


def test_json_has_what_the_table_has_and_more(command: Command) -> None:
    (bad,) = json.loads(command("test", "bad", "--json").json())
    assert (bad["name"], bad["outcome"], bad["line"], bad["asserts"]) == ("bad", "failed", 2, 1)
    assert bad["message"] == "assert 17 >= 18"


def test_an_unknown_name_is_an_error_with_near_names(command: Command) -> None:
    with pytest.raises(NotFound, match="no test named 'goood'; did you mean 'good'"):
        command("test", "goood")
