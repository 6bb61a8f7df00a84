"""`mlops-nb status` and `mlops-nb doctor`."""

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report


@click.command()
@json_option
@click.pass_obj
def status(session: Session) -> Report:
    """What is recorded so far, and what to type next.

    \b
    Example:
      mlops-nb status
      mlops-nb status --json
    """
    from mlops_nb.project.overview import overview

    return overview(session.project)


@click.command()
@json_option
@click.pass_obj
def doctor(session: Session) -> Report:
    """Say what is wrong with this set-up, and what to do; exits 1 when something is.

    \b
    Example:
      mlops-nb doctor
    """
    from mlops_nb.project.health import examine

    return examine(session.project)
