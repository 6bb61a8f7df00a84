"""Headless execution of one notebook: the only door to papermill and nbclient.

papermill's own metadata is not believed: it calls cells completed after their kernel died. What happened is read from exceptions and
exit codes, and the executed notebook is written here, redacted and atomically, also after a failure.
"""

import contextlib
import logging
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.errors import BadInput, NotebookError, NotFound
from mlops_nb.notebook.cells import read_notebook
from mlops_nb.pipeline.files import notebook_text, write_atomically

if TYPE_CHECKING:
    from nbformat import NotebookNode

OWN_KERNEL = "python3"
PLAIN_KERNEL = "plain"  # the same, but never forked
SAVE_SECONDS = 5.0
MESSAGE_LINES = 12  # of an exception, in messages; the executed notebook holds all of it
INJECTED_ID = "mlops-nb-injected-parameters"
HIDDEN_ID = "mlops-nb-before"

OnCell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Execution:
    """How a notebook's execution ended: `error` is empty when every cell ran, else what stopped `cell_id`.

    `error` starts with the exception's name, or says that the kernel died or the cell took too long.
    """

    seconds: float
    cell_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class KernelSetup:
    """The kernel to start: its whole environment and its folder; this process's own are not touched.

    `name` is a kernel spec's ('': this interpreter's own kernel, `plain`: not forked), `timeout` seconds for one cell (0: no limit),
    `modules` are what a fork server imports beforehand (None: no fork).
    """

    environ: Mapping[str, str]
    cwd: Path
    name: str = ""
    timeout: float = 0.0
    modules: tuple[str, ...] | None = None


def execute_notebook(
    source: Path,
    target: Path,
    *,
    kernel: KernelSetup,
    parameters: Mapping[str, Any] | None = None,
    on_cell: OnCell = lambda *_: None,
    redact: Callable[[Any], Any] = lambda value: value,
    before: str = "",
) -> Execution:
    """Run `source` top to bottom in a fresh kernel and keep the executed notebook at `target`, whatever happens.

    `parameters` are injected below the cell tagged `parameters`. `on_cell(done, total, cell_id)` is told before each cell and at the end.
    `before` is code run before the first cell; it is not kept in the notebook.

    Raises:
        NotebookError: `source` cannot be read as a notebook.
        NotFound: there is no such kernel.
        KeyboardInterrupt: passed on once the kernel is killed and the notebook kept.
    """
    started = time.monotonic()
    notebook = _prepared(source, parameters or {})
    if before:
        _prepend(notebook, before)
    record = _Record(notebook, target, redact, on_cell)
    try:
        _execute(notebook, record, kernel)
    except _stops() as error:
        return Execution(time.monotonic() - started, record.cell_id, record.error or _first_line(error))
    except RuntimeError as error:
        if record.cell_id:
            raise
        return Execution(time.monotonic() - started, error=f"the kernel did not start: {_first_line(error)}")
    finally:
        record.save()
    return Execution(time.monotonic() - started)


