"""pull: edits of a pipeline's component notebooks go back to their source notebook."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, counted, shorten
from mlops_nb.errors import BadInput

if TYPE_CHECKING:
    from mlops_nb.pipeline.pulling import Conflict, Pulled, Side
    from mlops_nb.project.pulling import PullResult

EXIT_CONFLICT = 1
FIRST_LINE = 60


@click.command()
@click.argument("pipeline")
@click.option("--dry-run", is_flag=True, help="Say what would be brought back, and write nothing.")
@click.option("--delete", is_flag=True, help="Remove cells from the notebook that were removed from their component.")
@click.option("--ours", is_flag=True, help="Where both sides changed, keep the notebook's text.")
@click.option("--theirs", is_flag=True, help="Where both sides changed, take the component's text.")
@json_option
@click.pass_obj
def pull(session: Session, /, pipeline: str, **given: bool) -> Report:
    """Bring edits made in the component notebooks of PIPELINE back to the cells of the notebook they were promoted from.

    A cell that was changed on both sides since promotion is a conflict: both texts are shown, nothing is written, and the exit code is 1.

    \b
    Example:
      mlops-nb pull flight_delays --dry-run
      mlops-nb pull flight_delays --theirs
    """
    from mlops_nb.project.pulling import pull as pulled

    if given["ours"] and given["theirs"]:
        raise BadInput("--ours keeps what --theirs replaces", hint="give one of them")
    side: Side = "ours" if given["ours"] else "theirs" if given["theirs"] else ""
    return report(pulled(session.project, pipeline, side=side, delete=given["delete"], dry_run=given["dry_run"]))


def report(result: "PullResult") -> Report:
    """What was brought back, what could not be, and why."""
    found = result.pull
    what = counted(len(found.pulled), "change")
    verb = "brought back to" if result.written else "to bring back to"
    title = (
        f"{result.pipeline}: {what} {verb} {result.notebook}" if found.pulled else f"{result.pipeline}: nothing to bring back to {result.notebook}"
    )
    conflicts = [_conflict(one, result.notebook) for one in found.conflicts]
    refused = [f"The notebook can no longer be promoted: {result.refused}"] if result.refused else []
    following = [f"Next: mlops-nb promote {result.notebook}"] if result.written and not result.refused else []
    settle = [f"{counted(len(conflicts), 'conflict')}: nothing was written; --ours or --theirs says which side counts"] if conflicts else []
    return Report(
        title=title,
        tables=(Table(("what", "component", "cell", "was", "is"), tuple(map(_row, found.pulled)), cut=("was", "is")),) if found.pulled else (),
        notes=(*conflicts, *settle, *found.notes, *refused, *following),
        data=_data(result),
        exit_code=EXIT_CONFLICT if conflicts else 0,
    )


def _row(one: "Pulled") -> tuple[str, ...]:
    was, now = _different_lines(one.ours, one.theirs)
    return one.what, one.component, one.cell_id, was, now


def _different_lines(ours: str, theirs: str) -> tuple[str, str]:
    """The first lines in which two texts differ."""
    was, now = ours.splitlines(), theirs.splitlines()
    place = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    return tuple(shorten(lines[place], FIRST_LINE) if place < len(lines) else "" for lines in (was, now))  # type: ignore[return-value]


def _conflict(one: "Conflict", notebook: str) -> str:
    ours, theirs = (_indented(text) for text in (one.ours, one.theirs))
    return f"{notebook}: cell {one.cell_id}: {one.why}\n  in the notebook:\n{ours}\n  in component {one.component}:\n{theirs}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (nothing)"


def _data(result: "PullResult") -> dict[str, Any]:
    found = result.pull
    return {
        "pipeline": result.pipeline,
        "notebook": result.notebook,
        "written": result.written,
        "pulled": [asdict(one) for one in found.pulled],
        "conflicts": [asdict(one) for one in found.conflicts],
        "notes": list(found.notes),
        "refused": result.refused,
    }
