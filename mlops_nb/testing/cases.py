"""A `%%test` cell -> the test case that can run without its notebook (pure)."""

from collections.abc import Sequence

from mlops_nb.hashing import text_digest
from mlops_nb.notebook.analysis import analyze, normalized
from mlops_nb.notebook.cells import plain_python
from mlops_nb.notebook.support import support_code
from mlops_nb.records import Cell, TestCase


def build_case(cell: Cell, sources: Sequence[str], *, notebook: str, step: str = "") -> TestCase:
    """The test in `cell`: what its code needs comes from `sources` (plain Python in the order it ran).

    `names` are the data it reads, those of `--on` always among them; imports, functions and constants stand in `setup`.
    """
    source = plain_python(cell.source)
    found = analyze(source)
    reads = found.uses | frozenset().union(*found.deferred.values()) - found.defs
    support = support_code(reads, sources)
    on = tuple(cell.options["on"])
    return TestCase(
        name=cell.name,
        kind=cell.options["kind"],
        notebook=notebook,
        cell_id=cell.id,
        source=source,
        severity=cell.options["severity"],
        on=on,
        names=tuple(sorted(support.leftover | set(on))),
        setup=support.code,
        version=case_version(source, kind=cell.options["kind"], severity=cell.options["severity"], on=on),
        step=cell.step or step,
    )


def cases_of(cells: Sequence[Cell], *, notebook: str) -> tuple[TestCase, ...]:
    """The tests among a notebook's cells, as they stand there, run or not."""
    sources = [plain_python(cell.source) for cell in cells if cell.kind not in ("test", "skip")]
    return tuple(build_case(cell, sources, notebook=notebook) for cell in cells if cell.kind == "test")


def case_version(source: str, *, kind: str, severity: str, on: Sequence[str]) -> str:
    """What has to be shown again after a change: code without comments and formatting, kind, severity, and what it is about.

    The setup is no part of it: it holds the parameters' defaults too, which another run may give other values.
    """
    return text_digest(normalized(source), kind, severity, *sorted(on))
