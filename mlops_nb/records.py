"""The records that the layers hand to each other: frozen, slotted, no behaviour beyond their own fields.

Times are ISO-8601 text in UTC with microseconds and a `Z` (`2013-07-04T09:30:00.000000Z`); durations are seconds.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Certainty = Literal["certain", "possible"]
CellKind = Literal["code", "step", "feature", "test", "parameters", "skip"]
CellStatus = Literal["ok", "error"]
CellState = Literal["fresh", "stale", "edited", "failed", "not run"]
TestKind = Literal["data", "model", "infra"]
Severity = Literal["error", "warn"]
Outcome = Literal["passed", "failed", "error"]
StepStatus = Literal["ran", "skipped", "failed", "interrupted", "not run"]
RunStatus = Literal["running", "passed", "failed", "interrupted"]


def utc_text(moment: dt.datetime) -> str:
    """`moment` (time-zone aware) as the text used in every record.

    >>> utc_text(dt.datetime(2013, 7, 4, 9, 30, tzinfo=dt.timezone.utc))
    '2013-07-04T09:30:00.000000Z'
    """
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now_text() -> str:
    """The present moment as record text."""
    return utc_text(dt.datetime.now(dt.UTC))


@dataclass(frozen=True, slots=True)
class Fact:
    """One row for one table of the registry: append-only, its primary key made by the caller."""

    table: str
    row: Mapping[str, Any]


# --- notebook -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One code cell: `source` as written, `body` without its magic line, and what it is to us.

    `index` counts all the notebook's cells (markdown too) from 0, as JupyterLab does; -1 where a kernel cannot know it.
    `options` are the magic's options (`{"entity": ("origin",), "ttl": "3h"}`), `name` the step, view or test it names.
    """

    id: str
    index: int
    source: str
    tags: tuple[str, ...] = ()
    kind: CellKind = "code"
    name: str = ""
    step: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    notebook: str = ""

    @property
    def where(self) -> str:
        """The cell's place for messages: `flight_delays.ipynb:cell 7 (id 3f2a)`."""
        position = f" {self.index + 1}" if self.index >= 0 else ""
        return f"{self.notebook or 'notebook'}:cell{position} (id {self.id})"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What calling a function, or using a class, may change.

    `changes`: names whose object its body changes in place or that it binds (`global`): parameters, globals, its own name where it keeps
    state in itself. `passes`: (callee, position or keyword, variable) of the variables it hands to other functions.
    """

    parameters: tuple[str, ...] = ()
    changes: frozenset[str] = frozenset()
    passes: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a piece of plain Python does to global names, from its AST alone.

    `uses`: names read before this code binds them, when it runs. `defs`: names it may bind. `deletes`: names it may delete.
    `deferred`: for each function, class or lambda bound by name, the global names its body reads when called.
    `mutates`: names whose object it may change in place. `imports`: bound name -> module. `dynamic`: exec, eval, globals().
    `behaviours`: for each name in `deferred`, and each method `.name` of a class, what its code may change.
    `passes`: as in `Behaviour`, of the code itself. `looked_up`: names asked for as text (`"x" in globals()`), which may be bound nowhere.
    """

    uses: frozenset[str] = frozenset()
    defs: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    mutates: frozenset[str] = frozenset()
    deferred: Mapping[str, frozenset[str]] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    dynamic: bool = False
    error: str = ""
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    passes: frozenset[tuple[str, str, str]] = frozenset()
    looked_up: frozenset[str] = frozenset()


# --- capture --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileUse:
    """A file a cell read or wrote: path relative to the project root where it is inside it, xxh3-128 of its content.

    `path` of what comes over the network is its URL without credentials and query, with no digest.
    """

    path: str
    mode: Literal["read", "write"]
    digest: str = ""
    size: int = -1


@dataclass(frozen=True, slots=True)
class ColumnEdge:
    """Column `to_column` of the frame `to_name` was made from column `from_column` of the frame `from_name`."""

    from_name: str
    from_column: str
    to_name: str
    to_column: str
    certainty: Certainty = "possible"


