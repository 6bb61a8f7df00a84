"""IPython's pre_run_cell and post_run_cell hooks -> a CellRun with its edges. A cell never breaks because of this."""

import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlops_nb.capture import files
from mlops_nb.capture.environment import variable_digests, variables_read
from mlops_nb.capture.lineage import History
from mlops_nb.capture.observe import Look, Observed, look_before, observe, shadowed_builtins
from mlops_nb.capture.resolve import Resolved
from mlops_nb.config import find_layout
from mlops_nb.errors import MlopsError, NotebookError
from mlops_nb.hashing import FileHasher, source_crc
from mlops_nb.notebook.analysis import facts_of_cell
from mlops_nb.notebook.cells import cell_ids, parse_cell, plain_python, source_id
from mlops_nb.notebook.flow import Facts
from mlops_nb.notebook.scopes import BUILTINS
from mlops_nb.records import Cell, CellRun, Edge, FileUse, now_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

OnRun = Callable[[CellRun, tuple[Edge, ...]], None]

MAX_FAILURES = 3
INLINE_BYTES = 64 << 20  # files up to this size together are hashed at once, bigger ones on a thread
MAX_ERROR = 2000
SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Running:
    """The cell that runs now, and how things stood before it."""

    info: Any
    frame: FrameType
    cell: Cell
    facts: Facts
    look: Look
    resolved: Resolved
    started: str
    clock: float


class Watcher:
    """Watches one shell: `on_run` gets each finished run with the edges into it, in order.

    Whatever goes wrong in here (KeyboardInterrupt apart, which is the user's) is kept from the cell; the third failure ends watching with
    one line on stderr. Runs without `store_history`, silent ones and runs inside a run are no runs of cells.
    """

    def __init__(self, shell: "InteractiveShell", on_run: OnRun, *, notebook: str, session_id: str, layout_root: Path) -> None:
        self.shell = shell
        self.notebook = notebook
        self.session_id = session_id
        self.places = files.Places(root=layout_root, home=find_layout(layout_root).home)
        self.failures = 0
        self._on_run = on_run
        self._history = History()
        self._seq = 0
        self._running: _Running | None = None
        self._delivery = _Delivery(self._complete, self._failed)
        self._positions = _Positions(layout_root / notebook if notebook else None)
        self._hasher = FileHasher()

    @property
    def history(self) -> History:
        """The runs and last writers of this session, waiting for files that are still being hashed."""
        self._delivery.settle()
        return self._history

    def start(self) -> None:
        """Hook into the shell; a cell that runs now (it loads the extension) is watched from here on."""
        files.install()
        self.shell.events.register("pre_run_cell", self._pre_run_cell)
        self.shell.events.register("post_run_cell", self._post_run_cell)
        now = _caller().f_locals.get("info")
        if type(now).__name__ == "ExecutionInfo":
            self._guarded(self._begin, now)

    @property
    def current(self) -> "ExecutionInfo | None":
        """The cell that runs now, as the shell was asked to run it."""
        return self._running.info if self._running else None

    def stop(self) -> None:
        """Unhook; runs that wait for their files are still delivered. A second call does nothing."""
        for event, hook in (("pre_run_cell", self._pre_run_cell), ("post_run_cell", self._post_run_cell)):
            if hook in self.shell.events.callbacks[event]:
                self.shell.events.unregister(event, hook)
        self._forget()
        self._delivery.settle()

    # --- hooks ---

    def _pre_run_cell(self, info: "ExecutionInfo") -> None:
        self._guarded(self._begin, info)

    def _post_run_cell(self, result: "ExecutionResult | None") -> None:
        self._guarded(self._end, result)

    def _guarded(self, step: Callable[[Any], None], argument: Any) -> None:
        try:
            step(argument)
        except KeyboardInterrupt:
            self._forget()
            raise
        except BaseException as error:  # noqa: BLE001 (the user's cell comes first, whatever this is)
            self._forget()
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        if self.failures == MAX_FAILURES:
            self.stop()
            what = type(error).__name__
            sys.stderr.write(
                f"mlops_nb: cells are no longer recorded in this session: watching failed {MAX_FAILURES} times, last with {what}: {error}\n"
            )

    def _forget(self) -> None:
        self._running = None
        files.stop()

    def _begin(self, info: "ExecutionInfo") -> None:
        if self._running is not None and _is_below(self._running.frame):
            return  # a run inside a run
        self._forget()
        if info.silent or not info.store_history:
            return
        namespace, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        cell = _parsed(info, self.notebook)
        facts = facts_of_cell(cell, shadowed=shadowed_builtins(namespace, hidden, BUILTINS))
        look, resolved = look_before(namespace, hidden, facts)
        files.start()
        self._running = _Running(
            info=info,
            frame=_caller(),
            cell=cell,
            facts=facts,
            look=look,
            resolved=resolved,
            started=now_text(),
            clock=time.perf_counter(),
        )

    def _end(self, result: "ExecutionResult | None") -> None:
        running = self._running
        if running is None or (result is not None and result.info is not running.info):
            return
        seconds = time.perf_counter() - running.clock
        opened = files.stop()
        self._running = None
        error = _error_text(result)
        seen = observe(
            running.look,
            self.shell.user_ns,
            self.shell.user_ns_hidden,
            facts=running.facts,
            resolved=running.resolved,
            failed=bool(error),
        )
        used = files.uses(opened, self.places)
        count = result.execution_count if result else None
        run = self._run(running, seen, seconds=seconds, error=error, count=count or self.shell.execution_count - 1)
        self._positions.refresh(self._history)
        edges = self._history.add(run, reads=seen.reads, writes=seen.writes, deleted=seen.deleted)
        self._delivery.put(run, edges, used)

    def _run(self, running: _Running, seen: Observed, *, seconds: float, error: str, count: int) -> CellRun:
        self._seq += 1
        cell = running.cell
        variables = running.resolved.variables | variables_read(plain_python(cell.source) if "env" in cell.source else "")
        return CellRun(
            id=uuid.uuid4().hex,
            session_id=self.session_id,
            seq=self._seq,
            notebook=self.notebook,
            cell_id=cell.id,
            execution_count=count,
            source=cell.source,
            crc=source_crc(cell.source),
            started=running.started,
            seconds=seconds,
            status="error" if error else "ok",
            error=error,
            tags=cell.tags,
            step=cell.step,
            reads=tuple(sorted(seen.reads)),
            writes=tuple(sorted(seen.writes)),
            environment=variable_digests(frozenset(variables), os.environ),
            unchanged=seen.unchanged,
        )

    def _complete(self, run: CellRun, edges: tuple[Edge, ...], used: Sequence[tuple[FileUse, str]]) -> None:
        """Hash the run's files, put it in its place and hand it on."""
        if used:
            run = replace(run, files=files.hashed(used, self._hasher))
            self._history.replace(run)
        self._on_run(run, edges)


