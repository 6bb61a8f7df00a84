"""Project: the one API behind the magics, the command line, the server and pytest. Each method reads, calls pure code, writes once."""

import getpass
import os
import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mlops_nb.config import Layout, Settings, find_layout, read_settings
from mlops_nb.errors import NotFound
from mlops_nb.notebook.scopes import SHELL_NAMES
from mlops_nb.records import Fact, now_text
from mlops_nb.store.artifacts import ArtifactStore
from mlops_nb.store.registry import Registry
from mlops_nb.unseen import unseen

if TYPE_CHECKING:
    from mlops_nb.project.features import Features
    from mlops_nb.project.models import Models
    from mlops_nb.project.notebooks import Notebooks
    from mlops_nb.project.pipelines import Pipelines
    from mlops_nb.project.tests import Tests


class Project:
    """One project home with its registry and artifacts; the areas hang on it: `project.features.search("weather")`."""

    def __init__(self, layout: Layout, *, environ: Mapping[str, str] = os.environ) -> None:
        self.layout = layout
        self.environ = environ
        self.registry = Registry.open(layout, environ=environ)
        self.artifacts = ArtifactStore(layout, self.registry)

    @classmethod
    def find(cls, start: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> "Project":
        """The project that `start` (default: the working directory) belongs to, made where there is none."""
        return cls(find_layout(start or Path.cwd(), environ), environ=environ)

    @cached_property
    def settings(self) -> Settings:
        """`[tool.mlops_nb]` of the project's pyproject.toml; no file of the cell that is the first to need it."""
        with unseen():
            return read_settings(self.layout.root)

    @cached_property
    def notebooks(self) -> "Notebooks":
        """Captured notebooks: cells, states, summaries."""
        from mlops_nb.project.notebooks import Notebooks

        return Notebooks(self)

    @cached_property
    def pipelines(self) -> "Pipelines":
        """Promotion, plans and runs."""
        from mlops_nb.project.pipelines import Pipelines

        return Pipelines(self)

    @cached_property
    def features(self) -> "Features":
        """Feature views and training sets."""
        from mlops_nb.project.features import Features

        return Features(self)

    @cached_property
    def tests(self) -> "Tests":
        """Registered tests and their results."""
        from mlops_nb.project.tests import Tests

        return Tests(self)

    @cached_property
    def models(self) -> "Models":
        """Model versions and their traces."""
        from mlops_nb.project.models import Models

        return Models(self)

    def relative(self, path: str | os.PathLike[str]) -> str:
        """`path` as it is recorded: relative to the project root, with forward slashes, where it lies inside it."""
        full = Path(path).resolve()
        return full.relative_to(self.layout.root).as_posix() if full.is_relative_to(self.layout.root) else full.as_posix()

    def close(self) -> None:
        """Commit what is acknowledged and let go of the files."""
        self.registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_id() -> str:
    """A fresh identifier for a fact."""
    return uuid.uuid4().hex


def actor() -> str:
    """Who acts: the login name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def unknown_variable(name: str, namespace: Iterable[str], *, where: str, hint: str = "") -> NotFound:
    """An error for a name that is not in the user's namespace, with near names; what IPython itself puts there is no candidate."""
    return NotFound.named("variable", name, (n for n in namespace if not n.startswith("_") and n not in SHELL_NAMES), where=where, hint=hint)


def event(verb: str, about: str, payload: Mapping[str, Any] | None = None, *, cause: str = "", human: bool = True) -> Fact:
    """A line for the event log: `actor verb object`."""
    return Fact(
        "event",
        {
            "id": new_id(),
            "ts": now_text(),
            "actor": actor(),
            "actor_kind": "human" if human else "auto",
            "verb": verb,
            "object": about,
            "cause": cause,
            "payload": dict(payload or {}),
        },
    )
