"""The IPython face: `%load_ext mlops_nb` starts capture and registers %%step, %%feature, %%test, %model, %lineage and %mlops.

Each magic reads its line and hands over to the Project; nothing is decided here.
"""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class
from IPython.display import display

from mlops_nb.capture.watch import MAX_FAILURES, Watcher
from mlops_nb.cli import Session as CommandSession
from mlops_nb.cli import cli
from mlops_nb.cli import lineage as questions
from mlops_nb.config import STEP_VARIABLE, WITNESS_VARIABLE
from mlops_nb.display import Report, counted
from mlops_nb.errors import BadInput, MlopsError, NotStorable
from mlops_nb.notebook.cells import help_text, parse_cell, plain_python
from mlops_nb.project import Project, new_id, unknown_variable
from mlops_nb.project.panel import DELTA_MIME, DISPLAY_ID, delta_payload
from mlops_nb.records import Cell, CellRun, CellView, Edge
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    import click

    from mlops_nb.project.lineage import Lineage

_ATTRIBUTE = "_mlops_nb"
NOT_REGISTERED = "a pipeline's notebook opened by hand registers nothing; the pipeline's run does: mlops-nb run PIPELINE"
CELL_MAGICS = ("step", "feature", "test")


class Loaded:
    """What `%load_ext mlops_nb` keeps for one shell: project, session, watcher, and what the panel has been told."""

    def __init__(self, shell: InteractiveShell, project: Project) -> None:
        self.shell = shell
        self.project = project
        self.notebook = notebook_path(shell)
        self.session = project.notebooks.start_session(
            notebook=project.relative(self.notebook) if self.notebook else "",
            kernel_id=kernel_id(shell),
            run_id=project.environ.get("MLOPS_NB_RUN", ""),
        )
        self.watcher = Watcher(
            shell,
            self.on_run,
            notebook=self.session.notebook,
            session_id=self.session.id,
            layout_root=project.layout.root,
        )
        self.epoch = f"{os.getpid()}-{new_id()[:12]}"
        self.seq = 0
        self.told: dict[str, CellView] = {}
        self.warned = False
        self.headless = "MLOPS_NB_RUN" in project.environ
        self.warnings = project.settings.warnings and not self.headless
        self.off = False
        self.unseen = 0  # cells since recording was turned off
        self.info: ExecutionInfo | None = None

    def start(self) -> None:
        """Hook into the shell."""
        self.watcher.start()
        self.info = self.watcher.current
        self.shell.events.register("pre_run_cell", self.remember)
        self.shell.input_transformer_manager.cleanup_transforms.insert(0, take_off_step_line)

    def stop(self) -> None:
        """Unhook, and commit what is acknowledged."""
        self.watcher.stop()
        self.shell.events.unregister("pre_run_cell", self.remember)
        self.shell.input_transformer_manager.cleanup_transforms.remove(take_off_step_line)
        self.project.close()

    def remember(self, info: ExecutionInfo) -> None:
        """Keep which cell runs, for magics inside it."""
        self.info = info
        self.unseen += self.off and info.store_history and not info.silent

    def on_run(self, run: CellRun, edges: tuple[Edge, ...]) -> None:
        """Record a cell run and tell the panel which cells look different now."""
        self.session.on_run(run, edges)
        self.warn_once()
        if self.warnings:
            self.warn_of(run)
        if getattr(self.shell, "kernel", None) is not None:
            self.publish()

    def publish(self) -> None:
        """Send the changed cell views to every open page; nothing is stored in the notebook."""
        views = self.watcher.history.views()
        changed = tuple(view for view in views.values() if self.told.get(view.cell_id) is not view)
        self.told = views
        self.seq += 1
        delta = delta_payload(
            epoch=self.epoch,
            seq=self.seq,
            notebook=self.session.notebook,
            views=changed,
            recording=self.project.registry.status(),
        )
        self.shell.display_pub.publish({DELTA_MIME: delta}, transient={"display_id": DISPLAY_ID}, update=True)

    def warn_once(self) -> None:
        """Say once on stderr that nothing is recorded, and why; cells go on."""
        status = self.project.registry.status()
        if not status.on and not self.warned:
            sys.stderr.write(f"mlops_nb: recording is off: {status.reason}\n")
        self.warned = not status.on

    def warn_of(self, run: CellRun) -> None:
        """One line on stderr where a cell has just run and is stale already: what it read is not what a run from top to bottom gives."""
        view = self.watcher.history.views()[run.cell_id]
        if view.state == "stale":
            sys.stderr.write(f"mlops_nb: [{run.execution_count}] {view.reason} (%lineage warn off ends these lines)\n")

    def warn(self, *, on: bool) -> str:
        """Start or stop such warnings; headless runs stay quiet."""
        self.warnings = on and not self.headless
        if on and self.headless:
            return "Warnings stay off in a headless run."
        return "Cells that run out of order are told on stderr from now on." if on else "No more warnings; the panel shows what is stale."

    def watch(self, *, on: bool) -> str:
        """Start or stop recording in this kernel, and say what that means."""
        if self.watcher.failures >= MAX_FAILURES:
            return "Recording has ended because watching failed; it is on again in a new kernel."
        if on != self.off:
            return "Cells are being recorded." if on else "Recording is off already."
        self.off = not on
        if self.off:
            self.unseen = 0
            self.watcher.stop()
            return "Cells are no longer recorded: what they make has no known origin. %lineage on starts again."
        self.watcher.start()
        missed = self.unseen - 1  # but the cell that says so
        return (
            f"Cells are recorded again. {counted(missed, 'cell')} ran unseen{'; what they may have changed is possible, not certain' * bool(missed)}."
        )

    def pin(self, name: str) -> str:
        """Store the present value of `name`, so that a verification can compare it within a tolerance; what came of it, in words."""
        from mlops_nb.project.verify import pin

        if name not in self.shell.user_ns or self.by_hand:
            return f"{name} is not stored: {NOT_REGISTERED if self.by_hand else 'it is no variable'}"
        writer = self.watcher.history.writers[name][-1][0]
        try:
            ref = pin(self.project, self.session.notebook, name, self.shell.user_ns[name], writer)
        except NotStorable as error:
            return f"Its value is not stored ({error.message}), so mlops-nb verify {name} compares digests."
        status = self.project.registry.status()
        if not status.on:
            return f"{name} is not stored: recording is off: {status.reason}"
        return f"Its value is stored ({ref.kind}, {ref.size:,} bytes): mlops-nb verify {name} runs these cells again and compares."

    @property
    def lineage(self) -> "Lineage":
        """What is known of this kernel's cells so far."""
        from mlops_nb.project.lineage import Lineage

        return Lineage(self.watcher.history, notebook=self.session.notebook, project=self.project, names=lambda: self.shell.user_ns)

    @cached_property
    def by_hand(self) -> bool:
        """Whether somebody opened a promoted component's notebook: its cells are tried out, and nothing is registered for them."""
        from mlops_nb.project.pipelines import is_component

        return not self.project.environ.get(STEP_VARIABLE) and is_component(self.notebook)

    def cell(self, kind: str, line: str, body: str) -> Cell:
        """The cell that a cell magic stands in, parsed; a magic called in another way gets a cell of its own text."""
        running = self.source()
        source = running if running.startswith(f"%%{kind}") else f"%%{kind} {line}\n{body}"
        return parse_cell(source, id=self.cell_id(), index=-1, tags=self.tags(), notebook=self.session.notebook)

    def source(self) -> str:
        """The running cell's text as sent."""
        return (self.info.raw_cell if self.info else "") or ""

    def cell_id(self) -> str:
        """The id JupyterLab (or our engine) sent with the running cell."""
        return (self.info.cell_id if self.info else "") or ""

    def tags(self) -> tuple[str, ...]:
        """The tags JupyterLab (or our engine) sent with the running cell."""
        meta = self.info.cell_meta if self.info else None
        tags = meta.get("tags") if isinstance(meta, dict) else None
        return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()

    def sources(self) -> tuple[str, ...]:
        """Plain Python of the cells run so far, oldest first, the running one last."""
        ran = tuple(run.source for run in self.watcher.history.runs)
        return tuple(plain_python(source) for source in (*ran, self.source()))


