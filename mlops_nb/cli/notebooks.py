"""`mlops-nb notebook PATH`: a notebook's cells with their states."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, shorten
from mlops_nb.errors import NotFound
from mlops_nb.records import CellView

if TYPE_CHECKING:
    from mlops_nb.project.notebooks import NotebookView

COLUMNS = ("cell", "ran", "state", "why", "step", "first line", "seconds", "writes", "reads")
FIRST_LINE = 50


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="NOTEBOOK.ipynb")
@json_option
@click.pass_obj
def notebook(session: Session, path: Path) -> Report:
    """Show a notebook's cells with their states: fresh, stale, edited, failed or not run, and why.

    \b
    Example:
      mlops-nb notebook notebooks/flight_delays.ipynb
    """
    view: NotebookView = session.project.notebooks.view(path)
    if not path.exists() and not view.cells:
        near = [str(file) for file in path.parent.glob("*.ipynb")] if path.parent.is_dir() else []
        raise NotFound.named("notebook", str(path), near)
    return report(view)


def report(view: "NotebookView") -> Report:
    """The view for a terminal or notebook, and as JSON."""
    counts: dict[str, int] = {}
    for cell in view.cells:
        counts[cell.state] = counts.get(cell.state, 0) + 1
    lines = {cell.id: next((line for line in cell.source.split("\n") if line.strip()), "") for cell in view.file_cells}
    places = {cell.id: cell.index + 1 for cell in view.file_cells}
    rows = tuple(_row(cell, str(places.get(cell.cell_id, "")), lines.get(cell.cell_id, "")) for cell in view.cells)
    return Report(
        title=f"{view.path}: {', '.join(f'{n} {state}' for state, n in counts.items()) or 'no code cells'}",
        tables=(Table(COLUMNS, rows, cut=("first line",)),) if view.cells else (),
        data={"notebook": view.path, "states": counts, "cells": [asdict(cell) for cell in view.cells]},
    )


def _row(cell: CellView, place: str, line: str) -> tuple[str, ...]:
    ran = cell.state != "not run"
    return (
        place,
        f"[{cell.execution_count}]" if ran else "",
        cell.state,
        cell.reason,
        cell.step,
        shorten(line, FIRST_LINE),
        f"{cell.seconds:.2f}" if ran else "",
        ", ".join(cell.writes),
        ", ".join(cell.reads),
    )
