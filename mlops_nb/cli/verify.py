"""`mlops-nb verify NAME`: run what is behind a value again and compare."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, counted, shorten

if TYPE_CHECKING:
    from mlops_nb.project.verification import Check, Verification

EXIT_DIFFERENT = 1
FIRST_LINE = 50


@click.command()
@click.argument("name", metavar="NAME|MODEL[@N]|file:PATH")
@click.option("--notebook", default="", metavar="NOTEBOOK.ipynb", help="The notebook whose variable NAME is (default: the one that made it last).")
@click.option(
    "--rtol", type=click.FloatRange(min=0), default=1e-9, show_default=True, help="How far floats of a stored value may differ, relatively."
)
@json_option
@click.pass_obj
def verify(session: Session, name: str, notebook: str, rtol: float) -> Report:
    """Run the cells behind NAME again, headless, in a folder of their own, and compare what they leave with what was recorded.

    NAME is a variable of a captured notebook, a model version, or a file that a cell wrote. Nothing of yours is changed. The exit
    code is 0 where it came out the same, 1 where it did not or cannot be told, 2 where there is no such NAME.

    \b
    Example:
      mlops-nb verify auc
      mlops-nb verify flight_late@3
      mlops-nb verify file:scores.csv --rtol 1e-6
    """
    from mlops_nb.project.verify import verify as verified

    return report(verified(session.project, name, notebook=notebook, rtol=rtol))


def report(found: "Verification") -> Report:
    """The verdict first, then the first difference, files, and each cell."""
    values = {"by": found.value, "executed": found.notebook}
    if found.error:
        values["stopped"] = f"cell {found.failed_cell}: {found.error}" if found.failed_cell else found.error
    if found.first:
        values["first difference"] = difference(found.first)
    return Report(
        title=f"{found.label}: {found.verdict} ({counted(found.cells, 'cell')} run again in {found.seconds:.1f} s)",
        values=values,
        tables=(Table(("cell", "first line", "compared", "result"), _rows(found), "Cells", cut=("first line",)),),
        notes=found.notes,
        data=_data(found),
        exit_code=0 if found.passed else EXIT_DIFFERENT,
    )


def difference(check: "Check") -> str:
    """A difference in words."""
    return f"[{check.execution_count}] {check.cell_id}: {check.name} was {check.recorded[:16]}, is {check.rerun[:16]}"


def _rows(found: "Verification") -> tuple[tuple[str, ...], ...]:
    """A line for each cell of a slice; of a pipeline's run, for each step."""
    lines = {run.id: (f"[{run.execution_count}]", _first_line(run.source)) for run in found.runs}
    lines = lines or {check.run: (check.cell_id, "") for check in found.checks}
    return tuple((*line, *_compared(found, run)) for run, line in lines.items())


def _compared(found: "Verification", run: str) -> tuple[str, str]:
    compared = [check for check in found.checks if check.run == run and check.compared]
    differing = ", ".join(check.name for check in compared if check.differs)
    result = f"differs: {differing}" if differing else "same" if compared else "nothing to compare"
    return ", ".join(check.name for check in compared), result


def _first_line(source: str) -> str:
    return shorten(next((line for line in source.split("\n") if line.strip()), ""), FIRST_LINE)


def _data(found: "Verification") -> dict[str, object]:
    plain = ("id", "label", "verdict", "cells", "seconds", "value", "notebook", "error", "failed_cell")
    return {
        **{name: getattr(found, name) for name in plain},
        "first": asdict(found.first) if found.first else None,
        "checks": [asdict(check) for check in found.checks],
        "inputs": [asdict(state) for state in found.inputs],
        "notes": list(found.notes),
        "runs": [run.id for run in found.runs],
    }
