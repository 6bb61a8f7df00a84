"""Lineage for other tools: read from the registry, written to a file or sent. All that leaves goes through the redactor once more."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlops_nb.errors import BadInput, NotFound
from mlops_nb.pipeline.files import write_atomically
from mlops_nb.project import history
from mlops_nb.project.delivery import Delivery, endpoint, send
from mlops_nb.project.notebooks import run_of
from mlops_nb.project.openlineage import Event, Executed, Fields, Link, Place, Session, cell_events, run_events
from mlops_nb.records import ArtifactRef, CellRun, Edge, RunResult, now_text
from mlops_nb.store.codec import from_json
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project

KEY_VARIABLE = "OPENLINEAGE_API_KEY"
GIT_SECONDS = 10.0
EVENTS = ".ndjson"

SESSIONS = """
select session.id, session.run_id, session.notebook, coalesce(found.commit_id, '') as commit_id, coalesce(found.dirty, 0) as dirty,
       coalesce(found.python, '') as python, coalesce(run.pipeline, '') as pipeline, coalesce(run.notebook, '') as run_notebook,
       coalesce(run.kind, '') as kind, coalesce(step_run.id, '') as step_id, coalesce(step_run.component, '') as component
from session left join session_environment as found on found.session_id = session.id left join run on run.id = session.run_id
     left join step_run on step_run.run_id = run.id
          and substr(session.notebook, -length(step_run.component) - 7) = '/' || step_run.component || '.ipynb'
where session.id in (select session_id from cell_run where notebook = ?)
"""
RUN = "select kind, notebook, actor from run where id = ?"
RUN_SURROUNDINGS = """
select session_environment.* from session_environment join session on session.id = session_id where session.run_id = ? order by session.started
"""
RUN_CELLS = """
select cell_run.*, source.text from cell_run join source on source.digest = cell_run.source join session on session.id = cell_run.session_id
where session.run_id = ? order by cell_run.started, cell_run.seq
"""
RUN_EDGES = """
select edge.from_run, edge.to_run, edge.name, edge.certainty from edge join cell_run on cell_run.id = edge.to_run
join session on session.id = cell_run.session_id where session.run_id = ?
"""
COMPONENTS = "select components from pipeline where name = ? and version = ? order by created desc limit 1"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the events that were sent; `kept` is the file with those that were not."""

    delivery: Delivery
    url: str
    kept: Path | None = None