@dataclass(frozen=True, slots=True)
class CellRun:
    """One execution of one cell. `seq` orders the runs of one session; `crc` is zlib.crc32 of the source as sent (UTF-8).

    `reads` and `writes` are variables and, with a prefix, what else a cell may leave behind: `state:random`, `env:NAME`, `module:numpy`.
    `unchanged` are those of `writes` that were bound to a value equal to the one before: they make no other cell stale.
    `possible` are those of `writes` that are not certain, `kept` those that changed an object the run did not read (what was there
    before still counts), `deletes` the names it deleted. `values`: name -> digest of the value as left (see `capture.values`), where that
    was cheap. `skipped`: name -> type of what could not be looked at.
    """

    id: str
    session_id: str
    seq: int
    notebook: str
    cell_id: str
    execution_count: int
    source: str
    crc: int
    started: str
    seconds: float
    status: CellStatus
    error: str = ""
    tags: tuple[str, ...] = ()
    step: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    files: tuple[FileUse, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    unchanged: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[ColumnEdge, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """`to_run` read `name` as `from_run` had left it; `name` may have a prefix (see `CellRun`), files are `file:PATH`."""

    from_run: str
    to_run: str
    name: str
    certainty: Certainty = "certain"


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell's state as the panel and `mlops-nb` show it; `reason` says why in words."""

    cell_id: str
    state: CellState
    reason: str = ""
    execution_count: int = 0
    crc: int = 0
    seconds: float = 0.0
    step: str = ""
    tags: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()


# --- artifacts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A stored value: sha256 of its bytes, the serializer that wrote it (`parquet`, `npy`, ...), its Python type, bytes."""

    digest: str
    kind: str
    type_name: str
    size: int


# --- pipelines ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Component:
    """A step of a pipeline: its cells, the code they need, and what it takes and gives.

    `support` is plain Python (imports, functions, constants) that untagged cells define and this component needs.
    `inputs` name -> the component that makes it. `parameters` name -> default. `digest` covers all that decides its result
    (normalised code, imported local modules, names in and out), not comments or formatting.
    """

    name: str
    cells: tuple[Cell, ...]
    support: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def requires(self) -> tuple[str, ...]:
        """The components this one waits for, sorted."""
        return tuple(sorted(set(self.inputs.values())))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Components in an order that can run; `version` is the hash of their digests."""

    name: str
    notebook: str
    components: tuple[Component, ...]
    version: str = ""


@dataclass(frozen=True, slots=True)
class StepRun:
    """What became of one component in one run.

    `files` path -> digest read from outside the pipeline, `written` path -> digest as it left them, `environment` variable -> value hash
    (all observed).
    `cell_id`, `error` name the failing cell and what it raised; `notebook` is the executed notebook's path.
    """

    id: str
    run_id: str
    component: str
    position: int
    key: str
    status: StepStatus
    started: str
    seconds: float
    inputs: Mapping[str, ArtifactRef] = field(default_factory=dict)
    outputs: Mapping[str, ArtifactRef] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notebook: str = ""
    cell_id: str = ""
    error: str = ""
    reason: str = ""
    written: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """Whether a component would run, and exactly why."""

    component: str
    action: Literal["run", "skip"]
    reason: str
    key: str = ""
    reuse: StepRun | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished pipeline run with its steps in order."""

    id: str
    pipeline: str
    version: str
    status: RunStatus
    started: str
    seconds: float
    parameters: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[StepRun, ...] = ()
    error: str = ""


# --- features -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureView:
    """A feature view's definition. `source` is the function's code, `version` the hash of the definition file.

    `entity` are the key columns, `timestamp` the column that says from when on a row was known (UTC or naive, one kind),
    `ttl_seconds` how long it counts (None: for ever), `inputs` the names its code takes.
    """

    name: str
    entity: tuple[str, ...]
    timestamp: str
    ttl_seconds: float | None = None
    owner: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""
    inputs: tuple[str, ...] = ()
    source: str = ""
    version: str = ""
    notebook: str = ""
    cell_id: str = ""


# --- tests and models -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TestCase:
    """A `%%test` cell: `setup` is the code it needs (imports, functions), `names` the values it reads, `on` those it is about."""

    __test__ = False  # not a pytest class

    name: str
    kind: TestKind
    notebook: str
    cell_id: str
    source: str
    severity: Severity = "error"
    on: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    setup: str = ""
    version: str = ""
    step: str = ""


@dataclass(frozen=True, slots=True)
class TestResult:
    """One run of a test against the artifacts `artifacts` (name -> digest); `asserts` counts the asserts that ran."""

    __test__ = False

    id: str
    test: str
    version: str
    outcome: Outcome
    severity: Severity
    message: str
    line: int
    asserts: int
    seconds: float
    created: str
    artifacts: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model with all that made it; `id` is the hash of `manifest`, `number` counts the versions of `name` from 1."""

    id: str
    name: str
    number: int
    artifact: ArtifactRef
    metrics: Mapping[str, float]
    manifest: Mapping[str, Any]
    created: str
    run_id: str = ""
    session_id: str = ""
