"""`mlops-nb feature`: list, show, search."""

from typing import TYPE_CHECKING, Any

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report, Table, moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_nb.project.features import FeatureSummary


@click.group()
def feature() -> None:
    """Feature views: list, show, search.

    \b
    Example:
      mlops-nb feature list
      mlops-nb feature search weather
      mlops-nb feature show airport_weather
    """


@feature.command("list")
@json_option
@click.pass_obj
def list_features(session: Session) -> Report:
    """List the registered feature views.

    \b
    Example:
      mlops-nb feature list --json
    """
    features = session.project.features.list()
    return Report(
        tables=(_table(features, "no feature view yet: write a %%feature cell"),),
        data=[_data(summary) for summary in features],
    )


@feature.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(session: Session, name: str) -> Report:
    """Show one feature view: definition, newest values, versions.

    \b
    Example:
      mlops-nb feature show airport_weather
    """
    from mlops_nb.features.define import duration_text

    summary = session.project.features.show(name)
    versions = session.project.features.history(name)
    view = summary.view
    return Report(
        title=f"{view.name}: {view.description}" if view.description else view.name,
        values={
            "entity": ", ".join(view.entity),
            "timestamp": view.timestamp,
            "ttl": duration_text(view.ttl_seconds),
            "owner": view.owner or "-",
            "tags": ", ".join(view.tags) or "-",
            "inputs": ", ".join(view.inputs) or "-",
            "rows": f"{summary.rows:,} of {summary.keys:,} keys",
            "times": f"{_minute(summary.first_ts)} to {_minute(summary.last_ts)}" if summary.last_ts else "-",
            "materialized": moment(summary.materialized) or "never",
            "file": summary.path,
        },
        tables=(
            Table(("version", "since", "notebook"), tuple((v["version"][:12], moment(v["created"]), v["notebook"]) for v in versions), "Versions"),
        ),
        notes=(view.source,),
        data={**_data(summary), "source": view.source, "versions": list(versions)},
    )


@feature.command(short_help="Find feature views by words.")
@click.argument("text", nargs=-1, required=True)
@json_option
@click.pass_obj
def search(session: Session, text: tuple[str, ...]) -> Report:
    """Find feature views by words, or their beginnings, in name, description, tags, owner and entity.

    \b
    Example:
      mlops-nb feature search weather
      mlops-nb feature search late carrier
    """
    words = " ".join(text)
    found = session.project.features.search(words)
    near = f"; near names: {', '.join(found.near)}" if found.near else ""
    return Report(
        tables=(_table(found.features, f"nothing found for {words!r}{near}"),),
        data={"features": [_data(summary) for summary in found.features], "near": list(found.near)},
    )


def _table(features: "Iterable[FeatureSummary]", empty: str) -> Table:
    views = ((s, s.view) for s in features)
    rows = tuple((v.name, v.description, v.entity, f"{s.rows:,}", _minute(s.last_ts) or "-", v.owner, v.tags) for s, v in views)
    return Table(("name", "description", "entity", "rows", "known until", "owner", "tags"), rows, empty=empty)


def _minute(timestamp: str) -> str:
    """A time of the data, to the minute; it stays in the data's own time zone."""
    return timestamp[:16].replace("T", " ")


def _data(summary: "FeatureSummary") -> dict[str, Any]:
    view = summary.view
    return {
        "name": view.name,
        "version": view.version,
        "entity": list(view.entity),
        "timestamp": view.timestamp,
        "ttl_seconds": view.ttl_seconds,
        "owner": view.owner,
        "tags": list(view.tags),
        "description": view.description,
        "inputs": list(view.inputs),
        "notebook": view.notebook,
        "cell_id": view.cell_id,
        "path": summary.path,
        "created": summary.created,
        "rows": summary.rows,
        "keys": summary.keys,
        "first_ts": summary.first_ts,
        "last_ts": summary.last_ts,
        "materialized": summary.materialized,
    }
