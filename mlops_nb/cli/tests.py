"""`mlops-nb test` runs registered tests again; `mlops-nb tests` lists them."""

from typing import TYPE_CHECKING

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report
from mlops_nb.notebook.grammar import TEST_KINDS

if TYPE_CHECKING:
    from mlops_nb.project.tests import Tests


def _tests(session: Session) -> "Tests":
    found: Tests = session.project.tests
    return found


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--kind", type=click.Choice(TEST_KINDS), help="Only tests of this kind.")
@click.option("--notebook", help="Only tests of this notebook.")
@json_option
@click.pass_obj
def test(session: Session, names: tuple[str, ...], kind: str | None, notebook: str | None) -> Report:
    """Run the registered tests again, against the newest artifacts of their pipeline.

    \b
    Example:
      mlops-nb test
      mlops-nb test test_flights --json

    Ends with 1 when a test of severity error does not pass.
    """
    from mlops_nb.project.tests import counts, report

    checked = _tests(session).run(names, kind=kind, notebook=notebook)
    return report(checked, title=f"tests: {counts(checked)}")


@click.command()
@click.option("--kind", type=click.Choice(TEST_KINDS), help="Only tests of this kind.")
@click.option("--notebook", help="Only tests of this notebook.")
@json_option
@click.pass_obj
def tests(session: Session, kind: str | None, notebook: str | None) -> Report:
    """List the registered tests with their last results.

    \b
    Example:
      mlops-nb tests --kind data
    """
    from dataclasses import replace

    from mlops_nb.project.tests import counts, report

    checked = _tests(session).list(kind=kind, notebook=notebook)
    return replace(report(checked, title=f"tests: {counts(checked)}"), exit_code=0)
