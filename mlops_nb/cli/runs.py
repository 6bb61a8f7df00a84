"""diff, report and gc: what to ask about finished runs, and what to keep of them."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, counted, moment
from mlops_nb.errors import BadInput
from mlops_nb.notebook.grammar import ttl_seconds
from mlops_nb.store.codec import row_json

if TYPE_CHECKING:
    from mlops_nb.project.collecting import Collection
    from mlops_nb.project.comparing import Change, Comparison
    from mlops_nb.project.run_facts import RunFacts

SHOWN_DIGEST = 12
LISTED = 20  # files by name; the JSON has all
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


def _span(_: click.Context, __: click.Parameter, text: str) -> float:
    try:
        found = 0.0 if text == "0" else ttl_seconds(text)
    except ValueError as error:
        raise BadInput(f"--older-than: {error}") from error
    return math.inf if found is None else found


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--keep", type=click.IntRange(min=1), default=10, show_default=True, help="How many of the newest runs of each pipeline stay.")
@click.option("--older-than", "age", default="30d", show_default=True, metavar="SPAN", callback=_span, help="Only of runs older than this: 12h, 30d.")
@json_option
@click.pass_obj
def gc(session: Session, dry_run: bool, keep: int, age: float) -> Report:  # noqa: FBT001 (click passes flags so)
    """Remove artifacts and executed notebooks that nothing needs any more; the registry stays as it is.

    What a run would skip, model versions, feature values, pinned values, tests and runs that are kept refer to stays, and so do files
    younger than a day. What is gone is made anew by a run that needs it.

    \b
    Example:
      mlops-nb gc --dry-run
      mlops-nb gc --keep 3 --older-than 7d
    """
    from mlops_nb.project.collecting import collect
    from mlops_nb.project.garbage import Policy

    return gc_report(collect(session.project, Policy(time.time(), keep, age), dry_run=dry_run))


def gc_report(done: "Collection") -> Report:
    """What was, or would be, removed, and why the rest stays."""
    verb = "would be removed" if done.dry_run else "removed"
    rows = tuple((file.path, _bytes(file.size)) for file in done.removed[:LISTED])
    more = len(done.removed) - len(rows)
    kept = tuple((share.reason, share.files, _bytes(share.size)) for share in done.found.kept)
    notes = [f"and {counted(more, 'file')} more"] if more else []
    notes += [f"{counted(len(done.busy), 'file')} came into use meanwhile, or could not be removed"] if done.busy else []
    return Report(
        title=f"{counted(len(done.removed), 'file')}, {_bytes(done.size)} {verb}",
        tables=(
            *([Table(("file", "size"), rows, "Would be removed" if done.dry_run else "Removed")] if rows else []),
            Table(("because", "files", "size"), kept, "Kept", empty="nothing is stored"),
        ),
        notes=tuple(notes),
        data={
            "dry_run": done.dry_run,
            "files": len(done.removed),
            "bytes": done.size,
            "removed": [asdict(file) for file in done.removed],
            "kept": [asdict(share) for share in done.found.kept],
            "busy": [file.path for file in done.busy],
        },
    )


def _bytes(size: int) -> str:
    """A size as people read it.

    >>> _bytes(999), _bytes(1_500_000)
    ('999 bytes', '1.5 MB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return counted(size, "byte")


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
