"""RO-Crates written: the story read from the registry, its files gathered, the crate put into a folder or a zip file."""

import hashlib
import json
import re
import shutil
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_nb.capture.lineage import History
from mlops_nb.errors import BadInput, MlopsError, NotFound
from mlops_nb.hashing import FileHasher
from mlops_nb.project import actor, history
from mlops_nb.project.crate import METADATA, SUFFIXES, Placed, metadata
from mlops_nb.project.crate_story import Activity, Item, Story, story_of_cells, story_of_run, texts_of
from mlops_nb.project.exports import Exports, artifact_path
from mlops_nb.project.openlineage import source_url
from mlops_nb.records import CellRun, Edge, StepRun, now_text
from mlops_nb.store.redaction import MARK

if TYPE_CHECKING:
    from mlops_nb.project import Project

CHUNK = 1 << 20
SPDX = re.compile(r"[A-Za-z0-9.+-]+")

SURROUNDINGS = "select * from session_environment where session_id = ?"
SESSION_ACTOR = "select actor from session where id = ?"
RUN_ROW = "select kind, notebook, actor from run where id = ?"
RUN_SURROUNDINGS = """
select session_environment.* from session_environment join session on session.id = session_id where session.run_id = ? order by session.started
"""
ORIGIN = (
    "select id, run_id, component from step_run where key = ? and component = ? and status = 'ran' and started <= ? order by started desc limit 1"
)


@dataclass(frozen=True, slots=True)
class Written:
    """A crate: where it is, what it tells, the data in it, and why other data are not."""

    path: Path
    story: Story
    placed: Mapping[str, Placed]
    left_out: tuple[str, ...]
    entities: int


