"""What made a model version, as records to show (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops_nb.records import ModelVersion, StepRun


@dataclass(frozen=True, slots=True)
class TracedCell:
    """A cell that took part; `first_line` is the first line of its code that says something."""

    notebook: str
    cell_id: str
    source: str
    first_line: str


@dataclass(frozen=True, slots=True)
class TracedStep:
    """A component that took part in the model's run, with what it took and gave (name -> digest)."""

    component: str
    status: str
    seconds: float
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """A model version and everything behind it. `environment`: lock digest, Python, number of packages, commit, dirty."""

    version: ModelVersion
    cells: tuple[TracedCell, ...]
    steps: tuple[TracedStep, ...]
    environment: Mapping[str, Any]

    @property
    def data(self) -> dict[str, str]:
        """Every input and file behind it, name or path -> digest."""
        known = self.version.manifest["data"]
        found = {**known["inputs"], **known["files"]}
        for step in self.steps:
            found.update(step.files)
        return dict(sorted(found.items()))


def trace(version: ModelVersion, *, sources: Mapping[str, str], steps: Sequence[StepRun], session: Mapping[str, Any]) -> Trace:
    """The trace of `version`: `sources` digest -> text, `steps` those of its run, `session` its row of session_environment."""
    code = version.manifest["code"]
    cells = tuple(TracedCell(c["notebook"], c["cell"], c["source"], first_line(sources.get(c["source"], ""))) for c in code["cells"])
    mine = {*code["upstream"], code["component"]}
    return Trace(version, cells, tuple(map(_step, (s for s in steps if s.component in mine))), _environment(version, session))


def first_line(source: str) -> str:
    """The first line that says something: a magic, a comment or code.

    >>> first_line("\\n\\n%%step load\\nx = 1")
    '%%step load'
    """
    return next((line.strip() for line in source.splitlines() if line.strip()), "")


def packages(lock: str) -> int:
    """How many packages an environment lock lists, one a line."""
    return sum(1 for line in lock.splitlines() if line.strip() and not line.startswith("#"))


def _step(run: StepRun) -> TracedStep:
    return TracedStep(run.component, run.status, run.seconds, _digests(run.inputs.items()), _digests(run.outputs.items()), dict(run.files))


def _digests(refs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {name: ref.digest for name, ref in refs}


def _environment(version: ModelVersion, session: Mapping[str, Any]) -> dict[str, Any]:
    known = version.manifest["environment"]
    code = version.manifest["code"]
    return {
        "lock": known["lock"],
        "python": known["python"],
        "packages": packages(session.get("lock", "")),
        "commit": code["commit"],
        "dirty": bool(code["diff"] or code["untracked"]),
    }