@magics_class
class MlopsMagics(Magics):
    """The magics; `loaded` is set once, when the extension is loaded."""

    loaded: Loaded

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's names."""
        names: dict[str, Any] = self.loaded.shell.user_ns
        return names

    @line_cell_magic
    def step(self, line: str, cell: str | None = None) -> None:
        """`%%step NAME` marks a cell; `%step load` and `%step save` stand in a promoted pipeline's notebooks."""
        from mlops_nb.pipeline import step

        if cell is not None:
            # A good first line never gets here: it is taken off before the cell runs. This one says what is wrong with it.
            self.loaded.cell("step", line, cell)
            raise BadInput("%%step can only stand in the first line of a cell", where=self.loaded.session.notebook)
        match line.strip():
            case "begin":
                step.begin(self.loaded.project)
            case "load":
                step.load(self.namespace, self.loaded.project)
            case "save":
                step.save(self.namespace, self.loaded.project, runs=self.loaded.watcher.history.runs)
            case other:
                raise BadInput(f"%step takes load or save, not {other!r}", hint="to make this cell a step, write %%step NAME in its first line")

    @cell_magic
    def feature(self, line: str, cell: str) -> Any:
        """Compute a feature view, bind its frame to NAME and register it."""
        __tracebackhide__ = True
        from mlops_nb.pipeline import step

        parsed = self.loaded.cell("feature", line, cell)
        frame = self.loaded.project.features.run_cell(
            self.namespace,
            parsed,
            sources=self.loaded.sources(),
            session_id=self.loaded.session.id,
            step=step.current(self.loaded.project.environ),
            record=not self.loaded.by_hand,
        )
        self.namespace[parsed.name] = frame
        return frame

    @cell_magic
    def test(self, line: str, cell: str) -> None:
        """Run a test at once and register it; it runs again as a gate in the pipeline."""
        from mlops_nb.pipeline import step

        self.loaded.project.tests.run_cell(
            self.namespace,
            self.loaded.cell("test", line, cell),
            sources=self.loaded.sources(),
            session_id=self.loaded.session.id,
            step=step.current(self.loaded.project.environ),
            record=not self.loaded.by_hand,
        )

    @line_magic
    def model(self, line: str) -> Report:
        """Register a model version: `%model NAME VARIABLE [--metrics METRICS]`.

        METRICS is a variable that holds a mapping, or `name=expression` pairs.

        Example::

            %model flight_late classifier --metrics metrics
            %model flight_late classifier --metrics auc=auc,brier=brier
        """
        from mlops_nb.models.versions import evaluate_metrics, parse_model_line
        from mlops_nb.pipeline import step
        from mlops_nb.project.models import shown

        asked = parse_model_line(line)
        loaded = self.loaded
        value = _variable(self.namespace, asked.variable, where=loaded.session.notebook)
        if loaded.by_hand:
            return Report(title=f"{asked.name}: not registered", notes=(NOT_REGISTERED,))
        version = loaded.project.models.register(
            asked.name,
            asked.variable,
            value,
            metrics=evaluate_metrics(asked, self.namespace),
            history=loaded.watcher.history,
            cell=parse_cell(loaded.source(), id=loaded.cell_id(), index=-1, notebook=loaded.session.notebook),
            session_id=loaded.session.id,
            step=step.current(loaded.project.environ),
        )
        return shown(version, loaded.project.models.gate(version))

    @line_magic
    def mlops(self, line: str) -> Any:
        """Run any `mlops-nb` command here: `%mlops COMMAND [OPTIONS]`, e.g. `%mlops status`, `%mlops feature search weather`.

        `%mlops --help` lists the commands. With `--json` the answer is Python lists and dicts, to be used in the next cell as `_`.
        """
        return run_command(cli, _words(line, "%mlops") or ["--help"], CommandSession(project=self.loaded.project), "%mlops")

    @line_magic
    def lineage(self, line: str) -> Any:
        """What made a value, what is stale, what to run again: in this kernel, up to the cell before."""
        return run_command(questions.of_kernel, questions.words_of(_words(line, "%lineage")), questions.KernelSession(self.loaded), "%lineage")