class Crates:
    """A project's runs and slices as RO-Crates."""

    def __init__(self, project: "Project") -> None:
        self.project = project
        self.exports = Exports(project)
        self.redactor = self.exports.redactor

    def write(self, target: str, path: Path, *, name: str = "", data: bool = False, license_id: str = "") -> Written:
        """Write the crate of a run (the start of its id), of a notebook's newest session, or of what is behind its variable `name`.

        A path that ends in `.zip` becomes a zip file, any other a folder; `data` copies the project's own files and artifacts in.
        Raises NotFound for an unknown run, notebook or variable, BadInput where something stands at `path` already.
        """
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise BadInput("is there already", where=str(path), hint="remove it, or give another name")
        notebook = target.endswith(".ipynb")
        if name and not notebook:
            raise BadInput("a run has no slice of one variable", where="--name", hint="give a notebook")
        told = self.of_notebook(target, name) if notebook else self.of_run(target)
        story = self._clean(told)
        sources, left_out = self._sources(told, story) if data else ({}, [])
        document = metadata(
            story,
            {key: place for key, (place, _) in sources.items()},
            license_id=license_address(license_id) or stated_license(self.project.layout.root),
            created=now_text(),
        )
        texts = texts_of(story) | {METADATA: json.dumps(self.redactor.value(document), indent=2, ensure_ascii=False) + "\n"}
        _put(path, texts, {place.path: source for place, source in sources.values()})
        return Written(path, story, {key: place for key, (place, _) in sources.items()}, tuple(left_out), len(document["@graph"]))

    # --- stories ---

    def of_run(self, run: str) -> Story:
        """The story of a run."""
        result = history.find_run(self.project, run)
        row = self.project.registry.rows(RUN_ROW, (result.id,))[0]
        if row["kind"] == "notebook":
            cells = self.exports.executed(result.id).cells.get("", ())
            edges = self.project.notebooks.edges_of(self.project.layout.root / row["notebook"])
            if not cells:
                raise NotFound(f"run {result.id[:8]} recorded no cell", hint=f"mlops-nb show {result.id[:8]} says why")
            told = story_of_cells(cells, edges, name=f"{row['notebook']} {result.id[:8]}", version=result.version)
            told = replace(told, parameters=result.parameters)
        else:
            earlier = {step.component: found for step in result.steps if step.status == "skipped" and (found := self._origin(step))}
            ran = [earlier.get(step.component, step) for step in result.steps]
            texts = {step.component: text for step in ran if (text := self._notebook_text(step))}
            told = story_of_run(result, self.exports.components(result), texts, earlier)
            if not told.activities:
                raise NotFound(f"run {result.id[:8]} executed no step", hint=f"mlops-nb show {result.id[:8]} says why")
        rows = self.project.registry.rows(RUN_SURROUNDINGS, (result.id,))
        return self._surrounded(told, rows, row["actor"], row["notebook"])

    def _origin(self, step: StepRun) -> StepRun | None:
        """The step run that a skipped step was taken from."""
        rows = self.project.registry.rows(ORIGIN, (step.key, step.component, step.started))
        if not rows:
            return None
        steps = history.find_run(self.project, rows[0]["run_id"]).steps
        return next(found for found in steps if found.id == rows[0]["id"])

    def _notebook_text(self, step: StepRun) -> str:
        """The executed notebook of a step; '' where it is gone."""
        try:
            text = (self.project.layout.root / step.notebook).read_text(encoding="utf-8") if step.notebook else ""
            return json.dumps(self.redactor.value(json.loads(text)), indent=1, ensure_ascii=False) + "\n" if text else ""
        except (OSError, ValueError):
            return ""

    def of_notebook(self, path: str, name: str) -> Story:
        """The story of a notebook's newest session, or of the cell runs behind the present value of `name`."""
        runs, edges = self.exports.cell_runs(path), self.project.notebooks.edges_of(path)
        session = runs[-1].session_id
        if name:
            session = next((run.session_id for run in reversed(runs) if name in run.writes), "")
            if not session:
                raise NotFound.named("variable", name, (written for run in runs for written in run.writes), where=path)
        chosen = tuple(run for run in runs if run.session_id == session)
        if name:
            chosen = behind(chosen, edges, name)
        notebook = chosen[-1].notebook
        told = story_of_cells(chosen, edges, name=f"{name} of {notebook}" if name else notebook, version=chosen[-1].id)
        rows = self.project.registry.rows(SURROUNDINGS, (session,))
        who = self.project.registry.rows(SESSION_ACTOR, (session,))
        return self._surrounded(told, rows, who[0]["actor"] if who else actor(), notebook)

    def _surrounded(self, told: Story, rows: list[dict[str, Any]], who: str, notebook: str) -> Story:
        found = rows[0] if rows else {"python": "", "lock": "", "diff": "", "commit_id": ""}
        repository = self.exports.place.repository
        url = source_url(repository, found["commit_id"], notebook) if repository and found["commit_id"] else ""
        return replace(told, agent=who or "unknown", python=found["python"], lock=found["lock"], diff=found["diff"], commit_url=url)

    def _clean(self, told: Story) -> Story:
        """The story without secrets: names of files too, and parameters while their names stand beside their values."""
        clean = self.redactor
        return replace(
            told,
            code={_file_name(clean.text(path)): clean.text(text) for path, text in told.code.items()},
            parts=tuple((clean.text(cell), clean.text(source)) for cell, source in told.parts),
            parameters=clean.value(dict(told.parameters)),
            activities=tuple(map(self._clean_activity, told.activities)),
            lock=clean.text(told.lock),
            diff=clean.text(told.diff),
        )

    def _clean_activity(self, activity: Activity) -> Activity:
        return replace(
            activity,
            code=_file_name(self.redactor.text(activity.code)),
            parameters=self.redactor.value(dict(activity.parameters)),
            inputs=tuple(map(self._clean_item, activity.inputs)),
            outputs=tuple(map(self._clean_item, activity.outputs)),
        )

    def _clean_item(self, item: Item) -> Item:
        return replace(item, name=_file_name(self.redactor.text(item.name)))

    # --- data ---

    def _sources(self, told: Story, clean: Story) -> tuple[dict[str, tuple[Placed, Path]], list[str]]:
        """What of the story's data can be copied: item key -> (its place in the crate, its file); and why the rest cannot."""
        found: dict[str, tuple[Placed, Path]] = {}
        left_out = []
        hasher = FileHasher()
        recorded = {self._clean_item(item).key: item for item in told.items()}
        for item in clean.items():
            if item.kind in {"variable", "url"}:
                continue
            source = self._source(recorded[item.key])
            if why := self._obstacle(recorded[item.key], source, hasher):
                left_out.append(f"{item.name}: {why}")
                continue
            found[item.key] = (Placed(_data_path(item), _sha256(source), source.stat().st_size), source)
        return found, left_out

    def _source(self, item: Item) -> Path:
        return artifact_path(self.project, item.digest) if item.stored else self.project.layout.root / item.name

    def _obstacle(self, item: Item, source: Path, hasher: FileHasher) -> str:
        """Why an item's bytes are not copied; '' where they are."""
        try:
            why = self._absent(item) if item.stored else self._changed(item, source, hasher)
            return why or ("holds what looks like a secret" if self._tells(source) else "")
        except OSError:
            return "is gone"

    def _absent(self, item: Item) -> str:
        return "" if self.project.artifacts.holds(item.digest) else "is gone"

    def _changed(self, item: Item, source: Path, hasher: FileHasher) -> str:
        if not source.resolve().is_relative_to(self.project.layout.root):
            return "is outside the project"
        return "" if hasher.digest(source) == item.digest else "is not as it was"

    def _tells(self, source: Path) -> bool:
        """Whether a file holds a secret."""
        with source.open("rb") as file:
            while lines := file.readlines(CHUNK):
                text = b"".join(lines).decode("utf-8", "replace")
                if self.redactor.text(text).count(MARK) > text.count(MARK):
                    return True
        return False


