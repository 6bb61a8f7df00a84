"""promote: a pipeline out of a notebook."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table
from mlops_nb.records import Component, Pipeline

if TYPE_CHECKING:
    from mlops_nb.pipeline.reasons import Reason
    from mlops_nb.project.pipelines import Promotion


@click.command()
@click.argument("notebook")
@click.option("--name", default="", help="The pipeline's name (default: the notebook's).")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--explain", is_flag=True, help="Say for each input, output, parameter, file and import why it is there, and which cell says so.")
@json_option
@click.pass_obj
def promote(session: Session, notebook: str, name: str, dry_run: bool, explain: bool) -> Report:  # noqa: FBT001
    """Make a pipeline out of NOTEBOOK's step cells: one notebook a component, and pipeline.toml.

    \b
    Example:
      mlops-nb promote notebooks/flight_delays.ipynb --dry-run
    """
    promotion = session.project.pipelines.promote(notebook, name=name, dry_run=dry_run)
    return promotion_report(promotion, notebook, session.project.pipelines.reasons(promotion.pipeline), explained=explain)


def promotion_report(promotion: "Promotion", notebook: str, reasons: Sequence["Reason"], *, explained: bool) -> Report:
    """What a promotion made, or would make; `explained` with the reasons as a table."""
    pipeline, verb = promotion.pipeline, "would write" if promotion.dry_run else "wrote"
    notes = [f"{verb} {_from_here(path)}" for path in promotion.written] + [f"removed {_from_here(path)}" for path in promotion.removed]
    return Report(
        title=f"{pipeline.name}: {len(pipeline.components)} components, version {pipeline.version[:8]}",
        tables=(_components_table(pipeline), *(_reasons_tables(pipeline, reasons) if explained else ())),
        notes=(*(notes or ["its files are up to date"]), f"Next: mlops-nb run {notebook if promotion.dry_run else pipeline.name}"),
        data={
            "name": pipeline.name,
            "version": pipeline.version,
            "notebook": pipeline.notebook,
            "components": [{**_component_data(c), "reasons": _reasons_data(c.name, reasons)} for c in pipeline.components],
            "written": [str(path) for path in promotion.written],
            "removed": [str(path) for path in promotion.removed],
            "dry_run": promotion.dry_run,
        },
    )


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _components_table(pipeline: Pipeline) -> Table:
    rows = tuple((c.name, len(c.cells), tuple(c.inputs) or "-", c.outputs or "-", tuple(c.parameters) or "-") for c in pipeline.components)
    return Table(("component", "cells", "takes", "gives", "parameters"), rows)


def _component_data(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "cells": [cell.id for cell in component.cells],
        "inputs": dict(component.inputs),
        "outputs": list(component.outputs),
        "parameters": dict(component.parameters),
    }


def _reasons_tables(pipeline: Pipeline, reasons: Sequence["Reason"]) -> Iterator[Table]:
    """One table a component; all cells are those of one notebook, whose name is left out."""
    notebook = f"{Path(pipeline.notebook).name}:"
    for component in pipeline.components:
        found = (reason for reason in reasons if reason.component == component.name)
        rows = tuple((r.role, r.name, r.source, r.where.removeprefix(notebook), r.about.replace(notebook, "")) for r in found)
        yield Table(("what", "name", "reason", "where", "about"), rows, component.name, "takes nothing and gives nothing")


def _reasons_data(component: str, reasons: Sequence["Reason"]) -> list[dict[str, str]]:
    found = (reason for reason in reasons if reason.component == component)
    return [{"what": r.role, "name": r.name, "reason": r.source, "cell": r.where, "about": r.about} for r in found]
