"""pytest collects the `%%test` cells of notebooks: `pytest notebook.ipynb` runs them against the newest artifacts.

Ids are `notebook.ipynb::cell-id::test_name`. Only notebooks with a `%%test` cell are taken; nbval's `--nbval` is left alone. Nothing
but pytest is imported here: every pytest run in an environment with mlops_nb loads this file.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.project.tests import CheckedTest
    from mlops_nb.records import TestCase

MARK = b"%%test"
PROJECTS = pytest.StashKey[dict[Path, "Project"]]()


class NotebookTestWarning(pytest.PytestWarning):
    """A test of severity warn that did not pass."""


class NotebookTestFailed(Exception):
    """A test of severity error that did not pass; `checked` is what became of it."""

    def __init__(self, checked: "CheckedTest") -> None:
        super().__init__(checked.result.message if checked.result else "")
        self.checked = checked


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option that turns the plugin off."""
    parser.addini("mlops_nb_notebooks", "collect the %%test cells of notebooks", type="bool", default=True)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "NotebookFile | None":
    """A notebook with test cells; a pipeline's own notebooks repeat the cells of the one they come from."""
    if file_path.suffix != ".ipynb" or not parent.config.getini("mlops_nb_notebooks"):
        return None
    if (file_path.parent / "pipeline.toml").exists() or MARK not in file_path.read_bytes():
        return None
    return NotebookFile.from_parent(parent, path=file_path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Commit what was recorded."""
    for project in config.stash.get(PROJECTS, {}).values():
        project.close()


def project_of(config: pytest.Config, path: Path) -> "Project":
    """The project that `path` belongs to, opened once in this process."""
    from mlops_nb.config import find_layout
    from mlops_nb.project import Project

    projects = config.stash.setdefault(PROJECTS, {})
    layout = find_layout(path)
    if layout.home not in projects:
        projects[layout.home] = Project(layout)
    return projects[layout.home]


def recorded_name(path: Path) -> str:
    """The notebook as the registry knows it, found without opening the registry: collecting writes nothing."""
    from mlops_nb.config import find_layout

    full, root = path.resolve(), find_layout(path).root
    return full.relative_to(root).as_posix() if full.is_relative_to(root) else full.as_posix()


class NotebookFile(pytest.File):
    """A notebook: one collector for each test cell."""

    def collect(self) -> Iterator["CellCollector"]:
        """The test cells as they stand in the file."""
        from mlops_nb.errors import MlopsError
        from mlops_nb.notebook.cells import read_notebook
        from mlops_nb.testing.cases import cases_of

        try:
            cases = cases_of(read_notebook(self.path), notebook=recorded_name(self.path))
        except MlopsError as error:
            raise self.CollectError(str(error)) from error
        for case in cases:
            yield CellCollector.from_parent(self, name=case.cell_id, case=case)


class CellCollector(pytest.Collector):
    """A test cell: one item."""

    def __init__(self, *, case: "TestCase", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def collect(self) -> Iterator["CellTest"]:
        """The cell's test."""
        yield CellTest.from_parent(self, name=self.case.name, case=self.case)


class CellTest(pytest.Item):
    """One test cell, run in a fresh namespace by the engine that gates and `mlops-nb test` use."""

    def __init__(self, *, case: "TestCase", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        """Run and record it."""
        tests = project_of(self.config, self.path).tests
        tests.register(self.case)
        checked = tests.run_case(self.case)
        if checked.blocks:
            raise NotebookTestFailed(checked)
        if checked.result and checked.result.outcome != "passed":
            self.report_warning(NotebookTestWarning(failure_text(checked)))

    def report_warning(self, warning: NotebookTestWarning) -> None:
        """Add to pytest's summary of warnings, past its filters: `-W error` must not make a test of severity warn fail."""
        path, line, _ = self.reportinfo()
        message = warnings.WarningMessage(warning, type(warning), str(path), line + 1)
        self.ihook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": message, "nodeid": self.nodeid, "when": "runtest", "location": None}
        )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The place, the failing line and the assertion with its values; anything else as pytest shows it."""
        if isinstance(excinfo.value, NotebookTestFailed):
            return failure_text(excinfo.value.checked)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The notebook, the cell's line in its file (from 0), and what to call it."""
        return self.path, source_line(self.path.read_text(encoding="utf-8"), self.case.cell_id), f"{self.case.cell_id}::{self.case.name}"


def failure_text(checked: "CheckedTest") -> str:
    """What became of a test: the place, the line with its source, the message, and an error's traceback."""
    from mlops_nb.project.tests import explained, place

    assert checked.run is not None
    case, run = checked.case, checked.run
    head = f"{place(case, run.line)}: {case.name} {run.outcome}"
    trace = [run.traceback] if run.outcome == "error" and run.traceback else []
    return "\n".join([head, explained(case, run), *trace])


def source_line(text: str, cell_id: str) -> int:
    """The line (from 0) of a notebook's file where the source of cell `cell_id` starts; 0 where it is not to be found.

    >>> source_line('{"cells": [{\\n"id": "a1",\\n"source": [\\n"%%test data"]}]}', "a1")
    3
    """
    at = text.find(f'"id": "{cell_id}"')
    source = text.find('"source"', at)
    return 0 if at < 0 or source < 0 else text.count("\n", 0, source) + 1
