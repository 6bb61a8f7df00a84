"""capture, plan, run, runs and show."""

import ast
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, moment
from mlops_nb.errors import BadInput
from mlops_nb.pipeline.plan import Selection
from mlops_nb.records import RunResult, StepRun

EXIT_FAILED = 1


def parse_parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` words: values are JSON or Python literals, else text.

    >>> parse_parameters(("year=2013", "dry=true", "origin=JFK", "months=[1, 2]"))
    {'year': 2013, 'dry': True, 'origin': 'JFK', 'months': [1, 2]}
    """
    found = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise BadInput(f"{word!r} is no parameter", hint="write -p NAME=VALUE")
        found[name] = _literal(text)
    return found


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text


_parameters = click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter for this run; may be repeated.")
_kernel = click.option("--kernel", default="", metavar="NAME", help="A kernel spec (default: this Python; `plain`: never forked).")
_SELECTION = (
    click.option("--only", default="", metavar="STEP", help="Run this step alone, again; those it takes inputs from have to be up to date."),
    click.option("--from", "start", default="", metavar="STEP", help="Run this step and all that stand on it again."),
    click.option("--until", default="", metavar="STEP", help="Leave out the steps behind this one."),
    click.option("--force", is_flag=True, help="Run all steps again, whether anything changed or not."),
)


def _selects(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which steps, given to the command as one `selection`."""

    @functools.wraps(command)
    def selecting(*args: Any, only: str, start: str, until: str, force: bool, **given: Any) -> Any:
        if only and (start or until or force):
            raise BadInput("--only goes with none of --from, --until and --force")
        return command(*args, selection=Selection(only, start, until, force), **given)

    for option in reversed(_SELECTION):
        selecting = option(selecting)
    return selecting


_progress = click.option("--progress/--no-progress", default=None, help="A progress bar (default: in a terminal or a notebook).")


@click.command()
@click.argument("notebook")
@_parameters
@_kernel
@_progress
@json_option
@click.pass_obj
def capture(session: Session, notebook: str, parameters: tuple[str, ...], kernel: str, progress: bool | None) -> Report:  # noqa: FBT001 (click passes flags so)
    """Run NOTEBOOK headless, top to bottom, with its lineage recorded; skipped where nothing it read has changed.

    \b
    Example:
      mlops-nb capture notebooks/flight_delays.ipynb
    """
    result = session.project.pipelines.capture(notebook, parse_parameters(parameters), progress=progress, kernel=kernel)
    step = result.steps[0]
    if step.status == "skipped":
        return Report(title=f"{notebook}: {step.reason}", data={"captured": False, **run_data(result)})
    cells = session.project.registry.rows(
        "select count(*) as n from cell_run join session on session.id = session_id where session.run_id = ?", (result.id,)
    )[0]["n"]
    title = f"{notebook}: {result.status} in {result.seconds:.1f} s"
    values = {"cells captured": cells, "run": result.id[:8], "executed notebook": step.notebook}
    notes = (result.error,) if result.error else (f"Next: mlops-nb run {notebook}",)
    data = {"captured": True, "cells": cells, **run_data(result)}
    return Report(title=title, values=values, notes=notes, data=data, exit_code=_exit_code(result))


@click.command()
@click.argument("target")
@_parameters
@_selects
@json_option
@click.pass_obj
def plan(session: Session, target: str, parameters: tuple[str, ...], selection: Selection) -> Report:
    """Say for each step of TARGET (a pipeline's name or a notebook) whether it would run, and why.

    \b
    Example:
      mlops-nb plan flight_delays
    """
    steps = session.project.pipelines.plan(target, parse_parameters(parameters), selection=selection)
    will = sum(step.action == "run" for step in steps)
    return Report(
        title=f"{target}: {will} of {len(steps)} steps would run",
        tables=(Table(("step", "action", "why"), tuple((s.component, s.action, s.reason) for s in steps)),),
        data=[{"component": s.component, "action": s.action, "reason": s.reason} for s in steps],
    )


@click.command()
@click.argument("target")
@_parameters
@_selects
@_kernel
@_progress
@json_option
@click.pass_obj
def run(session: Session, target: str, parameters: tuple[str, ...], kernel: str, progress: bool | None, selection: Selection) -> Report:  # noqa: FBT001, PLR0917
    """Run TARGET (a pipeline's name, or a notebook: promoted first) headless; unchanged steps are skipped.

    \b
    Example:
      mlops-nb run notebooks/flight_delays.ipynb
      mlops-nb run flight_delays -p year=2013
      mlops-nb run flight_delays --from train
    """
    given = parse_parameters(parameters)
    return run_report(session.project.pipelines.run(target, given, progress=progress, kernel=kernel, selection=selection))


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@json_option
@click.pass_obj
def runs(session: Session, limit: int) -> Report:
    """List the newest runs.

    \b
    Example:
      mlops-nb runs --limit 5
    """
    found = session.project.pipelines.runs(limit)
    rows = tuple((r.id[:8], r.pipeline, kind, r.status, f"{r.seconds:.1f}", moment(r.started)) for kind, r in found)
    return Report(
        title="Runs",
        tables=(Table(("run", "pipeline", "kind", "status", "seconds", "started"), rows, empty="nothing has run yet"),),
        data=[{"kind": kind, **run_data(r, steps=False)} for kind, r in found],
    )


@click.command()
@click.argument("run")
@json_option
@click.pass_obj
def show(session: Session, run: str) -> Report:
    """Show RUN (the start of its id is enough) with its steps, their artifacts and executed notebooks.

    \b
    Example:
      mlops-nb show 3fa9c1
    """
    return dataclasses.replace(run_report(session.project.pipelines.show(run), steps_in_full=True), exit_code=0)


# --- reports --------------------------------------------------------------------------------------------------


def run_report(result: RunResult, *, steps_in_full: bool = False) -> Report:
    """A run with its steps; a failed one ends with its error and a non-zero exit code."""
    ran = sum(step.status == "ran" for step in result.steps)
    skipped = sum(step.status == "skipped" for step in result.steps)
    values = {"run": result.id[:8], "parameters": _shown(result.parameters)} if result.parameters else {"run": result.id[:8]}
    rows = tuple((s.component, s.status, f"{s.seconds:.2f}", s.reason if s.status != "failed" else s.error) for s in result.steps)
    tables = [Table(("step", "status", "seconds", "why"), rows)]
    tables += [_artifacts_table(result.steps)] if steps_in_full else []
    notes = [result.error] if result.error else []
    notes += (
        [f"Next: mlops-nb show {result.id[:8]}"]
        if not steps_in_full
        else [f"executed notebooks of {', '.join(names)}: {folder}" for folder, names in _folders(result.steps).items()]
    )
    return Report(
        title=f"{result.pipeline}: {result.status} in {result.seconds:.1f} s ({ran} ran, {skipped} skipped)",
        values=values,
        tables=tuple(tables),
        notes=tuple(notes),
        data=run_data(result),
        exit_code=_exit_code(result),
    )


def _folders(steps: tuple[StepRun, ...]) -> dict[str, list[str]]:
    """Folder of executed notebooks -> the components whose notebooks are there."""
    found: dict[str, list[str]] = {}
    for step in steps:
        if step.notebook:
            found.setdefault(os.path.dirname(step.notebook), []).append(step.component)  # noqa: PTH120 (text, not a file)
    return found


def _artifacts_table(steps: tuple[StepRun, ...]) -> Table:
    rows = tuple((s.component, name, ref.kind, ref.size, ref.digest[:12]) for s in steps for name, ref in s.outputs.items())
    return Table(("step", "output", "kind", "bytes", "sha256"), rows, "Artifacts", "no step gave anything out")


def run_data(result: RunResult, *, steps: bool = True) -> dict[str, Any]:
    """A run as JSON."""
    known = {name: getattr(result, name) for name in ("id", "pipeline", "version", "status", "started", "seconds", "error")}
    known["parameters"] = dict(result.parameters)
    return {**known, "steps": [dataclasses.asdict(step) for step in result.steps]} if steps else known


def _shown(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


def _exit_code(result: RunResult) -> int:
    return 0 if result.status in ("passed", "running") else EXIT_FAILED
