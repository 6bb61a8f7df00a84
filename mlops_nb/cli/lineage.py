"""`mlops-nb lineage QUESTION NOTEBOOK.ipynb` and `%lineage QUESTION`: one table of questions, for a recorded notebook and a running kernel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from mlops_nb.cli import Session, json_option
from mlops_nb.display import Report
from mlops_nb.errors import BadInput, NotFound

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.project.lineage import Lineage


class Kernel(Protocol):
    """What `%lineage` needs of the kernel it runs in."""

    project: "Project"
    notebook: Path | None

    @property
    def lineage(self) -> "Lineage":
        """What is known of its cells."""

    def pin(self, name: str) -> str:
        """Store the present value of `name` for a later verification, and say so in words."""

    def watch(self, *, on: bool) -> str:
        """Stop or start recording, and say what that means."""

    def warn(self, *, on: bool) -> str:
        """Stop or start warnings, and say so."""


class KernelSession(Session):
    """The session of a command that `%lineage` runs."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(project=kernel.project)
        self.kernel = kernel


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is asked of: a lineage, with the kernel where it is a running one's."""

    project: "Project"
    lineage: "Lineage"
    path: Path | None
    kernel: Kernel | None = None

    def command(self, question: str) -> str:
        """How a question is typed here."""
        return f"%lineage {question}" if self.kernel else f"mlops-nb lineage {question} {self.path}"


# --- answers --------------------------------------------------------------------------------------------------


def _show(asked: Asked, *, mermaid: bool, to: Path | None, force: bool) -> Report:
    from mlops_nb.project import lineage_views

    if to is not None:
        from mlops_nb.project.lineage_graph import graph_of

        lineage_views.write_graph(graph_of(asked.lineage), to, force=force)
        return Report(f"graph written to {to}", data={"to": str(to)})
    return lineage_views.graph_report(asked.lineage, mermaid=mermaid)


def _why(asked: Asked, *, name: str) -> Report:
    from mlops_nb.project.lineage_views import why_report

    return why_report(asked.lineage, name)


def _stale(asked: Asked, *, anywhere: bool) -> Report:
    from mlops_nb.project.lineage_views import stale_report

    return stale_report(asked.lineage, anywhere=anywhere, rerun=asked.command("rerun"))


def _slice(asked: Asked, *, names: tuple[str, ...], to: Path | None, code: bool, force: bool, no_pin: bool = True) -> Report:
    from mlops_nb.project import lineage_views

    found = asked.lineage.slice(*names)
    notes = lineage_views.secrets_taken_out(found)
    if to is not None:
        lineage_views.write_slice(found, to, original=asked.path, kernel=asked.project.settings.kernel, force=force)
        notes.append(f"Written to {to}")
    if asked.kernel and not no_pin:
        notes += [asked.kernel.pin(name) for name in names if not name.startswith("file:")]
    return lineage_views.slice_report(asked.lineage, found, code=code, notes=notes)


def _deps(asked: Asked, *, cell: str) -> Report:
    from mlops_nb.project.lineage_views import deps_report

    return deps_report(asked.lineage, cell)


def _files(asked: Asked) -> Report:
    from mlops_nb.project.lineage_views import files_report

    return files_report(asked.lineage)


def _columns(asked: Asked, *, frame: str, column: str) -> Report:
    from mlops_nb.project.lineage_views import columns_report

    return columns_report(asked.lineage, frame, column)


def _rerun(asked: Asked, *, cells: tuple[str, ...]) -> Report:
    from mlops_nb.project.lineage_views import edited_cells, rerun_report

    if not cells and asked.path is None:
        raise BadInput("nothing says which cells were edited", hint="%lineage rerun 3 5")
    return rerun_report(asked.lineage, cells, edited_cells(asked.project, asked.path) if asked.path else {})


def _verify(asked: Asked, *, name: str, rtol: float) -> Report:
    from mlops_nb.cli.verify import report
    from mlops_nb.project.verify import verify

    assert asked.kernel is not None
    asked.lineage.slice(name)  # says what is not known here, with near names
    if not name.startswith("file:"):
        asked.kernel.pin(name)
    return report(verify(asked.project, name, notebook=str(asked.path or ""), rtol=rtol))


def _off(asked: Asked) -> Report:
    assert asked.kernel is not None
    return Report(asked.kernel.watch(on=False), data={"on": False})


def _on(asked: Asked) -> Report:
    assert asked.kernel is not None
    return Report(asked.kernel.watch(on=True), data={"on": True})


def _warn(asked: Asked, *, switch: str) -> Report:
    assert asked.kernel is not None
    return Report(asked.kernel.warn(on=switch == "on"), data={"warnings": switch == "on"})


# --- the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One question: what answers it, what it takes, and how it is typed after `%lineage`; `here` only in a kernel."""

    name: str
    help: str
    example: str
    answer: Callable[..., Report]
    parameters: tuple[click.Parameter, ...] = ()
    here: bool = False


def _to(forms: str) -> click.Option:
    return click.Option(["--to"], type=click.Path(path_type=Path), metavar="FILE", help=f"Write it to a file: {forms}.")


