"""OpenLineage run events (spec 2-0-2) out of cell runs and pipeline runs. Pure: records in, plain dicts out.

A run has a START event and one of COMPLETE, FAIL or ABORT. Jobs are cells (namespace `<project>/<notebook>`, name = cell id), pipelines and
their components; datasets are files (namespace `file`), what comes over the network (its scheme and host) and the notebook's variables
(namespace `notebook://<project>/<notebook>`). How sure an edge is stands in the jobDependencies facet, in the additional property
`mlopsNb_certainty`, and for columns in the transformation's description.
"""

import datetime as dt
import importlib
import json
import posixpath
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit

from mlops_nb.records import ArtifactRef, CellRun, ColumnEdge, Edge, FileUse, RunResult, StepRun, utc_text
from mlops_nb.store.redaction import MARK, SECRET_VARIABLE

Event = dict[str, Any]
Facets = dict[str, dict[str, Any]]
Fields = tuple[tuple[str, str], ...]

VERSION: str = importlib.import_module("mlops_nb").__version__  # no import statement: the root knows the magics, which no layer below may
PRODUCER = f"pkg:pypi/mlops-nb@{VERSION}"  # a package URL
SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = {  # key -> version and name of its schema
    "columnLineage": ("1-2-0", "ColumnLineageDatasetFacet"),
    "datasetType": ("1-0-1", "DatasetTypeDatasetFacet"),
    "environmentVariables": ("1-0-0", "EnvironmentVariablesRunFacet"),
    "errorMessage": ("1-0-1", "ErrorMessageRunFacet"),
    "executionParameters": ("1-0-0", "ExecutionParametersRunFacet"),
    "inputStatistics": ("1-0-0", "InputStatisticsInputDatasetFacet"),
    "jobDependencies": ("1-0-1", "JobDependenciesRunFacet"),
    "jobType": ("2-0-4", "JobTypeJobFacet"),
    "lifecycleStateChange": ("1-0-1", "LifecycleStateChangeDatasetFacet"),
    "nominalTime": ("1-0-1", "NominalTimeRunFacet"),
    "outputStatistics": ("1-0-2", "OutputStatisticsOutputDatasetFacet"),
    "parent": ("1-2-0", "ParentRunFacet"),
    "processing_engine": ("1-1-1", "ProcessingEngineRunFacet"),
    "schema": ("1-2-0", "SchemaDatasetFacet"),
    "sourceCode": ("1-0-1", "SourceCodeJobFacet"),
    "sourceCodeLocation": ("1-1-0", "SourceCodeLocationJobFacet"),
    "tags": ("1-0-0", "TagsJobFacet"),
    "version": ("1-0-1", "DatasetVersionDatasetFacet"),
}
ENDS = {"ok": "COMPLETE", "ran": "COMPLETE", "passed": "COMPLETE", "interrupted": "ABORT"}  # any other status is a failure
FILE_PREFIX = "file:"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project is: its name, its root folder, and its repository as a web address ('' where it has none)."""

    project: str
    root: str
    repository: str = ""

    def namespace(self, notebook: str) -> str:
        """The namespace of the jobs of a notebook."""
        return f"{self.project}/{notebook}" if notebook else self.project


@dataclass(frozen=True, slots=True)
class Link:
    """A run as other runs name it: its id ('' for a job of which no run is known) and its job."""

    run_id: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Session:
    """What surrounds the cell runs of one session; `parents` are the run that started it and those above, the nearest first."""

    commit: str = ""
    dirty: bool = False
    python: str = ""
    parents: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """A pipeline run with what the records of it lack.

    `kind` is `pipeline` or `notebook`; `sources` component -> code; `schemas` artifact digest -> (column, type) pairs; `cells` component ->
    the cell runs of its kernel (of a notebook's run: under `""`), `edges` those between them, `session` what surrounded it.
    """

    result: RunResult
    notebook: str
    kind: str = "pipeline"
    sources: Mapping[str, str] = field(default_factory=dict)
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    schemas: Mapping[str, Fields] = field(default_factory=dict)
    cells: Mapping[str, tuple[CellRun, ...]] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    session: Session = Session()


def run_uuid(run_id: str) -> str:
    """A run's id as the UUID that the specification asks for.

    >>> run_uuid("711d5bbc4ce743ce983522e082c6349c")
    '711d5bbc-4ce7-43ce-9835-22e082c6349c'
    """
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, run_id))


# --- events ---------------------------------------------------------------------------------------------------


def cell_events(runs: Iterable[CellRun], edges: Iterable[Edge], place: Place, sessions: Mapping[str, Session]) -> Iterator[Event]:
    """START and COMPLETE or FAIL of each cell run. `edges` may lead to runs that are not among `runs`; such are left out."""
    known = {run.id: run for run in runs}
    into: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.from_run in known:
            into.setdefault(edge.to_run, []).append(edge)
    for run in known.values():
        session = sessions.get(run.session_id, Session())
        cell = _Cell(run, tuple(into.get(run.id, ())), known, place)
        job = _job(place.namespace(run.notebook), run.cell_id, cell.job_facets(session))
        start = _run_facets(run.started, run.seconds, session) | _environment(run.environment)
        yield _event("START", run.started, run.id, start, job=job)
        yield _event(
            _end(run.status),
            after(run.started, run.seconds),
            run.id,
            start | cell.dependencies() | _error(run.status, run.error),
            job=job,
            inputs=cell.inputs(),
            outputs=cell.outputs(),
        )


def run_events(run: Executed, place: Place) -> Iterator[Event]:
    """The events of a pipeline run, of its steps that ran, and of their cells; each below its parent. A running one has no end yet."""
    result = run.result
    link = Link(result.id, place.namespace(run.notebook), result.pipeline)
    whole = _whole_step(run) if run.kind == "notebook" else None
    kind = "PIPELINE" if whole is None else "NOTEBOOK"
    job = _job(link.namespace, link.name, _job_type(kind) | _located(place, run.session, run.notebook))
    facets = _run_facets(result.started, result.seconds, run.session) | _parameters(result.parameters)
    yield _event("START", result.started, result.id, facets, job=job)
    if whole is None:
        yield from _step_events(run, place, link)
    else:
        yield from _cells_below(run, "", (link,), place)
    if result.status != "running":
        ends, found = facets | _error(result.status, result.error), _StepData(run, whole, place) if whole else None
        inputs, outputs = (found.inputs(), found.outputs()) if found else ((), ())
        yield _event(_end(result.status), after(result.started, result.seconds), result.id, ends, job=job, inputs=inputs, outputs=outputs)


def _whole_step(run: Executed) -> StepRun | None:
    """The one step of a notebook's run: it is the run itself."""
    return run.result.steps[0] if run.result.steps else None


def _step_events(run: Executed, place: Place, parent: Link) -> Iterator[Event]:
    links = {step.component: _step_link(step, parent) for step in run.result.steps}
    for step in run.result.steps:
        if step.status in {"skipped", "not run"}:
            continue
        link = links[step.component]
        session = replace(run.session, parents=(parent,))
        code = facet("sourceCode", language="python", sourceCode=run.sources[step.component]) if step.component in run.sources else {}
        job = _job(link.namespace, link.name, _job_type("STEP") | code | _located(place, session, run.notebook))
        facets = _run_facets(step.started, step.seconds, session) | _parameters(step.parameters) | _environment(step.environment)
        facets |= _upstream(_dependency(links[name]) for name in run.requires.get(step.component, ()) if name in links)
        data = _StepData(run, step, place)
        yield _event("START", step.started, step.id, facets, job=job)
        yield from _cells_below(run, step.component, (link, parent), place)
        ends = facets | _error(step.status, step.error)
        finished = after(step.started, step.seconds)
        yield _event(_end(step.status), finished, step.id, ends, job=job, inputs=data.inputs(), outputs=data.outputs())


def _step_link(step: StepRun, parent: Link) -> Link:
    """A step that was skipped has no run of its own."""
    return Link("" if step.status == "skipped" else step.id, parent.namespace, f"{parent.name}.{step.component}")


def _cells_below(run: Executed, component: str, parents: tuple[Link, ...], place: Place) -> Iterator[Event]:
    cells = run.cells.get(component, ())
    session = replace(run.session, parents=parents)
    return cell_events(cells, run.edges, place, {cell.session_id: session for cell in cells})


def _event(
    kind: str, moment: str, run_id: str, facets: Facets, *, job: dict[str, Any], inputs: Sequence[Event] = (), outputs: Sequence[Event] = ()
) -> Event:
    return {
        "eventType": kind,
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": SPEC,
        "run": {"runId": run_uuid(run_id), "facets": facets},
        "job": job,
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def _end(status: str) -> str:
    return ENDS.get(status, "FAIL")


def after(started: str, seconds: float) -> str:
    """The moment `seconds` after `started`, as record text.

    >>> after("2013-07-04T09:30:00.000000Z", 1.5)
    '2013-07-04T09:30:01.500000Z'
    """
    return utc_text(dt.datetime.fromisoformat(started) + dt.timedelta(seconds=seconds))


# --- facets of runs and jobs ----------------------------------------------------------------------------------


def facet(key: str, **fields: Any) -> Facets:
    """A facet under its key, with the address of its schema."""
    version, name = FACETS[key]
    address = f"https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
    return {key: {"_producer": PRODUCER, "_schemaURL": address, **fields}}


def _job(namespace: str, name: str, facets: Facets) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "facets": facets}


def _job_type(kind: str) -> Facets:
    return facet("jobType", processingType="BATCH", integration="MLOPS_NB", jobType=kind)


def _run_facets(started: str, seconds: float, session: Session) -> Facets:
    found = facet("nominalTime", nominalStartTime=started, nominalEndTime=after(started, seconds))
    name, _, version = session.python.partition(" ")
    if version:
        found |= facet("processing_engine", name=name, version=version, openlineageAdapterVersion=VERSION)
    return found | _parent(session.parents)


def _parent(parents: Sequence[Link]) -> Facets:
    if not parents:
        return {}
    return facet("parent", **_linked(parents[0]), root=_linked(parents[-1]))


def _linked(link: Link) -> dict[str, Any]:
    run = {"run": {"runId": run_uuid(link.run_id)}} if link.run_id else {}
    return {**run, "job": {"namespace": link.namespace, "name": link.name}}


def _located(place: Place, session: Session, notebook: str) -> Facets:
    """Where the notebook is in git; a commit with uncommitted changes is marked as git describe does."""
    if not session.commit or not notebook:
        return {}
    version = f"{session.commit}-dirty" if session.dirty else session.commit
    if not place.repository:
        return facet("sourceCodeLocation", type="git", url=_file_url(place, notebook), path=notebook, version=version)
    url = source_url(place.repository, session.commit, notebook)
    return facet("sourceCodeLocation", type="git", url=url, repoUrl=place.repository, path=notebook, version=version)


def source_url(repository: str, commit: str, path: str) -> str:
    """A file of a commit as the common hosts show it.

    >>> source_url("https://gitlab.com/ana/trips", "a1b2", "my nb.ipynb")
    'https://gitlab.com/ana/trips/-/blob/a1b2/my%20nb.ipynb'
    """
    host = urlsplit(repository).hostname or ""
    between = "-/blob" if "gitlab" in host else "src" if "bitbucket" in host else "blob"
    return f"{repository}/{between}/{commit}/{quote(path)}"


def _file_url(place: Place, path: str) -> str:
    return "file://" + quote(posixpath.join("/", place.root, path))


def _error(status: str, message: str) -> Facets:
    if _end(status) == "COMPLETE":
        return {}
    return facet("errorMessage", message=message or status, programmingLanguage="python")


def _parameters(parameters: Mapping[str, Any]) -> Facets:
    if not parameters:
        return {}
    found = [{"key": name, "name": name, "value": _parameter_text(value)} for name, value in parameters.items()]
    return facet("executionParameters", parameters=found)


def _parameter_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _environment(environment: Mapping[str, str]) -> Facets:
    """Environment variables by name and digest of the value; of what may be a secret not even that: short ones can be guessed from it."""
    if not environment:
        return {}
    named = [{"name": name, "value": MARK if SECRET_VARIABLE.search(name) else digest or "not set"} for name, digest in environment.items()]
    return facet("environmentVariables", environmentVariables=named)


def _dependency(link: Link, **more: Any) -> dict[str, Any]:
    return {**_linked(link), "dependency_type": "IMPLICIT_DEPENDENCY", **more}


def _upstream(dependencies: Iterable[dict[str, Any]]) -> Facets:
    found = list(dependencies)
    return facet("jobDependencies", upstream=found) if found else {}


# --- datasets -------------------------------------------------------------------------------------------------


class _Datasets:
    """Datasets in the order they come; the same one twice is one, the later facets over the earlier."""

    def __init__(self, place: Place, notebook: str) -> None:
        self.place = place
        self.notebook = notebook
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def identity(self, name: str) -> tuple[str, str]:
        """Namespace and name of what a record calls `name`: a variable, or with the prefix `file:` a file."""
        if name.startswith(FILE_PREFIX):
            return file_identity(name.removeprefix(FILE_PREFIX), self.place.root)
        return f"notebook://{self.place.namespace(self.notebook)}", name

    def add(self, identity: tuple[str, str], facets: Facets, **own: Facets) -> None:
        """Add a dataset; `own` are its inputFacets or outputFacets."""
        namespace, name = identity
        found = self._found.setdefault(identity, {"namespace": namespace, "name": name, "facets": {}})
        found["facets"] |= facets
        for key, more in own.items():
            if more:
                found[key] = more

    def add_file(self, path: str, digest: str, **own: Facets) -> None:
        """Add a file or address."""
        kind = facet("datasetType", datasetType="URL" if "://" in path else "FILE")
        self.add(file_identity(path, self.place.root), kind | _version("xxh3-128", digest), **own)

    def add_variable(self, name: str, facets: Facets) -> None:
        """Add a variable of the notebook."""
        kind = {} if name.startswith(FILE_PREFIX) else facet("datasetType", datasetType="VARIABLE")
        self.add(self.identity(name), kind | facets)

    def listed(self) -> list[Event]:
        """All of them."""
        return list(self._found.values())


def file_identity(path: str, root: str) -> tuple[str, str]:
    """Namespace and name of a file (absolute, as other tools name it) or of an address.

    >>> file_identity("data/trips.csv", "/srv/p"), file_identity("s3://bucket/a/b.csv", "/")
    (('file', '/srv/p/data/trips.csv'), ('s3://bucket', 'a/b.csv'))
    """
    if "://" not in path:
        return "file", posixpath.normpath(posixpath.join(root, path))
    scheme, _, rest = path.partition("://")
    host, _, name = rest.partition("/")
    return f"{scheme}://{host}", name or "/"


def _version(kind: str, digest: str) -> Facets:
    return facet("version", datasetVersion=f"{kind}:{digest}" if kind else digest) if digest else {}


def _size(key: str, size: int) -> Facets:
    return facet(key, size=size, fileCount=1) if size >= 0 else {}


@dataclass(frozen=True, slots=True)
class _Cell:
    """One cell run among those of its notebook, as facets."""

    run: CellRun
    edges: tuple[Edge, ...]
    known: Mapping[str, CellRun]
    place: Place

    def job_facets(self, session: Session) -> Facets:
        code = facet("sourceCode", language="python", sourceCode=self.run.source)
        found = _job_type("CELL") | code | _located(self.place, session, self.run.notebook)
        if self.run.tags:
            found |= facet("tags", tags=[{"key": tag, "value": "true", "source": "USER"} for tag in self.run.tags])
        return found

    def dependencies(self) -> Facets:
        return _upstream(self._dependency(edge) for edge in self.edges)

    def _dependency(self, edge: Edge) -> dict[str, Any]:
        source = self.known[edge.from_run]
        link = Link(source.id, self.place.namespace(source.notebook), source.cell_id)
        return _dependency(link, mlopsNb_name=edge.name, mlopsNb_certainty=edge.certainty)

    def inputs(self) -> list[Event]:
        found = _Datasets(self.place, self.run.notebook)
        columns = _columns((edge.from_name, edge.from_column) for edge in self.run.columns)
        for name in self.run.reads:
            found.add_variable(name, _version("", self._read_version(name)) | _schema(columns.get(name, {})))
        for use in self._files("read"):
            found.add_file(use.path, use.digest, inputFacets=_size("inputStatistics", use.size))
        return found.listed()

    def outputs(self) -> list[Event]:
        found = _Datasets(self.place, self.run.notebook)
        columns = _columns((edge.to_name, edge.to_column) for edge in self.run.columns)
        for use in self._files("write"):
            found.add_file(use.path, use.digest, outputFacets=_size("outputStatistics", use.size))
        for name in self.run.writes:
            found.add_variable(name, _version("", self.run.values.get(name, "")))
        for name, named in columns.items():
            found.add_variable(name, _schema(named) | self._column_lineage(name, found))
        for name in self.run.deletes:
            found.add_variable(name, facet("lifecycleStateChange", lifecycleStateChange="DROP"))
        return found.listed()

    def _files(self, mode: str) -> Iterator[FileUse]:
        return (use for use in self.run.files if use.mode == mode)

    def _read_version(self, name: str) -> str:
        """The digest of what was read, where one run alone may have left it."""
        sources = {self.known[edge.from_run].values.get(name, "") for edge in self.edges if edge.name == name}
        return sources.pop() if len(sources) == 1 else ""

    def _column_lineage(self, name: str, found: _Datasets) -> Facets:
        fields: dict[str, dict[str, Any]] = {}
        for edge in self.run.columns:
            if edge.to_name == name:
                fields.setdefault(edge.to_column, {"inputFields": []})["inputFields"].append(_input_field(edge, found))
        return facet("columnLineage", fields=fields)


def _input_field(edge: ColumnEdge, found: _Datasets) -> dict[str, Any]:
    namespace, name = found.identity(edge.from_name)
    made = {"type": "DIRECT", "description": edge.certainty}
    return {"namespace": namespace, "name": name, "field": edge.from_column, "transformations": [made]}


def _columns(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, None]]:
    """Frame -> its columns, in the order they are named."""
    found: dict[str, dict[str, None]] = {}
    for name, column in pairs:
        found.setdefault(name, {})[column] = None
    return found


