"""`mlops-nb export`: lineage for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, counted
from mlops_nb.errors import BadInput

if TYPE_CHECKING:
    from mlops_nb.project.crates import Written
    from mlops_nb.project.exports import Sent

TARGET = "NOTEBOOK.ipynb|RUN"
EXIT_FAILED = 1


@click.group()
def export() -> None:
    """Lineage for other tools: OpenLineage events, RO-Crates.

    \b
    Example:
      mlops-nb export openlineage notebooks/flight_delays.ipynb --to events.ndjson
      mlops-nb export crate 3fa9c1 --to run.zip
    """


@export.command()
@click.argument("target", metavar=f"{TARGET}|EVENTS.ndjson")
@click.option("--to", "file", type=click.Path(path_type=Path), help="A file: one event a line.")
@click.option("--url", default="", help="An OpenLineage server, for example http://localhost:5000.")
@json_option
@click.pass_obj
def openlineage(session: Session, target: str, file: Path | None, url: str) -> Report:
    """Export TARGET as OpenLineage events: a notebook's cell runs, or a run (the start of its id) with its steps and cells.

    Events are sent one by one, with the key in the environment variable OPENLINEAGE_API_KEY, and tried again where the server does
    not answer. Those that could not be sent are kept in a file, which can be the TARGET of a further try.

    \b
    Example:
      mlops-nb export openlineage notebooks/flight_delays.ipynb --to events.ndjson
      mlops-nb export openlineage 3fa9c1 --url http://localhost:5000
    """
    from mlops_nb.project.exports import EVENTS, Exports, encoded, write_events

    if not (file or url):
        raise BadInput("nothing says where the events go", hint="--to FILE.ndjson or --url http://HOST:PORT")
    exports = Exports(session.project)
    lines = exports.kept(Path(target)) if target.endswith(EVENTS) else encoded(exports.events(target))
    if file:
        write_events(file, lines)
    return events_report(target, len(lines), file, exports.send(lines, url) if url else None)


def events_report(target: str, count: int, file: Path | None, sent: "Sent | None") -> Report:
    """What was written and sent; exit code 1 where something was not sent."""
    values = {"written to": str(file)} if file else {}
    data = {"target": target, "events": count, "file": str(file or "")}
    if sent is None:
        return Report(f"{target}: {counted(count, 'event')}", values, data=data)
    unsent = len(sent.delivery.unsent)
    values |= {"sent to": sent.url, "sent": str(sent.delivery.sent)}
    notes: tuple[str, ...] = ()
    if unsent:
        values["not sent"] = str(unsent)
        again = f"mlops-nb export openlineage {sent.kept} --url {sent.url}"
        notes = (f"{counted(unsent, 'event')} not sent: {sent.delivery.reason}", f"Kept in {sent.kept}; to try again: {again}")
    data |= {"url": sent.url, "sent": sent.delivery.sent, "unsent": unsent, "reason": sent.delivery.reason, "kept": str(sent.kept or "")}
    return Report(f"{target}: {counted(count, 'event')}", values, notes=notes, data=data, exit_code=EXIT_FAILED if unsent else 0)


@export.command()
@click.argument("target", metavar=TARGET)
@click.option("--to", "path", type=click.Path(path_type=Path), required=True, help="A new folder, or a file that ends in .zip.")
@click.option("--name", default="", metavar="VARIABLE", help="Only the cells behind this variable of the notebook.")
@click.option("--data", is_flag=True, help="Copy the project's own files and artifacts into the crate.")
@click.option("--license", "license_id", default="", metavar="SPDX|URL", help="The crate's licence (default: pyproject.toml's).")
@json_option
@click.pass_obj
def crate(session: Session, *, target: str, path: Path, name: str, data: bool, license_id: str) -> Report:
    """Export TARGET as an RO-Crate (Provenance Run Crate): a run, a notebook's newest session, or what is behind one of its variables.

    \b
    Example:
      mlops-nb export crate 3fa9c1 --to run.zip --data
      mlops-nb export crate notebooks/flight_delays.ipynb --name model --to model_crate
    """
    from mlops_nb.project.crates import Crates

    return crate_report(Crates(session.project).write(target, path, name=name, data=data, license_id=license_id))


def crate_report(written: "Written") -> Report:
    """What is in the crate, and what is not."""
    story = written.story
    values = {"written to": str(written.path), "steps": str(len(story.activities)), "data files": str(len(written.placed))}
    notes = tuple(f"Left out: {why}" for why in written.left_out)
    data = {
        "path": str(written.path),
        "name": story.name,
        "steps": [activity.name for activity in story.activities],
        "data": [place.path for place in written.placed.values()],
        "left_out": list(written.left_out),
        "entities": written.entities,
    }
    return Report(f"RO-Crate of {story.name}", values, notes=notes, data=data)
