"""promote: a pipeline out of a notebook."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table
from mlops_nb.records import Pipeline

if TYPE_CHECKING:
    from mlops_nb.project.pipelines import Promotion


@click.command()
@click.argument("notebook")
@click.option("--name", default="", help="The pipeline's name (default: the notebook's).")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
@click.pass_obj
def promote(session: Session, notebook: str, name: str, dry_run: bool) -> Report:  # noqa: FBT001
    """Make a pipeline out of NOTEBOOK's step cells: one notebook a component, and pipeline.toml.

    \b
    Example:
      mlops-nb promote notebooks/flight_delays.ipynb --dry-run
    """
    return promotion_report(session.project.pipelines.promote(notebook, name=name, dry_run=dry_run), notebook)


def promotion_report(promotion: "Promotion", notebook: str) -> Report:
    """What a promotion made, or would make."""
    pipeline, verb = promotion.pipeline, "would write" if promotion.dry_run else "wrote"
    notes = [f"{verb} {_from_here(path)}" for path in promotion.written] + [f"removed {_from_here(path)}" for path in promotion.removed]
    return Report(
        title=f"{pipeline.name}: {len(pipeline.components)} components, version {pipeline.version[:8]}",
        tables=(_components_table(pipeline),),
        notes=(*(notes or ["its files are up to date"]), f"Next: mlops-nb run {notebook if promotion.dry_run else pipeline.name}"),
        data={
            "name": pipeline.name,
            "version": pipeline.version,
            "notebook": pipeline.notebook,
            "components": [_component_data(pipeline, c.name) for c in pipeline.components],
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


def _component_data(pipeline: Pipeline, name: str) -> dict[str, Any]:
    component = next(c for c in pipeline.components if c.name == name)
    return {
        "name": name,
        "cells": [cell.id for cell in component.cells],
        "inputs": dict(component.inputs),
        "outputs": list(component.outputs),
        "parameters": dict(component.parameters),
    }