def _parsed(info: "ExecutionInfo", notebook: str) -> Cell:
    """The cell as sent; a wrong magic line or tag makes it plain code (the magic itself says what is wrong)."""
    source = info.raw_cell or ""
    meta = info.cell_meta if type(info.cell_meta) is dict else {}
    tags = meta.get("tags")
    known = tuple(tag for tag in tags if type(tag) is str) if isinstance(tags, list | tuple) else ()
    cell_id = info.cell_id if type(info.cell_id) is str and info.cell_id else source_id(source)
    try:
        return parse_cell(source, id=cell_id, index=-1, tags=known, notebook=notebook)
    except MlopsError:
        return Cell(id=cell_id, index=-1, source=source, tags=known, body=source, notebook=notebook)


def _caller() -> FrameType:
    """The frame of the shell's method that runs the cell."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (the only way to tell a run inside a run from one after it)
    while frame is not None and frame.f_code.co_name != "run_cell_async":
        frame = frame.f_back
    return frame or sys._getframe()  # noqa: SLF001


def _is_below(wanted: FrameType) -> bool:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (as above)
    while frame is not None and frame is not wanted:
        frame = frame.f_back
    return frame is not None


def _error_text(result: "ExecutionResult | None") -> str:
    """`Type: message` of a failed run, '' of a good one."""
    if result is None:
        return "Interrupted: the cell was cancelled"
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return ""
    name = type(error).__name__
    try:
        return f"{name}: {error}"[:MAX_ERROR]
    except Exception:  # noqa: BLE001 (an exception of the user's whose __str__ fails)
        return name


class _Delivery:
    """Hands runs on in order: at once, or behind those whose big files are still being hashed on a thread."""

    def __init__(self, complete: Callable[..., None], failed: Callable[[BaseException], None]) -> None:
        self._complete = complete
        self._failed = failed
        self._queue: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._worker: threading.Thread | None = None
        self._open = 0
        self._settled = threading.Condition()

    def put(self, run: CellRun, edges: tuple[Edge, ...], used: Sequence[tuple[FileUse, str]]) -> None:
        with self._settled:
            at_once = not self._open and sum(use.size for use, _ in used) <= INLINE_BYTES
            self._open += 0 if at_once else 1
        if at_once:
            self._complete(run, edges, used)
            return
        self._queue.put((run, edges, used))
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, name="mlops_nb files", daemon=True)
            self._worker.start()

    def settle(self) -> None:
        """Wait until everything put so far is delivered; from the delivering thread itself, go on."""
        if threading.current_thread() is self._worker:
            return
        with self._settled:
            self._settled.wait_for(lambda: not self._open, SETTLE_SECONDS)

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            try:
                self._complete(*job)
            except BaseException as error:  # noqa: BLE001 (counted like any other failure of watching)
                self._failed(error)
            finally:
                with self._settled:
                    self._open -= 1
                    self._settled.notify_all()


class _Positions:
    """The order of the notebook's cells, read again on a thread when the file was saved."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stamp = 0

    def refresh(self, history: History) -> None:
        """Bring `history.positions` up to date, soon."""
        if self.path is None:
            return
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            return
        if stamp != self._stamp:
            self._stamp = stamp
            threading.Thread(target=self._read, args=(self.path, history), name="mlops_nb positions", daemon=True).start()

    @staticmethod
    def _read(path: Path, history: History) -> None:
        try:
            history.positions = {name: place for place, name in enumerate(cell_ids(path))}
        except NotebookError:  # half-written, or no notebook: the order known so far stands
            return