def behind(runs: tuple[CellRun, ...], edges: Iterable[Edge], name: str) -> tuple[CellRun, ...]:
    """The runs behind what `name` holds after the last of `runs`. Raises NotFound where it is gone."""
    history = History.rebuilt(runs, edges, {})
    if name in history.gone and name not in history.writers:
        raise NotFound(f"{name!r} was deleted by the last cell that touched it")
    return history.slice([name])


def license_address(given: str) -> str:
    """A licence's address: an SPDX name's, or the address that was given. Raises BadInput for anything else."""
    if not given or given.startswith(("https://", "http://")):
        return given
    if not SPDX.fullmatch(given):
        raise BadInput(f"{given!r} is no licence", where="--license", hint="an SPDX name such as Apache-2.0, or a web address")
    return f"https://spdx.org/licenses/{given}"


def stated_license(root: Path) -> str:
    """The licence that the project's pyproject.toml states by its SPDX name; '' where it states none."""
    try:
        table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    named = table.get("project", {}).get("license", "") if isinstance(table.get("project"), dict) else ""
    return license_address(named) if isinstance(named, str) and SPDX.fullmatch(named) else ""


def _file_name(text: str) -> str:
    """A redacted path as file systems take it."""
    return text.replace(MARK, MARK.strip("<>"))


def _data_path(item: Item) -> str:
    """Where an item goes in the crate; two states of one file go to two places."""
    if item.stored:
        return f"artifacts/{item.digest}{SUFFIXES.get(item.kind, '')}"
    return f"data/{item.digest[:8]}/{item.name}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(path: Path, texts: Mapping[str, str], files: Mapping[str, Path]) -> None:
    """Write a crate as a whole. Raises MlopsError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".crate-") as made:
            whole = Path(made) / "crate"
            (_zipped if path.suffix == ".zip" else _folder)(whole, texts, files)
            whole.replace(path)
    except OSError as error:
        raise MlopsError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def _folder(folder: Path, texts: Mapping[str, str], files: Mapping[str, Path]) -> None:
    for name, text in texts.items():
        _made(folder / name).write_bytes(text.encode("utf-8", "replace"))
    for name, source in files.items():
        shutil.copyfile(source, _made(folder / name))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _zipped(path: Path, texts: Mapping[str, str], files: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for name, text in texts.items():
            archive.writestr(name, text.encode("utf-8", "replace"))
        for name, source in files.items():
            archive.write(source, name)
