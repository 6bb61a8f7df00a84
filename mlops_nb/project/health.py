"""`mlops-nb doctor`: what is wrong with a set-up, and what to do about it."""

import importlib.metadata
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_nb.display import Report, Table, counted
from mlops_nb.errors import MlopsError

if TYPE_CHECKING:
    from mlops_nb.project import Project

Level = Literal["ok", "warning", "wrong"]
LEAST_FREE = 256 << 20  # bytes: a pipeline of a few steps needs about this much
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do where it is not right."""

    what: str
    level: Level
    found: str
    remedy: str = ""


def examine(project: "Project") -> Report:
    """Look at everything a set-up needs; exit code 1 when something is wrong."""
    findings = [finding for check in CHECKS for finding in check(project)]
    wrong = [f for f in findings if f.level == "wrong"]
    return Report(
        title=f"mlops_nb set-up at {project.layout.root}",
        tables=(Table(("check", "result", "found", "what to do"), tuple((f.what, f.level, f.found, f.remedy) for f in findings)),),
        notes=(_verdict(findings),),
        data=[{"what": f.what, "level": f.level, "found": f.found, "remedy": f.remedy} for f in findings],
        exit_code=1 if wrong else 0,
    )


def _verdict(findings: Sequence[Finding]) -> str:
    """How many are wrong, and how many might be better."""
    wrong, warnings = (sum(f.level == level for f in findings) for level in ("wrong", "warning"))
    return (f"{wrong} wrong" if wrong else "nothing is wrong") + (f", {counted(warnings, 'warning')}" if warnings else "")


def _python(_: "Project") -> Iterator[Finding]:
    good = sys.version_info[:2] >= LEAST_PYTHON
    yield Finding("python", "ok" if good else "wrong", sys.version.split()[0], "" if good else "install Python 3.11 or newer")


def _settings(project: "Project") -> Iterator[Finding]:
    try:
        _ = project.settings
    except MlopsError as error:
        yield Finding("settings", "wrong", str(error), "mend pyproject.toml")
    else:
        yield Finding("settings", "ok", "readable")


def _recording(project: "Project") -> Iterator[Finding]:
    status = project.registry.status()
    yield Finding("recording", "ok" if status.on else "wrong", "on" if status.on else "off", "" if status.on else status.reason)


def _registry(project: "Project") -> Iterator[Finding]:
    path = project.layout.registry
    if not path.exists():
        yield Finding("registry", "ok", "none yet: it is made when the first cell is captured")
        return
    try:
        answer = str(project.registry.rows("pragma quick_check")[0]["quick_check"])
    except sqlite3.DatabaseError as error:
        answer = str(error)
    yield Finding("registry", "ok" if answer == "ok" else "wrong", answer, "" if answer == "ok" else f"keep a copy of {path}, then restore a backup")


def _disk(project: "Project") -> Iterator[Finding]:
    free = shutil.disk_usage(project.layout.root).free
    good = free > LEAST_FREE
    yield Finding("disk", "ok" if good else "wrong", f"{free >> 20:,} MB free", "" if good else "free some room: mlops-nb needs about 256 MB")


def _git(project: "Project") -> Iterator[Finding]:
    if not shutil.which("git"):
        yield Finding("git", "warning", "not installed", "install git: without it a model's code version is not recorded")
    elif not any((folder / ".git").exists() for folder in (project.layout.root, *project.layout.root.parents)):
        yield Finding("git", "warning", "this folder is in no repository", "git init, so that commit and diff are recorded with each session")
    else:
        yield Finding("git", "ok", "repository found")


def _panel(_: "Project") -> Iterator[Finding]:
    for prefix in (Path(sys.prefix), Path.home() / ".local"):
        file = prefix / "share" / "jupyter" / "labextensions" / "mlops-nb" / "package.json"
        if file.is_file():
            version = json.loads(file.read_text(encoding="utf-8")).get("version", "?")
            yield Finding("panel", "ok", f"version {version}")
            return
    yield Finding(
        "panel", "warning", "not installed", "install Node 20 and run: pip install --force-reinstall --no-deps mlops_nb (or make lab in a clone)"
    )


def _server(_: "Project") -> Iterator[Finding]:
    file = Path(sys.prefix) / "etc" / "jupyter" / "jupyter_server_config.d" / "mlops_nb.json"
    good = file.is_file()
    yield Finding(
        "server extension",
        "ok" if good else "warning",
        "enabled" if good else "not enabled",
        "" if good else "jupyter server extension enable mlops_nb",
    )


def _kernel(_: "Project") -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("ipykernel")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("kernel", "wrong", "ipykernel is not installed", "pip install ipykernel")
        return
    yield Finding("kernel", "ok", f"ipykernel {version}")


CHECKS: tuple[Callable[["Project"], Iterator[Finding]], ...] = (_python, _settings, _recording, _registry, _disk, _git, _kernel, _server, _panel)