class _Record:
    """The notebook being executed: what cell is running, how it failed, and its redacted file."""

    def __init__(self, notebook: "NotebookNode", target: Path, redact: Callable[[Any], Any], on_cell: OnCell) -> None:
        self.notebook = notebook
        self.target = target
        self.redact = redact
        self.on_cell = on_cell
        self.cell_id = ""
        self.error = ""
        self.saved = time.monotonic()

    def cell_starts(self, index: int, cell: "NotebookNode") -> None:
        """Note the running cell and, now and then, save what there is."""
        self.cell_id = str(cell.get("id", ""))
        self.on_cell(index, len(self.notebook.cells), self.cell_id)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the notebook as it is now."""
        notebook = _plain(self.notebook)
        notebook["cells"] = [_whole_streams(cell) for cell in notebook["cells"] if cell.get("id") != HIDDEN_ID]
        write_atomically(self.target, notebook_text(self.redact(notebook)))
        self.saved = time.monotonic()


def _whole_streams(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell with what it printed in one piece, up to the next output of another kind: the pieces it came in are another way each time."""
    outputs: list[dict[str, Any]] = []
    for output in cell.get("outputs", ()):
        last = outputs[-1] if outputs else {}
        if output["output_type"] == last.get("output_type") == "stream" and output["name"] == last["name"]:
            outputs[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            outputs.append(output)
    return {**cell, "outputs": outputs} if outputs else cell


def _plain(value: Any) -> Any:
    """A NotebookNode as dicts and lists of text, which the redactor takes."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _prepared(source: Path, parameters: Mapping[str, Any]) -> "NotebookNode":
    """The notebook to execute: upgraded, with the ids that `read_notebook` gives, no outputs, parameters injected."""
    from nbformat import ValidationError
    from nbformat.reader import NotJSONError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    ids = {cell.index: cell.id for cell in read_notebook(source, strict=False)}
    try:
        with warnings.catch_warnings():  # about doubled ids and the like, which are mended below
            warnings.simplefilter("ignore")
            notebook = load_notebook_node(str(source))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NotJSONError, ValidationError) as error:
        raise NotebookError(f"is no notebook that can run: {error}", where=str(source)) from error
    for index, cell_id in ids.items():
        notebook.cells[index]["id"] = cell_id
    if parameters:
        notebook = parameterize_notebook(notebook, dict(parameters), comment="Parameters of this run", kernel_name=OWN_KERNEL, language="python")
        next(cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", ()))["id"] = INJECTED_ID
    prepared: NotebookNode = notebook
    return prepared


def _prepend(notebook: "NotebookNode", source: str) -> None:
    from nbformat.v4 import new_code_cell

    make: Callable[..., NotebookNode] = new_code_cell
    notebook.cells.insert(0, make(source, id=HIDDEN_ID, metadata={"tags": []}))


@cache
def _stops() -> tuple[type[Exception], ...]:
    """What ends an execution without being an error of this program."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    return CellExecutionError, CellTimeoutError, DeadKernelError


class _Truthful:
    """papermill's manager of cell times and states, but nothing that has not run is called completed. A mixin: see `_client_class`."""

    nb: Any
    start_time: Any
    now: Callable[[], Any]

    def notebook_complete(self, **_: Any) -> None:
        """Note the end; cells that never started stay pending."""
        end = self.now()
        self.nb.metadata.papermill.update(end_time=end.isoformat(), duration=(end - self.start_time).total_seconds())


class _CellByCell:
    """papermill's client, which sends each cell's id and tags and lets through what stops a cell. A mixin: see `_client_class`."""

    record: _Record
    modules: tuple[str, ...] | None
    nb: Any
    nb_man: Any
    km: Any
    made: Any = None  # the manager, which nbclient forgets
    kc: Any
    kernel_name: str
    timeout: float | None
    log: logging.Logger
    execute_cell: Callable[..., Any]

    def create_kernel_manager(self) -> Any:
        """A manager for a kernel of this interpreter, or for the one asked for."""
        from mlops_nb.pipeline.kernels import StepKernelManager

        self.km = self.made = StepKernelManager(modules=self.modules, kernel_name=self.kernel_name, log=self.log)
        _check_kernel(self.km)
        return self.km

    def papermill_execute_cells(self) -> None:
        """Run the cells in order up to the first that fails."""
        cells = self.nb.cells
        for index, cell in enumerate(cells):
            self.record.cell_starts(index, cell)
            self.kc.cell_metadata = {"cellId": cell.get("id", ""), "tags": list(cell.metadata.get("tags", ()))}
            self.nb_man.cell_start(cell, index)
            try:
                self.execute_cell(cell, index, store_history=cell.get("id") != HIDDEN_ID)
            except BaseException as error:
                self.record.error = self.reason(error)
                self.nb_man.cell_exception(cell, cell_index=index)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)
        self.record.on_cell(len(cells), len(cells), "")

    def reason(self, error: BaseException) -> str:
        """What stopped the running cell, in one line."""
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

        if isinstance(error, DeadKernelError):
            return _death(self.km.exit_code)
        if isinstance(error, CellTimeoutError):
            return f"took longer than {self.timeout:g} s"
        return f"{error.ename}: {_beginning(error.evalue)}" if isinstance(error, CellExecutionError) else _first_line(error)


@cache
def _client_class() -> tuple[Any, Any]:
    """(client, manager): papermill's classes with ours before them; made at the first execution, since papermill is slow to import."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NotebookExecutionManager

    return type("Client", (_CellByCell, PapermillNotebookClient), {}), type("Manager", (_Truthful, NotebookExecutionManager), {})


def _execute(notebook: "NotebookNode", record: _Record, kernel: KernelSetup) -> None:
    """Start a kernel, run the cells, kill the kernel; one that is interrupted while it starts too, which nbclient leaves behind."""
    client_class, manager_class = _client_class()
    manager = manager_class(notebook, progress_bar=False, autosave_cell_every=0)
    plain = kernel.name == PLAIN_KERNEL
    name = OWN_KERNEL if plain else kernel.name or OWN_KERNEL
    client = client_class(manager, kernel_name=name, timeout=kernel.timeout or None, log=_quiet(), **_CLIENT_OPTIONS)
    client.record = record
    client.modules = None if plain else kernel.modules
    manager.notebook_start()
    try:
        client.execute(env=dict(kernel.environ), cwd=str(kernel.cwd))
    finally:
        _kill(client.made)
        manager.notebook_complete()


def _kill(manager: Any) -> None:
    if manager is None:
        return
    process = getattr(manager.provisioner, "process", None)
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()
    manager.dispose()


# The kernel is killed at the end, since a polite shutdown stalls for seconds now and then; its history file is nobody's.
_CLIENT_OPTIONS = {"shutdown_kernel": "immediate", "startup_timeout": 60, "record_timing": False, "ipython_hist_file": ":memory:"}


@cache
def _quiet() -> logging.Logger:
    """A logger whose lines reach nobody: what matters is said by exceptions."""
    logger = logging.getLogger("mlops_nb.papermill")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _check_kernel(manager: Any) -> None:
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        specification = manager.kernel_spec
    except NoSuchKernel as error:
        raise NotFound.named("kernel", manager.kernel_name, manager.kernel_spec_manager.find_kernel_specs()) from error
    if specification.language.lower() != "python":
        raise BadInput(f"kernel {manager.kernel_name!r} speaks {specification.language}, not Python")


def _death(exit_code: int | None) -> str:
    """Why a kernel is gone.

    >>> _death(-9)
    'the kernel died (SIGKILL; out of memory?)'
    """
    if exit_code is None or exit_code >= 0:
        return "the kernel died" if exit_code is None else f"the kernel exited with code {exit_code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-exit_code).name
        return f"the kernel died ({name}{'; out of memory?' if name == 'SIGKILL' else ''})"
    return f"the kernel died (signal {-exit_code})"


def _beginning(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[:MESSAGE_LINES]) + ("\n..." if len(lines) > MESSAGE_LINES else "")


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
