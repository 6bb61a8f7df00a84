"""IPython's pre_run_cell and post_run_cell hooks -> a CellRun with its edges. A cell never breaks because of this."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import getpid
from pathlib import Path
from time import perf_counter, thread_time
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any

from mlops_nb.capture import audit, files, places
from mlops_nb.capture.environment import variable_digests
from mlops_nb.capture.gather import Scene, columns_made, columns_of, effect_of, variables_of
from mlops_nb.capture.kinds import bases_of, entries_of, is_own, module_of
from mlops_nb.capture.lineage import Effect, History
from mlops_nb.capture.names import moved as names_moved
from mlops_nb.capture.observe import Look, Observed, is_shells, keep_reach, look_before, names_before, observe, shadowed_builtins, type_name
from mlops_nb.capture.reach import Reach
from mlops_nb.capture.resolve import Resolved, take_in
from mlops_nb.capture.unwatched import writers_left
from mlops_nb.capture.values import value_digest
from mlops_nb.config import find_layout
from mlops_nb.errors import MlopsError, NotebookError
from mlops_nb.hashing import FileHasher, source_crc
from mlops_nb.notebook.analysis import facts_of_cell
from mlops_nb.notebook.cells import cell_ids, parse_cell, source_id
from mlops_nb.notebook.flow import Facts
from mlops_nb.notebook.scopes import BUILTINS
from mlops_nb.records import Cell, CellRun, Edge, FileUse, now_text
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

OnRun = Callable[[CellRun, tuple[Edge, ...]], None]

MAX_FAILURES = 3
INLINE_BYTES, INLINE_FILES = 64 << 20, 200  # files up to this size together and this many are hashed at once, others on a thread
MAX_ERROR = 2000
SETTLE_SECONDS = 120.0
DIGEST_SHARE = 0.02  # of a cell's own time may go into the digests of its values,
DIGEST_SECONDS = (0.0003, 0.05)  # but at least and at most this
DIGEST_BUDGETS = (1 << 15, 1 << 23)  # for one value, as `value_digest` counts
DIGEST_UNIT = 6e-9  # seconds of one unit of these
MAX_EXECUTED = 1000  # texts run as code in one cell
_OUTPUTS = frozenset({"_", "__", "___", "Out", "In"})
_NAME = type.__dict__["__name__"].__get__
_ARGS = BaseException.__dict__["args"].__get__
_random_bytes = os.urandom  # bound here, as the clock is: the user may patch them


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
    executed: list[CodeType]
    late: Mapping[str, str]
    columns: Mapping[str, tuple[str, ...]]


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
        self._reach = Reach()
        self._left: dict[str, Any] | None = None  # the namespace as the latest run left it
        self._missed = False  # whether cells may have run since then with nobody watching
        self._process = getpid()

    @property
    def history(self) -> History:
        """The runs and last writers of this session, waiting for files that are still being hashed."""
        self._delivery.settle()
        return self._history

    def start(self) -> None:
        """Hook into the shell; a cell that runs now (it loads the extension) is watched from here on."""
        files.install()
        places.install()
        audit.subscribe("exec", self._executed)
        self._look_around()
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
        audit.unsubscribe("exec", self._executed)
        if self._running is not None:
            self._left = names_before(self._running.look, self.shell.user_ns)
        self._forget()
        self._missed = True
        self._delivery.settle()

    # --- hooks ---

    def _pre_run_cell(self, info: "ExecutionInfo") -> None:
        self._guarded(self._begin, info)

    def _post_run_cell(self, result: "ExecutionResult | None") -> None:
        self._guarded(self._end, result)

    def _guarded(self, step: Callable[[Any], None], argument: Any) -> None:
        try:
            self._stepped(step, argument)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 (the user's cell comes first, whatever this is)
            self._failed(error)

    def _stepped(self, step: Callable[[Any], None], argument: Any) -> None:
        try:
            step(argument)
        except BaseException:
            self._forget()
            raise

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        if self.failures == MAX_FAILURES:
            try:
                self.stop()
            except BaseException as another:  # noqa: BLE001 (the hooks are off by then)
                error = another
            _say(f"cells are no longer recorded in this session: watching failed {MAX_FAILURES} times, last with {_words(error)}")

    def _forget(self) -> None:
        self._running = None
        files.stop()

    def _begin(self, info: "ExecutionInfo") -> None:
        if self._running is not None and _is_below(self._running.frame):
            return  # a run inside a run
        self._forget()
        if info.silent or not info.store_history or getpid() != self._process:
            return
        namespace, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        late = self._changed_meanwhile(namespace, hidden)
        cell = _parsed(info, self.notebook)
        facts = facts_of_cell(cell, shadowed=shadowed_builtins(namespace, hidden, BUILTINS) | _OUTPUTS)
        look, resolved = look_before(namespace, hidden, facts, self._reach)
        places.start()
        files.start()
        self._running = _Running(
            info=info,
            frame=_caller(),
            cell=cell,
            facts=facts,
            look=look,
            resolved=resolved,
            started=now_text(),
            clock=perf_counter(),
            executed=[],
            late=late,
            columns=columns_of(namespace, facts.analysis.uses | facts.analysis.mutates),
        )

    def _changed_meanwhile(self, namespace: dict[str, Any], hidden: Mapping[str, Any]) -> dict[str, str]:
        """Names that a thread, task or widget bound since the latest run: name -> type, told to the history."""
        left, self._left = self._left, None
        if left is None:
            return {}
        now = namespace.copy()
        late = {name: now[name] for name in names_moved(left, now)[0] if not is_shells(name, hidden)}
        if self._missed:
            self._missed = False
            self._history.writers = writers_left(self._history.writers, self._history.runs, now, late)
        elif late:
            self._history.changed_since(late)
        for name, value in late.items():
            self._reach.look(name, value)
        return {name: type_name(value) for name, value in late.items()}

    def _look_around(self) -> None:
        """Take in what was there before watching began."""
        for name, value in self.shell.user_ns.copy().items():
            if not is_shells(name, self.shell.user_ns_hidden):
                self._reach.look(name, value)

    def _executed(self, args: tuple[Any, ...]) -> None:
        """Text that the user's code runs as code: its names are those of the running cell."""
        frame = sys._getframe(3)  # noqa: SLF001 (past the audit hook: who calls exec)
        code = args[0]
        ours = self._is_users(frame) and type(code) is CodeType and code.co_filename != "<mlops_nb>"
        running = self._running  # another thread may be at the end of the cell
        if ours and running is not None and len(running.executed) < MAX_EXECUTED:
            running.executed.append(code)

    def _is_users(self, frame: FrameType) -> bool:
        """Whether the user's code calls exec in `frame`, or has IPython run a cell or a script."""
        if frame.f_globals is self.shell.user_ns:
            return True
        return frame.f_code.co_name in ("run_code", "execfile") and any(f.f_globals is self.shell.user_ns for f in _above(frame))

    def _end(self, result: "ExecutionResult | None") -> None:
        running = self._running
        if running is None or (result is not None and result.info is not running.info):
            return
        seconds = perf_counter() - running.clock
        opened = files.stop()
        self._running = None
        if getpid() != self._process:
            return  # the cell forked, and this is the child
        error = _error_text(result)
        used = files.uses(opened, self.places)
        scene = self._scene(running, used, result, failed=bool(error))
        effect = effect_of(scene, self.shell.user_ns)
        count = (result.execution_count if result else None) or self.shell.execution_count - 1
        left = self.shell.user_ns.copy()  # threads of the user's may go on
        run = self._run(running, scene, effect, left, seconds=seconds, error=error, count=count)
        self._positions.refresh(self._history)
        edges = self._history.add(run, effect)
        keep_reach(self._reach, left, scene.seen)
        self._left = left
        self._delivery.put(run, edges, used)

    def _seen(self, running: _Running, *, failed: bool) -> Observed:
        namespace, hidden = self.shell.user_ns, self.shell.user_ns_hidden
        resolved = running.resolved
        known = frozenset(resolved.reads)
        for code in (*running.executed,):
            take_in(resolved, code, namespace)
        seen = observe(running.look, namespace, hidden, facts=running.facts, resolved=resolved, failed=failed)
        if running.executed:  # whether what a text reads was bound by the cell before is not known
            return replace(
                seen, reads={name: sure if name in known or name in running.facts.analysis.uses else "possible" for name, sure in seen.reads.items()}
            )
        return seen

    def _scene(self, running: _Running, used: Sequence[tuple[FileUse, str]], result: "ExecutionResult | None", *, failed: bool) -> Scene:
        return Scene(
            source=running.cell.source,
            facts=running.facts,
            resolved=running.resolved,
            look=running.look,
            seen=self._seen(running, failed=failed),
            used=used,
            noted=places.stop(),
            known=frozenset(name for name in self._history.writers if ":" in name),  # no variable
            root=self.places.root,
            shows=result is not None and result.result is not None,
        )

    def _run(self, running: _Running, scene: Scene, effect: Effect, left: dict[str, Any], *, seconds: float, error: str, count: int) -> CellRun:
        self._seq += 1
        cell = running.cell
        seen, writes = scene.seen, tuple(sorted(name for name in effect.writes if name[:5] != "file:"))
        return CellRun(
            id=_random_bytes(16).hex(),
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
            reads=tuple(sorted(name for name in effect.reads if name[:5] != "file:")),
            writes=writes,
            files=tuple(use for use, _ in scene.used),
            environment=variable_digests(variables_of(cell.source, scene.resolved), os.environ),
            unchanged=seen.unchanged,
            possible=tuple(sorted(name for name, sure in effect.writes.items() if sure == "possible")),
            kept=seen.kept,
            deletes=tuple(sorted(seen.deleted)),
            values=_digests(left, writes, seconds),
            skipped={**running.late, **seen.skipped},
            columns=columns_made(cell.source, running.columns, left, writes),
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


def _above(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _error_text(result: "ExecutionResult | None") -> str:
    """`Type: message` of a failed run, '' of a good one."""
    if result is None:
        return "Interrupted: the cell was cancelled"
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return ""
    return _words(error)[:MAX_ERROR]


def _words(error: BaseException) -> str:
    """`Type: message`; the type alone where the message is for code of the user's to say."""
    kind = type(error)
    name: str = _NAME(kind)
    how = next(own["__str__"] for base in bases_of(kind) if "__str__" in (own := entries_of(base)))
    if (type(how) is FunctionType and is_own(how)) or any(map(_is_users, _ARGS(error))):
        return name
    try:
        return f"{name}: {error!s}"
    except Exception:  # noqa: BLE001 (a library's, made without what its words need)
        return name


def _is_users(value: Any) -> bool:
    """Whether a value, or an item right inside it, is an instance of a class of the notebook."""
    items = value if type(value) in (list, tuple, set, frozenset) else value.values() if type(value) is dict else ()
    return any(module_of(type(item)) == "__main__" for item in (value, *items))


def _say(line: str) -> None:
    """One line on stderr, which the user may have closed or taken away."""
    try:
        sys.stderr.write(f"mlops_nb: {line}\n")
    except Exception:  # noqa: BLE001 (there is nobody to tell)
        return


def _digests(namespace: Mapping[str, Any], names: Iterable[str], seconds: float) -> dict[str, str]:
    """Digests of the values a run left, as far as its share of the `seconds` that it took reaches."""
    share = min(max(seconds * DIGEST_SHARE, DIGEST_SECONDS[0]), DIGEST_SECONDS[1])
    budget = min(max(int(share / DIGEST_UNIT), DIGEST_BUDGETS[0]), DIGEST_BUDGETS[1])
    deadline = 0.0
    found = {}
    for name in names:
        if name in namespace and (not deadline or thread_time() < deadline) and (digest := _digest(namespace[name], budget)):
            found[name] = digest
        deadline = deadline or thread_time() + share  # the clock is a system call
    return found


def _digest(value: Any, budget: int) -> str:
    try:
        return value_digest(value, budget=budget)
    except Exception:  # noqa: BLE001 (a library's code, asked for a value that is broken: it has no digest)
        return ""


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
            at_once = not self._open and len(used) <= INLINE_FILES and sum(use.size for use, _ in used) <= INLINE_BYTES
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
        with unseen():  # a file that is hashed here is no later cell's
            self._deliver()

    def _deliver(self) -> None:
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
        with unseen(), suppress(NotebookError):  # half-written, or no notebook: the order known so far stands
            history.positions = {name: place for place, name in enumerate(cell_ids(path))}