_FORCE = click.Option(["--force"], is_flag=True, help="Replace the file of --to where it is there already.")
_NO_PIN = click.Option(["--no-pin"], is_flag=True, help="Do not store the present value for mlops-nb verify.")
_RTOL = click.Option(["--rtol"], type=click.FloatRange(min=0), default=1e-9, show_default=True, help="How far floats may differ, relatively.")
_MERMAID = click.Option(["--mermaid"], is_flag=True, help="As a Mermaid flowchart.")
_CODE = click.Option(["--code"], is_flag=True, help="Show the code alone.")
_ANY = click.Option(["--any", "anywhere"], is_flag=True, help="What was made anew counts wherever it stands, not only above.")
_NAMES = click.Argument(["names"], nargs=-1, required=True, metavar="NAME...")
_SWITCH = click.Argument(["switch"], type=click.Choice(["on", "off"]))

QUESTIONS: tuple[Question, ...] = (
    Question("show", "Show the graph of cells and files.", "", _show, (_MERMAID, _to(".svg, .mmd or .txt"), _FORCE)),
    Question("why", "Say what made a value, or a file (file:PATH).", "why model", _why, (click.Argument(["name"]),)),
    Question("stale", "List the stale cells and why they are.", "stale", _stale, (_ANY,)),
    Question("slice", "Show the cells behind values.", "slice model --to model.py", _slice, (_NAMES, _to(".ipynb or .py"), _CODE, _FORCE)),
    Question("deps", "Show what a cell stands on: certain or possible.", "deps 7", _deps, (click.Argument(["cell"]),)),
    Question("files", "List the files that cells read and wrote.", "files", _files),
    Question(
        "columns",
        "Show what a frame's columns were made from.",
        "columns trips per_km",
        _columns,
        (click.Argument(["frame"]), click.Argument(["column"], default="")),
    ),
    Question("rerun", "Say what to run after an edit.", "rerun 3 5", _rerun, (click.Argument(["cells"], nargs=-1, metavar="[CELL...]"),)),
    Question("verify", "Run the cells behind a value again and compare.", "verify model", _verify, (click.Argument(["name"]), _RTOL), here=True),
    Question("off", "Stop recording cells in this kernel.", "off", _off, here=True),
    Question("on", "Record cells again.", "on", _on, here=True),
    Question("warn", "Warn on stderr of cells that ran out of order.", "warn on", _warn, (_SWITCH,), here=True),
)


def help_text() -> str:
    """The help of `%lineage`, made from the table."""
    width = max(len(f"%lineage {question.example}") for question in QUESTIONS) + 2
    rows = [f"  {f'%lineage {question.example}'.rstrip():<{width}}  {question.help}" for question in QUESTIONS]
    graph = f"  {'%lineage --mermaid':<{width}}  The graph as text for Mermaid."
    return "\n".join(
        [rows[0], graph, *rows[1:], "", "A CELL is an execution's number or a cell's id. `%lineage slice --help` gives a question's options."]
    )


# --- commands -------------------------------------------------------------------------------------------------


class _Questions(click.Group):
    """A group whose unknown commands are told with near names."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; raises NotFound."""
        if args and args[0] not in self.commands:
            raise NotFound.named("question", args[0], self.commands, where=ctx.command_path)
        return super().resolve_command(ctx, args)


def _of_notebook(question: Question) -> click.Command:
    """The question of a recorded notebook."""

    @click.pass_obj
    def ask(session: Session, /, notebook: Path, **given: Any) -> Report:
        from mlops_nb.project.lineage import recorded

        return question.answer(Asked(session.project, recorded(session.project, notebook), notebook), **given)

    notebook = click.Argument(["notebook"], type=click.Path(path_type=Path), metavar="NOTEBOOK.ipynb")
    return _command(question, ask, (notebook, *question.parameters), f"mlops-nb lineage {question.name} trips.ipynb")


def _of_kernel(question: Question) -> click.Command:
    """The question of the running kernel."""

    @click.pass_obj
    def ask(session: KernelSession, /, **given: Any) -> Report:
        kernel = session.kernel
        return question.answer(Asked(kernel.project, kernel.lineage, kernel.notebook, kernel), **given)

    own = (_NO_PIN,) if question.name == "slice" else ()
    return _command(question, ask, (*question.parameters, *own), f"%lineage {question.name}")


def _command(question: Question, ask: Callable[..., Report], parameters: Sequence[click.Parameter], typed: str) -> click.Command:
    arguments = question.example.partition(" ")[2]
    example = f"\n\n\b\nExample:\n  {typed} {arguments}".rstrip()
    command = click.Command(question.name, callback=ask, params=list(parameters), help=question.help + example, short_help=question.help)
    return json_option(command)


lineage = _Questions(
    "lineage",
    commands=[_of_notebook(question) for question in QUESTIONS if not question.here],
    help="What made a value, what is stale, what to run again: the recorded lineage of a notebook's newest session.\n\n"
    "\b\nExample:\n  mlops-nb lineage show notebooks/flight_delays.ipynb\n  mlops-nb lineage why notebooks/flight_delays.ipynb model",
)


of_kernel = _Questions("lineage", commands=[_of_kernel(question) for question in QUESTIONS], context_settings={"help_option_names": ["-h", "--help"]})


@of_kernel.result_callback()
@click.pass_context
def _answer(ctx: click.Context, /, report: Report | None, **_: object) -> Report | None:
    """Remember whether JSON was asked for."""
    ctx.obj.as_json = bool(ctx.meta.get("mlops_nb.json"))
    return report


def words_of(words: Sequence[str]) -> list[str]:
    """The words after `%lineage` as arguments: without a question the graph is meant.

    >>> words_of([]), words_of(["--mermaid"]), words_of(["why", "x"])
    (['show'], ['show', '--mermaid'], ['why', 'x'])
    """
    asks = bool(words) and (words[0] in ("--help", "-h") or not words[0].startswith("-"))
    return list(words) if asks else ["show", *words]
