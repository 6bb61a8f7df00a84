"""Inside a component's kernel: `load` brings the step's inputs into the namespace, `save` stores its outputs and says what was observed.

The driver names the step's specification in MLOPS_NB_STEP. Without it, in a component notebook opened by hand, `load` takes the newest
artifacts of the pipeline whose folder the notebook lies in, and `save` only stores the outputs.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import random
import sys
import sysconfig
import tomllib
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.config import STEP_VARIABLE
from mlops_nb.errors import BadInput, NotFound, NotStorable
from mlops_nb.hashing import FileHasher
from mlops_nb.pipeline.files import MANIFEST, OWN_CELLS, write_atomically
from mlops_nb.pipeline.sharing import check_apart
from mlops_nb.records import ArtifactRef, CellRun
from mlops_nb.store.codec import from_json, to_json
from mlops_nb.store.redaction import Redactor

if TYPE_CHECKING:
    from mlops_nb.project import Project

OUR_VARIABLES = ("MLOPS_NB_", "JPY_", "PYTHONHASHSEED")
_begun: "list[Project]" = []
NEWEST = """
select step_run.outputs from step_run join run on run.id = step_run.run_id
where run.pipeline = ? and run.kind = 'pipeline' and step_run.component = ? and step_run.status in ('ran', 'skipped')
order by step_run.started desc, step_run.rowid desc limit 1
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """What a component before this one did in this run: digests of its code, inputs, outputs and the files it read; its run key."""

    component: str
    digest: str
    key: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepSpec:
    """What the driver tells a step's kernel; `notebook` is the source notebook, `upstream` all ancestors in order, `lock` its digest.

    `changed`: outputs that other steps may change in place; `kept`: inputs that others read too, which this step must not change.
    """

    run_id: str
    pipeline: str
    component: str
    notebook: str
    digest: str = ""
    key: str = ""
    inputs: Mapping[str, ArtifactRef] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    upstream: tuple[Upstream, ...] = ()
    lock: str = ""
    seed: int = 0
    changed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """What a step's kernel says at its end: stored outputs, files and environment variables read from outside, files as it left them."""

    outputs: Mapping[str, ArtifactRef] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)


def write_spec(path: Path, spec: StepSpec, redact: Callable[[Any], Any]) -> None:
    """Write `spec` for the kernel that gets its path in MLOPS_NB_STEP; its parameters reach the kernel's cells by injection, unredacted."""
    given = dataclasses.asdict(spec)
    given["parameters"] = redact(given["parameters"])
    for upstream in given["upstream"]:
        upstream["parameters"] = redact(upstream["parameters"])
        upstream["files"] = {redact(path): digest for path, digest in upstream["files"].items()}
    write_atomically(path, to_json(given) + "\n")


def current(environ: Mapping[str, str]) -> StepSpec | None:
    """The step this process runs; None outside a pipeline run."""
    path = environ.get(STEP_VARIABLE)
    if not path:
        return None
    try:
        given = from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"the step's specification cannot be read: {error.strerror}", where=path, hint=f"{STEP_VARIABLE} is set by a run only"
        ) from error
    inputs = {name: ArtifactRef(**ref) for name, ref in given.pop("inputs").items()}
    upstream = tuple(Upstream(**one) for one in given.pop("upstream"))
    names = {name: tuple(given[name]) for name in ("outputs", "changed", "kept")}
    return StepSpec(**{**given, "inputs": inputs, "upstream": upstream, **names})


def done_path(spec_path: Path) -> Path:
    """Where the kernel writes `Done`: beside its specification."""
    return spec_path.with_name(spec_path.name.removesuffix(".step.json") + ".done.json")


