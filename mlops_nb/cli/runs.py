"""diff and report: what to ask about finished runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, counted, moment
from mlops_nb.store.codec import row_json

if TYPE_CHECKING:
    from mlops_nb.project.comparing import Change, Comparison
    from mlops_nb.project.run_facts import RunFacts

SHOWN_DIGEST = 12
_DIGESTS = ("data", "variable", "input", "output")


@click.command()
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@json_option
@click.pass_obj
def diff(session: Session, before: str, after: str) -> Report:
    """Say what differs between two runs (the starts of their ids): code, parameters, packages, data, inputs, outputs, metrics, tests.

    \b
    Example:
      mlops-nb diff 3fa9c1 b07d22
    """
    from mlops_nb.project.comparing import compare
    from mlops_nb.project.run_facts import facts_of

    return diff_report(compare(facts_of(session.project, before), facts_of(session.project, after)))


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--to", "path", type=click.Path(path_type=Path), help="The file to write (default: report.html beside the run's executed notebooks).")
@json_option
@click.pass_obj
def report(session: Session, run: str, path: Path | None) -> Report:
    """Write RUN (the start of its id) as one HTML file: steps, times, parameters, metrics, tests, plots, and the cell that failed.

    \b
    Example:
      mlops-nb report 3fa9c1 --to report.html
    """
    from mlops_nb.project.run_report import write_report

    written = write_report(session.project, run, path)
    values = {"written to": session.project.relative(written.path), "plots": written.plots}
    data = {"run": written.run, "path": str(written.path), "plots": written.plots, "failures": written.failures}
    return Report(f"Report of run {written.run[:8]}", values, data=data)


def diff_report(found: "Comparison") -> Report:
    """The steps first, then each difference, then the code."""
    ids = f"{found.before.run.id[:8]} and {found.after.run.id[:8]}"
    kinds = dict.fromkeys([*("code" if change.counts else "comments" for change in found.code), *(change.area for change in found.changes)])
    title = f"Runs {ids} are equal" if found.equal else f"Runs {ids} differ in {', '.join(kinds)}"
    rows = tuple((change.area, change.step, change.name, _shown(change, change.before), _shown(change, change.after)) for change in found.changes)
    tables = [Table(("step", "before", "after", "seconds before", "seconds after", "differs in"), _step_rows(found), "Steps")]
    tables += [Table(("what", "step", "name", "before", "after"), rows, "Differences")] if rows else []
    return Report(
        title=title,
        values={"before": _run(found.before), "after": _run(found.after)},
        tables=tuple(tables),
        notes=(*_code_notes(found), *(f"The code of step {name} is not known: its executed notebook is gone" for name in found.unknown)),
        data=_data(found),
    )


def _run(facts: "RunFacts") -> str:
    run = facts.run
    return f"{run.id[:8]} {run.pipeline} version {run.version[:8]}, {run.status} in {run.seconds:.1f} s, {moment(run.started)}"


def _step_rows(found: "Comparison") -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (pair.step, pair.before or "-", pair.after or "-", *(f"{s:.2f}" for s in pair.seconds), ", ".join(pair.differing) or "nothing")
        for pair in found.steps
    )


def _code_notes(found: "Comparison") -> list[str]:
    lead = {True: f"Code: {counted(len([c for c in found.code if c.counts]), 'cell')}", False: "Comments or formatting only"}
    told = [(lead[counts], [c.diff for c in found.code if c.counts == counts]) for counts in (True, False)]
    return [text for head, diffs in told if diffs for text in (head, *diffs)]


def _shown(change: "Change", value: Any) -> str:
    """A value in a table: digests by their start, texts as they are, other values as Python writes them."""
    if value is None:
        return "-"
    if change.area in _DIGESTS or (change.area, change.name) in {("run", "version"), ("run", "commit")}:
        return str(value)[:SHOWN_DIGEST]
    return repr(value) if change.area == "parameter" else str(value)


def _data(found: "Comparison") -> dict[str, Any]:
    """The differences as JSON; what JSON has no number for (NaN) is tagged."""
    runs = {side: {"id": facts.run.id, "seconds": facts.run.seconds} for side, facts in (("before", found.before), ("after", found.after))}
    data = {
        **runs,
        "equal": found.equal,
        "changes": [asdict(change) for change in found.changes],
        "code": [asdict(change) for change in found.code],
        "steps": [asdict(pair) for pair in found.steps],
        "unknown_code": list(found.unknown),
    }
    plain: dict[str, Any] = json.loads(row_json(data))
    return plain
