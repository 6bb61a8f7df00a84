"""The same cells in a plain shell and in a watched one: what a user sees of each, to be equal."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_nb.capture.watch import Watcher
from mlops_nb.records import CellRun

OURS = re.compile(r"^mlops_nb: .*\n", re.MULTILINE)
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
_SHOWN = (type(None), bool, int, float, complex, str, bytes)
_KIND_NAME = type.__dict__["__qualname__"].__get__


@dataclass(frozen=True)
class Seen:
    """What a user sees of one cell."""

    result: str
    error: str
    out: str
    err: str
    count: int | None
    next_count: int
    last: str
    outputs: dict[int, str]
    names: dict[str, str]


@dataclass
class Played:
    """A session: what was seen of each cell, what was recorded, what we said on stderr, how often watching failed."""

    cells: list[Seen] = field(default_factory=list)
    runs: list[CellRun] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)


def shown(value: Any) -> str:
    """A value as text, without running the code of its class."""
    kind = type(value)
    plain = kind in _SHOWN or (kind in (list, tuple, set, dict) and {type(item) for item in value} <= {str, int})
    return _ADDRESS.sub("0x", repr(value))[:2000] if plain else _KIND_NAME(kind)


@contextmanager
def shell(watched: bool, folder: Path) -> Iterator[tuple[InteractiveShell, Watcher | None, Played]]:
    """A fresh shell, with a watcher where it is `watched`."""
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    played, watcher = Played(), None
    if watched:
        watcher = Watcher(made, lambda run, _: played.runs.append(run), notebook="", session_id="s", layout_root=folder)
        watcher.start()
        counted = watcher._failed
        watcher._delivery._failed = watcher._failed = lambda error: (played.failures.append(error), counted(error))[1]
    try:
        yield made, watcher, played
    finally:
        if watcher:
            watcher.stop()
        InteractiveShell.clear_instance()


def look(ran: InteractiveShell, result: Any, out: str, err: str) -> Seen:
    """What there is to see after one cell."""
    error = result.error_before_exec or result.error_in_exec
    space = ran.user_ns
    return Seen(
        result=shown(result.result),
        error=f"{type(error).__name__}{shown(error.args)}" if error is not None else "",
        out=_ADDRESS.sub("0x", out),
        err=_ADDRESS.sub("0x", OURS.sub("", err)),
        count=result.execution_count,
        next_count=ran.execution_count,
        last=shown(space.get("_")),
        outputs={number: shown(value) for number, value in space.get("Out", {}).items()},
        names={f"{type(name).__name__} {name}" if type(name) is str else _KIND_NAME(type(name)): shown(value) for name, value in space.items()},
    )


def play(cells: Sequence[str], folder: Path, *, watched: bool, around: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Played:
    """Run `cells` one after the other; `around` is entered once the shell is ready."""
    with shell(watched, folder) as (made, watcher, played), around():
        for source in cells:
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                result = made.run_cell(source, store_history=True)
            played.warnings += OURS.findall(err.getvalue())
            played.cells.append(look(made, result, out.getvalue(), err.getvalue()))
        if watcher:
            watcher._delivery.settle()
    return played


def without_output(seen: Seen) -> Seen:
    """All but stdout and stderr."""
    return replace(seen, out="", err="")
