"""A folder in which a slice runs as if in the project: copies of the files it reads, a registry of its own, and nothing of the user's in reach.

`guard` and `keep` run in the slice's kernel, the rest in the process that verifies.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.values import value_digest
from mlops_nb.config import HOME_NAME, HOME_VARIABLE, STEP_VARIABLE, Layout
from mlops_nb.errors import NotStorable
from mlops_nb.hashing import FileHasher
from mlops_nb.records import FileUse

if TYPE_CHECKING:
    from mlops_nb.project import Project

MAX_MODULES = 5000  # Python files of the project that are copied
WHOLE = 1 << 30  # bytes of a value that are looked at in the end
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events whose arguments are paths that would be changed.
_CHANGING = frozenset(
    {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod", "os.chown", "os.utime", "shutil.rmtree"}
)
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "build", "dist"})


@dataclass(frozen=True, slots=True)
class InputState:
    """A file that the slice reads: whether it is what was read then (`same`), another (`changed`), gone, or was never hashed (`unknown`)."""

    path: str
    state: str
    recorded: str = ""
    now: str = ""


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folder `folder` of one verification; `work` in it stands for the project `root`."""

    root: Path
    folder: Path

    @property
    def work(self) -> Path:
        """What the slice takes for the project's root."""
        return self.folder / "work"

    @property
    def layout(self) -> Layout:
        """The scratch project's own."""
        return Layout(self.work, self.work / HOME_NAME)

    @property
    def kept(self) -> Path:
        """What `keep` says of the value in the end."""
        return self.folder / "value.json"

    def place(self, path: str) -> Path | None:
        """Where a recorded file of the project is in here; None for one outside the project, which is read where it is."""
        return None if Path(path).is_absolute() or path.startswith("..") or "://" in path else self.work / path

    def original(self, path: str) -> Path:
        """The user's file."""
        return self.root / path

    def prepare(self, inputs: Sequence[FileUse], outputs: Sequence[FileUse]) -> tuple[InputState, ...]:
        """Copy the project's modules and the files that the slice reads, make the folders it writes to; says how the files stand."""
        self.work.mkdir(parents=True)
        self.layout.home.mkdir()
        for file in modules(self.root):
            _copy(file, self.work / file.relative_to(self.root))
        hasher = FileHasher()
        states = tuple(self._bring(use, hasher) for use in inputs if "://" not in use.path)
        for use in outputs:
            if place := self.place(use.path):
                place.parent.mkdir(parents=True, exist_ok=True)
        return states

    def _bring(self, use: FileUse, hasher: FileHasher) -> InputState:
        original, place = self.original(use.path), self.place(use.path)
        try:
            now = hasher.digest(original)
            if place:
                _copy(original, place)
        except OSError:
            return InputState(use.path, "gone", use.digest)
        state = "unknown" if not use.digest else "same" if now == use.digest else "changed"
        return InputState(use.path, state, use.digest, now)

    def in_here(self, text: str) -> str:
        """Code in which paths of the project, written out, are those of the scratch folder."""
        return re.sub(re.escape(str(self.root)) + r"(?![\w.-])", lambda _: str(self.work), text)

    def guarded(self, environ: Mapping[str, str], outside: Iterable[str] = ()) -> dict[str, str]:
        """The environment of kernels that `guard` watches over, and of the Python processes that they start."""
        folder = self.folder / "guard"
        folder.mkdir(exist_ok=True)
        call = f"guard({str(self.root)!r}, {str(self.folder)!r}, {tuple(outside)!r})"
        lines = ["try:", "    from mlops_nb.project.scratch import guard", "except ImportError:", "    pass", "else:", f"    {call}", ""]
        (folder / "sitecustomize.py").write_text("\n".join(lines), encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(folder), environ.get("PYTHONPATH"))))
        own = {HOME_VARIABLE: str(self.layout.home), STEP_VARIABLE: "", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**environ, **own}

    def remove(self, *, whole: bool) -> None:
        """Take away the copies; `whole`: the notebooks too."""
        for folder in (self.folder,) if whole else (self.work, self.folder / "guard"):
            shutil.rmtree(folder, ignore_errors=True)


def modules(root: Path) -> Iterator[Path]:
    """The Python files of a project, and its pyproject.toml; no environments, no hidden folders."""
    count = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f[0] != "." and f not in _SKIPPED and not Path(folder, f, "pyvenv.cfg").exists())
        for name in sorted(files):
            if name.endswith(".py") or (name == "pyproject.toml" and Path(folder) == root):
                yield Path(folder, name)
                count += 1
                if count == MAX_MODULES:
                    return


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


# --- in the slice's kernel --------------------------------------------------------------------------------------


def guard(root: str, folder: str, outside: Iterable[str] = ()) -> None:
    """From now on nothing below `root` but `folder`, and none of the files `outside`, is opened for writing, removed or renamed in this process."""
    held = frozenset(map(os.path.realpath, outside))
    inside, allowed = os.path.realpath(root) + os.sep, os.path.realpath(folder) + os.sep

    def check(path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        full = os.path.realpath(os.fsdecode(path))
        if full in held or (full.startswith(inside) and not (full + os.sep).startswith(allowed)):
            raise PermissionError(f"mlops-nb verify does not let a slice change {full}")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if args[2] & _WRITING:
                check(args[0])
        elif event in _CHANGING:
            for path in args[:2]:
                check(path)

    sys.addaudithook(hook)


def keep(shell: Any, name: str, file: str) -> None:
    """Store the value of `name` in the scratch project and say in `file` what it is; waits until all runs are recorded."""
    loaded = shell._mlops_nb  # noqa: SLF001 (what %load_ext has left there)
    assert loaded.watcher.history is not None
    found: dict[str, Any] = {}
    if name in shell.user_ns:
        value = shell.user_ns[name]
        found["digest"] = value_digest(value, budget=WHOLE)
        project: Project = loaded.project
        try:
            found["artifact"] = asdict(project.artifacts.put(value, name=name, made_by="verify"))
        except NotStorable as error:
            found["why"] = error.message
    Path(file).write_text(json.dumps(found), encoding="utf-8")