def _schema(columns: Iterable[str]) -> Facets:
    """The columns that column edges name; there may be others."""
    fields = [{"name": column} for column in columns]
    return facet("schema", fields=fields) if fields else {}


@dataclass(frozen=True, slots=True)
class _StepData:
    """What a step took and gave, as datasets: artifacts are the notebook's variables."""

    run: Executed
    step: StepRun
    place: Place

    def inputs(self) -> list[Event]:
        found = _Datasets(self.place, self.run.notebook)
        for name, ref in self.step.inputs.items():
            self._add(found, name, ref, inputFacets=_size("inputStatistics", ref.size))
        for path, digest in self.step.files.items():
            found.add_file(path, digest)
        return found.listed()

    def outputs(self) -> list[Event]:
        found = _Datasets(self.place, self.run.notebook)
        for name, ref in self.step.outputs.items():
            self._add(found, name, ref, outputFacets=_size("outputStatistics", ref.size))
        for path, digest in self.step.written.items():
            found.add_file(path, digest)
        return found.listed()

    def _add(self, found: _Datasets, name: str, ref: ArtifactRef, **own: Facets) -> None:
        fields = [{"name": column, "type": kind} for column, kind in self.run.schemas.get(ref.digest, ())]
        described = facet("datasetType", datasetType="VARIABLE", subType=ref.type_name) | _version("sha256", ref.digest)
        found.add(found.identity(name), described | (facet("schema", fields=fields) if fields else {}), **own)
