"""`mlops-nb model`: list, show and trace model versions."""

from typing import TYPE_CHECKING

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report

if TYPE_CHECKING:
    from mlops_nb.project.models import Models

REFERENCE = "NAME[@NUMBER|@ID]"


def _models(session: Session) -> "Models":
    found: Models = session.project.models
    return found


@click.group()
def model() -> None:
    """Model versions: list, show, trace.

    \b
    Example:
      mlops-nb model list
      mlops-nb model show flight_late
      mlops-nb model trace flight_late@3
    """


@model.command("list")
@click.argument("name", required=False)
@json_option
@click.pass_obj
def list_(session: Session, name: str | None) -> Report:
    """List the versions of all models, or of model NAME.

    \b
    Example:
      mlops-nb model list --json
    """
    from mlops_nb.project.models import listed

    return listed(_models(session).list(name))


@model.command()
@click.argument("reference", metavar=REFERENCE)
@json_option
@click.pass_obj
def show(session: Session, reference: str) -> Report:
    """Show one version: metrics, signature, tests. NAME alone is the newest.

    \b
    Example:
      mlops-nb model show flight_late@2
    """
    from mlops_nb.project.models import shown

    models = _models(session)
    version = models.show(reference)
    return shown(version, models.gate(version))


@model.command(short_help="Show what made a version.")
@click.argument("reference", metavar=REFERENCE)
@json_option
@click.pass_obj
def trace(session: Session, reference: str) -> Report:
    """Show what made a version: cells, data hashes, parameters, environment, steps, tests.

    \b
    Example:
      mlops-nb model trace flight_late
    """
    from mlops_nb.project.models import traced

    models = _models(session)
    found = models.trace(reference)
    return traced(found, models.gate(found.version))