class Exports:
    """A project's lineage as other tools take it."""

    def __init__(self, project: "Project") -> None:
        self.project = project
        self.redactor = Redactor(project.environ)

    # --- what is exported ---

    @cached_property
    def place(self) -> Place:
        """Where the project is."""
        root = self.project.layout.root
        return Place(root.name, root.as_posix(), repository(root))

    def events(self, target: str) -> tuple[Event, ...]:
        """The OpenLineage events of a notebook's cell runs, or of a run (the start of its id) with its steps and cells. Raises NotFound."""
        found = self._notebook_events(target) if target.endswith(".ipynb") else run_events(self.executed(target), self.place)
        return tuple(self.redactor.value(event) for event in found)

    def kept(self, path: Path) -> tuple[bytes, ...]:
        """The events of a file, to be sent. Raises BadInput naming the first line that is none."""
        return encoded(self.redactor.value(json.loads(line)) for line in read_events(path))

    def _notebook_events(self, path: str) -> Iterable[Event]:
        return cell_events(self.cell_runs(path), self.project.notebooks.edges_of(path), self.place, self._sessions(path))

    def cell_runs(self, path: str) -> tuple[CellRun, ...]:
        """The recorded cell runs of a notebook, oldest first. Raises NotFound where there are none."""
        if found := self.project.notebooks.runs_of(path):
            return found
        known = [row["notebook"] for row in self.project.registry.rows("select distinct notebook from cell_run")]
        raise NotFound.named("recorded notebook", self.project.relative(path), known, hint=f"mlops-nb capture {path} records it")

    def executed(self, run: str) -> Executed:
        """A run by the start of its id, with its cells and what surrounded it. Raises NotFound, BadInput where several ids start so."""
        result = history.find_run(self.project, run)
        row = self.project.registry.rows(RUN, (result.id,))[0]
        components = self.components(result)
        return Executed(
            result=RunResult(**{name: getattr(result, name) for name in RunResult.__slots__} | {"parameters": self._clean(result.parameters)}),
            notebook=row["notebook"],
            kind=row["kind"],
            sources={c["name"]: "\n\n".join(cell["source"] for cell in c["code"]) for c in components},
            requires={c["name"]: tuple(sorted(set(c["inputs"].values()))) for c in components},
            schemas=self._schemas(result),
            cells=self._run_cells(result.id, row["kind"]),
            edges=tuple(Edge(**edge) for edge in self.project.registry.rows(RUN_EDGES, (result.id,))),
            session=self._run_session(result.id),
        )

    def components(self, result: RunResult) -> list[dict[str, Any]]:
        """The components of the pipeline version that ran, with their code; none for the run of a whole notebook."""
        rows = self.project.registry.rows(COMPONENTS, (result.pipeline, result.version))
        return list(from_json(rows[0]["components"])) if rows else []

    def _clean(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters while their names still stand beside their values."""
        return dict(self.redactor.value(parameters))

    def _run_cells(self, run_id: str, kind: str) -> dict[str, tuple[CellRun, ...]]:
        found: dict[str, tuple[CellRun, ...]] = {}
        for row in self.project.registry.rows(RUN_CELLS, (run_id,)):
            run = run_of(row)
            component = PurePosixPath(run.notebook).stem if kind == "pipeline" else ""
            found[component] = (*found.get(component, ()), run)
        return found

    def _run_session(self, run_id: str) -> Session:
        rows = self.project.registry.rows(RUN_SURROUNDINGS, (run_id,))
        return Session(rows[0]["commit_id"], bool(rows[0]["dirty"]), rows[0]["python"]) if rows else Session()

    def _sessions(self, path: str) -> dict[str, Session]:
        rows = self.project.registry.rows(SESSIONS, (self.project.relative(path),))
        return {row["id"]: Session(row["commit_id"], bool(row["dirty"]), row["python"], self._parents(row)) for row in rows}

    def _parents(self, row: Mapping[str, Any]) -> tuple[Link, ...]:
        """The runs of ours that a session belongs to: a step's and its pipeline's, or that of a whole notebook."""
        if not row["kind"]:
            return ()
        run = Link(row["run_id"], self.place.namespace(row["run_notebook"]), row["pipeline"])
        if row["kind"] != "pipeline" or not row["step_id"]:
            return (run,)
        return Link(row["step_id"], run.namespace, f"{run.name}.{row['component']}"), run

    def _schemas(self, result: RunResult) -> dict[str, Fields]:
        refs = {ref.digest: ref for step in result.steps for ref in (*step.inputs.values(), *step.outputs.values())}
        return {digest: self._schema(ref) for digest, ref in refs.items() if ref.kind == "parquet" and self.project.artifacts.holds(digest)}

    def _schema(self, ref: ArtifactRef) -> Fields:
        from pyarrow import parquet

        found = parquet.read_schema(artifact_path(self.project, ref.digest))
        return tuple((field.name, str(field.type)) for field in found)

    # --- where it goes ---

    def send(self, lines: tuple[bytes, ...], url: str) -> Sent:
        """Send events to an OpenLineage server; those it does not take are kept in a file. Raises BadInput for a bad address."""
        address = endpoint(url)
        delivery = send(lines, address, key=self.project.environ.get(KEY_VARIABLE, ""))
        return Sent(delivery, address, self._keep(delivery.unsent) if delivery.unsent else None)

    def _keep(self, lines: tuple[bytes, ...]) -> Path:
        path = self.project.layout.home / "unsent" / f"openlineage-{now_text().replace(':', '').replace('.', '-')}{EVENTS}"
        write_atomically(path, b"".join(lines).decode())
        return path


def encoded(events: Iterable[Event]) -> tuple[bytes, ...]:
    """Each event as one line of JSON."""
    return tuple((json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace") for event in events)


def read_events(path: Path) -> tuple[bytes, ...]:
    """The lines of a file of events. Raises BadInput naming the first line that is none."""
    try:
        lines = tuple(line + b"\n" for line in path.read_bytes().split(b"\n") if line.strip())
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=str(path)) from error
    for number, line in enumerate(lines, 1):
        if not _is_event(line):
            raise BadInput("is no OpenLineage event", where=f"{path}:{number}")
    return lines


def write_events(path: Path, lines: Iterable[bytes]) -> None:
    """Write events to a file, whole or not at all. Raises BadInput where that would overwrite something else, MlopsError where it cannot be."""
    if path.is_dir():
        raise BadInput("is a folder", where=str(path), hint="name a file, for example events.ndjson")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if not _is_event(file.readline()):
                raise BadInput("is no file of events and would be overwritten", where=str(path), hint="give another name")
    write_atomically(path, b"".join(lines).decode())


def _is_event(line: bytes) -> bool:
    try:
        return "schemaURL" in json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return False


def artifact_path(project: "Project", digest: str) -> Path:
    """The file of an artifact."""
    return project.layout.artifacts / digest[:2] / digest


def repository(root: Path) -> str:
    """The git remote `origin` of a folder as a web address without credentials; '' where there is none."""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=GIT_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return web_address(done.stdout.decode("utf-8", "replace").strip()) if done.returncode == 0 else ""


def web_address(remote: str) -> str:
    """A git remote as people open it; '' for a folder.

    >>> web_address("git@github.com:ana/trips.git"), web_address("https://ana:pw@example.org/trips.git"), web_address("/srv/trips.git")
    ('https://github.com/ana/trips', 'https://example.org/trips', '')
    """
    if "://" not in remote:
        host, colon, path = remote.rpartition("@")[2].partition(":")
        remote = f"ssh://{host}/{path}" if colon and "/" not in host else ""
    parts = urlsplit(remote)
    if not parts.hostname or parts.scheme == "file":
        return ""
    host = parts.netloc.rpartition("@")[2] if parts.scheme in {"http", "https"} else parts.hostname
    return f"https://{host}{parts.path.removesuffix('/').removesuffix('.git')}"
