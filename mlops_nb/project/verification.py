"""What a verification finds, as records, and the comparisons and notes that all verifications share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mlops_nb.capture.environment import census, variable_digest
from mlops_nb.errors import DamagedArtifact, Untrusted
from mlops_nb.project import closeness
from mlops_nb.records import ArtifactRef, CellRun

if TYPE_CHECKING:
    from mlops_nb.project import Project
    from mlops_nb.project.scratch import InputState, Scratch

Verdict = Literal["identical", "equal within tolerance", "different", "not comparable"]

FILE = "file:"
ENVIRONMENT = "select * from session_environment where session_id = ?"


@dataclass(frozen=True, slots=True)
class Check:
    """One name (or `file:PATH`) that one run of the slice left: its digest as recorded and as made again; '' where there is none."""

    run: str
    cell_id: str
    execution_count: int
    name: str
    recorded: str
    rerun: str

    @property
    def compared(self) -> bool:
        """Whether both are known."""
        return bool(self.recorded and self.rerun)

    @property
    def differs(self) -> bool:
        """Whether both are known, and not the same."""
        return self.compared and self.recorded != self.rerun


@dataclass(frozen=True, slots=True)
class Verification:
    """How a verification ended. `first` is the first difference in the order of the cells, `error` what stopped the slice (in `failed_cell`).

    `value` compares the value itself in words, `inputs` are the files the slice reads as they stand now, `notebook` is the executed
    slice, `cells` counts its cells.
    """

    id: str
    label: str
    verdict: Verdict
    cells: int
    seconds: float
    value: str = ""
    checks: tuple[Check, ...] = ()
    first: Check | None = None
    inputs: "tuple[InputState, ...]" = ()
    notebook: str = ""
    error: str = ""
    failed_cell: str = ""
    notes: tuple[str, ...] = ()
    runs: tuple[CellRun, ...] = field(default=(), repr=False)

    @property
    def passed(self) -> bool:
        """Whether the value came out again."""
        return self.verdict in ("identical", "equal within tolerance")


def artifacts_close(project: "Project", scratch: "Scratch", refs: tuple[ArtifactRef, ArtifactRef], *, rtol: float) -> tuple[Verdict, str]:
    """Compare a value stored in the project with one stored in the scratch project."""
    from mlops_nb.project import Project

    stored, made = refs
    if made.digest == stored.digest:
        return "identical", f"stored value {stored.digest[:12]}"
    try:
        with Project(scratch.layout, environ=project.environ) as other:
            values = project.artifacts.get(stored), other.artifacts.get(made)
    except (DamagedArtifact, Untrusted) as error:
        return "different", f"stored value {stored.digest[:12]} cannot be looked into: {error.message}"
    if closeness.close(*values, rtol=rtol):
        return "equal within tolerance", f"of {rtol:g}, to the stored value {stored.digest[:12]}"
    return "different", f"not within {rtol:g} of the stored value {stored.digest[:12]}"


def by_the_way(checks: Sequence[Check]) -> tuple[Verdict, str]:
    """The verdict on a value that has no digest of its own, by what else the slice leaves."""
    if not any(check.compared for check in checks):
        return "not comparable", "nothing that it makes has a digest: its values are too big, or of types that are not looked into"
    if any(check.differs for check in checks):
        return "different", "the value itself has no digest; what it is made from differs"
    return "not comparable", "the value itself has no digest; what else was recorded on the way to it is the same"


# --- notes ----------------------------------------------------------------------------------------------------


def session_of(project: "Project", session_id: str) -> Mapping[str, Any]:
    """What surrounded a session; {} where that was not recorded."""
    rows = project.registry.rows(ENVIRONMENT, (session_id,))
    return rows[0] if rows else {}


def environment_notes(project: "Project", session_id: str, runs: Iterable[CellRun] = ()) -> list[str]:
    """What surrounds the rerun and was another then."""
    then, now = session_of(project, session_id), census(project.layout.root)
    notes = []
    if then and then["commit_id"] != now.commit_id:
        notes.append(f"commit {then['commit_id'][:12] or 'none'} then, {now.commit_id[:12] or 'none'} now")
    if then and then["python"] != now.python:
        notes.append(f"{then['python']} then, {now.python} now")
    if then and then["lock"] != now.lock:
        notes.append(f"other packages: {_lock_difference(then['lock'], now.lock)}")
    variables = {name: digest for run in runs for name, digest in run.environment.items()}
    other = [name for name, digest in variables.items() if variable_digest(project.environ.get(name)) != digest]
    return [*notes, *([f"environment variables that are others now: {', '.join(other)}"] if other else [])]


def input_notes(states: "Iterable[InputState]") -> list[str]:
    """The files that are not what was read then."""
    return [_input_note(state) for state in states if state.state != "same"]


def _input_note(state: "InputState") -> str:
    words = {
        "changed": f"file changed since: {state.path} ({state.recorded[:12]} then, {state.now[:12]} now)",
        "gone": f"file gone: {state.path}",
        "unknown": f"file whose content was not recorded: {state.path}",
    }
    return words[state.state]


def _lock_difference(then: str, now: str, most: int = 6) -> str:
    """The packages that are other versions, new or gone."""
    old, new = (dict(line.split("==", 1) for line in text.splitlines() if "==" in line) for text in (then, now))
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    shown = [f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
