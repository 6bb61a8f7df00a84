"""The command line `mlops-nb`: every command answers with a Report; modules are loaded when their command is asked for."""

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from mlops_nb.display import Report
from mlops_nb.errors import MlopsError, NotFound

# command -> (module, attribute, one line for --help; the module's own docstring may say more)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "capture": ("mlops_nb.cli.pipelines", "capture", "Run a notebook headless, top to bottom, with its lineage recorded."),
    "promote": ("mlops_nb.cli.promotion", "promote", "Make a pipeline out of a notebook's step cells."),
    "pull": ("mlops_nb.cli.pulling", "pull", "Bring edits of component notebooks back to their source notebook."),
    "plan": ("mlops_nb.cli.pipelines", "plan", "Say for each step whether it would run, and why."),
    "run": ("mlops_nb.cli.pipelines", "run", "Run a pipeline headless; unchanged steps are skipped."),
    "runs": ("mlops_nb.cli.pipelines", "runs", "List the runs."),
    "show": ("mlops_nb.cli.pipelines", "show", "Show one run with its steps."),
    "diff": ("mlops_nb.cli.runs", "diff", "Say what differs between two runs."),
    "report": ("mlops_nb.cli.runs", "report", "Write a run as one HTML file."),
    "gc": ("mlops_nb.cli.runs", "gc", "Remove stored files that nothing needs."),
    "notebook": ("mlops_nb.cli.notebooks", "notebook", "Show a notebook's cells with their states."),
    "lineage": ("mlops_nb.cli.lineage", "lineage", "What made a value, what is stale, what to run again."),
    "verify": ("mlops_nb.cli.verify", "verify", "Run the cells behind a value again and compare."),
    "feature": ("mlops_nb.cli.features", "feature", "Feature views: list, show, search."),
    "test": ("mlops_nb.cli.tests", "test", "Run the registered tests again."),
    "tests": ("mlops_nb.cli.tests", "tests", "List the registered tests with their last results."),
    "model": ("mlops_nb.cli.models", "model", "Model versions: list, show, trace."),
    "export": ("mlops_nb.cli.exports", "export", "Lineage for other tools: OpenLineage events, RO-Crates."),
    "status": ("mlops_nb.cli.status", "status", "What is recorded so far, and what to type next."),
    "doctor": ("mlops_nb.cli.status", "doctor", "Say what is wrong with this set-up."),
}

_STEERING = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # ANSI sequences and control characters

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """What every command gets: the project (opened when first asked for) and the flags of the whole command line.

    `as_json` says after the command whether JSON was asked for.
    """

    def __init__(self, start: Path | None = None, project: Any = None, *, debug: bool = False) -> None:
        self.start = start
        self.debug = debug
        self.given = project
        self.as_json = False

    @cached_property
    def project(self) -> Any:
        """The mlops_nb.project.Project in use."""
        from mlops_nb.project import Project

        return self.given or Project.find(self.start)


class _Commands(click.Group):
    """A group whose commands are imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            raise NotFound.named("command", cmd_name, COMMANDS)
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--project", "start", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A folder of the project (default: here).")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="mlops_nb")
@click.pass_context
def cli(ctx: click.Context, start: Path | None, debug: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Practical MLOps without leaving Jupyter.

    \b
    Example:
      mlops-nb capture notebooks/flight_delays.ipynb
      mlops-nb run notebooks/flight_delays.ipynb
      mlops-nb model trace flight_late
    """
    ctx.obj = ctx.obj or Session(start, debug=debug)


@cli.result_callback()
@click.pass_context
def _answer(ctx: click.Context, /, report: Report | None, **_: object) -> Report | None:
    """Print the report in a terminal; in a notebook (`ctx.obj.given`) it is returned for rich display."""
    session: Session = ctx.obj
    session.as_json = bool(ctx.meta.get("mlops_nb.json"))
    if session.given is None and isinstance(report, Report):
        click.echo(_shown(report, as_json=session.as_json))
    return report


def _shown(report: Report, *, as_json: bool) -> str:
    """The report as it is printed: what a command prints ends in a log, so secrets are taken out."""
    from mlops_nb.store.redaction import Redactor

    return replace(report, data=Redactor(os.environ).value(report.data)).json() if as_json else _printable(report.text())


def json_option(command: F) -> F:
    """Add `--json` to a command: the report's data instead of its text."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
        ctx.meta["mlops_nb.json"] = value

    return click.option("--json", is_flag=True, expose_value=False, callback=remember, help="Print JSON.")(command)


def main(args: list[str] | None = None) -> None:
    """Entry point of `mlops-nb`: errors become one message on stderr and a non-zero exit code."""
    arguments = sys.argv[1:] if args is None else args
    if args is None:  # in a process of our own: jsonschema does without, and its grammar takes half a second to build
        sys.modules.setdefault("rfc3987_syntax", cast("Any", None))
    session = None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a container or a CI job: the run is recorded as interrupted
    try:
        session = Session(debug="--debug" in arguments)
        report = cli.main(arguments, prog_name="mlops-nb", standalone_mode=False)
        code = report.exit_code if isinstance(report, Report) else int(report or 0)
    except MlopsError as error:
        code = _failed(error, session)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except Exception as error:  # noqa: BLE001 (not foreseen: still one message, its traceback with --debug)
        code = _failed(error, session)
    sys.exit(code)


def _failed(error: Exception, session: Session | None) -> int:
    """Say what went wrong, and in a debugged command where; what is printed ends in a log, so secrets are taken out."""
    foreseen = isinstance(error, MlopsError)
    lines = [f"error: {error}"] if foreseen else [f"error: {type(error).__name__}: {error}"]
    if session and session.debug:
        import traceback

        lines = ["".join(traceback.format_exception(error)).rstrip(), *lines]
    elif not foreseen:
        lines.append("  mlops-nb --debug COMMAND shows where")
    click.echo(_printable("\n".join(lines)), err=True)
    return error.exit_code if isinstance(error, MlopsError) else 1


def _printable(text: str) -> str:
    """`text` without secrets and without what would steer the terminal: a cell's error may hold anything."""
    from mlops_nb.store.redaction import Redactor

    return _STEERING.sub("", Redactor(os.environ).text(text))