def read_done(path: Path) -> Done | None:
    """What the kernel wrote; None where it never came to that, or something else stands there."""
    try:
        given = from_json(path.read_text(encoding="utf-8"))
        return Done({name: ArtifactRef(**ref) for name, ref in given["outputs"].items()}, given["files"], given["environment"], given["written"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def begin(project: "Project") -> None:
    """Seed the random generators, once a kernel: what the support code seeds after that stays."""
    if project not in _begun:
        _begun.append(project)
        spec = current(project.environ)
        seed_generators(spec.seed if spec else 0)


def load(namespace: MutableMapping[str, Any], project: "Project") -> None:
    """Seed the random generators, unless `begin` has, and bring this component's inputs into `namespace`.

    Raises NotFound where an input has not been made yet, DamagedArtifact and Untrusted from the store.
    """
    spec = current(project.environ)
    begin(project)
    for name, ref in (spec.inputs if spec else _newest_inputs(project)).items():
        namespace[name] = project.artifacts.get(ref)


def save(namespace: Mapping[str, Any], project: "Project", *, runs: Sequence[CellRun] = ()) -> None:
    """Store this component's outputs; in a run also write what its cells (`runs`) read from outside.

    Raises BadInput where an output was not made, NotStorable where no serializer takes it.
    """
    spec = current(project.environ)
    component = spec.component if spec else _table(project)["name"]
    names = spec.outputs if spec else tuple(_table(project)["outputs"])
    made_by = f"{spec.run_id}/{component}" if spec else component
    values = {name: _output(namespace, name, component) for name in names}
    if spec:
        check_apart(values, spec.changed, component)
        _check_kept(spec, namespace, project, runs)
    outputs = {name: project.artifacts.put(value, name=name, made_by=made_by) for name, value in values.items()}
    if spec:
        files, environment = observed(runs, project.layout.home, notebook=spec.notebook)
        redact = Redactor(project.environ).text
        files = dict.fromkeys(own_modules(project.layout.root), "") | files
        read, left = (
            {redact(path): digest for path, digest in hashed(paths, project.layout.root).items()}
            for paths in (files, written(runs, project.layout.home))
        )
        done = Done(outputs, read, environment, {path: digest for path, digest in left.items() if digest})
        project.registry.flush()
        write_atomically(done_path(Path(project.environ[STEP_VARIABLE])), to_json(dataclasses.asdict(done)) + "\n")


def observed(runs: Iterable[CellRun], home: Path, *, notebook: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """The files and environment variables that cells read from outside: not what they wrote themselves before, nor what is ours.

    Ours are the project home, the source `notebook` (our magics look at it; its cells are in the run key) and packages' metadata, which
    the lock stands for.
    """
    written: set[str] = {notebook}
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    for run in runs:
        if run.cell_id in OWN_CELLS:
            continue
        for use in run.files:
            if use.mode == "read" and use.path not in written and not _is_ours(use.path, home) and "://" not in use.path:
                files.setdefault(use.path, use.digest)
        written |= {use.path for use in run.files if use.mode == "write"}
        for name, digest in run.environment.items():
            if not name.startswith(OUR_VARIABLES):
                environment.setdefault(name, digest)
    return files, environment


def own_modules(root: Path) -> list[str]:
    """The files of the modules this process has imported that come from no installed package, wherever `sys.path` found them.

    Relative to `root` where they are inside it. mlops_nb itself is none of them.
    """
    installed = tuple(f"{os.path.realpath(path)}{os.sep}" for path in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix})
    named = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.copy().items()]
    files = {os.path.realpath(file) for name, file in named if isinstance(file, str) and name.partition(".")[0] not in ("mlops_nb", "__main__")}
    own = (file for file in sorted(files) if file.endswith(".py") and not file.startswith(installed) and "site-packages" not in Path(file).parts)
    return [os.path.relpath(file, root) if Path(file).is_relative_to(root) else file for file in own]


def written(runs: Iterable[CellRun], home: Path) -> dict[str, str]:
    """The files that cells wrote, their digests still to be made: what they hold when all is done is what later steps read."""
    uses = (use for run in runs if run.cell_id not in OWN_CELLS for use in run.files)
    return {use.path: "" for use in uses if use.mode == "write" and not _is_ours(use.path, home) and "://" not in use.path}


def hashed(files: Mapping[str, str], root: Path) -> dict[str, str]:
    """`files` with the digests that capture has not made yet; a file that is gone by now keeps none."""
    hasher = FileHasher()
    found = dict(files)
    for path in (path for path, digest in files.items() if not digest):
        with contextlib.suppress(OSError):
            found[path] = hasher.digest(root / path)
    return found


def _is_ours(path: str, home: Path) -> bool:
    parts = Path(path).parts
    return parts[:1] == (home.name,) or Path(path).is_relative_to(home) or any(part.endswith(".dist-info") for part in parts)


def seed_generators(seed: int) -> None:
    """Start Python's and numpy's global generators from `seed`; a fresh kernel would start them from the operating system's entropy."""
    random.seed(seed)
    if importlib.util.find_spec("numpy"):
        importlib.import_module("numpy").random.seed(seed % 2**32)


def _check_kept(spec: StepSpec, namespace: Mapping[str, Any], project: "Project", runs: Iterable[CellRun]) -> None:
    """Raise BadInput where capture saw an input change that others take from the step before, as it was there."""
    seen = frozenset(name for run in runs if run.cell_id not in OWN_CELLS for name in run.writes)
    for name in spec.kept:
        if name in seen and name in namespace and _is_changed(namespace[name], spec.inputs[name], project):
            raise BadInput(
                f"step {spec.component} changes `{name}` in place, unseen by promotion, and other steps read it too: in the notebook they read the "
                "changed value",
                hint=f"change a copy, or run the notebook once (mlops-nb capture {spec.notebook}) and promote it again",
            )


def _is_changed(value: Any, ref: ArtifactRef, project: "Project") -> bool:
    try:
        return project.artifacts.digest(value, name="") != ref.digest
    except NotStorable:
        return True


def _output(namespace: Mapping[str, Any], name: str, component: str) -> Any:
    if name not in namespace:
        raise BadInput(f"step {component} gives out `{name}`, but its cells did not make it", hint="is it made on some paths only, or deleted?")
    return namespace[name]


# --- opened by hand -------------------------------------------------------------------------------------------


def _newest_inputs(project: "Project") -> dict[str, ArtifactRef]:
    pipeline, table = _manifest(project)["name"], _table(project)
    outputs = {maker: _newest_outputs(project, pipeline, maker) for maker in sorted(set(table["inputs"].values()))}
    missing = [(name, maker) for name, maker in table["inputs"].items() if name not in outputs[maker]]
    if missing:
        name, maker = missing[0]
        raise NotFound(f"no run has made `{name}` yet (step {maker})", hint=f"run the pipeline first: mlops-nb run {pipeline}")
    return {name: outputs[maker][name] for name, maker in table["inputs"].items()}


def _newest_outputs(project: "Project", pipeline: str, component: str) -> dict[str, ArtifactRef]:
    rows = project.registry.rows(NEWEST, (pipeline, component))
    return {name: ArtifactRef(**ref) for name, ref in json.loads(rows[0]["outputs"]).items()} if rows else {}


def _manifest(project: "Project") -> dict[str, Any]:
    path = _notebook(project).parent / MANIFEST
    if not path.is_file():
        raise BadInput(
            f"there is no {MANIFEST} beside this notebook", where=str(path.parent), hint="%step load and save belong in a component's notebook"
        )
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _table(project: "Project") -> dict[str, Any]:
    components = {table["name"]: table for table in _manifest(project).get("component", ())}
    name = _notebook(project).stem
    if name not in components:
        raise NotFound.named("component", name, components, where=str(_notebook(project)))
    return dict(components[name])


def _notebook(project: "Project") -> Path:
    named = project.environ.get("JPY_SESSION_NAME", "")
    if not named:
        raise BadInput("which notebook this is cannot be told", hint="open it in JupyterLab, or run the pipeline: mlops-nb run NAME")
    return Path(named) if Path(named).is_absolute() else Path.cwd() / Path(named).name
