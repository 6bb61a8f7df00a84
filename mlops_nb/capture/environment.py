"""What surrounds a session: git commit with its uncommitted part, installed packages, Python and machine; environment variables a cell reads."""

import ast
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mlops_nb.hashing import text_digest

MAX_DIFF = 1 << 20
MAX_UNTRACKED = 2000
GIT_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Census:
    """Git's state and the installed packages. `diff` is that of tracked files against the commit, cut at 1 MiB; '' where there is no git."""

    commit_id: str = ""
    dirty: bool = False
    diff: str = ""
    untracked: tuple[str, ...] = ()
    lock: str = ""
    python: str = ""
    platform: str = ""


def census(root: Path) -> Census:
    """Look at `root`'s git state and this process's packages; takes tenths of a second."""
    commit = _git(root, "rev-parse", "HEAD").strip()
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff") if commit else ""
    listed = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    untracked = tuple(name for name in listed.split("\0") if name)[:MAX_UNTRACKED]
    return Census(
        commit_id=commit,
        dirty=bool(diff or untracked),
        diff=diff[:MAX_DIFF],
        untracked=untracked,
        lock=lock_text(),
        python=python_text(),
        platform=platform.platform(),
    )


def lock_text() -> str:
    """The installed distributions as sorted `name==version` lines: what a run's environment is known by."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = _named(distribution)
        if name:
            found.setdefault(_canonical(name), version)  # the first on the path is the one that is imported
    return "".join(sorted(f"{name}=={version}\n" for name, version in found.items()))


def _named(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version from the folder's name, which is standardised; parsing each METADATA costs a hundred times as much."""
    folder = getattr(distribution, "_path", None)
    name, _, version = str(getattr(folder, "name", "")).removesuffix(".dist-info").rpartition("-")
    if name and version[:1].isdigit() and str(folder).endswith(".dist-info"):
        return name, version
    return distribution.metadata["Name"] or "", distribution.version


def python_text() -> str:
    """Implementation and version, e.g. `CPython 3.11.7`."""
    return f"{platform.python_implementation()} {sys.version.split()[0]}"


def variables_read(source: str) -> frozenset[str]:
    """The environment variables that plain Python names in `os.environ[...]`, `os.environ.get(...)` and `os.getenv(...)`.

    >>> sorted(variables_read("import os; a = os.environ['A']; b = os.getenv('B')"))
    ['A', 'B']
    """
    if "environ" not in source and "getenv" not in source:
        return frozenset()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    return frozenset(name for node in ast.walk(tree) if (name := _variable(node)) and _NAME.fullmatch(name))


def variable_digests(names: frozenset[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Digests of the variables' values ('' for one that is not set); the values themselves are kept nowhere."""
    return {name: variable_digest(environ.get(name)) for name in sorted(names)}


def variable_digest(value: str | None) -> str:
    """The digest of one variable's value, '' for None."""
    return "" if value is None else text_digest("environment", value)[:32]


def _variable(node: ast.AST) -> str:
    match node:
        case ast.Subscript(value=holder, slice=ast.Constant(value=str() as name), ctx=ast.Load()) if _is(holder, "environ"):
            return name
        case ast.Call(func=ast.Attribute(value=holder, attr="get" | "pop" | "setdefault"), args=[ast.Constant(value=str() as name), *_]):
            return name if _is(holder, "environ") else ""
        case ast.Call(func=function, args=[ast.Constant(value=str() as name), *_]) if _is(function, "getenv"):
            return name
    return ""


def _is(node: ast.expr, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (isinstance(node, ast.Attribute) and node.attr == name)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command in `root`; '' where there is no git, no repository, or no answer in time."""
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=off", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=GIT_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
