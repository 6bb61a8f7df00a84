"""promote: a pipeline out of a notebook."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, counted
from mlops_nb.errors import BadInput
from mlops_nb.records import Component, Pipeline

if TYPE_CHECKING:
    from mlops_nb.pipeline.reasons import Reason
    from mlops_nb.project.pipelines import Promotion
    from mlops_nb.project.proving import Compared, Proof

EXIT_NOT_PROVED = 1


@click.command()
@click.argument("notebook")
@click.option("--name", default="", help="The pipeline's name (default: the notebook's).")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--explain", is_flag=True, help="Say for each input, output, parameter, file and import why it is there, and which cell says so.")
@click.option("--verify", is_flag=True, help="Prove it: run the notebook and the pipeline, and compare every value that crosses between components.")
@click.option(
    "--rtol", type=click.FloatRange(min=0), default=1e-9, show_default=True, help="With --verify: how far floats in pickled values may differ."
)
@json_option
@click.pass_obj
def promote(session: Session, /, notebook: str, **given: Any) -> Report:
    """Make a pipeline out of NOTEBOOK's step cells: one notebook a component, and pipeline.toml.

    With --verify both are run, and the exit code is 1 where a value differs: the first one's cell is named.

    \b
    Example:
      mlops-nb promote notebooks/flight_delays.ipynb --dry-run --explain
      mlops-nb promote notebooks/flight_delays.ipynb --verify
    """
    pipelines = session.project.pipelines
    if given["verify"] and given["dry_run"]:
        raise BadInput("--verify runs the pipeline, --dry-run writes nothing", hint="give one of them")
    proof = None
    if given["verify"]:
        from mlops_nb.project.proving import prove

        proof = prove(session.project, notebook, name=given["name"], rtol=given["rtol"])
    promotion = proof.promotion if proof else pipelines.promote(notebook, name=given["name"], dry_run=given["dry_run"])
    report = promotion_report(promotion, notebook, pipelines.reasons(promotion.pipeline), explained=given["explain"])
    return with_proof(report, proof) if proof else report


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


def with_proof(report: Report, proof: "Proof") -> Report:
    """The report of a promotion with what became of its proof, which decides the exit code."""
    equal = sum(one.holds for one in proof.compared)
    verdict = "proved" if proof.proved else "not proved"
    title = f"{report.title}; {verdict} equal to the notebook: {equal} of {counted(len(proof.compared), 'boundary value')} equal"
    rows = tuple((c.boundary.name, c.boundary.made, c.boundary.read, c.verdict, c.detail) for c in proof.compared)
    notes = (proof.error,) if proof.error else (_difference(proof.first),) if proof.first else report.notes
    return replace(
        report,
        title=title,
        tables=(
            *report.tables,
            Table(("value", "made in", "read in", "result", "how"), rows, "Proof", "nothing crosses from one component to another"),
        ),
        notes=notes,
        data={**report.data, "proof": _proof_data(proof)},
        exit_code=0 if proof.proved else EXIT_NOT_PROVED,
    )


def _difference(first: "Compared") -> str:
    """The first difference in words."""
    where, name = first.boundary.where, first.boundary.name
    if first.verdict == "unknown":
        return f"{where}: `{name}` could not be compared: {first.detail or 'its digest is not known'}"
    digests = f"{first.notebook[:12]} in the notebook, {first.pipeline[:12]} in the pipeline"
    return f"{where}: `{name}` of step {first.boundary.maker} differs: {digests}" + (f" ({first.detail})" if first.detail else "")


def _proof_data(proof: "Proof") -> dict[str, Any]:
    values = [
        {**asdict(one.boundary), "verdict": one.verdict, "notebook": one.notebook, "pipeline": one.pipeline, "detail": one.detail}
        for one in proof.compared
    ]
    runs = {"notebook_run": proof.notebook_run, "pipeline_run": proof.pipeline_run}
    return {"proved": proof.proved, **runs, "error": proof.error, "values": values}