def _words(line: str, magic: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise BadInput(f"{str(error).lower()} in: {line}", where=magic) from None


def run_command(commands: "click.Group", arguments: Sequence[str], session: CommandSession, magic: str) -> Any:
    """Run one of `commands`; its report comes back for rich display (with `--json` its data), a failed one is shown and raised."""
    import click

    try:
        with unseen():  # what a command reads is not the cell's data
            report = commands.main(list(arguments), prog_name=magic, standalone_mode=False, obj=session)
    except click.ClickException as error:
        raise BadInput(error.format_message(), where=magic) from None
    except click.Abort:
        raise MlopsError(f"{magic} {shlex.join(arguments)} was interrupted") from None
    if not isinstance(report, Report):
        return None
    answer = report.data if session.as_json else report
    if report.exit_code:
        display(answer)  # type: ignore[no-untyped-call]
        raise MlopsError(f"{magic} {shlex.join(arguments)} ended with exit code {report.exit_code}")
    return answer


def take_off_step_line(lines: list[str]) -> list[str]:
    """Make a cell's `%%step NAME` line a comment, so that the cell runs as ordinary code with its own line numbers.

    Whatever is wrong with the line is left for the %%step magic to say: an input transformer must not raise.
    """
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if not lines or not lines[first].startswith("%%step") or lines[first].rstrip().endswith("?"):
        return lines
    try:
        parse_cell(lines[first], id="")
    except MlopsError:
        return lines
    return [*lines[:first], "# " + lines[first], *lines[first + 1 :]]


def notebook_path(shell: InteractiveShell) -> Path | None:
    """The notebook this kernel serves: jupyter_server and our engine name it in JPY_SESSION_NAME, VS Code in the namespace."""
    named = os.environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    if not isinstance(named, str) or not named.endswith(".ipynb"):
        return None
    return Path(named) if Path(named).is_absolute() else Path.cwd() / Path(named).name


def kernel_id(shell: InteractiveShell) -> str:
    """The kernel's id out of its connection file's name; '' in a terminal."""
    file = getattr(getattr(shell, "kernel", None), "parent", None)
    name = Path(getattr(file, "connection_file", "") or "").stem
    return name.removeprefix("kernel-")


def _misplaced(kind: str) -> Callable[[str], None]:
    """What answers a `%%step` further down than the first line, where IPython takes it for a line magic named `%step`."""

    def refuse(line: str) -> None:
        raise BadInput(f"%%{kind} {line}".rstrip() + " does not stand in the first line of its cell", hint="put it above all else, comments too")

    return refuse


def _variable(namespace: dict[str, Any], name: str, *, where: str) -> Any:
    if name not in namespace:
        raise unknown_variable(name, namespace, where=where)
    return namespace[name]


def load(shell: InteractiveShell) -> Loaded:
    """Start capture in `shell` and register the magics; a second load changes nothing."""
    loaded = getattr(shell, _ATTRIBUTE, None)
    if isinstance(loaded, Loaded):
        return loaded
    path = notebook_path(shell)
    loaded = Loaded(shell, Project.find(path.parent if path else None))
    magics = MlopsMagics(shell)
    magics.loaded = loaded
    shell.register_magics(magics)
    for kind in CELL_MAGICS:
        shell.magics_manager.register_function(_misplaced(kind), "line", f"%{kind}")
    loaded.start()
    if loaded.project.environ.get(WITNESS_VARIABLE):
        from mlops_nb.project.witness import attach

        attach(loaded.project, shell)
    setattr(shell, _ATTRIBUTE, loaded)
    loaded.warn_once()
    return loaded


def lineage_of(notebook: str | Path | None) -> "Lineage":
    """The lineage of the kernel this runs in, or of a recorded notebook."""
    from IPython.core.getipython import get_ipython

    from mlops_nb.project import lineage

    loaded = getattr(get_ipython(), _ATTRIBUTE, None)
    if notebook is not None:
        path = Path(notebook)
        project = loaded.project if isinstance(loaded, Loaded) else Project.find(path.resolve().parent if path.exists() else None)
        return lineage.recorded(project, path)
    if not isinstance(loaded, Loaded):
        raise MlopsError("nothing is captured here", hint="%load_ext mlops_nb first, or name a notebook: mlops_nb.lineage('nb.ipynb')")
    return loaded.lineage


def unload(shell: InteractiveShell) -> None:
    """Stop capture and take the magics away."""
    loaded = getattr(shell, _ATTRIBUTE, None)
    if not isinstance(loaded, Loaded):
        return
    loaded.stop()
    for kind in CELL_MAGICS:
        shell.magics_manager.magics["line"].pop(f"%{kind}", None)
    for kind, names in MlopsMagics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
    delattr(shell, _ATTRIBUTE)


for _kind in ("feature", "test"):
    getattr(MlopsMagics, _kind).__doc__ += "\n\n" + help_text(_kind)
MlopsMagics.step.__doc__ = (MlopsMagics.step.__doc__ or "") + "\n\n" + help_text("step")
MlopsMagics.lineage.__doc__ = (MlopsMagics.lineage.__doc__ or "") + "\n\n" + questions.help_text()
